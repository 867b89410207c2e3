"""Resampling: read the daily bars once, fold them into every interval, publish, record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from batch.core import schema
from batch.core.columns import ROW_ARRAYS, DailyColumns, concat_columns
from batch.core.errors import CalendarMoved, CommitConflict, LakeMissing
from batch.core.layout import DAILY_TABLE, INTERVALS, Anchor, bars_table, partition_key
from batch.core.parts import Part
from batch.core.progress import Progress, Silent, StopRequested, never, require_going
from batch.core.sessions import EPOCH, Calendar, day_of, load_calendar
from batch.core.windows import require_width
from batch.lake.manifest import (
    BarsRecord,
    Manifest,
    PublishedCalendar,
    commit,
    load_bars_manifest,
    load_daily_manifest,
)
from batch.lake.parquet import TableWriter, with_encoded_symbols
from batch.lake.partitions import TablePartitions, table_metadata
from batch.lake.store import ObjectStore
from batch.resampler.lines import Line
from batch.resampler.pieces import CalendarPiece, ListingPiece, Piece
from batch.resampler.plan import (
    BarsPlan,
    DailyYears,
    listing_fingerprint,
    plan_calendar_years,
    plan_listing_years,
)
from batch.resampler.rows import (
    LaterRows,
    by_symbol_and_day,
    place_in_symbol,
    whole_symbols,
    with_own_symbols,
)
from batch.version import RESULTS_VERSION

if TYPE_CHECKING:
    import polars as pl

PIECE_ROWS = 262_144
"""Daily rows folded at once, unless a memory limit asks for fewer."""

_ROW_BYTES = 400
"""Memory per daily row of a piece, its copies and its bars included."""

_PIECES_WAITING = 2
"""Pieces that may wait to be folded while the next one is read."""

_FIXED_BYTES = 300 * 1024 * 1024
"""Memory of the interpreter and its libraries."""

_PLANS = 5


@dataclass(slots=True)
class Resampling:
    """What one resampling did.

    Attributes:
        published: Table, year, rows and bytes of every partition written.
        removed: Table and year of partitions whose daily bars are gone.
        current: Partitions that were up to date.
        daily_rows_read: Daily bars read.
        newest: Newest session in the lake, ISO date, if it has any.
    """

    published: list[dict[str, Any]] = field(default_factory=list)
    removed: list[tuple[str, int]] = field(default_factory=list)
    current: int = 0
    daily_rows_read: int = 0
    newest: str | None = None


def piece_rows(memory_limit: int | None) -> int:
    """Return how many daily rows to fold at once under a limit of memory in bytes."""
    if memory_limit is None:
        return PIECE_ROWS
    return max(131_072, min(PIECE_ROWS, (memory_limit - _FIXED_BYTES) // _ROW_BYTES))


def resample(
    store: ObjectStore,
    *,
    intervals: Sequence[int] = INTERVALS,
    anchor: Anchor = Anchor.CALENDAR,
    full: bool = False,
    workers: int = 2,
    memory_limit: int | None = None,
    part: Part | None = None,
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
        part: Which years are this process's where several share them; all of them if
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
    if not store.exists():
        raise LakeMissing(
            f"{store.uri}: there is no lake; give --lake or OHLCV_LAKE,"
            " or make one with `ohlcv import` or `ohlcv demo`"
        )
    widths = sorted({require_width(width) for width in intervals})
    job = _Job(
        store=store,
        widths=widths,
        anchor=Anchor(anchor),
        full=full,
        workers=workers,
        rows=piece_rows(memory_limit),
        part=part or Part(),
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
class _Table:
    """One interval's table: what is published and what is to be made."""

    width: int
    name: str
    manifest: Manifest[BarsRecord]
    there: TablePartitions
    stale: dict[int, BarsPlan] = field(default_factory=dict)
    recording: Lock = field(default_factory=Lock)


@dataclass(slots=True, eq=False)
class _Output:
    """One partition being written."""

    table: _Table
    plan: BarsPlan
    path: Path
    writer: TableWriter
    line: Line


