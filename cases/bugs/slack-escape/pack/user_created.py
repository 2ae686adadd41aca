def rule(event):
    return event.get("eventName") == "CreateUser"


def title(event):
    return f"user made by {event.get('userAgent')}"


def runbook(event):
    return f"ask {event.get('userAgent')}"
