import sample_event_types as event_type


def rule(event):
    return event.udm("event_type") == event_type.FAILED_LOGIN


def dedup(event):
    return event.udm("source_ip", default="unknown address")


def title(event):
    return f"Many failed sign-ins from {dedup(event)} ({event.get('p_log_type')})"


def alert_context(event):
    return {"source_ip": event.udm("source_ip"), "user": event.udm("actor_user")}
