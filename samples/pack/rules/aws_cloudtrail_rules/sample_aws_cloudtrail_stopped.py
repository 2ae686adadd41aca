from sample_helpers import cloudtrail_actor, cloudtrail_context

BLINDING = {"StopLogging", "DeleteTrail"}
WEAKENING = {"UpdateTrail", "PutEventSelectors"}


def rule(event):
    return (
        event.get("eventSource") == "cloudtrail.amazonaws.com"
        and event.get("eventName") in BLINDING | WEAKENING
    )


def severity(event):
    if event.get("errorCode"):
        return "LOW"
    if event.get("eventName") in BLINDING:
        return "CRITICAL"
    return "DEFAULT"


def trail_name(event):
    return event.deep_get("requestParameters", "name", default="unknown trail").split("/")[-1]


def dedup(event):
    # An attempt that failed must not hide, in its alert of low severity, one that worked.
    return f"{trail_name(event)} {'refused' if event.get('errorCode') else 'changed'}"


def title(event):
    outcome = "tried to call" if event.get("errorCode") else "called"
    return f"{cloudtrail_actor(event)} {outcome} {event.get('eventName')} on trail {trail_name(event)}"


def description(event):
    return f"{event.get('eventName')} changes what account {event.get('recipientAccountId')} records."


def runbook(event):
    return f"Start the trail {trail_name(event)} again, then read what {cloudtrail_actor(event)} did in the hour before."


def reference(_):
    return "https://docs.aws.amazon.com/awscloudtrail/latest/userguide/best-practices-security.html"


def alert_context(event):
    return cloudtrail_context(event)
