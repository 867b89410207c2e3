"""An S3 API in front of moto that fails when it is asked to, whoever asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>"


@dataclass
class FaultySide:
    """Requests for Parquet objects are answered 503 while ``slow`` is set, up to ``most``."""

    url: str = ""
    slow: bool = False
    most: int | None = None
    refused: list[str] = field(default_factory=list)

    def wrap(self, app: Any) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
        """Return a WSGI application that fails, or lets another one answer."""

        def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            path: str = environ["PATH_INFO"]
            spent = self.most is not None and len(self.refused) >= self.most
            if spent or not (self.slow and path.endswith(".parquet")):
                answered: Iterable[bytes] = app(environ, start)
                return answered
            self.refused.append(path)
            body = b"" if environ["REQUEST_METHOD"] == "HEAD" else _SLOW_DOWN
            start("503 Slow Down", [("Content-Length", str(len(body)))])
            return [body]

        return answer


@contextmanager
def faulty_s3() -> Iterator[FaultySide]:
    """Serve the buckets that moto holds in this process, well until told otherwise."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    side = FaultySide()
    app = side.wrap(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    side.url = f"http://127.0.0.1:{server.port}"
    serving = Thread(target=server.serve_forever, daemon=True)
    serving.start()
    try:
        yield side
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
