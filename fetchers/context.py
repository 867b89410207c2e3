"""What every part of one fetch works with, and how a part keeps its result up to an error."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from batch.core.errors import OhlcvError
from batch.core.sessions import Calendar
from batch.runtime.progress import Progress, StopRequested, never, require_going
from batch.storage.store import ObjectStore
from fetchers.plan import exchange_date
from fetchers.settings import FetchSettings


def utc_now() -> datetime:
    """Return the current instant."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, eq=False)
class FetchContext:
    """What every part of one fetch works with.

    Attributes:
        store: The lake.
        clock: Returns the instant: once for the plan, and once for each delivery.
        stop_requested: Checked between writes.
    """

    store: ObjectStore
    settings: FetchSettings
    calendar: Calendar
    progress: Progress
    stop_requested: StopRequested = never
    clock: Callable[[], datetime] = utc_now

    @property
    def today(self) -> date:
        """The date at the exchange."""
        return exchange_date(self.clock())

    @property
    def downloads(self) -> int:
        """Requests to the vendor side by side; a limit per minute leaves little to do so."""
        paced = self.settings.polygon_requests_per_minute > 0
        return min(self.settings.downloads, 2) if paced else self.settings.downloads

    def require_going(self) -> None:
        """Stop between two writes.

        Raises:
            Interrupted: A stop was requested.
        """
        require_going(self.stop_requested)


@dataclass(frozen=True, kw_only=True)
class PartFetched(ABC):
    """What one part of a fetch did, to its end or up to an error.

    Attributes:
        error: What ended the part before its end.
    """

    error: OhlcvError | None = None

    @property
    @abstractmethod
    def counts(self) -> dict[str, Any]:
        """What a run's report and the JSON result say of it."""

    @property
    @abstractmethod
    def summary(self) -> str:
        """The outcome in one line."""

    @property
    @abstractmethod
    def unfinished(self) -> str:
        """What is left, and what becomes of it; empty where nothing is."""


Part = TypeVar("Part", bound=PartFetched)


def last_result(results: Iterator[Part]) -> Part:
    """Return the last of the results so far; an error that ends them becomes its ``error``.

    Args:
        results: Yields a part's result at its start and after each step, so that what was
            done before an error is known after it.
    """
    result = next(results)
    try:
        for step in results:
            result = step
    except OhlcvError as err:
        return replace(result, error=err)
    return result
