#!/usr/bin/env python3
"""Writes the sample logs of panther-cluster: made-up events, the same on every run.

    python3 samples/generate.py            # writes samples/logs, samples/broken, samples/expected.json

Most events are ordinary traffic. The others are planted: `plant(rule, group)` notes which rule of samples/pack each of them
sets off and under which dedup string, so that expected.json can say how many matches and alerts every file must give. A
change here or in the pack changes expected.json, and a test that compares a run with it.

All names are made up: accounts 111122223333 and 444455556666, example.com, and the address blocks reserved for documentation.
"""

import datetime
import gzip
import json
import pathlib
import random
import uuid

HERE = pathlib.Path(__file__).resolve().parent
START = datetime.datetime(2026, 3, 5, 14, 0, 0, tzinfo=datetime.timezone.utc)
FIRST, SECOND = "111122223333", "444455556666"

# As in samples/pack: a rule opens one alert per dedup string once so many events have matched. None = a signal, never an alert.
THRESHOLDS = {
    "Sample.AWS.AccessDenied.Burst": 10,
    "Sample.AWS.AccessKey.ForOtherUser": 1,
    "Sample.AWS.CloudTrail.Stopped": 1,
    "Sample.AWS.Console.LoginWithoutMFA": 1,
    "Sample.AWS.Root.Activity": 1,
    "Sample.AWS.S3.PublicAccessBlockRemoved": 1,
    "Sample.AWS.Secret.ReadByUser": None,
    "Sample.AWS.SecurityGroup.OpenToWorld": 1,
    "Sample.Login.BruteForce": 5,
    "Sample.Nginx.Login.Failures": 10,
    "Sample.Nginx.NotFound.Scan": 25,
    "Sample.Nginx.SensitiveFile.Requested": 1,
    "Sample.Okta.AdminRole.Granted": 1,
    "Sample.Okta.MFA.ResetOutsideHelpDesk": 1,
}

AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
]


class Sample:
    """One file to be: its events, and what they will set off."""

    def __init__(self, name, seed, start=START, seconds=300):
        self.name = name
        self.random = random.Random(seed)
        self.start = start
        self.seconds = seconds
        self.events = []  # (order, event)
        self.planted = {}  # rule -> {dedup string: matches}

    def ident(self):
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def pick(self, choices):
        return choices[self.random.randrange(len(choices))]

    def address(self, network="198.51.100"):
        return f"{network}.{self.random.randrange(2, 250)}"

    def at(self, second=None):
        if second is None:
            second = self.random.randrange(self.seconds)
        return second, self.start + datetime.timedelta(seconds=second)

    def plant(self, rule, group):
        assert rule in THRESHOLDS, rule
        groups = self.planted.setdefault(rule, {})
        groups[group] = groups.get(group, 0) + 1

    def ordered(self):
        # Equal seconds keep the order in which they were added.
        return [event for _, event in sorted(self.events, key=lambda pair: pair[0])]


# --------------------------------------------------------------------------------------------------------------- CloudTrail


def user(name, account=FIRST):
    return {
        "type": "IAMUser",
        "principalId": "AIDAEXAMPLE" + name.upper(),
        "arn": f"arn:aws:iam::{account}:user/{name}",
        "accountId": account,
        "accessKeyId": "AKIAEXAMPLE" + name.upper(),
        "userName": name,
    }


def root(account):
    return {
        "type": "Root",
        "principalId": account,
        "arn": f"arn:aws:iam::{account}:root",
        "accountId": account,
        "sessionContext": {
            "attributes": {"creationDate": "2026-03-05T13:58:02Z", "mfaAuthenticated": "false"},
        },
    }


def role(name, session, account=FIRST):
    return {
        "type": "AssumedRole",
        "principalId": f"AROAEXAMPLE{name.upper()}:{session}",
        "arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
        "accountId": account,
        "accessKeyId": "ASIAEXAMPLE" + name.upper(),
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": "AROAEXAMPLE" + name.upper(),
                "arn": f"arn:aws:iam::{account}:role/{name}",
                "accountId": account,
                "userName": name,
            },
            "webIdFederationData": {},
            "attributes": {"creationDate": "2026-03-05T13:30:00Z", "mfaAuthenticated": "false"},
        },
    }


