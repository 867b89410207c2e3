"""Resampling: read the daily bars once, fold them into every interval, publish, record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

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
from batch.core.sessions import EPOCH, Calendar, load_calendar
from batch.kernel.columns import DailyColumns
from batch.kernel.years import LaterParts
from batch.lake.manifest import (
    BarsRecord,
    PublishedCalendar,
    commit,
    load_bars_manifest,
    load_daily_manifest,
)
from batch.lake.partitions import PublishedPartition, TablePartitions, table_metadata
from batch.resampler.ahead import read_ahead
from batch.resampler.at_work import Output, Passage, Table, YearAtWork
from batch.resampler.descent import Descent
from batch.resampler.lines import Line
from batch.resampler.pieces import CalendarPiece, ListingPiece, Piece
from batch.resampler.plan import (
    BarsPlan,
    DailyYears,
    listing_fingerprint,
    plan_calendar_years,
    plan_listing_years,
)
from batch.resampler.rows import FirstRows, whole_symbols
from batch.runtime.memory import PROCESS_BYTES
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.runtime.shards import Shard
from batch.storage.parquet import ROW_GROUP_ROWS, TableWriter, stream_batches, with_encoded_symbols
from batch.storage.store import ObjectStore, require_lake
from batch.version import RESULTS_VERSION

if TYPE_CHECKING:
    import polars as pl

PIECE_ROWS = 524_288
"""Daily rows folded at once, unless a memory limit asks for fewer."""

_ROW_BYTES = 600
"""Memory per daily row of a piece: those that are read, folded and written side by side."""

_TABLES_AHEAD = 2
"""Tables that are read and decoded before there is room for them."""

_PLANS = 5


@dataclass(slots=True)
class Resampling:
    """What one resampling did.

    Attributes:
        published: Every partition written.
        removed: Table and year of partitions whose daily bars are gone.
        current: Partitions that were up to date.
        daily_rows_read: Daily bars read.
        newest: Newest session in the lake, ISO date, if it has any.
    """

    published: list[PublishedPartition] = field(default_factory=list)
    removed: list[tuple[str, int]] = field(default_factory=list)
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
        shard: Which years are this process's where several share them; all of them if
            not given.
        progress: Hears what is going on.
        stop_requested: Asked between writes.
        calendar: The exchange calendar; the library's where not given.

    Raises:
        LakeMissing: There is no lake at the root.
        CalendarMoved: The calendar would move a published window.
        CommitConflict: Other jobs kept publishing first.
        Interrupted: It was asked to stop.
    """
    progress = progress or Silent()
    require_lake(store)
    widths = sorted({require_interval(width) for width in intervals})
    job = _Job(
        store=store,
        widths=widths,
        anchor=Anchor(anchor),
        full=full,
        workers=workers,
        rows=piece_rows(memory_limit),
        shard=shard or Shard(),
        progress=progress,
        stop_requested=stop_requested,
        calendar=calendar,
    )
    for attempt in range(_PLANS):
        try:
            return job.run()
        except CommitConflict as err:
            if attempt == _PLANS - 1:
                raise
            progress.note(f"planning again: {err}")
    raise AssertionError("unreachable")


