"""What every part of one fetch works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from batch.core.sessions import Calendar
from batch.runtime.progress import Progress, StopRequested, never, require_going
from batch.storage.store import ObjectStore
from fetchers.settings import FetchSettings


def utc_now() -> datetime:
    """Return the current instant."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, eq=False)
class FetchContext:
    """What every part of one fetch works with.

    The clock is read once for the plan, and once for each delivery.
    """

    store: ObjectStore
    settings: FetchSettings
    calendar: Calendar
    progress: Progress
    stop_requested: StopRequested = never
    clock: Callable[[], datetime] = utc_now

    @property
    def downloads(self) -> int:
        """Requests to the vendor side by side; a limit per minute leaves little to do so."""
        paced = self.settings.polygon_requests_per_minute > 0
        return min(self.settings.downloads, 2) if paced else self.settings.downloads

    def require_going(self) -> None:
        """Raise ``Interrupted`` between two writes where a stop was requested."""
        require_going(self.stop_requested)
