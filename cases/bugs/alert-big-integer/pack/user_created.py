def rule(event):
    return event.get("eventName") == "CreateUser"


def title(event):
    return f"n={event.deep_get('requestParameters', 'n')}"


def dedup(event):
    return event.get("eventID")


def alert_context(event):
    return {"n": event.deep_get("requestParameters", "n")}
