"""A stand-in for the vendor's HTTP interface, with the faults that the real one has.

It lets anybody try a daily run without a key, and the tests talk to it with the vendor's
real client.
"""

from __future__ import annotations

import gzip
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from batch.core.errors import SettingsError
from batch.core.sessions import Calendar
from simulation.vendor_answers import Answer, SessionShape, VendorAnswers
from simulation.vendor_market import VendorMarket

_MINUTE_S = 60.0


class FaultKind(StrEnum):
    """What can go wrong with an answer."""

    DELAYED = "delayed"
    EMPTY = "empty"
    FEWER = "fewer"
    MISCOUNTED = "miscounted"
    TOO_MANY = "too-many"
    RETRY_AFTER = "retry-after"
    SERVER_ERROR = "server-error"
    HTML = "html"
    CUT_OFF = "cut-off"
    CUT_JSON = "cut-json"
    NO_RESULTS = "no-results"
    SLOW = "slow"
    DRIP = "drip"
    DRIP_HEADERS = "drip-headers"
    BOMB = "bomb"
    ODD = "odd"
    HANG_UP = "hang-up"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"


_TOO_MANY = Answer.error(
    429, "You've exceeded the maximum requests per minute, please wait or upgrade"
)

_INSTEAD = {
    FaultKind.TOO_MANY: _TOO_MANY,
    FaultKind.RETRY_AFTER: _TOO_MANY,
    FaultKind.SERVER_ERROR: Answer(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>"),
    FaultKind.UNAUTHORIZED: Answer.error(401, "Unknown API Key"),
    FaultKind.FORBIDDEN: Answer.error(
        403, "You are not entitled to this data. Please upgrade your plan at polygon.io/pricing"
    ),
    FaultKind.HTML: Answer(
        200, b"<html><head><title>Just a moment...</title></head><body>Checking</body></html>"
    ),
    FaultKind.NO_RESULTS: Answer.of({"status": "OK", "request_id": "0"}),
}
"""Answers in place of the market's."""

_BOMB_BYTES = 40 * 2**20

_NESTED = Answer(200, b"[" * 100_000)

_SHAPES = {
    FaultKind.DELAYED: SessionShape(status="DELAYED"),
    FaultKind.EMPTY: SessionShape(kept_share=0.0),
    FaultKind.FEWER: SessionShape(kept_share=0.5),
    FaultKind.MISCOUNTED: SessionShape(kept_share=0.9, counted_too_many=7),
}
"""Faults within the answer about a session."""


@dataclass(slots=True)
class Fault:
    """A fault, and the requests that it strikes.

    Attributes:
        times: How many more requests it strikes; None for all.
        on: Part of the path of the requests that it strikes; all paths have "".
        seconds: Length of a slow answer, pause between the bytes of a dripping one, or what
            ``Retry-After`` asks for.
        spared: How many such requests it lets pass first.
        answer: The odd answer; deeply nested JSON by default.
    """

    kind: FaultKind
    times: int | None = None
    on: str = ""
    seconds: float = 1.0
    spared: int = 0
    answer: Answer = _NESTED

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``kind``, ``kind:times`` or ``kind:times:part-of-path``.

        Raises:
            SettingsError: There is no such fault.
        """
        name, _, rest = text.partition(":")
        times, _, on = rest.partition(":")
        try:
            return cls(FaultKind(name), int(times) if times else None, on)
        except ValueError as err:
            kinds = ", ".join(FaultKind)
            raise SettingsError(
                f"fault {text!r}: expected KIND[:TIMES[:PART-OF-PATH]] with one of {kinds}"
            ) from err


@dataclass(slots=True, eq=False)
class VendorServer:
    """The stand-in: what it serves, what goes wrong, and what was requested.

    Attributes:
        clock: The vendor's own.
        key: The only key it accepts; None for any.
        requests_per_minute: Requests after which it answers 429; 0 for no limit.
        faults: The first that fits a request strikes it.
        asked: Path and query of every request, in order.
    """

    market: VendorMarket
    calendar: Calendar
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    key: str | None = None
    requests_per_minute: int = 0
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    _recent: deque[float] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def running(self, port: int = 0) -> Iterator[str]:
        """Serve in the background, and give the base URL.

        Raises:
            SettingsError: The port is taken.
        """
        answers = VendorAnswers(self.market, self.calendar)

        class Handler(_Handler):
            server_state = self
            vendor = answers

        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as err:
            raise SettingsError(f"port {port}: {err.strerror}; choose another --port") from err
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def strike(self, path: str) -> Fault | None:
        """Return the fault that strikes a request, and count it."""
        with self._lock:
            for fault in self.faults:
                if fault.on in path and fault.times != 0:
                    if fault.spared:
                        fault.spared -= 1
                        continue
                    if fault.times is not None:
                        fault.times -= 1
                    return fault
        return None

    def admit(self, target: str) -> bool:
        """Keep what was requested; return whether it is within the limit per minute."""
        with self._lock:
            self.asked.append(target)
            if not self.requests_per_minute:
                return True
            now = time.monotonic()
            while self._recent and self._recent[0] <= now - _MINUTE_S:
                self._recent.popleft()
            if len(self._recent) >= self.requests_per_minute:
                return False
            self._recent.append(now)
            return True


class _Handler(BaseHTTPRequestHandler):
    """Answers one request; head and body leave together."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    wfile: Any
    disable_nagle_algorithm = True
    server_state: VendorServer
    vendor: VendorAnswers

    def do_GET(self) -> None:
        within_limit = self.server_state.admit(self.path)
        refusal = self._refusal()
        if refusal or not within_limit:
            self._send(refusal or _TOO_MANY)
            return
        parts = urlsplit(self.path)
        fault = self.server_state.strike(parts.path)
        kind = fault.kind if fault else None
        headers = {}
        if kind is FaultKind.HANG_UP:
            self.close_connection = True
            return
        if fault and kind is FaultKind.SLOW:
            time.sleep(fault.seconds)
        if fault and kind is FaultKind.RETRY_AFTER:
            headers["Retry-After"] = f"{fault.seconds:g}"
        if kind is FaultKind.HTML:
            headers["Content-Type"] = "text/html"
        instead = _INSTEAD.get(kind) if kind else None
        if fault and kind is FaultKind.ODD:
            instead = fault.answer
        if kind is FaultKind.BOMB:
            instead = Answer(200, b" " * _BOMB_BYTES)
        if instead:
            self._send(instead, headers)
            return
        shape = _SHAPES.get(kind, SessionShape()) if kind else SessionShape()
        query = dict(parse_qsl(parts.query))
        answer = self.vendor.answer(parts.path, query, self.server_state.clock(), shape)
        if kind is FaultKind.CUT_JSON:
            answer = Answer(200, answer.body[: len(answer.body) // 2])
        if fault and kind in (FaultKind.DRIP, FaultKind.DRIP_HEADERS):
            self._drip(answer, fault)
            return
        self._send(answer, cut_off=kind is FaultKind.CUT_OFF)

    def _drip(self, answer: Answer, fault: Fault) -> None:
        """Send headers, body or both a byte at a time."""
        out, self.wfile = self.wfile, io.BytesIO()
        self._send(answer)
        sent, self.wfile = self.wfile.getvalue(), out
        at_once = 0 if fault.kind is FaultKind.DRIP_HEADERS else sent.index(b"\r\n\r\n") + 4
        try:
            self.wfile.write(sent[:at_once])
            for byte in sent[at_once:]:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(fault.seconds)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _refusal(self) -> Answer | None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not given:
            return Answer.error(401, "API Key was not provided")
        if self.server_state.key not in (None, given):
            return Answer.error(401, "Unknown API Key")
        return None

    def _send(
        self,
        answer: Answer,
        headers: dict[str, str] | None = None,
        *,
        cut_off: bool = False,
    ) -> None:
        body = answer.body
        sent = {"Content-Type": "application/json", **answer.headers, **(headers or {})}
        if "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, compresslevel=1)
            sent["Content-Encoding"] = "gzip"
        self.send_response(answer.status)
        for name, value in {**sent, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if cut_off:
            body = body[: len(body) // 2]
            self.close_connection = True
        try:
            self.wfile.write(body)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
        """Stay silent; what was requested is kept."""