class CloudTrail(Sample):
    """A CloudTrail file: {"Records": [...]}, gzip, named as AWS names it."""

    def __init__(self, account, region, minute, seed):
        start = START + datetime.timedelta(minutes=minute)
        super().__init__("", seed, start)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
        suffix = "".join(self.pick(letters) for _ in range(16))
        stamp = (start + datetime.timedelta(minutes=5)).strftime("%Y%m%dT%H%MZ")
        self.name = f"{account}_CloudTrail_{region}_{stamp}_{suffix}.json.gz"
        self.account = account
        self.region = region

    def call(self, identity, source, name, request=None, response=None, second=None, address=None, **more):
        order, time = self.at(second)
        read = name.startswith(("Get", "List", "Describe", "Lookup"))
        event = {
            "eventVersion": "1.09",
            "userIdentity": identity,
            "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": f"{source}.amazonaws.com",
            "eventName": name,
            "awsRegion": self.region,
            "sourceIPAddress": address or self.address(),
            "userAgent": "aws-cli/2.17.9 md/awscrt#0.20.11 ua/2.0 os/linux#6.1 lang/python#3.11",
            "requestParameters": request,
            "responseElements": response,
            "requestID": self.ident(),
            "eventID": self.ident(),
            "readOnly": read,
            "eventType": "AwsApiCall",
            "managementEvent": True,
            "recipientAccountId": self.account,
            "eventCategory": "Management",
            "tlsDetails": {
                "tlsVersion": "TLSv1.3",
                "cipherSuite": "TLS_AES_128_GCM_SHA256",
                "clientProvidedHostHeader": f"{source}.{self.region}.amazonaws.com",
            },
        }
        event.update(more)
        self.events.append((order, event))
        return event

    def denied(self, identity, actor, source, name, **more):
        self.call(
            identity,
            source,
            name,
            errorCode="AccessDenied",
            errorMessage=f"User: {identity['arn']} is not authorized to perform: {source}:{name}",
            **more,
        )
        self.plant("Sample.AWS.AccessDenied.Burst", f"{self.account} {actor}")

    def login(self, name, address, worked, factor, second=None):
        self.call(
            {k: v for k, v in user(name, self.account).items() if k != "accessKeyId"},
            "signin",
            "ConsoleLogin",
            response={"ConsoleLogin": "Success" if worked else "Failure"},
            second=second,
            address=address,
            userAgent=self.pick(AGENTS),
            eventType="AwsConsoleSignIn",
            additionalEventData={
                "LoginTo": "https://console.aws.amazon.com/console/home",
                "MobileVersion": "No",
                "MFAUsed": "Yes" if factor else "No",
            },
            **({} if worked else {"errorMessage": "Failed authentication"}),
        )
        if worked and not factor:
            self.plant("Sample.AWS.Console.LoginWithoutMFA", name)
        if not worked:
            self.plant("Sample.Login.BruteForce", address)

    def ordinary(self, count):
        calls = [
            ("ec2", "DescribeInstances", {"instancesSet": {}, "filterSet": {}}),
            ("ec2", "DescribeSecurityGroups", {"securityGroupSet": {}, "filterSet": {}}),
            ("s3", "ListBuckets", None),
            ("s3", "GetBucketPolicy", {"bucketName": "example-reports", "Host": "example-reports.s3.amazonaws.com"}),
            ("iam", "GetUser", None),
            ("iam", "ListRoles", {"maxItems": 100}),
            ("sts", "GetCallerIdentity", None),
            ("kms", "DescribeKey", {"keyId": "alias/example"}),
            ("logs", "DescribeLogGroups", {"limit": 50}),
            ("cloudtrail", "DescribeTrails", {"trailNameList": []}),
        ]
        people = [user("alice", self.account), user("bob", self.account), user("erin", self.account)]
        machines = [role("Checkout", "i-0a1b2c3d4e5f60718", self.account), role("Deploy", "pipeline", self.account)]
        for _ in range(count):
            source, name, request = self.pick(calls)
            self.call(self.pick(people + machines), source, name, request)

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        body = json.dumps({"Records": self.ordered()}, separators=(",", ":")).encode()
        packed = gzip.compress(body, mtime=0)
        (folder / self.name).write_bytes(packed)
        return packed


