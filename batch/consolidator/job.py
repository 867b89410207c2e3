"""Consolidation: read the deliveries that arrived, merge them, publish, record."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import cached_property

import polars as pl

from batch.consolidator.carry import Carry, CarryChain, attach_year_splits, with_split_digests
from batch.consolidator.deliveries import MergedYear, YearReader, merge_bytes
from batch.consolidator.plan import Verdict, YearInputs, judge, splits_digest, splits_of_year
from batch.core import schema
from batch.core.errors import (
    CalendarMoved,
    CommitConflict,
    SettingsError,
    SharedWorkStalled,
    StateDamaged,
)
from batch.core.frames import to_arrow
from batch.core.layout import (
    ARRIVALS,
    BRONZE,
    CARRY,
    DAILY_TABLE,
    INPUTS,
    RESTATEMENTS_TABLE,
    Delivery,
    bronze_year_prefix,
    carry_key,
    inputs_key,
)
from batch.core.sessions import EARLIEST, Calendar, load_calendar
from batch.kernel.columns import DailyColumns
from batch.lake.carry import read_carry, write_carry
from batch.lake.manifest import (
    DailyRecord,
    Manifest,
    PublishedCalendar,
    commit,
    fingerprint,
    load_daily_manifest,
    write_inputs,
)
from batch.lake.partitions import (
    DIGEST_ENTRY,
    PublishedPartition,
    TablePartitions,
    publish_partition,
    table_metadata,
)
from batch.lake.reference import read_splits
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.runtime.shards import Shard
from batch.storage.parquet import with_encoded_symbols
from batch.storage.store import ObjectStore, StoredObject, require_lake
from batch.version import RESULTS_VERSION

PATIENCE_S = 900.0
"""How long a process waits for the others' years while nothing is published."""

_POLL_S = 0.5


_PLANS = 5


@dataclass(slots=True)
class Consolidation:
    """What one consolidation did.

    Attributes:
        published: Every partition written.
        removed: Years that have no deliveries any more.
        current: Daily partitions that were up to date.
        deliveries_read: How many deliveries were read.
        newest: Newest session in the lake, ISO date, if it has any.
        problems: Every delivery that could not be used, and why.
    """

    published: list[PublishedPartition] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    current: int = 0
    deliveries_read: int = 0
    newest: str | None = None
    problems: list[str] = field(default_factory=list)


def consolidate(
    store: ObjectStore,
    *,
    full: bool = False,
    as_of: datetime | None = None,
    workers: int = 2,
    memory_limit: int | None = None,
    shard: Shard | None = None,
    progress: Progress | None = None,
    stop_requested: StopRequested = never,
    calendar: Calendar | None = None,
) -> Consolidation:
    """Bring the daily bars up to what bronze holds.

    Each year is a pure function of its deliveries, its splits and what earlier years hand
    on; a year whose inputs have not changed is not touched. A job killed at any point is
    finished by the next one.

    Args:
        store: The lake.
        full: Make every year again, from the deliveries alone.
        as_of: Use only what was received by this instant.
        workers: Threads that read deliveries.
        memory_limit: Bytes that the process should stay under; the rows of one year must
            fit all the same.
        shard: Which years are this process's where several share them; all of them if
            not given. The others must be at work too: each year waits for what the one
            before it hands on.
        progress: Hears what is going on.
        stop_requested: Asked between writes.
        calendar: The exchange calendar; the library's where not given.

    Raises:
        LakeMissing: There is no lake at the root.
        CalendarMoved: The calendar disagrees with the published sessions.
        CommitConflict: Other jobs kept publishing first.
        Interrupted: It was asked to stop.
    """
    progress = progress or Silent()
    require_lake(store)
    job = _Job(
        store=store,
        full=full,
        as_of=as_of,
        workers=workers,
        merge_bytes=merge_bytes(memory_limit),
        shard=shard or Shard(),
        progress=progress,
        stop_requested=stop_requested,
        calendar=calendar or load_calendar(),
        calendar_is_given=calendar is not None,
    )
    for attempt in range(_PLANS):
        try:
            return job.run()
        except CommitConflict as err:
            if attempt == _PLANS - 1:
                raise
            progress.note(f"planning again: {err}")
        except StateDamaged as err:
            if attempt == _PLANS - 1:
                raise
            progress.warn(f"{err}; its year is made again")
            store.delete([err.key])
    raise AssertionError("unreachable")