@dataclass(slots=True, eq=False)
class _Job:
    """One resampling over one lake."""

    store: ObjectStore
    widths: list[int]
    anchor: Anchor
    full: bool
    workers: int
    rows: int
    shard: Shard
    progress: Progress
    stop_requested: StopRequested
    calendar: Calendar | None
    pool: ThreadPoolExecutor = field(init=False)
    daily: DailyYears = field(init=False)
    daily_there: TablePartitions = field(init=False)
    tables: list[Table] = field(init=False)
    counts: tuple[int, pl.DataFrame] | None = None
    outcome: Resampling = field(init=False)

    def run(self) -> Resampling:
        """Plan from what is there now, and work the plan off."""
        self.outcome = Resampling()
        self.counts = None
        self.daily = DailyYears.of(load_daily_manifest(self.store))
        self.daily_there = TablePartitions.list(self.store, DAILY_TABLE)
        with ThreadPoolExecutor(self.workers) as pool:
            self.pool = pool
            self.tables = [self._survey(width) for width in self.widths]
            self._bring_up()
        return self.outcome

    def _bring_up(self) -> None:
        """Find what must be made and removed, and do it."""
        if not self.daily.dates:
            self.progress.note("there are no daily bars yet: run `ohlcv consolidate` first")
            for table in self.tables:
                self._remove(table, [*table.manifest.partitions])
            return
        self.outcome.newest = self.daily.dates[-1]
        plans = [self._plan(table) for table in self.tables]
        mine = self.shard.stretch(sorted({year for of_table in plans for year in of_table}))
        for table, of_table in zip(self.tables, plans, strict=True):
            self._find_stale(table, {y: plan for y, plan in of_table.items() if y in mine})
        stale = {year for table in self.tables for year in table.stale}
        if stale:
            self._make(stale)

    def _survey(self, width: int) -> Table:
        name = bars_table(width, self.anchor)
        manifest = load_bars_manifest(self.store, name, mend=self.progress.warn)
        there = TablePartitions.list(self.store, name)
        return Table(Descent(width), name, manifest, there, Line(self.pool))

    def _plan(self, table: Table) -> dict[int, BarsPlan]:
        """Plan every year of a table, and drop the partitions without use."""
        calendar = self._calendar_for(table.width)
        self._require_calendar(table, calendar)
        listing = self.anchor is Anchor.LISTING
        make_plans = plan_listing_years if listing else plan_calendar_years
        plans = {plan.year: plan for plan in make_plans(self.daily, calendar, table.width)}
        gone = {*table.manifest.partitions, *table.there.objects} - plans.keys()
        if gone and self.shard.index == 0:
            self._remove(table, sorted(gone))
        return plans

    def _find_stale(self, table: Table, plans: dict[int, BarsPlan]) -> None:
        """Find the partitions of a table that must be made again."""
        listing = self.anchor is Anchor.LISTING
        for year, plan in plans.items():
            record = table.manifest.partitions.get(year)
            made = record is not None and (
                record.sources_digest == plan.sources_digest
                if listing
                else record.fingerprint == plan.fingerprint
            )
            if made and record and not self.full and self._is_whole(table, year, record):
                self.outcome.current += 1
            else:
                table.stale[year] = plan

    def _is_whole(self, table: Table, year: int, record: BarsRecord) -> bool:
        return table.there.holds(self.store, year, record.version, record.fingerprint)

    def _calendar_for(self, width: int) -> Calendar:
        """Load the calendar as far as windows of a width can reach around the daily bars."""
        if self.calendar is None:
            self.calendar = load_calendar(min(self.daily.oldest, EPOCH))
        reach = (width + 252) * 3 // 2
        oldest, newest = self.daily.oldest, self.daily.newest
        if (oldest - self.calendar.first).days < reach and oldest < EPOCH:
            self.calendar = load_calendar(oldest - timedelta(days=reach))
        if (self.calendar.last - newest).days < reach:
            self.calendar = load_calendar(self.calendar.first, newest + timedelta(days=reach))
        return self.calendar

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

    def _remove(self, table: Table, years: list[int]) -> None:
        """Take away partitions that have no daily bars any more, their records first."""
        table.manifest = commit(self.store, table.manifest, dict.fromkeys(years))
        self.store.delete([partition_key(table.name, year) for year in years])
        self.outcome.removed += [(table.name, year) for year in years]

    def _make(self, stale: set[int]) -> None:
        """Go through the daily years from the newest down, carrying parts of bars along.

        A year is published while the one below it is read and folded.
        """
        between = range(max(*stale, *self.daily.records), min(stale) - 1, -1)
        years = [y for y in between if y in stale or any(t.below(y) for t in self.tables)]
        self.progress.begin("resampling", self._rows_to_read(years, stale), "rows")
        with ThreadPoolExecutor(self.workers) as publisher, ExitStack() as stack:
            above = stack.enter_context(YearAtWork())
            tables = stack.enter_context(closing(read_ahead(self._read(years), _TABLES_AHEAD)))
            for year in years:
                require_going(self.stop_requested)
                now = stack.enter_context(YearAtWork(above))
                pieces = whole_symbols(iter(tables.__next__, None))
                self._pass_through(year, pieces, now, publisher)
                above.finish()
                above = now
            above.finish()

    def _rows_to_read(self, years: list[int], stale: set[int]) -> int:
        return sum(
            self.daily.records[year].rows
            for year in years
            if year in self.daily.records and year in stale
        )

    def _pass_through(
        self,
        year: int,
        pieces: Iterator[DailyColumns],
        at_work: YearAtWork,
        publisher: ThreadPoolExecutor,
    ) -> None:
        """Make the stale partitions of a year, and find what it holds of earlier windows."""
        outputs = self._open(year, at_work.folders)
        written = [output.table for output in outputs]
        passages = [Passage(t) for t in self.tables if t not in written and t.below(year)]
        keep = FirstRows.of([p for one in passages for p in one.table.below(year)], self.anchor)
        for rows in pieces:
            require_going(self.stop_requested)
            self.outcome.daily_rows_read += len(rows)
            if outputs:
                at_work.fold(outputs, partial(Descent.fold, piece=self._piece(year, rows)))
                self.progress.advance(len(rows))
            if passages and len(kept := keep.choose(rows)):
                at_work.fold(passages, partial(Descent.fold, piece=self._piece(year, kept)))
        nothing = self._piece(year, DailyColumns.empty())
        at_work.fold([*outputs, *passages], partial(Descent.end_year, nothing=nothing))
        for output in outputs:
            # Publishing waits for the disk or the network; folding goes on meanwhile.
            folded = output.table.folding.add(lambda: None)
            at_work.published.append(publisher.submit(self._publish, output, folded))

    def _read(self, years: Iterable[int]) -> Iterator[Any]:
        """Stream the daily bars of some years as tables; None ends each year."""
        for year in years:
            record = self.daily.records.get(year)
            if record is not None:
                key = partition_key(DAILY_TABLE, year)
                if not self.daily_there.holds(self.store, year, record.version, record.digest):
                    raise CommitConflict(
                        f"{self.store.uri}/{key}: not what its manifest says; a consolidation"
                        " is at work or was cut off; run `ohlcv consolidate`, then again"
                    )
                with self.store.local_copy(key) as path:
                    yield from stream_batches(path, schema.DAILY.names, rows=self.rows)
            yield None

    def _piece(self, year: int, rows: DailyColumns) -> Piece:
        if self.anchor is Anchor.LISTING:
            counts = self._carry(year) if len(rows) else None
            return ListingPiece.of(rows, counts)
        assert self.calendar is not None  # noqa: S101 - planning loaded it
        return CalendarPiece.of(year, rows, self.calendar, self.daily.newest)

    def _carry(self, year: int) -> pl.DataFrame:
        from batch.lake.carry import read_carry  # noqa: PLC0415 - brings polars

        if self.counts is None or self.counts[0] != year:
            record = self.daily.records[year]
            state = read_carry(self.store, year, record.carry_digest)
            self.counts = (year, state.select("symbol", "rows_before", "rows"))
        return self.counts[1]

    def _open(self, year: int, folders: ExitStack) -> list[Output]:
        """Open the partitions of a year that are to be written, narrowest first."""
        outputs = []
        for table in self.tables:
            plan = table.stale.get(year)
            if plan is None:
                continue
            if self.anchor is Anchor.LISTING:
                plan = self._settle(table, plan)
                if plan is None:
                    continue
            folder = folders.enter_context(self.store.scratch())
            metadata = table_metadata(
                interval=f"{table.width}d",
                anchor=self.anchor,
                calendar=plan.calendar,
                newest=plan.newest,
                results_version=RESULTS_VERSION,
                digest=plan.fingerprint,
            )
            path = folder / table.name
            writer = TableWriter(path, with_encoded_symbols(schema.BARS), metadata)
            outputs.append(Output(table, plan, path, writer, Line(self.pool)))
        return outputs

    def _settle(self, table: Table, plan: BarsPlan) -> BarsPlan | None:
        """Fix the fingerprint of a listing year once it is known what later years hold.

        Returns:
            None where its rows have not changed; only the record is brought up then.
        """
        table.folding.drain()
        daily = self.daily.records[plan.year]
        used = self._completing(plan, table.descent.later)
        settled = replace(plan, fingerprint=listing_fingerprint(plan, daily, used.digest()))
        record = table.manifest.partitions.get(plan.year)
        if (
            record is None
            or self.full
            or record.fingerprint != settled.fingerprint
            or not self._is_whole(table, plan.year, record)
        ):
            return settled
        current = replace(record, sources_digest=plan.sources_digest)
        self._record(table, plan.year, current)
        self.outcome.current += 1
        return None

    def _completing(self, plan: BarsPlan, later: LaterParts) -> LaterParts:
        """Return what later years hold of windows that start in the plan's year."""
        counts = self._carry(plan.year)
        rows_before = dict(counts.filter(counts["rows"] > 0).select("symbol", "rows_before").rows())
        starts = [
            symbol in rows_before and window * plan.width >= rows_before[symbol]
            for symbol, window in zip(later.symbols, later.window.tolist(), strict=True)
        ]
        return later.where(np.array(starts, np.bool_))

    def _publish(self, output: Output, folded: Future[None]) -> None:
        """Store a partition once it is written, then its record."""
        table, plan = output.table, output.plan
        folded.result()
        output.close()
        require_going(self.stop_requested)
        stored = self.store.write(
            partition_key(table.name, plan.year),
            output.path,
            expect=table.there.expectation(plan.year),
        )
        record = BarsRecord(
            fingerprint=plan.fingerprint,
            newest=plan.newest,
            rows=output.writer.rows,
            size_bytes=stored.size_bytes,
            version=stored.version,
            sources_digest=plan.sources_digest,
        )
        self._record(table, plan.year, record)
        self.outcome.published.append(
            PublishedPartition(table.name, plan.year, record.rows, record.size_bytes)
        )

    def _record(self, table: Table, year: int, record: BarsRecord) -> None:
        assert self.calendar is not None  # noqa: S101 - planning loaded it
        first, last = self.daily.oldest, self.daily.newest
        published = PublishedCalendar(str(first), str(last), self.calendar.digest(first, last))
        with table.recording:
            table.manifest = commit(self.store, table.manifest, {year: record}, published)
