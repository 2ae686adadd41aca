from sample_helpers import nginx_request


def rule(event):
    method, path = nginx_request(event)
    return method == "POST" and path == "/login" and event.get("status") in (401, 403)


def dedup(event):
    return event.get("remoteAddr", "unknown address")


def title(event):
    return f"Many failed logins to the shop from {dedup(event)}"


def alert_context(event):
    return {"agent": event.get("httpUserAgent"), "referer": event.get("httpReferer")}
