"""Names that the data models give to what happened, whatever the log type calls it."""

FAILED_LOGIN = "failed_login"
SUCCESSFUL_LOGIN = "successful_login"
ADMIN_ROLE_ASSIGNED = "admin_role_assigned"
MFA_RESET = "mfa_reset"
