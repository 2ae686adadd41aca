from sample_helpers import is_help_desk


def rule(event):
    return event.udm("event_type") == "mfa_reset" and not is_help_desk(event.udm("actor_user"))


def dedup(event):
    return event.udm("user") or "unknown user"


def title(event):
    return f"{event.udm('actor_user')} reset every factor of {dedup(event)}"


def alert_context(event):
    return {
        "actor": event.udm("actor_user"),
        "user": event.udm("user"),
        "source_ip": event.udm("source_ip"),
        "user_agent": event.udm("user_agent"),
    }
