"""The Lambda runtime API for one event.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from uuid import uuid4


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a function, or its error, as JSON."""

    body: str
    failed: bool


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a runtime that was killed while it waited for a second event."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class RuntimeApi:
    """Serves one event to one runtime, and receives its answer."""

    def __init__(self, event: Any, *, timeout_s: int, arn: str) -> None:
        self._answer: Future[Answer] = Future()
        self._server = _Server(("127.0.0.1", 0), self._handler(event, timeout_s, arn))

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, timeout_s: float, has_ended: Callable[[], bool]) -> Answer | None:
        """Return the answer, or None if the runtime ended without one.

        Raises:
            TimeoutError: There was no answer in time.
        """
        deadline = time.monotonic() + timeout_s
        while not has_ended():
            try:
                return self._answer.result(timeout=0.05)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
        return self._answer.result() if self._answer.done() else None

    def _handler(self, event: Any, timeout_s: int, arn: str) -> type[BaseHTTPRequestHandler]:
        api = self
        served = threading.Lock()
        deadline_ms = int((time.time() + timeout_s) * 1000)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as inherited
                """Stay silent."""

            def do_GET(self) -> None:
                """Send the event once; then let the runtime wait, as the service does."""
                if not served.acquire(blocking=False):
                    api._answer.result()
                    time.sleep(timeout_s)
                    return
                body = json.dumps(event).encode()
                headers = {
                    "Lambda-Runtime-Aws-Request-Id": str(uuid4()),
                    "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
                    "Lambda-Runtime-Invoked-Function-Arn": arn,
                    "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000",
                    "Content-Type": "application/json",
                    "Content-Length": str(len(body)),
                }
                self.send_response(200)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                """Receive an answer or an error."""
                body = self._body().decode()
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()
                api._answer.set_result(Answer(body, self.path.endswith("/error")))

            def _body(self) -> bytes:
                if "Content-Length" in self.headers:
                    return self.rfile.read(int(self.headers["Content-Length"]))
                parts = []
                while size := int(self.rfile.readline().strip() or b"0", 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

        return Handler