@dataclass(frozen=True, eq=False)
class _BuiltYear:
    """A daily partition ready to be published."""

    bars: DailyColumns
    sessions: dict[str, str]
    restatements: pl.DataFrame
    carry: Carry
    inputs: YearInputs
    unreadable: set[Delivery]

    @cached_property
    def digest(self) -> str:
        """Digest of all rows."""
        return fingerprint(self.sessions)

    @cached_property
    def restatements_digest(self) -> str:
        """Digest of the restatements."""
        return hashlib.sha256(self.restatements.write_csv().encode()).hexdigest()[:16]


@dataclass(slots=True, eq=False)
class _Job:
    """One consolidation over one lake."""

    store: ObjectStore
    full: bool
    as_of: datetime | None
    workers: int
    merge_bytes: int
    shard: Shard
    progress: Progress
    stop_requested: StopRequested
    calendar: Calendar
    calendar_is_given: bool
    manifest: Manifest[DailyRecord] = field(init=False)
    daily: TablePartitions = field(init=False)
    restated: TablePartitions = field(init=False)
    splits: pl.DataFrame = field(init=False)
    kept: set[str] = field(init=False)
    outcome: Consolidation = field(init=False)
    reader: YearReader = field(init=False)
    merged_ahead: dict[int, MergedYear] = field(init=False)

    def run(self) -> Consolidation:
        """Plan from what is there now, and work the plan off."""
        self.outcome = Consolidation()
        self.reader = YearReader(
            self.store, self.workers, self.merge_bytes, self.stop_requested, self._problem
        )
        arrivals = [item.key for item in self.store.list(ARRIVALS)]
        self.manifest = load_daily_manifest(self.store, mend=self.progress.warn)
        self._require_calendar()
        inputs = self._list_inputs(arrivals)
        self.splits = read_splits(self.store)
        self.kept = {item.key for prefix in (CARRY, INPUTS) for item in self.store.list(prefix)}
        self.daily = TablePartitions.list(self.store, DAILY_TABLE)
        self.restated = TablePartitions.list(self.store, RESTATEMENTS_TABLE)
        records = self.manifest.partitions
        years = sorted({*records, *inputs, *self.daily.objects, *self.restated.objects})
        self.progress.begin("consolidating", len(years), "years")
        carry = CarryChain(self.store)
        self.merged_ahead = {}
        if not self.shard.is_all and (self.as_of or self.manifest.as_of):
            raise SettingsError(
                f"{self.store.uri}: --as-of and the return from it work in one process;"
                " run `ohlcv consolidate` without --shards"
            )
        if self.as_of:
            self.manifest = commit(self.store, self.manifest, {}, as_of=self.as_of.isoformat())
        for year in years:
            require_going(self.stop_requested)
            listed = inputs.get(year)
            if not self.shard.owns(year):
                self._merge_ahead([y for y in years if y > year], inputs)
                self._await(year, listed, carry)
            elif (listed is None and year not in records) or (listed and not listed.deliveries):
                self._remove(year)
            else:
                self._bring_up(year, listed, carry)
            self.progress.advance()
        if self.manifest.as_of and not self.as_of:
            self.manifest = commit(self.store, self.manifest, {}, as_of=None)
        if self.full and self.shard.is_all:
            self._sweep()
        self._take_arrivals_away(arrivals, inputs)
        newest = self.manifest.newest
        self.outcome.newest = newest.isoformat() if newest else None
        self.outcome.deliveries_read = self.reader.deliveries_read
        return self.outcome

    def _require_calendar(self) -> None:
        seen = self.manifest.calendar
        if seen is None or self.full:
            return
        first, last = date.fromisoformat(seen.first), date.fromisoformat(seen.last)
        self._cover(first)
        if self.calendar.digest(first, last) != seen.digest:
            raise CalendarMoved(
                f"{self.store.uri}: the calendar of {self.calendar.name} no longer has the sessions"
                f" from {first} to {last} that the lake was published with;"
                " see what changed, then rebuild with --full"
            )

    def _list_inputs(self, arrivals: list[str]) -> dict[int, YearInputs]:
        """List the deliveries of every year that may have news; the others keep their record."""
        known = self.manifest.partitions
        if self.full or self.as_of or self.manifest.as_of or not known:
            years = set(known)
            listing: Iterator[StoredObject] = self.store.list(BRONZE)
        else:
            newest = max(known)
            announced = (Delivery.of_arrival(key) for key in arrivals)
            late = {found.session.year for found in announced if found}
            years = {newest, *(year for year in late if year < newest)}
            listing = self._list_years(sorted(years - {newest}), newest)
        found: dict[int, dict[Delivery, int]] = {year: {} for year in years}
        for item in listing:
            delivery = Delivery.parse(item.key)
            if delivery is not None and self._is_session(delivery.session):
                found.setdefault(delivery.session.year, {})[delivery] = item.size_bytes
            elif not item.key.rpartition("/")[2].startswith((".", "_")):
                why = "is not a session" if delivery else "is not a delivery's name"
                self._problem(f"{item.key}: {why}; take it away and use `ohlcv import`")
        return {
            year: YearInputs(year, deliveries).known_at(self.as_of)
            for year, deliveries in found.items()
        }

    def _is_session(self, day: date) -> bool:
        self._cover(day)
        return self.calendar.is_session(day)

    def _cover(self, day: date) -> None:
        """Reach back with the library's calendar where the lake does; a given one stays."""
        if day < self.calendar.first and not self.calendar_is_given:
            self.calendar = load_calendar(EARLIEST)

    def _list_years(self, late: list[int], newest: int) -> Iterator[StoredObject]:
        for year in late:
            yield from self.store.list(bronze_year_prefix(year))
        yield from self.store.list(BRONZE, start_after=f"{BRONZE}date={newest:04d}")

    def _problem(self, text: str) -> None:
        told = f"{self.store.uri}/{text}"
        self.outcome.problems.append(told)
        self.progress.warn(told)

    def _bring_up(self, year: int, listed: YearInputs | None, carry: CarryChain) -> None:
        """Make a year's partition again if anything that it depends on has changed."""
        record = self.manifest.partitions.get(year)
        splits = splits_of_year(self.splits, year, after_year=carry.year, as_of=self.as_of)
        whole = record is not None and self._is_whole(year, record)
        verdict = Verdict.REBUILD
        if whole and record and not self.full:
            inputs_digest = listed.digest if listed else record.inputs_digest
            verdict = self._verdict(record, inputs_digest, splits, carry)
        if verdict is Verdict.CURRENT and record:
            carry.pass_over(year, record)
            self.outcome.current += 1
        elif verdict is Verdict.RECHAIN and record:
            self._rechain(year, record, carry)
        else:
            base = record if whole and not self.full else None
            built = self._build(listed or self._relist(year), splits, base, carry.state())
            if not len(built.bars) and built.unreadable:
                if record:
                    carry.pass_over(year, record)
            elif not len(built.bars):
                self._remove(year)
            elif (
                base and self._verdict(base, built.inputs.digest, splits, carry) is Verdict.CURRENT
            ):
                carry.pass_over(year, base)
                self.outcome.current += 1
            else:
                self._publish(year, built, splits, carry)
                carry.hand_on(year, built.carry)

    def _verdict(
        self, record: DailyRecord, inputs_digest: str, splits: pl.DataFrame, carry: CarryChain
    ) -> Verdict:
        return judge(
            record,
            inputs_digest=inputs_digest,
            splits_digest=splits_digest(splits),
            carry_digest=carry.digest,
            carry_slice=lambda: carry.state().slice_digest(splits),
        )

    def _is_whole(self, year: int, record: DailyRecord) -> bool:
        """Tell whether what the record describes is what the lake holds."""
        if not self.kept.issuperset(_kept_keys(year, record)):
            return False
        if not self.daily.holds(self.store, year, record.version, record.digest):
            return False
        if not record.restatements_version:
            return year not in self.restated.objects
        return self.restated.holds(
            self.store, year, record.restatements_version, record.restatements_digest
        )

    def _relist(self, year: int) -> YearInputs:
        found = {
            delivery: item.size_bytes
            for item in self.store.list(bronze_year_prefix(year))
            if (delivery := Delivery.parse(item.key)) and self._is_session(delivery.session)
        }
        return YearInputs(year, found).known_at(self.as_of)

    def _rechain(self, year: int, record: DailyRecord, carry: CarryChain) -> None:
        """Hand on the state of earlier years; the year's own rows stay as they are."""
        own = read_carry(self.store, year, record.carry_digest)
        state = carry.state().after(
            own.filter(pl.col("rows") > 0).select("symbol", "rows"),
            own.select("symbol", "pending_ratio"),
        )
        write_carry(self.store, year, state.state)
        handed_on = replace(
            record,
            carry_in_digest=carry.digest,
            carry_digest=state.digest,
        )
        self._commit({year: handed_on})
        self._drop_unreferenced(year, record)
        carry.hand_on(year, state)

    def _build(
        self, inputs: YearInputs, splits: pl.DataFrame, base: DailyRecord | None, carry: Carry
    ) -> _BuiltYear:
        """Make a year's partition from its merged deliveries and what is handed in."""
        merged = self.merged_ahead.pop(inputs.year, None) or self.reader.merge(inputs, base)
        bars = merged.bars
        attached, handed_on = attach_year_splits(bars, splits, carry)
        bars = replace(bars, split_ratio=attached.split_ratio)
        return _BuiltYear(
            bars,
            with_split_digests(merged.digests, bars),
            merged.restatements,
            handed_on,
            inputs.without(merged.unreadable),
            merged.unreadable,
        )

    def _merge_ahead(self, following: list[int], inputs: Mapping[int, YearInputs]) -> None:
        """Merge the next year of this process while others make the years before it."""
        for year in following:
            if self.shard.owns(year):
                is_due = self.full or year not in self.manifest.partitions
                listed = inputs.get(year)
                if is_due and listed and listed.deliveries and year not in self.merged_ahead:
                    self.merged_ahead[year] = self.reader.merge(listed, None)
                return

    def _await(self, year: int, listed: YearInputs | None, carry: CarryChain) -> None:
        """Wait until the process that owns a year has brought it up, and take what it hands on.

        Raises:
            SharedWorkStalled: It has not, and nobody has published anything for a while.
        """
        splits = splits_of_year(self.splits, year, after_year=carry.year, as_of=None)
        seen, changed_at = self.manifest.version, time.monotonic()
        while True:
            require_going(self.stop_requested)
            record = self.manifest.partitions.get(year)
            wants_none = record is None and (listed is None or not listed.deliveries)
            if wants_none:
                return
            if record is not None and (listed is None or listed.deliveries):
                inputs_digest = listed.digest if listed else record.inputs_digest
                if self._verdict(record, inputs_digest, splits, carry) is Verdict.CURRENT:
                    carry.pass_over(year, record)
                    return
            if time.monotonic() - changed_at > PATIENCE_S:
                raise SharedWorkStalled(
                    f"{self.store.uri}: year {year} is the work of shard"
                    f" {year % self.shard.count} of {self.shard.count}, and nothing was published"
                    f" for {PATIENCE_S:.0f} s; look at that shard, then run this one again"
                )
            time.sleep(_POLL_S)
            self.manifest = load_daily_manifest(self.store)
            if self.manifest.version != seen:
                seen, changed_at = self.manifest.version, time.monotonic()

    def _publish(
        self, year: int, built: _BuiltYear, splits: pl.DataFrame, carry: CarryChain
    ) -> None:
        """Write the partition, what belongs to it, and last its record."""
        newest = max(built.sessions)
        metadata = table_metadata(
            interval=DAILY_TABLE,
            anchor="none",
            calendar=self.calendar.version(
                date.fromisoformat(min(built.sessions)), date.fromisoformat(newest)
            ),
            newest=newest,
            results_version=RESULTS_VERSION,
            digest=built.digest,
        )
        stored = publish_partition(
            self.store,
            DAILY_TABLE,
            year,
            [built.bars.to_batch()],
            with_encoded_symbols(schema.DAILY),
            metadata,
            self.daily.expectation(year),
        )
        self._report(DAILY_TABLE, year, len(built.bars), stored)
        require_going(self.stop_requested)
        restatements_version = self._publish_restatements(year, built, metadata)
        require_going(self.stop_requested)
        write_carry(self.store, year, built.carry.state)
        write_inputs(self.store, year, built.inputs.sizes)
        record = DailyRecord(
            results_version=RESULTS_VERSION,
            inputs_digest=built.inputs.digest,
            splits_digest=splits_digest(splits),
            carry_in_digest=carry.digest,
            carry_slice_digest=carry.state().slice_digest(splits),
            carry_digest=built.carry.digest,
            sessions=built.sessions,
            digest=built.digest,
            rows=len(built.bars),
            size_bytes=stored.size_bytes,
            version=stored.version,
            restatements=built.restatements.height,
            restatements_digest=built.restatements_digest,
            restatements_version=restatements_version,
        )
        before = self.manifest.partitions.get(year)
        self._commit({year: record})
        self._drop_unreferenced(year, before)

    def _drop_unreferenced(self, year: int, before: DailyRecord | None) -> None:
        """Take away what an earlier record referred to and the present one does not."""
        if before is None:
            return
        now = self.manifest.partitions.get(year)
        new = _kept_keys(year, now) if now else set()
        self.store.delete(sorted(_kept_keys(year, before) - new))

    def _sweep(self) -> None:
        """Take away what jobs that were cut off kept for records never committed."""
        records = self.manifest.partitions.items()
        now = {key for year, record in records for key in _kept_keys(year, record)}
        self.store.delete(sorted(self.kept - now))

    def _publish_restatements(self, year: int, built: _BuiltYear, metadata: dict[str, str]) -> str:
        """Write the year's restatements, or take the old ones away where there are none now."""
        there = self.restated.objects.get(year)
        if built.restatements.is_empty():
            if there:
                self.store.delete([there.key])
            return ""
        table = to_arrow(built.restatements)
        stored = publish_partition(
            self.store,
            RESTATEMENTS_TABLE,
            year,
            table.to_batches(),
            schema.RESTATEMENTS,
            {
                **metadata,
                "ohlcv.interval": RESTATEMENTS_TABLE,
                DIGEST_ENTRY: built.restatements_digest,
            },
            self.restated.expectation(year),
        )
        self._report(RESTATEMENTS_TABLE, year, built.restatements.height, stored)
        return stored.version

    def _report(self, table: str, year: int, rows: int, stored: StoredObject) -> None:
        self.outcome.published.append(PublishedPartition(table, year, rows, stored.size_bytes))

    def _remove(self, year: int) -> None:
        """Take away a year that has no deliveries any more, its record first."""
        before = self.manifest.partitions.get(year)
        self._commit({year: None})
        parts = (self.daily, self.restated)
        self.store.delete([part.objects[year].key for part in parts if year in part.objects])
        self._drop_unreferenced(year, before)
        self.outcome.removed.append(year)

    def _commit(self, changed: Mapping[int, DailyRecord | None]) -> None:
        """Record partitions, and the calendar that the lake is now published with."""
        self.manifest = commit(self.store, self.manifest, changed, self._published_calendar)

    def _published_calendar(self, records: Mapping[int, DailyRecord]) -> PublishedCalendar | None:
        if not records:
            return None
        first = min(record.oldest for record in records.values())
        last = max(record.newest for record in records.values())
        digest = self.calendar.digest(date.fromisoformat(first), date.fromisoformat(last))
        return PublishedCalendar(first, last, digest)

    def _take_arrivals_away(self, arrivals: list[str], inputs: Mapping[int, YearInputs]) -> None:
        """Remove the announcements of deliveries that were listed, and so are consolidated.

        One whose delivery was not there yet stays: its writer is between the two writes.
        """
        if self.as_of:
            return
        listed = {delivery for year in inputs.values() for delivery in year.deliveries}
        done = [
            key
            for key in arrivals
            if (found := Delivery.of_arrival(key)) in listed
            and found
            and self.shard.owns(found.session.year)
        ]
        if not self.outcome.problems:
            self.store.delete(done)


def _kept_keys(year: int, record: DailyRecord) -> set[str]:
    """What a record keeps beside the manifest."""
    return {carry_key(year, record.carry_digest), inputs_key(year, record.inputs_digest)}
