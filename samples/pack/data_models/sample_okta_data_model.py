import sample_event_types as event_type
from sample_helpers import okta_targets


def get_event_type(event):
    kind = event.get("eventType")
    if kind == "user.session.start":
        result = event.deep_get("outcome", "result")
        if result == "FAILURE":
            return event_type.FAILED_LOGIN
        if result == "SUCCESS":
            return event_type.SUCCESSFUL_LOGIN
    if kind == "user.account.privilege.grant":
        return event_type.ADMIN_ROLE_ASSIGNED
    if kind == "user.mfa.factor.reset_all":
        return event_type.MFA_RESET
    return None


def get_target_user(event):
    users = okta_targets(event, "User")
    return users[0] if users else None
