def rule(event):
    return event.get("status") == 404


def title(event):
    return f"404s from {event.get('remoteAddr')}"