def cloudtrail_files():
    trail = CloudTrail(FIRST, "us-east-1", 0, seed=11)
    trail.ordinary(40)
    for name in ("CreateUser", "AttachUserPolicy", "ListAccountAliases"):
        request = {
            "CreateUser": {"userName": "breakglass"},
            "AttachUserPolicy": {"userName": "breakglass", "policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"},
        }.get(name)
        trail.call(root(FIRST), "iam", name, request, address="203.0.113.10", userAgent=AGENTS[0])
        trail.plant("Sample.AWS.Root.Activity", FIRST)
    trail.login("alice", "203.0.113.77", worked=True, factor=False)
    trail.login("bob", "198.51.100.12", worked=True, factor=False)
    trail.login("erin", "198.51.100.14", worked=True, factor=True)
    for _ in range(2):
        trail.call(user("alice"), "secretsmanager", "GetSecretValue", {"secretId": "prod/database"})
        trail.plant("Sample.AWS.Secret.ReadByUser", "alice")
    for _ in range(4):
        trail.call(
            role("Checkout", "i-0a1b2c3d4e5f60718"), "secretsmanager", "GetSecretValue", {"secretId": "prod/database"}
        )
    yield trail

    trail = CloudTrail(FIRST, "us-east-1", 5, seed=12)
    trail.ordinary(30)
    mallory = user("mallory")
    tries = [
        ("iam", "ListUsers"), ("iam", "ListRoles"), ("iam", "GetAccountSummary"), ("s3", "ListBuckets"),
        ("ec2", "DescribeInstances"), ("ec2", "DescribeSnapshots"), ("rds", "DescribeDBInstances"),
        ("lambda", "ListFunctions20150331"), ("kms", "ListKeys"), ("organizations", "ListAccounts"),
        ("ecr", "DescribeRepositories"), ("dynamodb", "ListTables"), ("ssm", "DescribeParameters"),
    ]  # fmt: skip
    for second, (source, name) in enumerate(tries):
        trail.denied(mallory, "mallory", source, name, second=second * 4, address="203.0.113.66")
    trail.denied(
        mallory, "mallory", "cloudtrail", "DeleteTrail", request={"name": "main"}, second=70, address="203.0.113.66"
    )
    trail.plant("Sample.AWS.CloudTrail.Stopped", "main refused")
    trail.call(
        mallory, "cloudtrail", "StopLogging",
        {"name": f"arn:aws:cloudtrail:us-east-1:{FIRST}:trail/main"}, second=75, address="203.0.113.66",
    )  # fmt: skip
    trail.plant("Sample.AWS.CloudTrail.Stopped", "main changed")
    for owner in ("backup", "breakglass"):
        trail.call(
            mallory, "iam", "CreateAccessKey", {"userName": owner},
            {"accessKey": {"accessKeyId": "AKIAEXAMPLE" + owner.upper(), "status": "Active", "userName": owner,
                           "createDate": "Mar 5, 2026 2:06:40 PM"}},
            second=100, address="203.0.113.66",
        )  # fmt: skip
        trail.plant("Sample.AWS.AccessKey.ForOtherUser", "mallory")
    trail.call(
        user("alice"), "iam", "CreateAccessKey", None,
        {"accessKey": {"accessKeyId": "AKIAEXAMPLEALICE2", "status": "Active", "userName": "alice",
                       "createDate": "Mar 5, 2026 2:07:10 PM"}},
    )  # fmt: skip
    for name in ("ListUsers", "ListGroups", "ListPolicies", "GetAccountSummary"):
        trail.denied(role("ReadOnly", "carol"), "ReadOnly", "iam", name)
    for second in (10, 20, 30):
        trail.login("alice", "203.0.113.99", worked=False, factor=False, second=second)
    for second in (15, 25):
        trail.login("bob", "198.51.100.12", worked=False, factor=False, second=second)
    yield trail

    trail = CloudTrail(FIRST, "eu-west-1", 5, seed=13)
    trail.ordinary(25)

    def ingress(group, port, network):
        permission = {
            "ipProtocol": "tcp",
            "fromPort": port,
            "toPort": port,
            "groups": {},
            "ipRanges": {"items": [{"cidrIp": network}]},
            "ipv6Ranges": {},
            "prefixListIds": {},
        }
        request = {"groupId": group, "ipPermissions": {"items": [permission]}}
        trail.call(user("bob"), "ec2", "AuthorizeSecurityGroupIngress", request, {"_return": True})
        if network == "0.0.0.0/0" and port in (22, 3389, 5432):
            trail.plant("Sample.AWS.SecurityGroup.OpenToWorld", group)

    ingress("sg-0a1b2c3d4e5f60718", 22, "0.0.0.0/0")
    ingress("sg-0a1b2c3d4e5f60718", 5432, "0.0.0.0/0")
    ingress("sg-0f1e2d3c4b5a69788", 3389, "0.0.0.0/0")
    ingress("sg-0f1e2d3c4b5a69788", 22, "198.51.100.0/24")
    ingress("sg-0c0ffee0c0ffee000", 443, "0.0.0.0/0")
    for bucket in ("example-invoices", "example-reports", "example-reports"):
        trail.call(user("bob"), "s3", "DeleteBucketPublicAccessBlock", {"bucketName": bucket, "publicAccessBlock": ""})
        trail.plant("Sample.AWS.S3.PublicAccessBlockRemoved", bucket)
    trail.denied(
        user("bob"), "bob", "s3", "DeleteBucketPublicAccessBlock",
        request={"bucketName": "example-payroll", "publicAccessBlock": ""},
    )  # fmt: skip
    yield trail

    trail = CloudTrail(SECOND, "us-east-1", 5, seed=14)
    trail.ordinary(25)
    trail.call(root(SECOND), "account", "GetContactInformation", address="203.0.113.10", userAgent=AGENTS[0])
    trail.plant("Sample.AWS.Root.Activity", SECOND)
    trail.call(
        root(SECOND) | {"invokedBy": "AWS Internal"}, "kms", "RotateKey", None,
        address="AWS Internal", userAgent="AWS Internal", eventType="AwsServiceEvent",
    )  # fmt: skip
    trail.call(
        role("Deploy", "pipeline", SECOND), "cloudtrail", "UpdateTrail",
        {"name": "organisation", "isMultiRegionTrail": False},
    )  # fmt: skip
    trail.plant("Sample.AWS.CloudTrail.Stopped", "organisation changed")
    for second in range(10):  # just enough for the threshold
        trail.denied(role("Deploy", "pipeline", SECOND), "Deploy", "ec2", "DescribeImages", second=second * 20)
    yield trail


