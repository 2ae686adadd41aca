from sample_helpers import cloudtrail_context, cloudtrail_succeeded


def rule(event):
    # Service events carry the root identity as well, but nobody typed them.
    return (
        event.deep_get("userIdentity", "type") == "Root"
        and event.deep_get("userIdentity", "invokedBy") is None
        and event.get("eventType") != "AwsServiceEvent"
        and cloudtrail_succeeded(event)
    )


def dedup(event):
    return event.get("recipientAccountId", "unknown account")


def title(event):
    return f"The root user of account {event.get('recipientAccountId')} was used"


def alert_context(event):
    return cloudtrail_context(event)
