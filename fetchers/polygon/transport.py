"""Requests to the vendor, each tried until it has a whole answer or its time is used up.

Throttled, broken off and other unusable answers are tried again within a budget of time;
what is returned has status 200 and is a whole JSON document.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
import stamina
import stamina.instrumentation
import urllib3
from urllib3.util.retry import Retry

from batch.core.errors import OhlcvError
from batch.runtime.progress import LOGGER, StopRequested, never
from fetchers.errors import NotListed, VendorDenied, VendorRefused, VendorUnavailable
from fetchers.polygon.pacing import Pacer
from fetchers.secrets import VendorKey

_CONNECT_S = 10.0
_TRANSIENT = frozenset({408, 425, 429, 499, 500, 502, 503, 504, 520, 522, 524})
_NO_RETRIES = Retry(total=False)


class StrictJson:
    """Reads JSON for the vendor's package, and raises where that would go on without it.

    Each thread remembers the document read last: the package reads again what was checked
    here.
    """

    def __init__(self) -> None:
        self._last = threading.local()

    def loads(self, text: str) -> Any:
        """Return the document, or raise ``VendorUnavailable`` where it is not JSON."""
        if getattr(self._last, "text", None) == text:
            return self._last.document
        try:
            document = json.loads(text)
        except ValueError as err:
            raise VendorUnavailable(f"not JSON: {err}") from err
        self._last.text, self._last.document = text, document
        return document


class _NoAnswer(Exception):
    """There was no whole answer; another try may get one."""

    def __init__(self, reason: str, *, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.after_s = after_s


@dataclass(kw_only=True, eq=False)
class VendorHttp:
    """Paces, retries and checks every request of the vendor's client.

    It takes the place of the client's own pool, which gives up within a second, has no time
    limit and returns error pages as empty answers. May be used by several threads.

    Attributes:
        retry_s: Seconds from the first try of a request to the start of its last; 0 for one
            try. More than a minute outlasts a limit per minute.
        first_pause_s: Pause after the first failure; it doubles, and jitter is added.
        longest_pause_s: Longest pause, except where the vendor asks for a longer one.
    """

    key: VendorKey
    pacer: Pacer
    retry_s: float
    timeout_s: float
    connections: int
    stop_requested: StopRequested = never
    first_pause_s: float = 1.0
    longest_pause_s: float = 20.0
    json: StrictJson = field(default_factory=StrictJson, init=False)

    def __post_init__(self) -> None:
        self._pool = urllib3.PoolManager(
            num_pools=2,
            maxsize=self.connections,
            timeout=urllib3.Timeout(connect=min(_CONNECT_S, self.timeout_s), read=self.timeout_s),
            retries=_NO_RETRIES,
            cert_reqs="CERT_REQUIRED",
            ca_certs=certifi.where(),
        )

    def request(self, method: str, url: str, **options: Any) -> urllib3.BaseHTTPResponse:
        """Return a whole JSON answer with status 200.

        Takes what ``urllib3.PoolManager.request`` takes.

        Raises:
            VendorDenied: Status 401 or 403.
            NotListed: Status 404.
            VendorRefused: Another status that a retry does not change.
            VendorUnavailable: No whole answer came within the retry budget.
            Interrupted: A stop was requested.
        """
        where = unquote(urlsplit(url).path)
        self.pacer.wait(self.stop_requested)  # the budget begins when the request may go
        try:
            for attempt in self._attempts(where):
                with attempt:
                    if attempt.num > 1:
                        self.pacer.wait(self.stop_requested)
                    response = self._pool.request(method, url, **options)
                    self._require_usable(where, response)
                    return response
        except (_NoAnswer, urllib3.exceptions.HTTPError) as err:
            raise VendorUnavailable(
                f"Polygon {where}: {self._reason(err)}; tried {attempt.num} times over"
                f" {self.retry_s:g} s; nothing of it was kept, run again later"
            ) from err
        raise AssertionError("unreachable")

    def _attempts(self, where: str) -> Iterable[stamina.Attempt]:
        stamina.instrumentation.set_on_retry_hooks([])  # its own hook logs the arguments

        def pause(err: Exception) -> bool | float:
            if not isinstance(err, _NoAnswer | urllib3.exceptions.HTTPError):
                return False
            LOGGER.info("Polygon %s: %s; trying again", where, self._reason(err))
            after_s = err.after_s if isinstance(err, _NoAnswer) else None
            if after_s is None:
                return True
            if after_s > self.retry_s:
                return False
            self.pacer.hold(after_s)
            return 0.0

        return stamina.retry_context(
            on=pause,
            attempts=None if self.retry_s else 1,
            timeout=self.retry_s or None,
            wait_initial=self.first_pause_s,
            wait_max=self.longest_pause_s,
            wait_jitter=self.first_pause_s,
        )

    def _reason(self, err: _NoAnswer | urllib3.exceptions.HTTPError) -> str:
        if isinstance(err, _NoAnswer):
            return str(err)
        lines = str(err).splitlines()
        kind = type(err).__name__
        return self.key.redacted(f"{kind}: {lines[0]}" if lines else kind)

    def _require_usable(self, where: str, response: urllib3.BaseHTTPResponse) -> None:
        if response.status == 200:
            self._require_whole(where, response)
            return
        message = self.key.redacted(_message(response))
        if response.status in (401, 403):
            raise VendorDenied(
                f"Polygon {where}: refused with status {response.status} ({message}); check that"
                " the key is right and active and that its plan includes this: the free plan"
                " reaches two years back and has a session's bars only at the end of that day"
            )
        if response.status == 404:
            raise NotListed(f"Polygon {where}: status 404 ({message})")
        if response.status in _TRANSIENT:
            raise _NoAnswer(
                f"status {response.status} ({message})", after_s=_retry_after_s(response)
            )
        raise VendorRefused(f"Polygon {where}: unexpected status {response.status} ({message})")

    def _require_whole(self, where: str, response: urllib3.BaseHTTPResponse) -> None:
        """Refuse what is not a document, and pages of a list without all that they count."""
        try:
            document = self.json.loads(response.data.decode("utf-8"))
        except (OhlcvError, UnicodeDecodeError) as err:
            kind = response.headers.get("Content-Type", "no content type")
            raise _NoAnswer(
                f"status 200 with {len(response.data)} bytes of {kind} that are not JSON"
            ) from err
        if not where.startswith("/v3/"):
            return
        rows = document.get("results") if isinstance(document, dict) else None
        if rows is None:
            raise _NoAnswer("status 200 without results")
        if isinstance(rows, list) and document.get("count", len(rows)) != len(rows):
            raise _NoAnswer(f"{len(rows)} results where {document['count']} are counted")


def _message(response: urllib3.BaseHTTPResponse) -> str:
    text = response.data.decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict):
        text = str(document.get("message") or document.get("error") or text)
    text = " ".join(text.split())
    return f"{text[:200]}..." if len(text) > 200 else text or "no message"


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float | None:
    try:
        return _NO_RETRIES.get_retry_after(response)
    except urllib3.exceptions.InvalidHeader:
        return None
