from sample_helpers import cloudtrail_actor, cloudtrail_context, cloudtrail_succeeded


def rule(event):
    return (
        event.get("eventSource") == "secretsmanager.amazonaws.com"
        and event.get("eventName") == "GetSecretValue"
        and event.deep_get("userIdentity", "type") == "IAMUser"
        and cloudtrail_succeeded(event)
    )


def title(event):
    return f"{cloudtrail_actor(event)} read a secret by hand"


def dedup(event):
    return cloudtrail_actor(event)


def alert_context(event):
    return cloudtrail_context(event)
