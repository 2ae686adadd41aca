"""An HTTP or HTTPS server for deliveries of alerts: it records each request and answers as the case defines."""

import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    """One POST, with the monotonic time of its arrival."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Response:
    """The answer to a request."""

    status: int = 200
    body: bytes = b"ok"
    headers: dict[str, str] = field(default_factory=dict)


class Receiver:
    """A server on a free port of this machine. `answer` gets the request and all earlier requests on its path."""

    def __init__(
        self,
        answer: Callable[[Request, list[Request]], Response] = lambda _request, _earlier: Response(),
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        self._requests: list[Request] = []
        self._lock = threading.Lock()
        self.answer = answer
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """Passes each POST to the receiver."""

            def do_POST(self) -> None:  # The name is that of http.server.
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                response = receiver._take(Request(time.monotonic(), self.path, dict(self.headers), body))
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                self.wfile.write(response.body)

            def log_message(self, *_: object) -> None:
                """Suppresses the log on the terminal."""

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            # The thread of the connection performs the handshake: a caller that rejects the certificate blocks no other
            # caller.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def _take(self, request: Request) -> Response:
        with self._lock:
            earlier = [one for one in self._requests if one.path == request.path]
            self._requests.append(request)
        return self.answer(request, earlier)

    def requests(self, path: str | None = None) -> list[Request]:
        """All requests so far, or those to one path."""
        with self._lock:
            return [request for request in self._requests if path is None or request.path == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Server(http.server.ThreadingHTTPServer):
    """A server whose threads end with the process, and that does not report broken connections."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that rejects the certificate closes its connection, which some cases expect."""
