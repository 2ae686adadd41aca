from sample_helpers import cloudtrail_actor

DENIED = {"AccessDenied", "AccessDeniedException", "Client.UnauthorizedOperation"}


def rule(event):
    return event.get("errorCode") in DENIED


def dedup(event):
    return f"{event.get('recipientAccountId')} {cloudtrail_actor(event)}"


def title(event):
    return f"{cloudtrail_actor(event)} was refused again and again in account {event.get('recipientAccountId')}"
