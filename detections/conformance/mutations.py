"""Compares the engine with panther_core on events that nobody wrote: those of the pack's unit tests, changed at random, over all log types.

    mutations.py --pack FOLDER --core-python VENV/bin/python [--each N] [--seed N] --bench COMMAND...

Both ways of the engine are compared: as it runs, and with every rule called. Exit code 1 if a verdict, an exception or a text differs but for
what differs between panther_core's own runs with other hash seeds.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import compare
import layer as layers
import throughput

HERE = Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pack", required=True)
    parser.add_argument("--core-python", required=True)
    parser.add_argument("--each", default="3", help="events made of each test event")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--bench", required=True, nargs=argparse.REMAINDER, help="the command of the engine's bench")
    options = parser.parse_args()
    counts = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="panther-mutations-") as folder:
        work = Path(folder)
        layers.lay(layers.read_pack(options.pack), work / "layer")
        make = [sys.executable, str(HERE / "mutate.py"), "--pack", options.pack, "--out", str(work / "streams"), "--each", options.each, "--seed", options.seed]
        subprocess.run(make, check=True)
        core = throughput.ask_streams(options.core_python, work / "layer", work / "streams", work)
        environment = {"PANTHER_PACK": options.pack, "STREAMS": str(work / "streams"), "PANTHER_PYTHON": options.core_python, "OUT": str(work / "out.json"), "ROUNDS": "1"}
        ran = subprocess.run(options.bench, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if ran.returncode:
            sys.exit(f"the engine's bench did not run:\n{ran.stdout[-4000:]}")
        ours = json.loads((work / "out.json").read_text())
        for name, (runs, specs) in core.items():
            by_index, by_name = {s["index"]: s for s in specs}, {s["id"]: s["index"] for s in specs}
            counts["events"] += ours[name]["events"]
            for how in ("usual", "called"):
                found, said = throughput.differing(runs, ours[name][how]["verdicts"], by_index, by_name)
                counts["pairs of event and rule"] += ours[name]["events"] * len(specs)
                counts["of them matches and errors"] += said
                counts["differ"] += len(found)
                if found:
                    print(f"{name}, {how}:")
                    compare.report({}, found, most=5)
    print(f"changed events, seed {options.seed}, {len(core)} log types:")
    compare.report(counts, [])
    sys.exit(1 if counts["differ"] else 0)


if __name__ == "__main__":
    main()
