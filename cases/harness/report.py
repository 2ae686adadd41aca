"""Runs cases concurrently and reports them: differences at once, and the totals at the end."""

import concurrent.futures
import contextlib
import traceback
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from harness.case import Case
from harness.node import stop_all
from harness.outcome import Difference, Outcome
from harness.polling import NotInTime, interrupt
from harness.suite import CaseFile

# A line of the summary is short; the details are printed above it.
LINE_LETTERS = 240


class Verdict(Enum):
    """How one case ended."""

    PASSED = "passed"
    FAILED = "failed"
    # The case failed, and the list of waiting cases says that it does.
    WAITING = "waiting"


@dataclass(frozen=True)
class Finished:
    """One completed case. `broken` holds the traceback of a case that could not be completed."""

    case: CaseFile
    differences: list[Difference]
    broken: str | None

    def verdict(self, waits: bool) -> Verdict:
        """The verdict of the case. A waiting case fails if it passes, because then the list is wrong, or if it cannot be run."""
        if self.broken is not None:
            return Verdict.FAILED
        if waits:
            return Verdict.WAITING if self.differences else Verdict.FAILED
        return Verdict.FAILED if self.differences else Verdict.PASSED

    def first_line(self, waits: bool) -> str:
        """The line of this case in the summary."""
        if self.broken is not None:
            return f"cannot be run: {self.broken.strip().splitlines()[-1]}"
        if not self.differences:
            return "passes now: take it off the waiting list" if waits else ""
        first, more = self.differences[0], len(self.differences) - 1
        rest = f" (and {more} more)" if more else ""
        line = f"{first.what}: wanted {first.wanted}, got {first.got}"
        return (line if len(line) <= LINE_LETTERS else line[:LINE_LETTERS] + " ...") + rest


def run_case(case: CaseFile, binaries: Path) -> Finished:
    """Runs one case to its end; its processes are stopped and its folder removed."""
    outcome = Outcome()
    broken = None
    try:
        with contextlib.ExitStack() as stack:
            try:
                case.check(Case(binaries, case.folder, outcome, stack))
            except NotInTime as late:
                outcome.holds(late.what, False, f"within {late.seconds:.0f} s", late.got)
    except Exception:  # One case that breaks must not end the run of the others.
        broken = traceback.format_exc()
    return Finished(case, outcome.differences, broken)


def run(cases: list[CaseFile], binaries: Path, jobs: int, waiting: dict[str, str]) -> int:
    """Runs the cases, `jobs` at a time, and prints the report. Returns the exit code."""
    finished: list[Finished] = []
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=jobs)
    try:
        longest_first = sorted(cases, key=lambda case: -case.seconds)
        for future in concurrent.futures.as_completed([pool.submit(run_case, one, binaries) for one in longest_first]):
            one = future.result()
            finished.append(one)
            print_details(one, one.verdict(one.case.name in waiting))
    except BaseException:
        interrupt()
        stop_all()
        # Each running case ends at its next wait, and stops its processes.
        pool.shutdown(cancel_futures=True)
        raise
    pool.shutdown()
    return print_summary(sorted(finished, key=lambda one: one.case.name), waiting)


def print_details(one: Finished, verdict: Verdict) -> None:
    """Prints every difference of a failed case as soon as it has ended."""
    if verdict is not Verdict.FAILED:
        return
    print(f"\nFAIL {one.case.name}", flush=True)
    for line in (one.broken or "").splitlines():
        print(f"  {line}", flush=True)
    for difference in one.differences:
        for line in difference.lines():
            print(f"  {line}", flush=True)


def print_summary(finished: list[Finished], waiting: dict[str, str]) -> int:
    """Prints a line for each case that waits or fails, and the totals on the last line. Returns the exit code."""
    verdicts = {one.case.name: one.verdict(one.case.name in waiting) for one in finished}
    print()
    for one in finished:
        if verdicts[one.case.name] is Verdict.WAITING:
            print(f"waiting {one.case.name}: {waiting[one.case.name]}")
    for one in finished:
        if verdicts[one.case.name] is Verdict.FAILED:
            print(f"failed {one.case.name}: {one.first_line(one.case.name in waiting)}")
    count = {verdict: list(verdicts.values()).count(verdict) for verdict in Verdict}
    if count[Verdict.WAITING]:
        print(f"{count[Verdict.WAITING]} waiting")
    print(f"{count[Verdict.PASSED]} passed, {count[Verdict.FAILED]} failed", flush=True)
    return 1 if count[Verdict.FAILED] else 0
