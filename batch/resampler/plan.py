"""Which partitions of N-session bars must be made again."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date

from batch.core.layout import Anchor
from batch.core.sessions import Calendar
from batch.kernel.windows import windows_starting_in
from batch.lake.manifest import BarsRecord, DailyRecord, Manifest, fingerprint
from batch.lake.partitions import TablePartitions
from batch.storage.store import ObjectStore
from batch.version import RESULTS_VERSION


@dataclass(frozen=True, slots=True)
class DailyYears:
    """Records of the daily bars by year, and all sessions, ISO dates, with digests; ascending."""

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


@dataclass(frozen=True, slots=True, eq=False)
class DailyYear:
    """A year whose daily bars are read.

    With the listing anchor, ``rows_before`` counts the daily bars before the year of each
    symbol with rows in it.
    """

    year: int
    rows_before: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class BarsPlan:
    """What one partition of bars should be made from.

    Attributes:
        year: In which its windows start.
        fingerprint: Digest of everything that it depends on; empty with the listing anchor
            until the rows of later years that complete its last windows are known.
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


@dataclass(frozen=True, slots=True)
class Table:
    """One interval's table, such as ``5d``, as it is published."""

    name: str
    width: int
    manifest: Manifest[BarsRecord]
    there: TablePartitions

    def has(self, plan: BarsPlan, store: ObjectStore) -> bool:
        """Return whether the partition that is there was made from what is planned."""
        record = self.manifest.partitions.get(plan.year)
        if record is None:
            return False
        if plan.fingerprint:
            made_from_same = record.fingerprint == plan.fingerprint
        else:
            made_from_same = record.sources_digest == plan.sources_digest
        return made_from_same and self.there.holds(
            store, plan.year, record.version, record.bytes_digest
        )


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What is to be done to one table.

    The ``stale`` partitions are to be made again; those of years that are ``gone`` have no
    daily bars any more and are to be removed. ``current`` counts those that are up to date.
    """

    table: Table
    stale: Mapping[int, BarsPlan]
    gone: tuple[int, ...]
    current: int = 0

    def below(self, year: int) -> list[BarsPlan]:
        """Return the stale partitions of lower years whose windows may reach into a year."""
        return [p for y, p in self.stale.items() if y < year <= p.last_day.year]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a resampling is to do: to each table, narrowest bars first."""

    daily: DailyYears
    daily_there: TablePartitions
    calendar: Calendar
    anchor: Anchor
    tables: tuple[TablePlan, ...]

    @property
    def years(self) -> list[int]:
        """The daily years to read, newest first."""
        stale = {year for table in self.tables for year in table.stale}
        if not stale:
            return []
        between = range(max(*stale, *self.daily.records), min(stale) - 1, -1)
        return [y for y in between if y in stale or any(t.below(y) for t in self.tables)]

    @property
    def rows(self) -> int:
        """Number of daily bars in those years."""
        records = self.daily.records
        return sum(records[year].rows for year in self.years if year in records)


def plan_years(
    daily: DailyYears, calendar: Calendar, width: int, anchor: Anchor
) -> dict[int, BarsPlan]:
    """Plan every year of one width that has at least one bar."""
    plan = _plan_listing_years if anchor is Anchor.LISTING else _plan_calendar_years
    return {one.year: one for one in plan(daily, calendar, width)}


def plan_table(
    store: ObjectStore,
    table: Table,
    plans: Mapping[int, BarsPlan],
    mine: Collection[int],
    *,
    full: bool,
    removes: bool,
) -> TablePlan:
    """Find the partitions of a table that must be made again, and those to remove.

    This process makes the years in ``mine``, all of them where ``full``.
    """
    own = {year: plans[year] for year in plans.keys() & mine}
    stale = {year: plan for year, plan in own.items() if full or not table.has(plan, store)}
    gone = {*table.manifest.partitions, *table.there.objects} - plans.keys() if removes else ()
    return TablePlan(table, stale, tuple(sorted(gone)), len(own) - len(stale))


def _plan_calendar_years(daily: DailyYears, calendar: Calendar, width: int) -> list[BarsPlan]:
    """Plan the years of the calendar anchor.

    A plan's fingerprint covers the sessions of its own windows and nothing later, so a new
    session touches the years whose windows it falls into and no others.
    """
    plans = []
    oldest_no = calendar.session_no(daily.oldest)
    oldest_start = calendar.session_at(oldest_no // width * width)
    for year in range(oldest_start.year, daily.newest.year + 1):
        windows = windows_starting_in(year, width, calendar)
        if not windows:
            continue
        first = calendar.session_at(windows.start * width)
        last = calendar.session_at(windows.stop * width - 1)
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


def _plan_listing_years(daily: DailyYears, calendar: Calendar, width: int) -> list[BarsPlan]:
    """Plan the years of the listing anchor.

    Which later rows complete a year's last windows is known only once they are read. Until
    then ``sources_digest``, chained from the newest year down, shows whether they may have
    changed: it covers a year and all years after it.
    """
    plans = []
    later = ""
    for year, record in sorted(daily.records.items(), reverse=True):
        later = fingerprint(
            RESULTS_VERSION, Anchor.LISTING, width, record.digest, record.carry_in_digest, later
        )
        first, newest = record.oldest, record.newest
        version = calendar.version(date.fromisoformat(first), date.fromisoformat(newest))
        plans.append(BarsPlan(width, year, "", newest, version, daily.newest, later))
    return plans
