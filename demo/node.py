"""A pantherd in a folder of its own, driven by pantherctl, and a webhook for it to post to.

What the demo, the comparison of the whole flow and its measurements start and speak to. Standard library only.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

DIM, END = ("\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "")


class Failed(Exception):
    """Something did not come out as it should."""


def until(what, found, seconds=90):
    """Waits for `found()` to be true, and shows on a terminal that it waits; what it returned."""
    began = time.monotonic()
    while True:
        result = found()
        if result:
            if sys.stdout.isatty():
                print("\r\033[K", end="")
            return result
        waited = time.monotonic() - began
        if waited > seconds:
            raise Failed(f"{what}: not within {seconds} s")
        if sys.stdout.isatty():
            print(f"\r  {DIM}{what} ... {waited:.0f} s{END}", end="", flush=True)
        time.sleep(0.05)


class Webhook:
    """The destination: an HTTP server that notes what is posted to it, and when."""

    def __init__(self):
        received = self.received = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                received.append((time.monotonic(), json.loads(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Node:
    """A pantherd in a folder of its own, and pantherctl to speak to it."""

    def __init__(self, binaries, folder, configuration="", ingest="127.0.0.1:0", start=True):
        self.binaries, self.data = binaries, folder / "data"
        self.socket, self.log = folder / "pantherd.sock", folder / "pantherd.log"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PANTHER_")}
        self.environment["PANTHER__LOG__FORMAT"] = "json"
        self.command = [binaries / "pantherd", "--data-dir", self.data, "--socket", self.socket, "--ingest", ingest]
        # A file of its own, even if empty: what the machine's own configuration says is no part of this.
        (folder / "pantherd.toml").write_text(configuration)
        self.command += ["--config", folder / "pantherd.toml"]
        self.process, self.earlier = None, 0
        if start:
            self.start()

    def start(self):
        # What an earlier process has said is no word of this one.
        self.earlier = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def join(self, token):
        """Becomes a node of the cluster that has made the invitation; what it said."""
        done = subprocess.run([*self.command, "join", "-"], env=self.environment, input=token, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise Failed(f"pantherd join ended with exit code {done.returncode}:\n{done.stderr}")
        return done.stdout.strip()

    def entries(self):
        """What it has logged so far."""
        for line in self.log.read_bytes()[self.earlier :].decode(errors="replace").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                continue

    def ready(self):
        if self.process.poll() is not None:
            raise Failed(f"pantherd ended with exit code {self.process.returncode}; its log says:\n{self.tail()}")
        return next((entry for entry in self.entries() if entry.get("message") == "ready"), None)

    def tail(self, lines=15):
        return "\n".join(line[:600] for line in self.log.read_text(errors="replace").splitlines()[-lines:])

    def ctl(self, *words, show=False):
        """Runs pantherctl; its output as JSON, or shown with the command as one would type it."""
        command = [self.binaries / "pantherctl", "--socket", self.socket, *([] if show else ["--json"]), *words]
        if show:
            print(f"  {DIM}$ pantherctl {' '.join(map(str, words))}{END}", flush=True)
        # Shown in the order in which it was said.
        errors = subprocess.STDOUT if show else subprocess.PIPE
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, timeout=300)
        if done.returncode != 0:
            raise Failed(f"pantherctl {' '.join(map(str, words))} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr or ''}")
        if not show:
            return json.loads(done.stdout)
        for line in done.stdout.rstrip().splitlines():
            print(f"  {line}", flush=True)
        print(flush=True)
        return None

    def drained(self):
        """True once nothing waits, is under way or is delayed, dead letters left aside."""
        queues = self.ctl("queue", "ls")["queues"]
        return all(queue["kind"] == "dlq" or not (queue["waiting"] or queue["in_flight"] or queue["delayed"]) for queue in queues)

    def dead(self, dlq):
        return self.ctl("queue", "show", dlq)["waiting"]

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode
