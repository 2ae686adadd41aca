from sample_helpers import okta_targets

POWERFUL = ("super administrator", "organization administrator", "organisation administrator")


def granted(event):
    data = event.deep_get("debugContext", "debugData", default={})
    return data.get("privilegeGranted", "an unnamed role")


def rule(event):
    return (
        event.get("eventType") == "user.account.privilege.grant"
        and event.deep_get("outcome", "result") == "SUCCESS"
    )


def severity(event):
    if any(role in granted(event).lower() for role in POWERFUL):
        return "CRITICAL"
    return "DEFAULT"


def dedup(event):
    return event.deep_get("actor", "alternateId", default="unknown")


def title(event):
    users = ", ".join(okta_targets(event, "User")) or "an unnamed user"
    return f"{dedup(event)} made {users} {granted(event)}"


def alert_context(event):
    return {
        "actor": event.deep_get("actor", "alternateId"),
        "role": granted(event),
        "users": okta_targets(event, "User"),
        "source_ip": event.deep_get("client", "ipAddress"),
    }
