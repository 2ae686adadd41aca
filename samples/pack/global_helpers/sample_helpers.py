"""What several sample detections need: who acted, whether it worked, what to show a responder."""

import ipaddress

HELP_DESK = {"helpdesk@example.com", "it-support@example.com"}

OFFICE_NETWORKS = [ipaddress.ip_network("198.51.100.0/24")]


def cloudtrail_succeeded(event):
    """A CloudTrail call that AWS carried out: no error on it."""
    return not event.get("errorCode") and not event.get("errorMessage")


def cloudtrail_actor(event):
    """The name of who called: the user, the role behind a session, or the principal id."""
    identity = event.get("userIdentity") or {}
    kind = identity.get("type")
    if kind == "Root":
        return "root"
    if kind == "AssumedRole":
        role = event.deep_get("userIdentity", "sessionContext", "sessionIssuer", "userName")
        return role or identity.get("arn", "unknown role").split("/")[-1]
    return identity.get("userName") or identity.get("principalId") or "unknown"


def cloudtrail_context(event):
    """The few fields that a responder looks at first."""
    return {
        "actor": cloudtrail_actor(event),
        "action": event.get("eventName"),
        "account": event.get("recipientAccountId"),
        "region": event.get("awsRegion"),
        "source_ip": event.get("sourceIPAddress"),
        "user_agent": event.get("userAgent"),
        "request": event.get("requestParameters"),
    }


def in_office(address):
    """True if the address belongs to one of the office networks; False for anything else."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in OFFICE_NETWORKS)


def is_help_desk(user):
    """True for the people whose job includes resetting other people's factors."""
    return str(user).lower() in HELP_DESK


def okta_targets(event, kind):
    """The names of the event's targets of one type ("User", "ROLE", "AppInstance" ...)."""
    names = []
    for target in event.get("target") or []:
        if target.get("type") == kind:
            names.append(target.get("alternateId") or target.get("displayName") or "unknown")
    return names


def nginx_request(event):
    """Splits the logged request line into (method, path); the query string is left out."""
    words = (event.get("request") or "").split(" ")
    if len(words) < 2:
        return "", ""
    return words[0], words[1].split("?")[0]
