"""The pace of requests: a limit per minute that all threads, or several processes, share."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from batch.runtime.progress import StopRequested, never, require_going

_MINUTE_S = 61.0
"""A minute and a second: requests travel, so the vendor's minute is not quite ours."""

_SLICE_S = 0.25


class Pacer:
    """Lets at most ``share`` of ``per_minute`` requests go in any minute, first come, first served.

    Whole requests go at once: with a share of 2.5 a minute, two of them. With one of less than a
    request a minute, one goes whenever so many minutes have passed: with 0.2, every fifth.
    ``per_minute`` 0 is no limit. May be shared by threads.
    """

    def __init__(
        self,
        per_minute: int,
        share: float = 1.0,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._at_once = max(1, int(per_minute * share)) if per_minute else 0
        self._period_s = _MINUTE_S / min(1.0, per_minute * share) if per_minute else 0.0
        self._monotonic_s = monotonic_s
        self._sleep = sleep
        self._lock = threading.Lock()
        self._starts: deque[float] = deque(maxlen=self._at_once or None)
        self._held_until = float("-inf")

    def hold(self, seconds: float) -> None:
        """Let no request go for some time, because the vendor asks for it."""
        with self._lock:
            self._held_until = max(self._held_until, self._monotonic_s() + seconds)

    def wait(self, stop_requested: StopRequested = never) -> None:
        """Return when the next request may go; raise ``Interrupted`` where a stop is requested."""
        goes_at = self._book()
        while True:
            require_going(stop_requested)
            with self._lock:
                left_s = max(goes_at, self._held_until) - self._monotonic_s()
            if left_s <= 0:
                return
            self._sleep(min(left_s, _SLICE_S))

    def _book(self) -> float:
        with self._lock:
            goes_at = max(self._monotonic_s(), self._held_until)
            if self._at_once:
                if len(self._starts) == self._at_once:
                    goes_at = max(goes_at, self._starts[0] + self._period_s)
                self._starts.append(goes_at)
            return goes_at
