"""Which partitions of N-session bars must be made again. Pure."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from batch.core.layout import Anchor
from batch.core.sessions import Calendar
from batch.kernel.bars import CalendarYear
from batch.lake.manifest import DailyRecord, Manifest, fingerprint
from batch.version import RESULTS_VERSION


@dataclass(frozen=True, slots=True)
class DailyYears:
    """What the manifest of the daily bars says, in the form that resampling plans by.

    Attributes:
        records: Record of each year, ascending.
        dates: Every session in the lake, ISO date, ascending.
        digests: Digest of each session's rows.
    """

    records: Mapping[int, DailyRecord]
    dates: tuple[str, ...]
    digests: tuple[str, ...]

    @classmethod
    def of(cls, manifest: Manifest[DailyRecord]) -> DailyYears:
        """Gather the sessions of all years."""
        records = dict(sorted(manifest.partitions.items()))
        pairs = [pair for record in records.values() for pair in sorted(record.sessions.items())]
        return cls(records, tuple(day for day, _ in pairs), tuple(digest for _, digest in pairs))

    @property
    def newest(self) -> date:
        """Newest consolidated session."""
        return date.fromisoformat(self.dates[-1])

    @property
    def oldest(self) -> date:
        """Oldest consolidated session."""
        return date.fromisoformat(self.dates[0])


@dataclass(frozen=True, slots=True)
class BarsPlan:
    """What one partition of bars should be made from.

    Attributes:
        width: Sessions per bar.
        year: Year in which its windows start.
        fingerprint: Digest of everything that it depends on; empty where only reading the
            daily bars can tell, as with the listing anchor.
        newest: Newest session in its windows, ISO date.
        calendar: The calendar's version over its windows.
        last_day: Last date that a row of it can have.
        sources_digest: With the listing anchor, digest of the daily bars from this year on.
    """

    width: int
    year: int
    fingerprint: str
    newest: str
    calendar: str
    last_day: date
    sources_digest: str = ""


def plan_calendar_years(daily: DailyYears, calendar: Calendar, width: int) -> list[BarsPlan]:
    """Plan every year of one width that has at least one daily bar in its windows.

    A plan's fingerprint covers the sessions of its own windows and nothing later, so a new
    session touches the years whose windows it falls into and no others.
    """
    plans = []
    oldest_no = calendar.session_no(daily.oldest)
    oldest_start = calendar.session_at(oldest_no // width * width)
    for year in range(oldest_start.year, daily.newest.year + 1):
        windows = CalendarYear.of(calendar, width, year)
        if windows.last_window < windows.first_window:
            continue
        first = calendar.session_at(windows.first_session_no)
        last = calendar.session_at(windows.last_session_no)
        low = bisect_left(daily.dates, first.isoformat())
        high = bisect_right(daily.dates, last.isoformat())
        if low == high:
            continue
        version = calendar.version(first, last)
        closed_until = min(daily.newest, last).isoformat()
        digest = fingerprint(
            RESULTS_VERSION,
            Anchor.CALENDAR,
            width,
            version,
            closed_until,
            daily.dates[low:high],
            daily.digests[low:high],
        )
        plans.append(BarsPlan(width, year, digest, daily.dates[high - 1], version, last))
    return plans


def plan_listing_years(daily: DailyYears, calendar: Calendar, width: int) -> list[BarsPlan]:
    """Plan every year of one width counted from each symbol's listing.

    Which later rows complete a year's last windows is known only once they are read, so
    the plan tells by ``sources_digest`` whether they may have changed.
    """
    plans = []
    later = ""
    for year in sorted(daily.records, reverse=True):
        record = daily.records[year]
        later = fingerprint(
            RESULTS_VERSION, Anchor.LISTING, width, record.digest, record.carry_in_digest, later
        )
        first, newest = record.oldest, record.newest
        version = calendar.version(date.fromisoformat(first), date.fromisoformat(newest))
        plans.append(BarsPlan(width, year, "", newest, version, daily.newest, later))
    return plans


def listing_fingerprint(plan: BarsPlan, record: DailyRecord, later_rows_digest: str) -> str:
    """Digest of everything that a year of bars counted from the listing depends on."""
    return fingerprint(
        RESULTS_VERSION,
        Anchor.LISTING,
        plan.width,
        record.digest,
        record.carry_in_digest,
        later_rows_digest,
    )