@dataclass(slots=True, eq=False)
class _YearAtWork:
    """What is going on in the background for the partitions of one year."""

    folders: ExitStack = field(default_factory=ExitStack)
    folding: list[list[Future[None]]] = field(default_factory=list)
    published: list[Future[None]] = field(default_factory=list)

    def __enter__(self) -> _YearAtWork:
        return self

    def __exit__(self, *_: object) -> None:
        wait([*(one for piece in self.folding for one in piece), *self.published])
        self.folders.close()

    def wait_for_room(self) -> None:
        """Wait until few enough pieces are being folded; raises what went wrong in them."""
        while len(self.folding) > _PIECES_WAITING:
            for done in self.folding.pop(0):
                done.result()

    def finish(self) -> None:
        """Wait until everything is published; raises what went wrong."""
        for done in (*(one for piece in self.folding for one in piece), *self.published):
            done.result()
        self.folders.close()


@dataclass(slots=True, eq=False)
class _Job:
    """One resampling over one lake."""

    store: ObjectStore
    widths: list[int]
    anchor: Anchor
    full: bool
    workers: int
    rows: int
    part: Part
    progress: Progress
    stop_requested: StopRequested
    calendar: Calendar | None
    daily: DailyYears = field(init=False)
    daily_there: TablePartitions = field(init=False)
    tables: list[_Table] = field(init=False)
    counts: tuple[int, pl.DataFrame] | None = None
    outcome: Resampling = field(init=False)

    def run(self) -> Resampling:
        """Plan from what is there now, and work the plan off."""
        self.outcome = Resampling()
        self.daily = DailyYears.of(load_daily_manifest(self.store))
        self.daily_there = TablePartitions.list(self.store, DAILY_TABLE)
        self.tables = [self._survey(width) for width in self.widths]
        if not self.daily.dates:
            self.progress.note("there are no daily bars yet: run `ohlcv consolidate` first")
            for table in self.tables:
                self._remove(table, [*table.manifest.partitions])
            return self.outcome
        self.outcome.newest = self.daily.dates[-1]
        plans = [self._plan(table) for table in self.tables]
        mine = self.part.stretch(sorted({year for of_table in plans for year in of_table}))
        for table, of_table in zip(self.tables, plans, strict=True):
            self._find_stale(table, {y: plan for y, plan in of_table.items() if y in mine})
        stale = {year for table in self.tables for year in table.stale}
        if stale:
            self._make(stale)
        return self.outcome

    def _survey(self, width: int) -> _Table:
        name = bars_table(width, self.anchor)
        manifest = load_bars_manifest(self.store, name, mend=self.progress.warn)
        return _Table(width, name, manifest, TablePartitions.list(self.store, name))

    def _plan(self, table: _Table) -> dict[int, BarsPlan]:
        """Plan every year of a table, and drop the partitions without use."""
        calendar = self._calendar_for(table.width)
        self._require_calendar(table, calendar)
        listing = self.anchor is Anchor.LISTING
        make_plans = plan_listing_years if listing else plan_calendar_years
        plans = {plan.year: plan for plan in make_plans(self.daily, calendar, table.width)}
        gone = {*table.manifest.partitions, *table.there.objects} - plans.keys()
        if gone and self.part.index == 0:
            self._remove(table, sorted(gone))
        return plans

    def _find_stale(self, table: _Table, plans: dict[int, BarsPlan]) -> None:
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

    def _is_whole(self, table: _Table, year: int, record: BarsRecord) -> bool:
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

    def _require_calendar(self, table: _Table, calendar: Calendar) -> None:
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

    def _remove(self, table: _Table, years: list[int]) -> None:
        """Take away partitions that have no daily bars any more, their records first."""
        table.manifest = commit(self.store, table.manifest, dict.fromkeys(years))
        self.store.delete([partition_key(table.name, year) for year in years])
        self.outcome.removed += [(table.name, year) for year in years]

    def _make(self, stale: set[int]) -> None:
        """Go through the daily years from the newest down, carrying later rows along.

        A year is published while the one below it is read and folded.
        """
        years = range(max(*stale, *self.daily.records), min(stale) - 1, -1)
        self.progress.begin("resampling", self._rows_to_read(years, stale), "rows")
        later = DailyColumns.empty()
        with (
            ThreadPoolExecutor(self.workers) as pool,
            ThreadPoolExecutor(self.workers) as publisher,
            ExitStack() as stack,
        ):
            before = stack.enter_context(_YearAtWork())
            for year in years:
                require_going(self.stop_requested)
                lower = [
                    plan for table in self.tables for y, plan in table.stale.items() if y < year
                ]
                if year in stale or self._reaches(lower, year):
                    now = stack.enter_context(_YearAtWork())
                    keep = _Keep.of(lower, self.anchor)
                    later = self._pass_through(year, later, keep, now, pool, publisher)
                    before.finish()
                    before = now
            before.finish()

    def _rows_to_read(self, years: range, stale: set[int]) -> int:
        return sum(
            self.daily.records[year].rows
            for year in years
            if year in self.daily.records and year in stale
        )

    @staticmethod
    def _reaches(lower: list[BarsPlan], year: int) -> bool:
        return any(plan.last_day.year >= year for plan in lower)

    def _pass_through(
        self,
        year: int,
        later: DailyColumns,
        keep: _Keep,
        at_work: _YearAtWork,
        pool: ThreadPoolExecutor,
        publisher: ThreadPoolExecutor,
    ) -> DailyColumns:
        """Make the stale partitions of a year; return the rows that lower years need."""
        kept: list[DailyColumns] = []
        outputs = self._open(year, later, at_work.folders, pool)
        waiting = LaterRows(later)
        for stretches in self._pieces(year):
            require_going(self.stop_requested)
            kept += map(keep.choose, stretches)
            rows = sum(map(len, stretches))
            if outputs:
                self._fold_into(outputs, self._piece(year, waiting.join(stretches)), at_work)
                self.progress.advance(rows)
            self.outcome.daily_rows_read += rows
        rest = waiting.rest()
        if outputs and len(rest):
            self._fold_into(outputs, self._piece(year, rest), at_work)
        for output in outputs:
            # Publishing waits for the disk or the network; folding goes on meanwhile.
            written = output.line.add(output.writer.close)
            at_work.published.append(publisher.submit(self._publish, output, written))
        return keep.choose(by_symbol_and_day([concat_columns(kept), later]))

    def _pieces(self, year: int) -> Iterator[list[DailyColumns]]:
        """Stream a year's daily bars, the next piece being read while one is folded."""
        record = self.daily.records.get(year)
        if record is None:
            return
        if not self.daily_there.holds(self.store, year, record.version, record.digest):
            raise CommitConflict(
                f"{self.store.uri}/{partition_key(DAILY_TABLE, year)}: not what its manifest says;"
                " a consolidation is at work or was cut off; run `ohlcv consolidate`, then again"
            )
        with (
            self.store.local_copy(partition_key(DAILY_TABLE, year)) as path,
            ThreadPoolExecutor(1) as reader,
        ):
            stream = whole_symbols(path, rows=self.rows)
            following = reader.submit(next, stream, None)
            while (piece := following.result()) is not None:
                following = reader.submit(next, stream, None)
                yield piece

    def _piece(self, year: int, rows: DailyColumns) -> Piece:
        if self.anchor is Anchor.LISTING:
            return ListingPiece.of(rows, self._carry(year))
        assert self.calendar is not None  # noqa: S101 - planning loaded it
        return CalendarPiece.of(year, rows, self.calendar, self.daily.newest)

    def _carry(self, year: int) -> pl.DataFrame:
        from batch.lake.carry import read_carry  # noqa: PLC0415 - brings polars

        if self.counts is None or self.counts[0] != year:
            record = self.daily.records[year]
            state = read_carry(self.store, year, record.carry_digest)
            self.counts = (year, state.select("symbol", "rows_before", "rows"))
        return self.counts[1]

    def _open(
        self, year: int, later: DailyColumns, folders: ExitStack, pool: ThreadPoolExecutor
    ) -> list[_Output]:
        """Open the partitions of a year that are to be written, narrowest first."""
        outputs = []
        for table in self.tables:
            plan = table.stale.get(year)
            if plan is None:
                continue
            if self.anchor is Anchor.LISTING:
                plan = self._settle(table, plan, later)
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
            outputs.append(_Output(table, plan, path, writer, Line(pool)))
        return outputs

    def _settle(self, table: _Table, plan: BarsPlan, later: DailyColumns) -> BarsPlan | None:
        """Fix the fingerprint of a listing year now that the later rows are known.

        Returns:
            None where its rows have not changed; only the record is brought up then.
        """
        daily = self.daily.records[plan.year]
        used = self._completing_rows(plan, later)
        settled = replace(plan, fingerprint=listing_fingerprint(plan, daily, rows_digest(used)))
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

    def _completing_rows(self, plan: BarsPlan, later: DailyColumns) -> DailyColumns:
        """Return the later rows that complete windows which start in the plan's year."""
        import polars as pl  # noqa: PLC0415 - only the listing anchor needs it

        counts = self._carry(plan.year).filter(pl.col("rows") > 0)
        total = counts["rows_before"] + counts["rows"]
        open_rows = total % plan.width
        started = counts.with_columns(
            missing=pl.when(open_rows <= counts["rows"]).then((-total) % plan.width)
        )
        own = pl.DataFrame({"symbol": pl.Series(later.symbols.to_pylist(), dtype=pl.String)})
        own = own.join(started, on="symbol", how="left", maintain_order="left")
        missing = own["missing"].fill_null(0).to_numpy()
        return with_own_symbols(later.take(place_in_symbol(later) < missing[later.code]))

    def _fold_into(self, outputs: list[_Output], piece: Piece, at_work: _YearAtWork) -> None:
        """Have a piece folded into every output, once there is room for it."""

        def fold_one(output: _Output) -> None:
            bars = piece.fold(output.table.width)
            if len(bars):
                output.writer.append(bars.to_batch())

        at_work.wait_for_room()
        at_work.folding.append([output.line.add(partial(fold_one, output)) for output in outputs])

    def _publish(self, output: _Output, written: Future[None]) -> None:
        """Store a partition once it is written, then its record."""
        table, plan = output.table, output.plan
        written.result()
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
            {
                "table": table.name,
                "year": plan.year,
                "rows": record.rows,
                "bytes": record.size_bytes,
            }
        )

    def _record(self, table: _Table, year: int, record: BarsRecord) -> None:
        assert self.calendar is not None  # noqa: S101 - planning loaded it
        first, last = self.daily.oldest, self.daily.newest
        published = PublishedCalendar(str(first), str(last), self.calendar.digest(first, last))
        with table.recording:
            table.manifest = commit(self.store, table.manifest, {year: record}, published)


@dataclass(frozen=True, slots=True)
class _Keep:
    """Which rows of a year the bars of lower years may need.

    Attributes:
        last_day: Rows up to this day are.
        per_symbol: No more than this many rows of a symbol are.
    """

    last_day: int
    per_symbol: int | None

    @classmethod
    def of(cls, lower: list[BarsPlan], anchor: Anchor) -> _Keep:
        last_day = max((day_of(plan.last_day) for plan in lower), default=-(2**31))
        widest = max((plan.width for plan in lower), default=1)
        return cls(last_day, widest - 1 if anchor is Anchor.LISTING else None)

    def choose(self, rows: DailyColumns) -> DailyColumns:
        """Return those rows."""
        chosen = rows.day <= self.last_day
        if self.per_symbol is not None:
            chosen &= place_in_symbol(rows) < self.per_symbol
        return rows.take(np.flatnonzero(chosen))


def rows_digest(rows: DailyColumns) -> str:
    """Digest of daily bars, symbols and splits included."""
    digest = hashlib.sha256("\n".join(rows.symbols.to_pylist()).encode())
    for name in ROW_ARRAYS:
        digest.update(np.ascontiguousarray(getattr(rows, name)).data)
    return digest.hexdigest()[:16]
