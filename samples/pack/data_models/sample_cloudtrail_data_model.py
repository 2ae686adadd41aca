import sample_event_types as event_type
from sample_helpers import cloudtrail_actor


def get_event_type(event):
    if event.get("eventName") == "ConsoleLogin":
        result = event.deep_get("responseElements", "ConsoleLogin")
        if result == "Failure":
            return event_type.FAILED_LOGIN
        if result == "Success":
            return event_type.SUCCESSFUL_LOGIN
    if event.get("eventName") in ("AttachUserPolicy", "AttachRolePolicy"):
        policy = event.deep_get("requestParameters", "policyArn", default="")
        if policy.endswith(":policy/AdministratorAccess"):
            return event_type.ADMIN_ROLE_ASSIGNED
    return None


def get_actor_user(event):
    return cloudtrail_actor(event)
