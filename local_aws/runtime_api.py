"""The Lambda runtime API for one event.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a function, or its error, as JSON."""

    body: str
    failed: bool


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of a function, for one runtime.

    Attributes:
        event: The function's argument.
        arn: The function's ARN.
        timeout_s: How long it may run.
    """

    event: Any
    arn: str
    timeout_s: int
    _answer: Future[Answer] = field(default_factory=Future)
    _served: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve the API; gives its host and port."""
        server = make_server("127.0.0.1", 0, Request.application(self._respond), threaded=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()

    def wait(self, has_ended: Callable[[], bool]) -> Answer | None:
        """Return the answer, or None if the runtime ended without one.

        Raises:
            TimeoutError: There was no answer in time.
        """
        deadline = time.monotonic() + self.timeout_s
        while not has_ended():
            try:
                return self._answer.result(timeout=0.05)
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise
        return self._answer.result() if self._answer.done() else None

    def _respond(self, request: Request) -> Response:
        if request.method == "POST":
            failed = request.path.endswith("/error")
            self._answer.set_result(Answer(request.get_data(as_text=True), failed))
            return Response(status=202)
        if not self._served.acquire(blocking=False):
            # A runtime that asks for another event waits until it is killed.
            time.sleep(self.timeout_s)
            return Response(status=410)
        deadline_ms = int((time.time() + self.timeout_s) * 1000)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": str(uuid4()),
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": self.arn,
            "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000",
        }
        return Response(json.dumps(self.event), headers=headers, mimetype="application/json")
