"""Consolidation: read the deliveries that arrived, merge them, publish, record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from itertools import chain

from batch.consolidator.deliveries import DeliveryReader, merge_bytes
from batch.consolidator.merge import Merged
from batch.consolidator.plan import Plan, Verdict, judge, kept_keys
from batch.consolidator.publish import publish_year
from batch.core import errors
from batch.core.layout import (
    ARRIVALS,
    BRONZE,
    CARRY,
    DAILY_TABLE,
    INPUTS,
    RESTATEMENTS_TABLE,
    Delivery,
    bronze_year_prefix,
)
from batch.core.sessions import Calendar, calendar_from
from batch.lake.bases import SplitBases
from batch.lake.carry import Carry
from batch.lake.inputs import ListedDeliveries, YearInputs
from batch.lake.manifest import (
    DailyRecord,
    Manifest,
    PublishedCalendar,
    commit,
    commit_as_of,
    load_daily_manifest,
)
from batch.lake.partitions import PublishedPartition, TablePartitions
from batch.lake.reference import read_splits, splits_known_at
from batch.runtime.formats import count_text
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.runtime.shards import Shard
from batch.storage.store import ObjectStore, StoredObject, require_lake
from batch.version import RESULTS_VERSION

STALLED_AFTER_S = 900.0
"""How long a process waits for the others' years while nothing is published."""

