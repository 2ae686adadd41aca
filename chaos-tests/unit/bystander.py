"""A process of the daemon's user beside the daemon: it notes every signal and every byte that reaches it.

    bystander.py FOLDER PORT

Noted in FOLDER/noted, a line each. It listens on TCP (IPv4, IPv6) and UDP at PORT, on FOLDER/stream.sock and FOLDER/datagram.sock, and on
an abstract socket named after FOLDER. FOLDER/ready holds its process number once it listens. Standard library only.
"""

import os
import selectors
import signal
import socket
import sys


def main() -> None:
    folder, port = sys.argv[1], int(sys.argv[2])
    noted = open(f"{folder}/noted", "a", buffering=1)
    # A signal is noted by the loop, in the order of its arrival.
    wakes, woken = socket.socketpair()
    wakes.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno())
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGCONT, signal.SIGIO):
        signal.signal(number, lambda *_: None)
    watch = selectors.DefaultSelector()
    watch.register(wakes, selectors.EVENT_READ, "signal")
    streams = [(socket.AF_INET, ("127.0.0.1", port)), (socket.AF_UNIX, f"{folder}/stream.sock"), (socket.AF_UNIX, f"\0{folder}")]
    if socket.has_ipv6:
        streams.append((socket.AF_INET6, ("::1", port)))
    for family, address in streams:
        try:
            listener = socket.socket(family)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            print(f"{address}: {error}", file=sys.stderr)  # a machine without IPv6
            continue
        listener.listen()
        watch.register(listener, selectors.EVENT_READ, "listener")
    for family, address in ((socket.AF_INET, ("127.0.0.1", port)), (socket.AF_UNIX, f"{folder}/datagram.sock")):
        one = socket.socket(family, socket.SOCK_DGRAM)
        one.bind(address)
        watch.register(one, selectors.EVENT_READ, "bytes")
    for name in ("stream.sock", "datagram.sock"):
        os.chmod(f"{folder}/{name}", 0o777)
    with open(f"{folder}/ready.new", "w") as ready:
        ready.write(str(os.getpid()))
    os.rename(f"{folder}/ready.new", f"{folder}/ready")
    while True:
        for key, _ in watch.select():
            if key.data == "listener":
                made, _ = key.fileobj.accept()
                noted.write("connection\n")
                watch.register(made, selectors.EVENT_READ, "bytes")
                continue
            got = key.fileobj.recv(4096)
            if key.data == "signal":
                noted.writelines(f"signal {number}\n" for number in got)
            elif got:
                noted.write(f"bytes {got!r}\n")
            else:
                watch.unregister(key.fileobj)
                key.fileobj.close()


if __name__ == "__main__":
    main()
