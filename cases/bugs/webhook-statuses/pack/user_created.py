def rule(event):
    return event.get("eventName") == "CreateUser"


def title(event):
    return "a" * 1000
