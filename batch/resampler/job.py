"""Resampling: plan, read the daily bars once, fold them into every interval, publish."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
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
from batch.core.sessions import Calendar, day_of
from batch.kernel.bars import Bars
from batch.kernel.columns import DailyColumns
from batch.kernel.windows import calendar_reaching
from batch.kernel.years import CalendarPiece, Carried, ListingPiece, Piece, listing_parts_of_year
from batch.lake.manifest import (
    BarsRecord,
    Manifest,
    commit,
    load_bars_manifest,
    load_daily_manifest,
)
from batch.lake.partitions import PublishedPartition, TablePartitions, table_metadata
from batch.resampler.pieces import DailyYear, FirstRows, Stretch, whole_symbols
from batch.resampler.pipeline import broadcast, completed, read_ahead
from batch.resampler.plan import (
    BarsPlan,
    DailyYears,
    Plan,
    Table,
    TablePlan,
    plan_table,
    plan_years,
)
from batch.runtime.memory import PROCESS_BYTES
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.runtime.shards import Shard
from batch.storage.parquet import ROW_GROUP_ROWS, TableWriter, stream_batches, with_encoded_symbols
from batch.storage.store import ObjectStore, require_lake
from batch.version import RESULTS_VERSION

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

    Attributes:
        published: Every partition written.
        removed: Table and year of partitions whose daily bars are gone.
        current: Partitions that were up to date.
        daily_rows_read: Daily bars read.
        newest: Newest session in the lake, ISO date, if it has any.
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
        calendar: The exchange calendar; the library's if None.

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
        tables = [self._survey(width) for width in self.widths]
        if not daily.dates:
            self.progress.note("there are no daily bars yet: run `ohlcv consolidate` first")
            gone = [(table, sorted(table.manifest.partitions)) for table in tables]
            return Resampling(removed=tuple(self._remove(gone)[1]))

        calendar = calendar_reaching(daily.oldest, daily.newest, self.widths[-1], self.calendar)
        for table in tables:
            self._require_calendar(table, calendar)
        plans = [plan_years(daily, calendar, width, self.anchor) for width in self.widths]
        removed: list[tuple[str, int]] = []
        if self.shard.index == 0:
            gone = [
                (table, sorted({*table.manifest.partitions, *table.there.objects} - years.keys()))
                for table, years in zip(tables, plans, strict=True)
            ]
            tables, removed = self._remove(gone)
        mine = self.shard.stretch(sorted({year for years in plans for year in years}))
        plan = Plan(
            daily,
            daily_there,
            calendar,
            self.anchor,
            tuple(
                plan_table(
                    table,
                    {year: one for year, one in years.items() if year in mine},
                    partial(self._is_whole, table),
                    full=self.full,
                )
                for table, years in zip(tables, plans, strict=True)
            ),
        )
        made = self._make(plan)
        return Resampling(
            published=tuple(part for one in made for part in one.published),
            removed=tuple(removed),
            current=sum(one.current for one in made),
            daily_rows_read=plan.rows,
            newest=daily.dates[-1],
        )

    def _survey(self, width: int) -> Table:
        name = bars_table(width, self.anchor)
        manifest = load_bars_manifest(self.store, name, on_damaged=self.progress.warn)
        return Table(name, width, manifest, TablePartitions.list(self.store, name))

    def _is_whole(self, table: Table, year: int, record: BarsRecord) -> bool:
        return table.there.holds(self.store, year, record.version, record.fingerprint)

    def _require_calendar(self, table: Table, calendar: Calendar) -> None:
        seen = table.manifest.calendar
        if seen is None or self.full:
            return
        first, last = date.fromisoformat(seen.first), date.fromisoformat(seen.last)
        if calendar.digest(first, last) != seen.digest:
            raise CalendarMoved(
                f"{self.store.uri}: the calendar of {calendar.name} has changed between {first} and"
                f" {last}, which would move published windows of {table.name};"
                " see what changed, then rebuild with --full"
            )

    def _remove(
        self, gone: list[tuple[Table, list[int]]]
    ) -> tuple[list[Table], list[tuple[str, int]]]:
        """Remove partitions that have no daily bars any more, their records first.

        Returns:
            The tables as they are then, and table and year of what was removed.
        """
        tables, removed = [], []
        for table, years in gone:
            manifest = table.manifest
            if years:
                manifest = commit(self.store, manifest, dict.fromkeys(years))
                self.store.delete([partition_key(table.name, year) for year in years])
            tables.append(replace(table, manifest=manifest))
            removed += [(table.name, year) for year in years]
        return tables, removed

    def _make(self, plan: Plan) -> list[_Made]:
        """Make all stale partitions; the tables share what is read."""
        if not plan.years:
            return [_Made(one.table.manifest, (), one.current) for one in plan.tables]
        self.progress.begin("resampling", plan.rows, "rows")
        with (
            self.store.scratch() as folder,
            ThreadPoolExecutor(self.workers) as pool,
            ThreadPoolExecutor(self.workers) as publishers,
            closing(self._stretches(plan)) as stretches,
        ):
            makers = [_Maker(self, plan, one, pool, publishers, folder) for one in plan.tables]
            return broadcast(
                stretches, [maker.make for maker in makers], in_flight=_PIECES_IN_FLIGHT
            )

    def _stretches(self, plan: Plan) -> Generator[Stretch, None, None]:
        """Read the daily bars of the planned years, newest year first."""
        with closing(read_ahead(self._tables(plan), _TABLES_AHEAD)) as tables:
            for no in plan.years:
                require_going(self.stop_requested)
                year = DailyYear(no, self._rows_before(plan, no))
                for rows in whole_symbols(iter(tables.__next__, None)):
                    require_going(self.stop_requested)
                    yield _stretch(plan, year, rows)
                    self.progress.advance(len(rows))
                yield _stretch(plan, year, DailyColumns.empty())

    def _tables(self, plan: Plan) -> Iterator[Any]:
        """Stream the daily bars of the planned years as tables; None ends each year."""
        for year in plan.years:
            record = plan.daily.records.get(year)
            if record is not None:
                key = partition_key(DAILY_TABLE, year)
                if not plan.daily_there.holds(self.store, year, record.version, record.digest):
                    raise CommitConflict(
                        f"{self.store.uri}/{key}: differs from its manifest; a consolidation is"
                        " running or was cut off; run `ohlcv consolidate`, then this again"
                    )
                with self.store.local_copy(key) as path:
                    yield from stream_batches(path, schema.DAILY.names, rows=self.piece_rows)
            yield None

    def _rows_before(self, plan: Plan, year: int) -> Mapping[str, int]:
        record = plan.daily.records.get(year)
        if self.anchor is not Anchor.LISTING or record is None:
            return {}
        from batch.lake.carry import Carry  # noqa: PLC0415 - brings polars

        state = Carry.stored(self.store, year, record.carry_digest).state
        return dict(state.filter(state["rows"] > 0).select("symbol", "rows_before").iter_rows())


def _stretch(plan: Plan, year: DailyYear, rows: DailyColumns) -> Stretch:
    prepare = partial(_prepare, plan, year, ends_year=not len(rows))
    return Stretch(year, prepare(rows), prepare)


def _prepare(plan: Plan, year: DailyYear, rows: DailyColumns, *, ends_year: bool) -> Piece:
    if plan.anchor is Anchor.LISTING:
        before = [year.rows_before.get(symbol, 0) for symbol in rows.symbols.to_pylist()]
        return ListingPiece.of(
            rows, ends_year=ends_year, rows_before=np.array(before, dtype=np.int64)
        )
    return CalendarPiece.of(
        rows,
        ends_year=ends_year,
        year=year.year,
        calendar=plan.calendar,
        newest=plan.daily.newest,
    )


@dataclass(frozen=True, slots=True)
class _Made:
    """What has been done to one table.

    Attributes:
        manifest: As it is now.
        published: Partitions written.
        current: Partitions that were up to date.
    """

    manifest: Manifest[BarsRecord]
    published: tuple[PublishedPartition, ...]
    current: int


@dataclass(frozen=True, slots=True, eq=False)
class _Maker:
    """Makes one table's stale partitions, newest year first.

    Folding and writing go to a pool that all tables share: while a piece is folded, the
    bars of the one before it are written. A year is published while the one below it is made.
    """

    job: _Job
    plan: Plan
    own: TablePlan
    pool: Executor
    publishers: Executor
    folder: Path

    def make(self, stretches: Iterator[Stretch]) -> _Made:
        """Fold what is read, publish what is to be made, and carry parts of bars down."""
        table = self.own.table
        carried = Carried()
        made = completed(_Made(table.manifest, (), self.own.current))
        for daily, of_year in groupby(stretches, key=attrgetter("year")):
            plan = self.own.stale.get(daily.year)
            if plan is not None and self.plan.anchor is Anchor.LISTING:
                plan = self._settled(plan, carried, daily)
                if self._is_current(plan):
                    made = completed(self._record_current(made.result(), plan))
                    plan = None
            if plan is not None:
                carried, output = self._write(plan, of_year, carried)
                made = self.publishers.submit(self._publish, made.result(), plan, output)
            elif lower := self.own.below(daily.year):
                carried = self._pass_over(lower, of_year, carried)
        return made.result()

    def _write(
        self, plan: BarsPlan, stretches: Iterator[Stretch], carried: Carried
    ) -> tuple[Carried, _Output]:
        """Fold a year's rows and write its bars, of which the last are still being written."""
        metadata = table_metadata(
            interval=f"{plan.width}d",
            anchor=self.plan.anchor,
            calendar=plan.calendar,
            newest=plan.newest,
            results_version=RESULTS_VERSION,
            digest=plan.fingerprint,
        )
        path = self.folder / f"{self.own.table.name}-{plan.year}"
        writer = TableWriter(path, with_encoded_symbols(schema.BARS), metadata)
        writing = completed(None)
        for stretch in stretches:
            bars, carried = self._fold(stretch.whole, carried)
            writing.result()
            writing = self.pool.submit(_append, writer, bars)
        return carried, _Output(path, writer, writing)

    def _pass_over(
        self, lower: list[BarsPlan], stretches: Iterator[Stretch], carried: Carried
    ) -> Carried:
        """Find what a year holds of the windows of lower years, and drop its own bars."""
        listing = self.plan.anchor is Anchor.LISTING
        chosen = FirstRows(
            last_day=max(day_of(plan.last_day) for plan in lower),
            per_symbol=self.own.table.width - 1 if listing else None,
        )
        for stretch in stretches:
            piece = stretch.first(chosen)
            if piece is not None:
                _, carried = self._fold(piece, carried)
        return carried

    def _fold(self, piece: Piece, carried: Carried) -> tuple[Bars, Carried]:
        return self.pool.submit(piece.fold, self.own.table.width, carried).result()

    def _settled(self, plan: BarsPlan, carried: Carried, daily: DailyYear) -> BarsPlan:
        """Fix the fingerprint of a listing year, now that the later rows are known."""
        used = listing_parts_of_year(carried.into_year, daily.rows_before, plan.width)
        return plan.settled(self.plan.daily.records[plan.year], used.digest())

    def _is_current(self, plan: BarsPlan) -> bool:
        record = self.own.table.manifest.partitions.get(plan.year)
        return (
            not self.job.full
            and record is not None
            and record.fingerprint == plan.fingerprint
            and self.own.table.there.holds(
                self.job.store, plan.year, record.version, record.fingerprint
            )
        )

    def _record_current(self, made: _Made, plan: BarsPlan) -> _Made:
        record = made.manifest.partitions[plan.year]
        record = replace(record, sources_digest=plan.sources_digest)
        return replace(
            made, manifest=self._commit(made, plan.year, record), current=made.current + 1
        )

    def _publish(self, made: _Made, plan: BarsPlan, output: _Output) -> _Made:
        """Store a partition once it is written, then its record."""
        output.writing.result()
        self.pool.submit(output.writer.close).result()
        require_going(self.job.stop_requested)
        table = self.own.table
        stored = self.job.store.write(
            partition_key(table.name, plan.year),
            output.path,
            expect=table.there.expectation(plan.year),
        )
        output.path.unlink(missing_ok=True)
        record = BarsRecord(
            fingerprint=plan.fingerprint,
            newest=plan.newest,
            rows=output.writer.rows,
            size_bytes=stored.size_bytes,
            version=stored.version,
            sources_digest=plan.sources_digest,
        )
        part = PublishedPartition(table.name, plan.year, record.rows, record.size_bytes)
        return replace(
            made,
            manifest=self._commit(made, plan.year, record),
            published=(*made.published, part),
        )

    def _commit(self, made: _Made, year: int, record: BarsRecord) -> Manifest[BarsRecord]:
        calendar = self.plan.published_calendar
        return commit(self.job.store, made.manifest, {year: record}, calendar)


@dataclass(frozen=True, slots=True, eq=False)
class _Output:
    """A partition of which the last bars are being written."""

    path: Path
    writer: TableWriter
    writing: Future[None]


def _append(writer: TableWriter, bars: Bars) -> None:
    if len(bars):
        writer.append(bars.to_batch())