def broken_file():
    """A good file of which only the first bytes will be there: an upload that broke off before anything of it can be unpacked."""
    trail = CloudTrail(FIRST, "us-east-1", 10, seed=15)
    trail.ordinary(20)
    trail.call(
        user("oscar"), "iam", "CreateAccessKey", {"userName": "payroll"},
        {"accessKey": {"accessKeyId": "AKIAEXAMPLEPAYROLL", "status": "Active", "userName": "payroll",
                       "createDate": "Mar 5, 2026 2:12:00 PM"}},
        address="203.0.113.140",
    )  # fmt: skip
    trail.plant("Sample.AWS.AccessKey.ForOtherUser", "oscar")
    return trail


# --------------------------------------------------------------------------------------------------------------------- Okta


class Okta(Sample):
    """Okta system log: one JSON object per line."""

    def event(self, kind, actor, address, result="SUCCESS", reason=None, targets=(), debug=None, second=None):
        order, time = self.at(second)
        place = {
            "city": "Lyon",
            "state": "Rhone",
            "country": "France",
            "postalCode": "69001",
            "geolocation": {"lat": 45.76, "lon": 4.84},
        }
        words = {
            "user.session.start": "User login to Okta",
            "user.authentication.sso": "User single sign on to app",
            "policy.evaluate_sign_on": "Evaluation of sign-on policy",
            "user.account.privilege.grant": "Grant user privilege",
            "user.mfa.factor.reset_all": "Reset all factors for user",
        }
        event = {
            "uuid": self.ident(),
            "published": time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self.random.randrange(1000):03d}Z",
            "eventType": kind,
            "version": "0",
            "severity": "INFO" if result == "SUCCESS" else "WARN",
            "displayMessage": words[kind],
            "actor": {
                "id": "00u" + actor.split("@")[0].ljust(17, "0"),
                "type": "User",
                "alternateId": actor,
                "displayName": actor.split("@")[0].title(),
                "detailEntry": None,
            },
            "client": {
                "userAgent": {"rawUserAgent": self.pick(AGENTS), "os": "Linux", "browser": "FIREFOX"},
                "zone": "null",
                "device": "Computer",
                "id": None,
                "ipAddress": address,
                "geographicalContext": place,
            },
            "authenticationContext": {"authenticationStep": 0, "externalSessionId": "trs" + self.ident()[:8]},
            "outcome": {"result": result, "reason": reason},
            "target": [
                {"id": "t" + name.split("@")[0].ljust(19, "0"), "type": type_, "alternateId": name, "displayName": name}
                for type_, name in targets
            ],
            "transaction": {"type": "WEB", "id": self.ident(), "detail": {}},
            "debugContext": {"debugData": {"requestUri": "/api/v1/authn", **(debug or {})}},
            "legacyEventType": None,
            "securityContext": {"asNumber": 64500, "asOrg": "example net", "isp": "example net", "isProxy": False},
            "request": {"ipChain": [{"ip": address, "version": "V4", "source": None, "geographicalContext": place}]},
        }
        self.events.append((order, event))

    def failed(self, actor, address, second=None):
        self.event("user.session.start", actor, address, "FAILURE", "INVALID_CREDENTIALS", second=second)
        self.plant("Sample.Login.BruteForce", address)

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(event, separators=(",", ":")) for event in self.ordered()]
        (folder / self.name).write_text("\n".join(lines) + "\n")


