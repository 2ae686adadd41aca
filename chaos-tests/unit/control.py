"""Makes each attempt of a pack as an ordinary process that nothing confines, and prints `RULE<tab>RESULT`: the control of the drill.

    control.py PACK DAEMON RULE...

DAEMON is the process that stands for the daemon. What is refused here too is refused by the kernel to every process of this user, so it
proves nothing about the sandbox. Standard library only.
"""

import os
import resource
import signal
import sys
from pathlib import Path

SECONDS, MEMORY = 8, 1 << 30


def main() -> None:
    folder, daemon, rules = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder / "global_helpers"))
    import attempt

    attempt.T["daemon"] = daemon
    sources = {}
    for file in (folder / "rules").glob("*.yml"):
        identity = next(line.partition(": ")[2] for line in file.read_text().splitlines() if line.startswith("RuleID"))
        sources[identity] = file.with_suffix(".py").read_text()
    canary = Path(attempt.T["canary"])
    content = canary.read_bytes()
    for rule in rules:
        # As it was, whatever the attempt before did to it.
        canary.unlink(missing_ok=True)
        canary.write_bytes(content)
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            # A group of its own, which its parent ends: some attempts start processes.
            os.setpgid(0, 0)
            signal.alarm(SECONDS)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            space: dict[str, object] = {"__name__": "control"}
            exec(sources[rule], space)
            os.write(writes, attempt.tried(space["attempt"], rule).encode()[:900])
            os._exit(0)
        os.close(writes)
        status = os.waitpid(child, 0)[1]
        try:
            os.killpg(child, signal.SIGKILL)
        except OSError:
            pass  # it has left nothing
        os.set_blocking(reads, False)
        try:
            said = os.read(reads, 1000).decode(errors="replace")
        except BlockingIOError:
            said = ""
        # The process of an attempt always says something: another program has ended in its place.
        if not said and status == 0:
            said = "got: another program ran"
        os.close(reads)
        print(f"{rule}\t{' '.join(said.split()) or 'ended without a result'}", flush=True)


if __name__ == "__main__":
    main()
