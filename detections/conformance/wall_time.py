"""How long the tests of a whole pack take, from the command to its end: ours beside panther_analysis_tool, one after the other, each once to
warm the disk's cache and once measured. Ours twice: all of it, and once more with nothing changed."""

import argparse
import subprocess
import sys
import time


def measured(name, command):
    for _ in range(2):
        began = time.perf_counter()
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        seconds = time.perf_counter() - began
    last = [line for line in ended.stdout.splitlines() if "assed" in line]
    # Both end with 0 or 1: the public pack has tests that fail.
    if ended.returncode not in (0, 1):
        sys.exit(f"{name} did not run (exit code {ended.returncode}):\n{ended.stdout[-2000:]}")
    print(f"  {name}: {seconds:.1f} s, exit code {ended.returncode}; {'; '.join(line.strip() for line in last[-2:])}")
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pack", required=True)
    parser.add_argument("--tool", required=True, help="panther_analysis_tool")
    parser.add_argument("--pantherctl", required=True)
    parser.add_argument("--python", required=True, help="a Python with what the pack imports")
    options = parser.parse_args()
    print("the tests of the whole pack, wall time:")
    theirs = measured("panther_analysis_tool test", [options.tool, "test", "--path", options.pack])
    command = [options.pantherctl, "detections", "test", options.pack, "--python", options.python]
    ours = measured("pantherctl detections test --fresh", [*command, "--fresh"])
    again = measured("pantherctl detections test, nothing changed", command)
    print(f"  {theirs / ours:.1f} times as fast, {theirs / again:.0f} times with nothing changed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
