"""Digest files next to the trail are skipped, or become events of a separate log type."""

from harness.case import Case


def check(case: Case) -> None:
    as_trail = case.read_logs("AWS.CloudTrail", "digest.json")
    as_digest = case.read_logs("AWS.CloudTrailDigest", "digest.json")
    passed_over = as_trail.refused is None and as_trail.error is None and as_trail.quarantined == 0
    case.same("events of AWS.CloudTrail", 0, as_trail.event_count)
    case.holds(
        "a digest file",
        passed_over or as_digest.event_count == 1,
        "passed over by AWS.CloudTrail, or one event of AWS.CloudTrailDigest",
        f"AWS.CloudTrail: {as_trail.summary()}; AWS.CloudTrailDigest: {as_digest.summary()}",
    )
