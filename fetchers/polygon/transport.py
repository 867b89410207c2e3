"""Requests to the vendor, each tried until it has a whole answer or its time is used up.

Throttled, broken off and other unusable answers are tried again within a budget of time;
what is returned has status 200 and is a whole JSON document.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import certifi
import stamina
import stamina.instrumentation
import urllib3
from urllib3.util.retry import Retry

from batch.runtime.progress import LOGGER, StopRequested, never
from fetchers.errors import NotListed, VendorDenied, VendorRefused, VendorUnavailable, shown
from fetchers.polygon.connections import TooSlow, pools_with_deadline
from fetchers.polygon.pacing import Pacer
from fetchers.secrets import VendorKey

_CONNECT_S = 10.0
_MOST_BYTES = 32 * 2**20
"""Unpacked bytes of an answer; a session of the whole market, the largest, has 2 MB."""

_CHUNK_BYTES = 2**16
_TRANSIENT = frozenset({408, 425, 429, 499, 500, 502, 503, 504, 520, 522, 524})
_NO_RETRIES = Retry(total=False)
_UNREACHABLE = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)


@dataclass(frozen=True, slots=True)
class VendorAnswer:
    """A whole answer with status 200, without any trace of the key.

    Attributes:
        where: The vendor and the path requested, as messages name them.
        target: Path and query of the request.
        document: The JSON document.
    """

    where: str
    target: str
    document: Any
    status: int = 200  # the vendor's package looks at it


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

    Answers are read whole, and the key is taken out of them before anything else sees them: what
    the vendor repeats of it reaches no message, report or table.

    Attributes:
        retry_s: Seconds from the first try of a request to the start of its last; 0 for one
            try. More than a minute outlasts a limit per minute.
        timeout_s: Longest silence.
        answer_s: Longest time from a request to the end of its answer.
        first_pause_s: Pause after the first failure; it doubles, and jitter is added.
        longest_pause_s: Longest pause, except where the vendor asks for a longer one.
    """

    key: VendorKey
    pacer: Pacer
    retry_s: float
    timeout_s: float
    answer_s: float
    connections: int
    stop_requested: StopRequested = never
    first_pause_s: float = 1.0
    longest_pause_s: float = 20.0

    def __post_init__(self) -> None:
        # Its warnings show headers that it cannot read as they came, the key perhaps among them.
        logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
        self._lock = threading.Lock()
        self._reported_unreachable = False
        self._pool = urllib3.PoolManager(
            num_pools=2,
            maxsize=self.connections,
            timeout=urllib3.Timeout(connect=min(_CONNECT_S, self.timeout_s), read=self.timeout_s),
            retries=_NO_RETRIES,
            cert_reqs="CERT_REQUIRED",
            ca_certs=certifi.where(),
        )
        self._pool.pool_classes_by_scheme = pools_with_deadline(self.answer_s)

    def request(self, method: str, url: str, **options: Any) -> VendorAnswer:
        """Return a whole JSON answer with status 200.

        Takes what ``urllib3.PoolManager.request`` takes. A redirect is not followed: it might
        lead the key to another host.

        Raises:
            VendorDenied: Status 401 or 403.
            NotListed: Status 404.
            VendorRefused: A status or an answer that a retry does not change.
            VendorUnavailable: No whole answer came within the retry budget.
            Interrupted: A stop was requested.
        """
        where = f"Polygon {shown(self.key.redacted(unquote(urlsplit(url).path)))}"
        self.pacer.wait(self.stop_requested)  # the budget begins when the request may go
        try:
            for attempt in self._attempts(where, url):
                with attempt:
                    if attempt.num > 1:
                        self.pacer.wait(self.stop_requested)
                    response = self._pool.request(
                        method, url, **options, redirect=False, preload_content=False
                    )
                    self._reported_unreachable = False
                    text = self._read(where, response)
                    self._require_status_200(where, response, text)
                    document = self._read_document(where, response, text)
                    return VendorAnswer(where, response.url or "", document)
        except _UNREACHABLE as err:
            raise VendorUnavailable(
                f"{self._unreachable(url, err)}; tried for {self.retry_s:g} s; check the network,"
                " run again later"
            ) from None  # the same for every request, so that it is reported once
        except (_NoAnswer, urllib3.exceptions.HTTPError) as err:
            raise VendorUnavailable(
                f"{where}: {self._reason(err)}; tried {attempt.num} times over"
                f" {self.retry_s:g} s; none of it was kept, run again later"
            ) from None  # the cause may quote the answer as it came, with the key in it
        raise AssertionError("unreachable")

    def _attempts(self, where: str, url: str) -> Iterable[stamina.Attempt]:
        stamina.instrumentation.set_on_retry_hooks([])  # its own hook logs the arguments
        ends_at_s = time.monotonic() + self.retry_s

        def pause(err: Exception) -> bool:
            if not isinstance(err, _NoAnswer | urllib3.exceptions.HTTPError):
                return False
            if isinstance(err, _UNREACHABLE):
                self._report_unreachable(url, err)
            else:
                LOGGER.info("%s: %s; trying again", where, self._reason(err))
            if isinstance(err, _NoAnswer) and err.after_s is not None:
                if time.monotonic() + err.after_s > ends_at_s:
                    return False
                self.pacer.hold(err.after_s)
            return True  # after the usual pause, and where the vendor asks for a longer one, that

        return stamina.retry_context(
            on=pause,
            attempts=None if self.retry_s else 1,
            timeout=self.retry_s or None,
            wait_initial=self.first_pause_s,
            wait_max=self.longest_pause_s,
            wait_jitter=self.first_pause_s,
        )

    def _report_unreachable(self, url: str, err: Exception) -> None:
        """Report once, for all threads, that the vendor cannot be reached; again after it was."""
        with self._lock:
            reported, self._reported_unreachable = self._reported_unreachable, True
        if not reported:
            LOGGER.info("%s; trying for %g s", self._unreachable(url, err), self.retry_s)

    def _unreachable(self, url: str, err: Exception) -> str:
        why = str(err).partition("): ")[2] or str(err)  # urllib3 names the connection first
        return f"Polygon cannot be reached at {urlsplit(url).netloc}: {shown(why)}"

    def _reason(self, err: _NoAnswer | urllib3.exceptions.HTTPError) -> str:
        if isinstance(err, _NoAnswer):
            return str(err)
        if isinstance(err.__cause__, TooSlow):
            return str(err.__cause__)
        lines = str(err).splitlines()
        kind = type(err).__name__
        return shown(self.key.redacted(f"{kind}: {lines[0]}" if lines else kind))

    def _read(self, where: str, response: urllib3.BaseHTTPResponse) -> str:
        """Return the text of an answer without the key; what is not UTF-8 does not stay JSON."""
        body = bytearray()
        try:
            for chunk in response.stream(_CHUNK_BYTES, decode_content=True):
                body += chunk
                if len(body) > _MOST_BYTES:
                    raise VendorRefused(
                        f"{where}: the answer has more than {_MOST_BYTES / 2**20:.0f} MiB unpacked;"
                        " none of it was kept"
                    )
        finally:
            response.close()  # one that was read whole has given its connection back
        return self.key.redacted(body.decode("utf-8", "backslashreplace"))

    def _require_status_200(
        self, where: str, response: urllib3.BaseHTTPResponse, text: str
    ) -> None:
        if response.status == 200:
            return
        message = _message(text)
        if response.status in (401, 403):
            raise VendorDenied(
                f"{where}: refused with status {response.status} ({message}); check that"
                " the key is right and active and that its plan includes this: the free plan"
                " reaches two years back and has a session's bars only at the end of that day"
            )
        if response.status == 404:
            raise NotListed(f"{where}: status 404 ({message})")
        if response.status in _TRANSIENT:
            raise _NoAnswer(
                f"status {response.status} ({message})", after_s=_retry_after_s(response)
            )
        if location := response.headers.get("Location"):
            origin = origin_of(location)
            host = self.key.redacted(origin[1]) if origin else "another path"
            raise VendorRefused(
                f"{where}: status {response.status} leads to {shown(host)}, where the key is not"
                " sent; if the vendor has moved, set OHLCV_POLYGON_BASE_URL"
            )
        raise VendorRefused(f"{where}: unexpected status {response.status} ({message})")

    def _read_document(self, where: str, response: urllib3.BaseHTTPResponse, text: str) -> Any:
        """Refuse what is not a document, and pages of a list without all that they count."""
        try:
            document = json.loads(text)
        except RecursionError as err:
            raise VendorRefused(
                f"{where}: the answer is nested too deeply; none of it was kept"
            ) from err
        except ValueError as err:
            kind = response.headers.get("Content-Type", "no content type")
            raise _NoAnswer(
                f"status 200 with {len(text)} characters of"
                f" {shown(self.key.redacted(kind))} that are not JSON"
            ) from err
        if "/v3/" not in urlsplit(response.url or "").path:  # a proxy's path may stand before it
            return document
        rows = document.get("results") if isinstance(document, dict) else None
        if rows is None:
            raise _NoAnswer("status 200 without results")
        if isinstance(rows, list) and document.get("count", len(rows)) != len(rows):
            raise _NoAnswer(f"{len(rows)} results where {shown(document['count'])} are counted")
        return document


def _message(text: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        return shown(document.get("message") or document.get("error") or text)
    return shown(text) or "no message"


def origin_of(url: str) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port of an address; None where it has none that can be read."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def _retry_after_s(response: urllib3.BaseHTTPResponse) -> float | None:
    """Return the seconds that the vendor asks to wait, None where it asks for nothing usable."""
    try:
        return _NO_RETRIES.get_retry_after(response)
    except (urllib3.exceptions.InvalidHeader, ValueError, OverflowError):
        return None
