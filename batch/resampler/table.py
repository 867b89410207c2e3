"""Making one table of N-session bars: fold, write and publish its stale years."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from batch.core import schema
from batch.core.layout import Anchor, partition_key
from batch.core.sessions import day_of
from batch.kernel.bars import Bars
from batch.kernel.years import Carried, Piece, listing_parts_of_year
from batch.lake.manifest import BarsRecord, Manifest, PublishedCalendar, commit, fingerprint
from batch.lake.partitions import PublishedPartition, publish_file, table_metadata
from batch.resampler.pipeline import completed
from batch.resampler.plan import BarsPlan, DailyYear, Plan, TablePlan
from batch.runtime.progress import StopRequested, require_going
from batch.storage.parquet import TableWriter, with_encoded_symbols
from batch.storage.store import ObjectStore
from batch.version import RESULTS_VERSION


@dataclass(frozen=True, slots=True)
class Made:
    """What has been done to one table so far; ``removed`` has table and year of partitions."""

    manifest: Manifest[BarsRecord]
    current: int
    removed: tuple[tuple[str, int], ...] = ()
    published: tuple[PublishedPartition, ...] = ()


def removed(store: ObjectStore, plan: TablePlan) -> Made:
    """Remove the partitions that have no daily bars any more, their records first."""
    table = plan.table
    if not plan.gone:
        return Made(table.manifest, plan.current)
    manifest = commit(store, table.manifest, dict.fromkeys(plan.gone))
    store.delete([partition_key(table.name, year) for year in plan.gone])
    return Made(manifest, plan.current, tuple((table.name, year) for year in plan.gone))


@dataclass(frozen=True, slots=True, eq=False)
class TableMaker:
    """Makes one table's stale partitions, newest year first.

    Folding and writing go to a pool that all tables share: while a piece is folded, the
    bars of the one before it are written. A year is published while the one below it is made.
    """

    store: ObjectStore
    plan: Plan
    own: TablePlan
    full: bool
    pool: Executor
    publishers: Executor
    folder: Path
    stop_requested: StopRequested

    def make(self, made: Made, pieces: Iterator[tuple[DailyYear, Piece]]) -> Made:
        """Fold the planned years' pieces, and publish the years that are to be made."""
        carried, making = Carried(), completed(made)
        for year, pairs in groupby(pieces, key=itemgetter(0)):
            of_year = (piece for _, piece in pairs)
            plan = self.own.stale.get(year.year)
            if plan is not None and self.plan.anchor is Anchor.LISTING:
                plan = self._settled(plan, carried, year)
                if not self.full and self.own.table.has(plan, self.store):
                    making = completed(self._record_current(making.result(), plan))
                    plan = None
            if plan is not None:
                writer = self._open(plan)
                carried, writing = self._write(writer, of_year, carried)
                publishing = (making.result(), plan, writer, writing)
                making = self.publishers.submit(self._publish, *publishing)
            elif lower := self.own.below(year.year):
                carried = self._pass_over(lower, of_year, carried)
        return making.result()

    def _settled(self, plan: BarsPlan, carried: Carried, year: DailyYear) -> BarsPlan:
        """Fix the fingerprint of a listing year, now that the later rows are known."""
        daily = self.plan.daily.records[plan.year]
        used = listing_parts_of_year(carried.into_year, year.rows_before, plan.width)
        parts = (daily.digest, daily.carry_in_digest, used.digest())
        digest = fingerprint(RESULTS_VERSION, Anchor.LISTING, plan.width, *parts)
        return replace(plan, fingerprint=digest)

    def _record_current(self, made: Made, plan: BarsPlan) -> Made:
        record = replace(made.manifest.partitions[plan.year], sources_digest=plan.sources_digest)
        manifest = self._commit(made, plan.year, record)
        return replace(made, manifest=manifest, current=made.current + 1)

    def _open(self, plan: BarsPlan) -> TableWriter:
        metadata = table_metadata(
            interval=f"{plan.width}d",
            anchor=self.plan.anchor,
            calendar=plan.calendar,
            newest=plan.newest,
            results_version=RESULTS_VERSION,
            digest=plan.fingerprint,
        )
        return TableWriter(self._path(plan), with_encoded_symbols(schema.BARS), metadata)

    def _path(self, plan: BarsPlan) -> Path:
        return self.folder / f"{self.own.table.name}-{plan.year}"

    def _write(
        self, writer: TableWriter, pieces: Iterator[Piece], carried: Carried
    ) -> tuple[Carried, Future[None]]:
        """Fold a year's rows and write its bars; the last are still being written then."""
        writing = completed(None)
        for piece in pieces:
            bars, carried = self._fold(piece, carried)
            writing.result()
            writing = self.pool.submit(_append, writer, bars)
        return carried, writing

    def _pass_over(
        self, lower: list[BarsPlan], pieces: Iterator[Piece], carried: Carried
    ) -> Carried:
        """Find what a year holds of the windows of lower years, and drop its own bars."""
        last_day = max(day_of(plan.last_day) for plan in lower)
        for piece in pieces:
            if head := piece.head(self.own.table.width, last_day):
                _, carried = self._fold(head, carried)
        return carried

    def _fold(self, piece: Piece, carried: Carried) -> tuple[Bars, Carried]:
        return self.pool.submit(piece.fold, self.own.table.width, carried).result()

    def _publish(
        self, made: Made, plan: BarsPlan, writer: TableWriter, writing: Future[None]
    ) -> Made:
        """Store a partition once it is written, then its record."""
        writing.result()
        self.pool.submit(writer.close).result()
        require_going(self.stop_requested)
        table, path = self.own.table, self._path(plan)
        expect = table.there.expectation(plan.year)
        stored = publish_file(self.store, table.name, plan.year, path, expect)
        path.unlink(missing_ok=True)
        record = BarsRecord(
            fingerprint=plan.fingerprint,
            newest=plan.newest,
            rows=writer.rows,
            size_bytes=stored.size_bytes,
            version=stored.version,
            sources_digest=plan.sources_digest,
            bytes_digest=stored.bytes_digest,
        )
        part = PublishedPartition(table.name, plan.year, record.rows, record.size_bytes)
        manifest = self._commit(made, plan.year, record)
        return replace(made, manifest=manifest, published=(*made.published, part))

    def _commit(self, made: Made, year: int, record: BarsRecord) -> Manifest[BarsRecord]:
        dates = self.plan.daily.dates
        calendar = PublishedCalendar.of(self.plan.calendar, dates[0], dates[-1])
        return commit(self.store, made.manifest, {year: record}, calendar)


def _append(writer: TableWriter, bars: Bars) -> None:
    if len(bars):
        writer.append(bars.to_batch())
