"""What a fetch is requested to do. Light: the handlers read their events with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from batch.core.errors import SettingsError


@dataclass(frozen=True, slots=True)
class SessionRange:
    """Sessions requested by their dates, both bounds inclusive.

    Where ``again`` is set, sessions that the lake has already are fetched as well.
    """

    first: date
    last: date
    again: bool = False

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise SettingsError(f"the range ends on {self.last}, before it begins on {self.first}")


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """The parts of one fetch.

    ``sessions`` is None for the daily run. ``flat_files`` reads daily bars, and nothing else,
    from the flat files.
    """

    sessions: SessionRange | None = None
    bars: bool = True
    reference: bool = True
    flat_files: bool = False

    def __post_init__(self) -> None:
        if self.flat_files and self.sessions is None:
            raise SettingsError("--flat-files fills a range: give --date, --from or --backfill")