def okta_file():
    log = Okta("okta-system-log.ndjson", seed=21, seconds=900)
    people = ["alice@example.com", "bob@example.com", "dave@example.com", "erin@example.com", "frank@example.com"]
    for _ in range(70):
        actor = log.pick(people)
        kind = log.pick(["user.session.start", "user.authentication.sso", "policy.evaluate_sign_on"])
        targets = [("AppInstance", "Example Wiki")] if kind == "user.authentication.sso" else []
        log.event(kind, actor, log.address(), targets=targets)

    def grant(actor, name, privilege, second):
        log.event(
            "user.account.privilege.grant", actor, "203.0.113.60", targets=[("User", name)],
            debug={"privilegeGranted": privilege}, second=second,
        )  # fmt: skip
        log.plant("Sample.Okta.AdminRole.Granted", actor)

    grant("carol@example.com", "mallory@example.com", "Super administrator", 300)
    grant("carol@example.com", "bob@example.com", "Report administrator", 330)
    grant("erin@example.com", "frank@example.com", "Application administrator", 360)
    for name in ("dave@example.com", "frank@example.com"):
        log.event("user.mfa.factor.reset_all", "carol@example.com", "203.0.113.60", targets=[("User", name)])
        log.plant("Sample.Okta.MFA.ResetOutsideHelpDesk", name)
    for name in ("alice@example.com", "bob@example.com", "erin@example.com"):
        log.event("user.mfa.factor.reset_all", "helpdesk@example.com", "198.51.100.8", targets=[("User", name)])
    for second in range(4):  # with three more in a CloudTrail file: enough together, in neither log alone
        log.failed("alice@example.com", "203.0.113.99", second * 5)
    for second in range(6):
        log.failed(people[second % len(people)], "203.0.113.120", 120 + second * 3)
    for second in range(3):
        log.failed("dave@example.com", "198.51.100.20", 500 + second * 10)
    yield log


# -------------------------------------------------------------------------------------------------------------------- Nginx


class Nginx(Sample):
    """Nginx access log in its "combined" format."""

    def line(self, address, request, status, size=None, referer="-", agent=None, second=None, person="-"):
        order, time = self.at(second)
        size = self.random.randrange(200, 20000) if size is None else size
        agent = agent or self.pick(AGENTS)
        stamp = time.strftime("%d/%b/%Y:%H:%M:%S +0000")
        self.events.append((order, f'{address} - {person} [{stamp}] "{request}" {status} {size} "{referer}" "{agent}"'))
        if status == 404:
            self.plant("Sample.Nginx.NotFound.Scan", address)

    def write(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.name).write_text("\n".join(self.ordered()) + "\n")


