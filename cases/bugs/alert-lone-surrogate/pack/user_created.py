def rule(event):
    return event.get("eventName") == "CreateUser"


def title(event):
    return "users created"
