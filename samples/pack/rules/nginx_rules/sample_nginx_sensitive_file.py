from sample_helpers import nginx_request

SENSITIVE = ("/.env", "/.git/config", "/.aws/credentials", "/id_rsa", "/backup.sql")


def rule(event):
    _, path = nginx_request(event)
    return path.endswith(SENSITIVE)


def severity(event):
    # The file went out only if the server said so.
    if event.get("status") == 200:
        return "CRITICAL"
    return "DEFAULT"


def dedup(event):
    served = "served" if event.get("status") == 200 else "refused"
    return f"{event.get('remoteAddr')} {served}"


def title(event):
    _, path = nginx_request(event)
    if event.get("status") == 200:
        return f"{path} was served to {event.get('remoteAddr')}"
    return f"{event.get('remoteAddr')} looked for {path} and the like"


def alert_context(event):
    method, path = nginx_request(event)
    return {"method": method, "path": path, "bytes": event.get("bodyBytesSent"), "agent": event.get("httpUserAgent")}