def nginx_file():
    log = Nginx("access.log", seed=31, seconds=780)
    pages = ["/", "/products", "/products?page=2", "/cart", "/static/app.css", "/static/app.js", "/favicon.ico", "/login"]
    for _ in range(160):
        status = log.pick([200, 200, 200, 200, 304])
        log.line(
            log.address(log.pick(["198.51.100", "192.0.2"])), f"GET {log.pick(pages)} HTTP/1.1", status,
            size=0 if status == 304 else None, referer=log.pick(["-", "https://shop.example.com/"]),
        )  # fmt: skip
    for last in range(1, 7):  # lost visitors: one missing page each
        log.line(f"192.0.2.{250 - last}", "GET /old-offers HTTP/1.1", 404, size=153)
    words = ["admin", "wp-login.php", "phpmyadmin", "backup", "test", "old", "console", "server-status", "cgi-bin", "shell"]
    for number in range(37):
        log.line(
            "203.0.113.200", f"GET /{words[number % len(words)]}/{number} HTTP/1.1", 404, size=153,
            agent="scanner/1.0", second=100 + number,
        )  # fmt: skip
    for number, path in enumerate(["/.env", "/app/.env", "/.git/config"]):
        log.line("203.0.113.200", f"GET {path} HTTP/1.1", 404, size=153, agent="scanner/1.0", second=140 + number)
        log.plant("Sample.Nginx.SensitiveFile.Requested", "203.0.113.200 refused")
    for number in range(24):  # one below the threshold
        log.line("203.0.113.210", f"GET /images/{number}.png HTTP/1.1", 404, size=153, second=300 + number * 2)
    log.line("203.0.113.201", "GET /backup.sql HTTP/1.1", 200, size=4194304, agent="curl/8.5.0", second=400)
    log.plant("Sample.Nginx.SensitiveFile.Requested", "203.0.113.201 served")
    for number in range(18):
        log.line("203.0.113.202", "POST /login HTTP/1.1", 401, size=97, agent="python-requests/2.32.3", second=500 + number * 3)
        log.plant("Sample.Nginx.Login.Failures", "203.0.113.202")
    log.line("203.0.113.202", "POST /login HTTP/1.1", 302, size=0, agent="python-requests/2.32.3", second=560)
    for number in range(3):
        log.line("198.51.100.33", "POST /login HTTP/1.1", 401, size=97, second=600 + number * 20)
        log.plant("Sample.Nginx.Login.Failures", "198.51.100.33")
    log.line("198.51.100.33", "POST /login HTTP/1.1", 302, size=0, second=665, person="bob")
    yield log


# ----------------------------------------------------------------------------------------------------------------- expected


def alerts(rule, groups):
    """How many alerts these matches open: one per dedup string that reaches the rule's threshold."""
    threshold = THRESHOLDS[rule]
    return 0 if threshold is None else sum(1 for matches in groups.values() if matches >= threshold)


def expected(files):
    """What the pack makes of the files: per file, and per rule when all of them are fed once."""
    together = {}
    per_file = {}
    for log_type, name, sample in files:
        for rule, groups in sample.planted.items():
            for group, matches in groups.items():
                all_groups = together.setdefault(rule, {})
                all_groups[group] = all_groups.get(group, 0) + matches
        per_file[name] = {
            "log_type": log_type,
            "events": len(sample.events),
            "rules": {
                rule: {"matches": sum(groups.values()), "alerts_alone": alerts(rule, groups)}
                for rule, groups in sorted(sample.planted.items())
            },
        }
    rules = {
        rule: {"matches": sum(groups.values()), "alerts": alerts(rule, groups), "threshold": THRESHOLDS[rule]}
        # A signal opens no alert, so that nobody asks for its dedup string.
        | ({} if THRESHOLDS[rule] is None else {"groups": dict(sorted(groups.items()))})
        for rule, groups in sorted(together.items())
    }
    return {
        "files": per_file,
        "rules": rules,
        "total": {
            "events": sum(len(sample.events) for _, _, sample in files),
            "matches": sum(row["matches"] for row in rules.values()),
            "alerts": sum(row["alerts"] for row in rules.values()),
        },
    }


def main():
    files = []
    for sample in cloudtrail_files():
        sample.write(HERE / "logs" / "cloudtrail")
        files.append(("AWS.CloudTrail", f"logs/cloudtrail/{sample.name}", sample))
    for sample in okta_file():
        sample.write(HERE / "logs" / "okta")
        files.append(("Okta.SystemLog", f"logs/okta/{sample.name}", sample))
    for sample in nginx_file():
        sample.write(HERE / "logs" / "nginx")
        files.append(("Nginx.Access", f"logs/nginx/{sample.name}", sample))

    broken = broken_file()
    packed = broken.write(HERE / "broken" / "whole")
    (HERE / "broken" / broken.name).write_bytes(packed[:40])

    report = expected(files)
    report["broken"] = {
        "file": f"broken/{broken.name}",
        "whole": f"broken/whole/{broken.name}",
        **expected([("AWS.CloudTrail", f"broken/whole/{broken.name}", broken)]),
    }
    (HERE / "expected.json").write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
