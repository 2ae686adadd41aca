def rule(event):
    return event.get("status") == 404


def dedup(event):
    return event.get("remoteAddr", "unknown address")


def title(event):
    return f"{dedup(event)} asks for page after page that is not there"
