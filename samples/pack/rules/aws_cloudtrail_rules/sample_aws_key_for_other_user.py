from sample_helpers import cloudtrail_actor, cloudtrail_context, cloudtrail_succeeded


def rule(event):
    if event.get("eventName") != "CreateAccessKey" or not cloudtrail_succeeded(event):
        return False
    owner = event.deep_get("responseElements", "accessKey", "userName")
    return owner is not None and owner != event.deep_get("userIdentity", "userName")


def dedup(event):
    return cloudtrail_actor(event)


def title(event):
    owner = event.deep_get("responseElements", "accessKey", "userName")
    return f"{cloudtrail_actor(event)} made an access key for {owner}"


def alert_context(event):
    context = cloudtrail_context(event)
    context["access_key"] = event.deep_get("responseElements", "accessKey", "accessKeyId")
    return context
