"""Settling uploads: what is staged lands, what is refused goes into quarantine.

This is trusted code: it reads rows that :mod:`fetchers.uploads.inspect` has staged, never the
bytes of a stranger, and writes bronze and the reference tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Final

import polars as pl

from batch.core import schema
from batch.core.errors import CommitConflict, ObjectMissing
from batch.core.frames import conform, empty_frame
from batch.core.layout import (
    Delivery,
    kept_id,
    kept_kind_prefix,
    kept_prefix,
    news_key,
    open_key,
    source_slug,
    staged_prefix,
)
from batch.core.rules import calendar_for, sift
from batch.core.sessions import Calendar
from batch.lake.landing import Arrivals, land
from batch.runtime.memory import PROCESS_BYTES
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.storage.store import ObjectStore
from fetchers.files.reference import Kind
from fetchers.files.reference_tables import add_rows, news_of
from fetchers.uploads.drop import Drop
from fetchers.uploads.guard import Guard
from fetchers.uploads.inspect import BARS
from fetchers.uploads.landing import (
    Entry,
    Gathered,
    forget_finished,
    plan_entries,
    planned_entries,
    rank_behind,
    write_entries,
)
from fetchers.uploads.layouts import keep_layouts
from fetchers.uploads.quarantine import quarantine
from fetchers.uploads.receipts import (
    SHOWN_ID,
    Kept,
    Receipt,
    Sessions,
    State,
    become,
    change_receipt,
    open_ids,
    read_receipt,
    read_receipts,
    write_receipt,
)
from fetchers.uploads.rules import USUAL, SourceRules, read_rules
from fetchers.uploads.standing import Position, Standing, position_of

ROWS_AT_ONCE: Final = 1_000_000
_ROW_BYTES: Final = 600
"""Memory per row of what is judged, compared and written at once."""

_TRIES: Final = 20
_KEY: Final = ["symbol", "date"]
_REFERENCE_KEYS: Final = {
    Kind.SPLITS: _KEY,
    Kind.DIVIDENDS: [*_KEY, "dividend_type", "cash_amount", "currency"],
    Kind.TICKERS: ["symbol"],
}
"""The key of each reference table; of rows with the same key, the last one counts."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the uploads that were open.

    Attributes:
        landed: Those whose rows are in the lake; they count as landed once the bars are made
            (:func:`finish`).
        nothing_new: Those whose rows were all in the lake already.
        held: Those that wait for a person's word, from earlier on too.
        quarantined: Those that were copied into quarantine now.
    """

    landed: tuple[Receipt, ...] = ()
    nothing_new: tuple[Receipt, ...] = ()
    held: tuple[Receipt, ...] = ()
    quarantined: tuple[Receipt, ...] = ()


def settle(
    lake: ObjectStore,
    drop: Drop,
    *,
    calendar: Calendar,
    now: datetime,
    progress: Progress | None = None,
    stop_requested: StopRequested = never,
    workers: int = 2,
    memory_limit: int | None = None,
) -> Settled:
    """Land all that is staged, and put what is refused into quarantine.

    What lands comes out as if each upload had been imported by itself, in the order of receipt.
    One that would change too much of what is published is held instead.

    Args:
        lake: The lake.
        drop: Where refused uploads are copied from; those of other drops stay for theirs.
        calendar: The exchange calendar.
        now: The instant.
        progress: Where to report to.
        stop_requested: Ends it between two stretches of sessions; the next run continues.
        workers: Deliveries read side by side.
        memory_limit: Peak memory in bytes to stay under.

    Raises:
        SettingsError: The source rules cannot be read.
        Interrupted: A stop was requested.
        RetryMayHelp: The store did not answer; the next run continues.
    """
    rows_at_once = _rows_at_once(memory_limit)
    run = _Settling(
        lake, calendar, now, progress or Silent(), stop_requested, workers, rows_at_once
    )
    quarantined = _quarantine_refused(lake, drop)
    landed, nothing_new = run.land_all(read_rules(lake))
    held = [one.receipt for one in _open(lake) if one.receipt.state is State.HELD]
    held.sort(key=lambda one: one.order)
    return Settled(tuple(landed), tuple(nothing_new), tuple(held), quarantined)


def finish(lake: ObjectStore, settled: Settled, *, now: datetime) -> tuple[Receipt, ...]:
    """Count uploads as landed once the bars are made; what was staged of them goes.

    Raises:
        RetryMayHelp: The store did not answer; settling and finishing again does the rest.
    """
    finished = []
    for receipt in settled.landed:
        done = become(lake, receipt.id, State.LANDED, deliveries=receipt.deliveries, now=now)
        keep_layouts(lake, done)
        _forget_staged(lake, done.id)
        finished.append(done)
    forget_finished(lake)
    return tuple(finished)


def _open(lake: ObjectStore) -> list[Kept]:
    return list(read_receipts(lake, open_ids(lake)))


def _quarantine_refused(lake: ObjectStore, drop: Drop) -> tuple[Receipt, ...]:
    """Copy what is refused; take away what is left of uploads whose end was interrupted."""
    done = []
    for kept in _open(lake):
        receipt = kept.receipt
        if receipt.state is State.QUARANTINED and receipt.upload.root == drop.root:
            quarantine(lake, drop, receipt)
            done.append(receipt)
        elif receipt.state not in (State.LANDED, State.NOTHING_NEW):
            continue
        _forget_staged(lake, receipt.id)
    return tuple(done)


def _rows_at_once(memory_limit: int | None) -> int:
    if memory_limit is None:
        return ROWS_AT_ONCE
    fitting = (memory_limit - PROCESS_BYTES) // _ROW_BYTES
    return max(ROWS_AT_ONCE // 20, min(ROWS_AT_ONCE, fitting))


def _forget_staged(lake: ObjectStore, upload_id: str) -> None:
    """Remove what was staged of an upload; the marker that it is open goes last."""
    keys = sorted(item.key for item in lake.list(staged_prefix(upload_id)))
    lake.delete(keys)


@dataclass(frozen=True, slots=True)
class _Landed:
    """What became of one upload: its deliveries, and rows that changed a reference table.

    ``left_out`` says whether some sessions stood as they are, so that they did not land.
    """

    deliveries: frozenset[Delivery] = frozenset()
    reference_rows: int = 0
    left_out: bool = False

    @property
    def has_news(self) -> bool:
        return bool(self.deliveries or self.reference_rows)


@dataclass(frozen=True, slots=True)
class _Target:
    """Where rows land: the instants of their deliveries, and their rank behind others of these."""

    position: Position
    rank: str = ""


class _Settling:
    """One run of settling, which lists each year of the lake once."""

    def __init__(
        self,
        lake: ObjectStore,
        calendar: Calendar,
        now: datetime,
        progress: Progress,
        stop_requested: StopRequested,
        workers: int,
        rows_at_once: int,
    ) -> None:
        self._lake = lake
        self._calendar = calendar
        self._now = now
        self._progress = progress
        self._stop_requested = stop_requested
        self._rows_at_once = rows_at_once
        self._arrivals = Arrivals(lake)
        self._gathered = Gathered(lake)
        self._judged: set[str] = set()
        self._without_news: set[str] = set()
        self._standing = Standing(lake, calendar, workers=workers)

    def land_all(self, rules: Mapping[str, SourceRules]) -> tuple[list[Receipt], list[Receipt]]:
        """Carry out what is planned, then plan and carry out what is staged, until all is done."""
        done: dict[str, Receipt] = {}
        for _ in range(_TRIES):
            entries, version = planned_entries(self._lake)
            waiting = [one for one in entries if not done.keys() >= {*one.uploads}]
            if waiting:
                self._progress.begin(
                    "landing uploads", sum(len(one.members) for one in waiting), "files"
                )
            self._judged.clear()
            for entry in sorted(waiting, key=lambda one: one.position):
                for receipt in self._carry_out(entry):
                    done[receipt.id] = receipt
            reopened = self._reopen_after(waiting, done)
            planned = {upload for entry in entries for upload in entry.uploads}
            staged = [
                one.receipt
                for one in _open(self._lake)
                if one.receipt.state is State.STAGED and one.receipt.id not in planned
            ]
            fresh = self._plan(staged, rules)
            if not fresh:
                if reopened:
                    continue
                break
            try:
                write_entries(self._lake, (*entries, *fresh), version)
            except CommitConflict:
                continue  # another run planned meanwhile: its entries come first
        else:
            raise CommitConflict(f"{self._lake.uri}: others kept landing uploads; run it again")
        forget_finished(self._lake)
        results = sorted(done.values(), key=lambda one: one.order)
        return (
            [one for one in results if one.state is State.STAGED],
            [one for one in results if one.id in self._without_news],
        )

    def _plan(self, staged: Sequence[Receipt], rules: Mapping[str, SourceRules]) -> list[Entry]:
        """Hold what the guard objects to; say what of the rest lands together."""
        if not staged:
            return []
        guard = Guard(self._lake, self._standing)
        passed: list[Receipt] = []
        symbols: dict[str, frozenset[str]] = {}
        for receipt in sorted(staged, key=lambda one: one.order):
            require_going(self._stop_requested)
            try:
                own = self._passed(guard, receipt, rules.get(receipt.upload.source, USUAL))
            except ObjectMissing:
                kept = read_receipt(self._lake, receipt.id)
                if kept and kept.receipt.state is State.STAGED:
                    raise
                continue  # another run has finished it meanwhile
            if own is not None:
                passed.append(receipt)
                symbols[receipt.id] = own
        return list(plan_entries(passed, symbols, self._standing, self._gathered, self._calendar))

    def _passed(self, guard: Guard, receipt: Receipt, rules: SourceRules) -> frozenset[str] | None:
        """Return the symbols of an upload; None where the guard has held it."""
        with self._rows(receipt) as paths:
            stretches = (self._accepted(paths, dates, receipt) for dates in self._dates(paths))
            objection = None if receipt.released else guard.objection(receipt, stretches, rules)
            if objection is None:
                return _symbols_of(paths)

        def held(current: Receipt) -> Receipt:
            if current.state is not State.STAGED:
                return current
            return replace(
                current,
                state=State.HELD,
                finding=objection.finding,
                examples=objection.examples,
                updated_at=self._now,
            )

        change_receipt(self._lake, receipt.id, held)
        return None

    def _carry_out(self, entry: Entry) -> list[Receipt]:
        """Land the uploads of an entry; return their receipts, final where nothing was new."""
        found = [kept.receipt for kept in read_receipts(self._lake, entry.uploads)]
        waiting = [one for one in found if one.state is State.STAGED]
        if all(one.deliveries is not None for one in waiting):
            return found  # an earlier run landed them all
        try:
            landed = self._land(entry, waiting)
        except ObjectMissing:
            # Another run may have finished it meanwhile.
            again = [kept.receipt for kept in read_receipts(self._lake, entry.uploads)]
            if any(one.state is State.STAGED for one in again):
                raise
            return again
        done = [one for one in found if one.state is not State.STAGED]
        for one in waiting:
            self._progress.advance()
            self._judged.add(one.id)
            own = landed[one.id]
            if own.left_out:
                self._keep_bars(one)
            if own.has_news:
                done.append(self._note(one, deliveries=len(own.deliveries)))
                continue
            done.append(become(self._lake, one.id, State.NOTHING_NEW, deliveries=0, now=self._now))
            self._without_news.add(one.id)
            _forget_staged(self._lake, one.id)
        return done

    def _note(self, receipt: Receipt, *, deliveries: int) -> Receipt:
        """Write down that an upload has landed, and as how many deliveries."""
        noted = replace(receipt, deliveries=deliveries, updated_at=self._now)

        def as_noted(current: Receipt) -> Receipt:
            return noted if current.state is State.STAGED else current

        change_receipt(self._lake, receipt.id, as_noted)
        return noted

    def _land(self, entry: Entry, receipts: Sequence[Receipt]) -> dict[str, _Landed]:
        """Land the rows of an entry, some sessions at a time."""
        landed: dict[str, _Landed] = {}
        around: list[Entry] = []
        if len(entry.members) > 1:
            self._gathered.keep(entry)
        else:
            around = self._gathered.around(entry.position, entry.uploads[0])
        with ExitStack() as stack:
            paths = {one.id: stack.enter_context(self._rows(one)) for one in receipts}
            for one in receipts:
                landed[one.id] = _Landed(reference_rows=self._land_reference(one))
            for dates in self._dates([path for own in paths.values() for path in own]):
                require_going(self._stop_requested)
                read = {one.id: _rows_of(paths[one.id], dates) for one in receipts}
                news = {one.id: self._news(one, read[one.id], entry, around) for one in receipts}
                for each, own in news.items():
                    if sum(rows.height for rows in own.values()) < read[each].height:
                        landed[each] = replace(landed[each], left_out=True)
                for target in dict.fromkeys(key for own in news.values() for key in own):
                    rows = {each: own[target] for each, own in news.items() if target in own}
                    for each, deliveries in self._land_rows(entry, target, rows).items():
                        before = landed[each]
                        landed[each] = replace(before, deliveries=before.deliveries | deliveries)
        return landed

    def _land_rows(
        self, entry: Entry, target: _Target, rows: Mapping[str, pl.DataFrame]
    ) -> dict[str, frozenset[Delivery]]:
        together = pl.concat(rows.values())
        found = land(
            self._lake,
            together,
            received_at=target.position.received_at,
            source=entry.source,
            calendar=calendar_for(together, self._calendar),
            arrived_at=target.position.arrived_at,
            arrivals=self._arrivals,
            rank=target.rank,
        )
        self._standing.add(found.deliveries)
        sessions = {one: set(own["date"]) for one, own in rows.items()}
        return {
            one: frozenset(each for each in found.deliveries if each.session in own)
            for one, own in sessions.items()
        }

    def _news(
        self, receipt: Receipt, rows: pl.DataFrame, entry: Entry, around: Sequence[Entry]
    ) -> dict[_Target, pl.DataFrame]:
        """Return an upload's rows by where they land, without sessions that stand as they are.

        Rows that override some of an entry of several uploads, which has landed as received when
        its last one was, land right behind it.
        """
        own = position_of(receipt)
        accepted = sift(rows, calendar_for(rows, self._calendar), receipt.received_at).accepted
        parts: dict[_Target, pl.DataFrame] = {}
        for other in sorted(around, key=lambda one: one.position, reverse=True):
            if receipt.id in other.uploads:  # as a member of it: what landed then has landed
                keys = self._standing.keys_at(accepted, other.position, source_slug(other.source))
                accepted = accepted.join(keys, on=_KEY, how="anti")
                rows = rows.join(keys, on=_KEY, how="anti", nulls_equal=True)
                continue
            overridden = accepted.filter(pl.col("symbol").is_in(other.symbols_before(own)))
            if overridden.is_empty():
                continue
            keys = self._standing.keys_at(overridden, other.position, source_slug(other.source))
            behind, rank = rank_behind(other, own)
            moved = accepted.join(keys, on=_KEY, how="semi")
            news = self._without_standing(rows.join(keys, on=_KEY, how="semi"), moved, behind)
            if not news.is_empty():
                parts[_Target(behind, rank)] = news
            accepted = accepted.join(keys, on=_KEY, how="anti")
            rows = rows.join(keys, on=_KEY, how="anti", nulls_equal=True)
        news = self._without_standing(rows, accepted, own)
        if not news.is_empty():
            parts[_Target(entry.position)] = news
        return parts

    def _without_standing(
        self, rows: pl.DataFrame, accepted: pl.DataFrame, position: Position
    ) -> pl.DataFrame:
        """Leave out the sessions of which every accepted row stands already."""
        if accepted.is_empty():
            return rows
        standing = self._standing.rows_before(accepted, position)
        news = accepted.join(standing, on=accepted.columns, how="anti", nulls_equal=True)
        changed = news["date"].unique()
        as_before = accepted.filter(~pl.col("date").is_in(changed.implode()))["date"].unique()
        return rows.filter(pl.col("date").is_null() | ~pl.col("date").is_in(as_before.implode()))

    def _land_reference(self, receipt: Receipt) -> int:
        """Add an upload's rows to the reference tables, less those that later uploads have."""
        changed = 0
        for item in self._lake.list(staged_prefix(receipt.id)):
            kind = next((one for one in Kind if item.key.endswith(f"-{one}.parquet")), None)
            if kind is None:
                continue
            content = self._lake.read(item.key)
            name = item.key.rpartition("/")[2]
            self._lake.write(f"{_kept_prefix(kind, receipt)}{name}", content)
            rows = pl.read_parquet(content)
            for later in self._kept_after(kind, receipt):
                keys = pl.read_parquet(self._lake.read(later)).select(_REFERENCE_KEYS[kind])
                rows = rows.join(keys, on=keys.columns, how="anti", nulls_equal=True)
            news = news_of(self._lake, kind, rows)
            if news:
                # Written down first: a run that continues this one finds the rows in the table.
                self._lake.write(news_key(receipt.id), b"")
                add_rows(self._lake, kind, rows, self._now.date())
                self._standing.forget_splits()
            changed += news
        has_changed = changed or self._lake.head(news_key(receipt.id))
        return max(changed, 1) if has_changed else 0

    def _kept_after(self, kind: str, receipt: Receipt) -> Iterator[str]:
        """Return what is kept of later uploads, in the order of receipt."""
        prefix = _kept_prefix(kind, receipt)
        for item in self._lake.list(kept_kind_prefix(kind), start_after=prefix):
            if not item.key.startswith(prefix):
                yield item.key

    def _keep_bars(self, receipt: Receipt) -> None:
        """Keep the bars of an upload of which something stood as it is, and did not land.

        Should an older upload come yet that differs, it will be news.
        """
        for item in self._lake.list(staged_prefix(receipt.id)):
            if item.key.endswith(f"-{BARS}.parquet"):
                name = item.key.rpartition("/")[2]
                key = f"{_kept_prefix(BARS, receipt)}{name}"
                self._lake.write(key, self._lake.read(item.key))

    def _reopen_after(self, entries: Sequence[Entry], done: dict[str, Receipt]) -> bool:
        """Stage again what stood as it is where older uploads have landed since.

        What was judged in this pass was judged after them. Returns whether there is any.
        """
        reopened = False
        landed = [
            done[upload]
            for entry in entries
            for upload in entry.uploads
            if upload in done and done[upload].deliveries
        ]
        for one in landed:
            prefix = _kept_prefix(BARS, one)
            found = self._lake.list(kept_kind_prefix(BARS), start_after=prefix)
            ids = {upload for item in found if (upload := kept_id(item.key))}
            for kept in read_receipts(self._lake, sorted(ids - self._judged)):
                later = kept.receipt
                if _overlap(later.sessions, one.sessions):
                    self._reopen(kept)
                    done.pop(later.id, None)
                    self._without_news.discard(later.id)
                    reopened = True
        return reopened

    def _reopen(self, kept: Kept) -> None:
        """Stage an upload again; of one that is staged still, forget that it has landed."""
        receipt = kept.receipt
        items = list(self._lake.list(_kept_prefix(BARS, receipt)))
        self._lake.write(open_key(receipt.id), b"")
        for item in items:
            name = item.key.rpartition("/")[2]
            self._lake.write(f"{staged_prefix(receipt.id)}{name}", self._lake.read(item.key))
        staged = replace(receipt, state=State.STAGED, deliveries=None, updated_at=self._now)
        write_receipt(self._lake, staged, kept.version)
        self._lake.delete(item.key for item in items)

    @contextmanager
    def _rows(self, receipt: Receipt) -> Iterator[list[Path]]:
        """Give local copies of an upload's staged bars."""
        with ExitStack() as stack:
            keys = [item.key for item in self._lake.list(staged_prefix(receipt.id))]
            if not any(key.endswith(".parquet") for key in keys):
                raise ObjectMissing(
                    f"{self._lake.uri}: what was staged of {receipt.upload.address} is gone; retry"
                    f" it with `ohlcv uploads retry {receipt.id[:SHOWN_ID]}`"
                )
            bars = [key for key in keys if key.endswith(f"-{BARS}.parquet")]
            yield [stack.enter_context(self._lake.local_copy(key)) for key in bars]

    def _accepted(
        self, paths: Sequence[Path], dates: Sequence[date | None], receipt: Receipt
    ) -> pl.DataFrame:
        rows = _rows_of(paths, dates)
        return sift(rows, calendar_for(rows, self._calendar), receipt.received_at).accepted

    def _dates(self, paths: Sequence[Path]) -> Iterator[list[date | None]]:
        """Return the dates of rows, so many at a time as may be in memory; the undated first."""
        if not paths:
            return
        counts = pl.scan_parquet([*paths]).group_by("date").len().sort("date").collect()
        dates: list[date | None] = []
        rows = 0
        for day, count in counts.iter_rows():
            if dates and rows + count > self._rows_at_once:
                yield dates
                dates, rows = [], 0
            dates.append(day)
            rows += count
        if dates:
            yield dates


def _rows_of(paths: Sequence[Path], dates: Sequence[date | None]) -> pl.DataFrame:
    if not paths:
        return empty_frame(schema.STAGED)
    given = [day for day in dates if day is not None]
    is_wanted = pl.col("date").is_null() if None in dates else pl.lit(value=False)
    if given:
        is_wanted |= pl.col("date").is_between(given[0], given[-1])
    return conform(pl.scan_parquet([*paths]).filter(is_wanted).collect(), schema.STAGED)


def _symbols_of(paths: Sequence[Path]) -> frozenset[str]:
    if not paths:
        return frozenset()
    found = pl.scan_parquet([*paths]).select(pl.col("symbol").unique()).collect()["symbol"]
    return frozenset(found.drop_nulls())


def _kept_prefix(kind: str, receipt: Receipt) -> str:
    return kept_prefix(kind, receipt.received_at, receipt.upload.uploaded_at, receipt.id)


def _overlap(one: Sessions | None, other: Sessions | None) -> bool:
    return bool(one and other and one.first <= other.last and other.first <= one.last)
