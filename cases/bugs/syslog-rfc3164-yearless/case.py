"""A time without a year gets its year from the time of reading: with a log type for RFC 3164, or with a schema."""

import datetime

from harness.case import Case
from harness.reading import lookup


def check(case: Case) -> None:
    built_in = case.read_logs("Syslog.RFC3164", "syslog.log")
    own = case.read_logs(str(case.folder / "auth.yml"), "auth.log")
    taken = {built_in.event_count: built_in, own.event_count: own}.get(1)
    case.holds(
        "a line without a year",
        taken is not None,
        "one event of Syslog.RFC3164, or of a schema whose timeFormat has no year",
        f"Syslog.RFC3164: {built_in.summary()}; auth.yml: {own.summary()}",
    )
    if taken is None:
        return
    day = "-03-05 10:11:12" if taken is own else "-02-07 03:12:44"
    now = datetime.datetime.now(datetime.UTC)
    # The latest year that is not in the future, with a tolerance of one day for clocks that differ.
    past = now + datetime.timedelta(days=1) >= datetime.datetime.fromisoformat(f"{now.year}{day}+00:00")
    wanted = f"{now.year if past else now.year - 1}{day}.000000000"
    case.same("p_event_time", wanted, lookup(taken.events[0], "p_event_time"))
