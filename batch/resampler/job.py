"""Resampling: plan, read the daily bars once, fold them into every interval, publish."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from batch.core import schema
from batch.core.errors import CalendarMoved, CommitConflict
from batch.core.layout import (
    DAILY_TABLE,
    INTERVALS,
    Anchor,
    bars_table,
    partition_key,
    require_interval,
)
from batch.core.sessions import Calendar
from batch.kernel.columns import DailyColumns, whole_symbols
from batch.kernel.windows import calendar_reaching
from batch.kernel.years import CalendarPiece, ListingPiece, Piece
from batch.lake.manifest import PublishedCalendar, load_bars_manifest, load_daily_manifest
from batch.lake.partitions import PublishedPartition, TablePartitions
from batch.resampler.pipeline import broadcast, read_ahead
from batch.resampler.plan import (
    DailyYear,
    DailyYears,
    Plan,
    Table,
    TablePlan,
    plan_table,
    plan_years,
)
from batch.resampler.table import Made, TableMaker, removed
from batch.runtime.memory import PROCESS_BYTES
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.runtime.shards import Shard
from batch.storage.parquet import ROW_GROUP_ROWS, advising, stream_batches
from batch.storage.store import ObjectStore, require_lake

PIECE_ROWS = 524_288
"""Daily rows folded at once, unless a memory limit asks for fewer."""

_ROW_BYTES = 600
"""Memory per daily row of a piece: those that are read, folded and written side by side."""

_TABLES_AHEAD = 2
"""Tables that are read and decoded before there is room for them."""

_PIECES_IN_FLIGHT = 2
"""Pieces that an interval folds or that wait for it."""

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Resampling:
    """What one resampling did.

    ``removed`` has table and year of the partitions whose daily bars are gone, ``current``
    counts those that were up to date, and ``newest`` is the newest session in the lake, ISO
    date, if it has any.
    """

    published: tuple[PublishedPartition, ...] = ()
    removed: tuple[tuple[str, int], ...] = ()
    current: int = 0
    daily_rows_read: int = 0
    newest: str | None = None


def piece_rows(memory_limit: int | None) -> int:
    """Return how many daily rows to fold at once under a limit of memory in bytes."""
    if memory_limit is None:
        return PIECE_ROWS
    groups = (memory_limit - PROCESS_BYTES) // _ROW_BYTES // ROW_GROUP_ROWS
    return max(ROW_GROUP_ROWS, min(PIECE_ROWS, groups * ROW_GROUP_ROWS))


def resample(
    store: ObjectStore,
    *,
    intervals: Sequence[int] = INTERVALS,
    anchor: Anchor = Anchor.CALENDAR,
    full: bool = False,
    workers: int = 2,
    memory_limit: int | None = None,
    shard: Shard | None = None,
    progress: Progress | None = None,
    stop_requested: StopRequested = never,
    calendar: Calendar | None = None,
) -> Resampling:
    """Bring the bars of some intervals up to the consolidated daily bars.

    Each year of each interval is a pure function of the daily bars in its windows; one
    whose daily bars have not changed is not touched. The daily bars are read once for all
    intervals, a piece at a time, newest year first.

    Args:
        store: The lake.
        intervals: Sessions per bar, each at least 1.
        anchor: What windows are counted from.
        full: Make every partition again.
        workers: Threads that fold and write.
        memory_limit: Bytes that the process should stay under.
        shard: Which years this process makes where several share them; all if None.
        progress: Receives the steps and notes.
        stop_requested: Asked between writes.
        calendar: The library's if None.

    Raises:
        LakeMissing: There is no lake at the root.
        CalendarMoved: The calendar would move a published window.
        CommitConflict: Other jobs kept publishing first.
        Interrupted: It was asked to stop.
    """
    require_lake(store)
    job = _Job(
        store=store,
        widths=tuple(sorted({require_interval(width) for width in intervals})),
        anchor=Anchor(anchor),
        full=full,
        workers=workers,
        piece_rows=piece_rows(memory_limit),
        shard=shard or Shard(),
        progress=progress or Silent(),
        stop_requested=stop_requested,
        calendar=calendar,
    )
    for _ in range(_ATTEMPTS - 1):
        try:
            return job.attempt()
        except CommitConflict as err:
            job.progress.note(f"planning again: {err}")
    return job.attempt()


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One resampling over one lake; nothing of an attempt is kept here."""

    store: ObjectStore
    widths: tuple[int, ...]
    anchor: Anchor
    full: bool
    workers: int
    piece_rows: int
    shard: Shard
    progress: Progress
    stop_requested: StopRequested
    calendar: Calendar | None

    def attempt(self) -> Resampling:
        """Plan from what is there now, and carry the plan out."""
        daily = DailyYears.of(load_daily_manifest(self.store))
        daily_there = TablePartitions.list(self.store, DAILY_TABLE)
        tables = [self._table(width) for width in self.widths]
        if not daily.dates:
            self.progress.note("there are no daily bars yet: run `ohlcv consolidate` first")
            gone = [TablePlan(one, {}, tuple(sorted(one.manifest.partitions))) for one in tables]
            return _outcome([removed(self.store, one) for one in gone])
        calendar = calendar_reaching(daily.oldest, daily.newest, self.widths[-1], self.calendar)
        plans = self._plan_tables(daily, calendar, tables)
        plan = Plan(daily, daily_there, calendar, self.anchor, plans)
        made = self._make(plan, [removed(self.store, one) for one in plan.tables])
        return _outcome(made, daily_rows_read=plan.rows, newest=daily.dates[-1])

    def _table(self, width: int) -> Table:
        name = bars_table(width, self.anchor)
        manifest = load_bars_manifest(self.store, name, on_damaged=self.progress.warn)
        return Table(name, width, manifest, TablePartitions.list(self.store, name))

    def _plan_tables(
        self, daily: DailyYears, calendar: Calendar, tables: list[Table]
    ) -> tuple[TablePlan, ...]:
        for table in tables:
            seen = table.manifest.calendar
            if self.full or seen is None:
                continue
            if PublishedCalendar.of(calendar, seen.first, seen.last) != seen:
                raise CalendarMoved(
                    f"{self.store.uri}: the calendar of {calendar.name} has changed between"
                    f" {seen.first} and {seen.last}, which would move published windows of"
                    f" {table.name}; see what changed, then rebuild with --full"
                )
        plans = [plan_years(daily, calendar, width, self.anchor) for width in self.widths]
        mine = self.shard.stretch(sorted({year for years in plans for year in years}))
        removes = self.shard.index == 0
        return tuple(
            plan_table(self.store, table, years, mine, full=self.full, removes=removes)
            for table, years in zip(tables, plans, strict=True)
        )

    def _make(self, plan: Plan, tables: list[Made]) -> list[Made]:
        """Make all stale partitions; the tables share what is read."""
        if not plan.years:
            return tables
        self.progress.begin("resampling", plan.rows, "rows")
        with (
            self.store.scratch() as folder,
            ThreadPoolExecutor(self.workers) as pool,
            ThreadPoolExecutor(self.workers) as publishers,
            closing(self._pieces(plan)) as pieces,
        ):
            maker = partial(
                TableMaker,
                store=self.store,
                plan=plan,
                full=self.full,
                pool=pool,
                publishers=publishers,
                folder=folder,
                stop_requested=self.stop_requested,
            )
            makers = [
                partial(maker(own=own).make, made)
                for own, made in zip(plan.tables, tables, strict=True)
            ]
            return broadcast(pieces, makers, in_flight=_PIECES_IN_FLIGHT)

    def _pieces(self, plan: Plan) -> Generator[tuple[DailyYear, Piece], None, None]:
        """Read the daily bars of the planned years, newest year first."""
        with closing(read_ahead(self._tables(plan), _TABLES_AHEAD)) as tables:
            for year in iter(partial(next, tables, None), None):
                require_going(self.stop_requested)
                for rows in whole_symbols(iter(tables.__next__, None)):
                    require_going(self.stop_requested)
                    yield year, _prepare(plan, year, rows, ends_year=False)
                    self.progress.advance(len(rows))
                yield year, _prepare(plan, year, DailyColumns.empty(), ends_year=True)

    def _tables(self, plan: Plan) -> Iterator[Any]:
        """Stream the planned years: each as a DailyYear, Arrow tables of its bars, and None."""
        for year in plan.years:
            yield DailyYear(year, self._rows_before(plan, year))
            record = plan.daily.records.get(year)
            if record is not None:
                key = partition_key(DAILY_TABLE, year)
                if not plan.daily_there.holds(
                    self.store, year, record.version, record.bytes_digest
                ):
                    raise CommitConflict(
                        f"{self.store.uri}/{key}: differs from its manifest; a consolidation is"
                        " running or was cut off; run `ohlcv consolidate`, then this again"
                    )
                advice = "run `ohlcv consolidate --full`, then this again"
                with self.store.local_copy(key) as path, advising(advice):
                    label = f"{self.store.uri}/{key}"
                    yield from stream_batches(path, schema.DAILY, rows=self.piece_rows, label=label)
            yield None

    def _rows_before(self, plan: Plan, year: int) -> Mapping[str, int]:
        record = plan.daily.records.get(year)
        if self.anchor is not Anchor.LISTING or record is None:
            return {}
        from batch.lake.carry import Carry  # noqa: PLC0415 - brings polars

        state = Carry.stored(self.store, year, record.carry_digest).state
        return dict(state.filter(state["rows"] > 0).select("symbol", "rows_before").iter_rows())


def _prepare(plan: Plan, year: DailyYear, rows: DailyColumns, *, ends_year: bool) -> Piece:
    if plan.anchor is Anchor.LISTING:
        before = [year.rows_before.get(symbol, 0) for symbol in rows.symbols.to_pylist()]
        return ListingPiece.of(
            rows, ends_year=ends_year, rows_before=np.array(before, dtype=np.int64)
        )
    calendar, newest = plan.calendar, plan.daily.newest
    return CalendarPiece.of(
        rows, ends_year=ends_year, year=year.year, calendar=calendar, newest=newest
    )


def _outcome(tables: list[Made], daily_rows_read: int = 0, newest: str | None = None) -> Resampling:
    return Resampling(
        published=tuple(part for one in tables for part in one.published),
        removed=tuple(part for one in tables for part in one.removed),
        current=sum(one.current for one in tables),
        daily_rows_read=daily_rows_read,
        newest=newest,
    )