_POLL_S = 0.5
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Consolidation:
    """What one consolidation did.

    ``removed`` are the years that have no deliveries any more, ``current`` counts the daily
    partitions that were up to date, ``newest`` is the newest session in the lake, ISO date, if
    it has any, and ``problems`` says why deliveries could not be used.
    """

    published: tuple[PublishedPartition, ...] = ()
    removed: tuple[int, ...] = ()
    current: int = 0
    deliveries_read: int = 0
    newest: str | None = None
    problems: tuple[str, ...] = ()


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

    Each year is a pure function of its deliveries, its splits and the state that earlier
    years pass on; a year whose inputs have not changed is not touched. A job killed at any
    point is finished by the next one.

    Args:
        store: The lake.
        full: Make every year again, from the deliveries alone.
        as_of: Use only what was known at this instant.
        workers: Threads that read deliveries.
        memory_limit: Bytes that the process should stay under; the rows of one year must
            fit.
        shard: Which years are this process's where several share them; all of them if
            not given. The others must run at the same time: each year waits for the state
            that the one before it passes on.
        progress: Reports years, notes and warnings.
        stop_requested: Called between writes.
        calendar: The library's where not given.

    Raises:
        LakeMissing: There is no lake at the root.
        CalendarMoved: The calendar disagrees with the published sessions.
        CommitConflict: Other jobs kept publishing first.
        SharedWorkStalled: Another process did not publish its years in time.
        Interrupted: A stop was requested.
    """
    progress, shard = progress or Silent(), shard or Shard()
    require_lake(store)
    reader = DeliveryReader(store, workers, merge_bytes(memory_limit), stop_requested)
    attempts_left = _ATTEMPTS
    while True:
        attempts_left -= 1
        try:
            plan = _read_plan(store, full, as_of, calendar, progress)
            return _Job(store, plan, full, as_of, shard, reader, progress, stop_requested).run()
        except (errors.CommitConflict, errors.StateDamaged) as err:
            if not attempts_left:
                raise
            if isinstance(err, errors.CommitConflict):
                progress.note(f"planning again: {err}")
            else:
                progress.warn(f"{err}; its year is rebuilt")
                store.delete([err.key])


def _read_plan(
    store: ObjectStore,
    full: bool,
    as_of: datetime | None,
    calendar: Calendar | None,
    progress: Progress,
) -> Plan:
    # Before the deliveries: of one that lands in between nothing is announced here, so its
    # announcement stays for the next run.
    arrivals = tuple(item.key for item in store.list(ARRIVALS))
    manifest = load_daily_manifest(store, on_damaged=progress.warn)
    known = manifest.partitions
    # Another version may have counted other deliveries, in any year.
    is_current = all(record.results_version == RESULTS_VERSION for record in known.values())
    if full or as_of or manifest.as_of or not known or not is_current:
        years = {*known}
        objects: Iterable[StoredObject] = store.list(BRONZE)
    else:
        newest = max(known)
        announced = {found.session.year for key in arrivals if (found := Delivery.of_arrival(key))}
        late = sorted(year for year in announced if year < newest)
        years = {newest, *late}
        objects = chain(
            *(store.list(bronze_year_prefix(year)) for year in late),
            store.list(BRONZE, start_after=f"{BRONZE}date={newest:04d}"),
        )
    listing = ListedDeliveries.of(objects)
    seen = manifest.calendar
    if calendar is None:
        published_from = date.fromisoformat(seen.first) if seen else None
        oldest = [day for day in (listing.oldest, published_from) if day]
        calendar = calendar_from(min(oldest, default=None))
    if seen and not full and PublishedCalendar.of(calendar, seen.first, seen.last) != seen:
        raise errors.CalendarMoved(
            f"{store.uri}: the calendar of {calendar.name} no longer has the sessions"
            f" from {seen.first} to {seen.last} that the lake was published with;"
            " see what changed, then rebuild with --full"
        )
    # A year listed without a delivery has lost all of its deliveries.
    listed = {year: YearInputs(year, {}) for year in years} | listing.by_year(calendar)
    splits = read_splits(store)
    return Plan(
        manifest=manifest,
        calendar=calendar,
        inputs={year: inputs.known_at(as_of) for year, inputs in listed.items()},
        splits=splits_known_at(splits, as_of),
        bases=SplitBases.of(splits, calendar),
        kept=frozenset(item.key for prefix in (CARRY, INPUTS) for item in store.list(prefix)),
        daily=TablePartitions.list(store, DAILY_TABLE),
        restated=TablePartitions.list(store, RESTATEMENTS_TABLE),
        arrivals=arrivals,
        repeats=frozenset(listing.repeats),
        before_close=tuple(listing.before_close(calendar)),
        problems=tuple(
            f"{store.uri}/{key}: {why}; remove it and use `ohlcv import`"
            for key, why in listing.unusable(calendar).items()
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Done:
    """How far an attempt has come.

    The manifest is as this job, or another shard, committed it last; ``carry`` is the state
    that ``year``, the last one with rows, passes on. ``merged_ahead`` holds a year that was
    merged while other shards make the years before it.
    """

    manifest: Manifest[DailyRecord]
    outcome: Consolidation
    year: int | None = None
    carry: Carry = field(default_factory=Carry.none)
    merged_ahead: Mapping[int, Merged] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """One attempt at a plan; what has been done is passed from year to year as a value."""

    store: ObjectStore
    plan: Plan
    full: bool
    as_of: datetime | None
    shard: Shard
    reader: DeliveryReader
    progress: Progress
    stop_requested: StopRequested

    def run(self) -> Consolidation:
        """Bring up every year, oldest first, then clear away what is no longer needed."""
        manifest, years = self.plan.manifest, self.plan.years
        if not self.shard.is_all and (self.as_of or manifest.as_of):
            raise errors.SettingsError(
                f"{self.store.uri}: --as-of and the return from it work in one process;"
                " run `ohlcv consolidate` without --shards"
            )
        for problem in self.plan.problems:
            self.progress.warn(problem)
        if early := self.plan.before_close:
            self.progress.warn(
                f"{self.store.uri}: {count_text(len(early), 'deliveries')} received before the"
                f" close of the session, the first {early[0].key}: left out; if it holds the"
                " whole session, import its file again with the right --received-at"
            )
        self.progress.begin("consolidating", len(years), "years")
        if self.as_of:
            manifest = commit_as_of(self.store, manifest, self.as_of.isoformat())
        done = _Done(manifest, Consolidation(problems=self.plan.problems))
        for year in years:
            require_going(self.stop_requested)
            if self.shard.owns(year):
                done = self._bring_up(year, done)
            else:
                done = self._await(year, self._merge_ahead(year, done))
            self.progress.advance()
        manifest = done.manifest
        if manifest.as_of and not self.as_of:
            manifest = commit_as_of(self.store, manifest, None)
        if self.full and self.shard.is_all:
            self._sweep(manifest)
        if not self.as_of and not done.outcome.problems:
            self._remove_arrivals()
        newest = manifest.newest
        return replace(done.outcome, newest=newest.isoformat() if newest else None)

    def _bring_up(self, year: int, done: _Done) -> _Done:
        """Make a year's partition again if anything that it depends on has changed."""
        listed, record = self.plan.inputs.get(year), done.manifest.partitions.get(year)
        if (listed is None and record is None) or (listed and not listed.deliveries):
            return self._remove(year, done)
        splits = self.plan.splits_for(year, after_year=done.year)
        base = record if record and not self.full and self._is_whole(year, record) else None
        if base:
            verdict = judge(base, listed, splits, done.carry, self.plan.bases)
            if verdict is Verdict.CURRENT:
                return self._keep(year, base, done)
            if verdict is Verdict.RECHAIN:
                return self._rechain(year, base, done)
            if verdict is Verdict.REMERGE:
                base = None
        inputs = listed or self._list_year(year)
        if year not in done.merged_ahead:
            done = self._merge(inputs, base, done)
        merged = done.merged_ahead[year]
        done = replace(done, merged_ahead={})
        used = inputs.without(merged.unusable)
        if not len(merged.bars):
            if not merged.unusable:
                return self._remove(year, done)
            # What is published stays until there is a delivery that can be read.
            return replace(done, year=year, carry=self._carry_of(year, record)) if record else done
        if base and judge(base, used, splits, done.carry, self.plan.bases) is Verdict.CURRENT:
            return self._keep(year, base, done)
        new, carry, partitions = publish_year(
            self.store,
            self.plan,
            used,
            merged,
            splits=splits,
            carry_in=done.carry,
            stop_requested=self.stop_requested,
        )
        manifest = self._commit(year, new, done.manifest)
        outcome = replace(done.outcome, published=(*done.outcome.published, *partitions))
        return replace(done, year=year, carry=carry, manifest=manifest, outcome=outcome)

    def _is_whole(self, year: int, record: DailyRecord) -> bool:
        plan = self.plan
        if not plan.kept.issuperset(kept_keys(year, record)):
            return False
        if not plan.daily.holds(self.store, year, record.version, record.bytes_digest):
            return False
        if not record.restatements_version:
            return year not in plan.restated.objects
        return plan.restated.holds(
            self.store, year, record.restatements_version, record.restatements_bytes_digest
        )

    def _list_year(self, year: int) -> YearInputs:
        """List the deliveries of a year that had no news of its own."""
        listing = ListedDeliveries.of(self.store.list(bronze_year_prefix(year)))
        inputs = listing.by_year(self.plan.calendar).get(year, YearInputs(year, {}))
        return inputs.known_at(self.as_of)

    def _merge(self, inputs: YearInputs, base: DailyRecord | None, done: _Done) -> _Done:
        merged = self.reader.merge(inputs, self.plan.bases, base)
        reasons = merged.unusable.values()
        problems = [f"{self.store.uri}/{why}; the other deliveries went on" for why in reasons]
        for problem in problems:
            self.progress.warn(problem)
        outcome = replace(
            done.outcome,
            deliveries_read=done.outcome.deliveries_read + merged.deliveries_read,
            problems=(*done.outcome.problems, *problems),
        )
        return replace(done, outcome=outcome, merged_ahead={inputs.year: merged})

    def _merge_ahead(self, year: int, done: _Done) -> _Done:
        """Merge the next year of this shard if it must be made from nothing."""
        later = (y for y in self.plan.years if y > year and self.shard.owns(y))
        following = next(later, None)
        if following is None or following in done.merged_ahead:
            return done
        if not self.full and following in done.manifest.partitions:
            return done
        inputs = self.plan.inputs.get(following)
        return self._merge(inputs, None, done) if inputs and inputs.deliveries else done

    def _await(self, year: int, done: _Done) -> _Done:
        """Wait until the shard that owns a year has brought it up."""
        listed = self.plan.inputs.get(year)
        is_empty = listed is not None and not listed.deliveries
        splits = self.plan.splits_for(year, after_year=done.year)
        manifest, changed_at = done.manifest, time.monotonic()
        while True:
            require_going(self.stop_requested)
            record = manifest.partitions.get(year)
            if record is None and (listed is None or is_empty):
                return replace(done, manifest=manifest)
            bases = self.plan.bases
            verdict = judge(record, listed, splits, done.carry, bases) if record else None
            if record and not is_empty and verdict is Verdict.CURRENT:
                carry = self._carry_of(year, record)
                return replace(done, year=year, carry=carry, manifest=manifest)
            if time.monotonic() - changed_at > STALLED_AFTER_S:
                raise errors.SharedWorkStalled(
                    f"{self.store.uri}: year {year} is the work of shard"
                    f" {year % self.shard.count} of {self.shard.count}, and nothing was published"
                    f" for {STALLED_AFTER_S:.0f} s; look at that shard, then run this one again"
                )
            time.sleep(_POLL_S)
            reloaded = load_daily_manifest(self.store)
            if reloaded.version != manifest.version:
                changed_at = time.monotonic()
            manifest = reloaded

    def _carry_of(self, year: int, record: DailyRecord) -> Carry:
        return Carry.stored(self.store, year, record.carry_digest)

    def _keep(self, year: int, record: DailyRecord, done: _Done) -> _Done:
        outcome = replace(done.outcome, current=done.outcome.current + 1)
        return replace(done, year=year, carry=self._carry_of(year, record), outcome=outcome)

    def _rechain(self, year: int, record: DailyRecord, done: _Done) -> _Done:
        """Pass on the changed state of earlier years; the year's own rows stay as they are."""
        own = self._carry_of(year, record).state
        carry = done.carry.after(own.select("symbol", "rows", "pending_ratio"))
        carry.keep(self.store, year)
        new = replace(record, carry_in_digest=done.carry.digest, carry_digest=carry.digest)
        manifest = self._commit(year, new, done.manifest)
        return replace(done, year=year, carry=carry, manifest=manifest)

    def _remove(self, year: int, done: _Done) -> _Done:
        """Take away a year that has no deliveries any more, its record first."""
        tables = (self.plan.daily, self.plan.restated)
        partitions = [table.objects[year].key for table in tables if year in table.objects]
        manifest = self._commit(year, None, done.manifest, partitions)
        outcome = replace(done.outcome, removed=(*done.outcome.removed, year))
        return replace(done, manifest=manifest, outcome=outcome)

    def _commit(
        self,
        year: int,
        record: DailyRecord | None,
        seen: Manifest[DailyRecord],
        partitions: Iterable[str] = (),
    ) -> Manifest[DailyRecord]:
        """Record a year, then delete partitions and what only its earlier record refers to."""
        calendar = partial(_published_calendar, self.plan.calendar)
        manifest = commit(self.store, seen, {year: record}, calendar)
        self.store.delete(partitions)
        before, now = seen.partitions.get(year), manifest.partitions.get(year)
        self.store.delete(sorted(kept_keys(year, before) - kept_keys(year, now)))
        return manifest

    def _sweep(self, manifest: Manifest[DailyRecord]) -> None:
        """Delete what jobs that were cut off kept for records never committed."""
        records = manifest.partitions.items()
        referred = {key for year, record in records for key in kept_keys(year, record)}
        self.store.delete(sorted(self.plan.kept - referred))

    def _remove_arrivals(self) -> None:
        """Delete the announcements of deliveries that were listed, and so are consolidated.

        One whose delivery was not there yet stays: its writer is between the two writes.
        """
        years = [inputs for year, inputs in self.plan.inputs.items() if self.shard.owns(year)]
        consolidated = {one.arrival_key for inputs in years for one in inputs.deliveries}
        consolidated |= {one.arrival_key for one in self.plan.repeats}
        consolidated |= {one.arrival_key for one in self.plan.before_close}
        self.store.delete(key for key in self.plan.arrivals if key in consolidated)


def _published_calendar(
    calendar: Calendar, records: Mapping[int, DailyRecord]
) -> PublishedCalendar | None:
    if not records:
        return None
    first = min(record.oldest for record in records.values())
    last = max(record.newest for record in records.values())
    return PublishedCalendar.of(calendar, first, last)
