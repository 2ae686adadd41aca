from sample_helpers import cloudtrail_actor, cloudtrail_context, in_office


def rule(event):
    return (
        event.get("eventName") == "ConsoleLogin"
        and event.deep_get("responseElements", "ConsoleLogin") == "Success"
        and event.deep_get("userIdentity", "type") == "IAMUser"
        and event.deep_get("additionalEventData", "MFAUsed") == "No"
    )


def severity(event):
    if in_office(event.get("sourceIPAddress", "")):
        return "LOW"
    return "DEFAULT"


def dedup(event):
    return cloudtrail_actor(event)


def title(event):
    return f"{cloudtrail_actor(event)} signed in to the AWS console without a second factor"


def alert_context(event):
    return cloudtrail_context(event)
