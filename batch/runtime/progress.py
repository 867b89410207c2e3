"""How a job reports its progress, without knowing where that is shown."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from batch.core.errors import Interrupted
from batch.runtime.formats import count_text, duration_text, rate_text

LOGGER: Final = logging.getLogger("ohlcv")
_LOG_EVERY_S = 10.0


class Progress:
    """Reports progress in steps: on a terminal as bars, elsewhere as log lines."""

    def begin(self, step: str, total: int, unit: str) -> None:
        """Start a step of ``total`` units, such as rows or partitions."""

    def advance(self, count: int = 1) -> None:
        """Report that ``count`` more units of the current step are done."""

    def note(self, text: str) -> None:
        """Report something worth a line."""

    def warn(self, text: str) -> None:
        """Report something that needs attention."""

    def parallel(self) -> Progress:
        """Return a progress for work that runs at the same time, with steps of its own."""
        return self


class Silent(Progress):
    """Reports nothing."""


class LoggedProgress(Progress):
    """Reports progress in log lines, one every ten seconds at most."""

    def __init__(self) -> None:
        self._step, self._unit = "", ""
        self._total = self._done = 0
        self._started_at = self._logged_at = time.monotonic()

    def begin(self, step: str, total: int, unit: str) -> None:
        """Start a step."""
        self._step, self._unit, self._total, self._done = step, unit, total, 0
        self._started_at = self._logged_at = time.monotonic()
        LOGGER.info("%s: %s", step, count_text(total, unit))

    def advance(self, count: int = 1) -> None:
        """Count units, and log them now and then."""
        self._done += count
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            rate = self._done / (now - self._started_at)
            left_s = max(self._total - self._done, 0) / rate if rate else 0.0
            LOGGER.info(
                f"{self._step}: {self._done:,} of {self._total:,} {self._unit},"
                f" {rate_text(rate)}/s, {duration_text(left_s)} left"
            )

    def note(self, text: str) -> None:
        """Log a line."""
        LOGGER.info(text)

    def warn(self, text: str) -> None:
        """Log a warning."""
        LOGGER.warning(text)

    def parallel(self) -> LoggedProgress:
        """Return one with a step of its own."""
        return LoggedProgress()


StopRequested = Callable[[], bool]


def never() -> bool:
    """Return False: no stop is requested."""
    return False


def require_going(stop_requested: StopRequested) -> None:
    """Stop between two writes where a stop was requested.

    Raises:
        Interrupted: It was.
    """
    if stop_requested():
        raise Interrupted(
            "stopped on request between two writes; what was published is kept,"
            " the next run will finish the work"
        )
