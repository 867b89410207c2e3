"""Settling uploads: what is staged lands, what is refused goes into quarantine.

This is trusted code: it reads rows that :mod:`fetchers.uploads.inspect` has staged, never the
bytes of a stranger, and writes bronze.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Final

import polars as pl

from batch.core import schema
from batch.core.errors import CommitConflict, ObjectMissing
from batch.core.frames import conform, empty_frame
from batch.core.layout import Delivery, staged_prefix
from batch.core.rules import sift
from batch.core.sessions import EARLIEST, Calendar, load_calendar
from batch.lake.landing import Arrivals, land
from batch.runtime.memory import PROCESS_BYTES
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.storage.store import ObjectStore
from fetchers.uploads.drop import Drop
from fetchers.uploads.inspect import BARS
from fetchers.uploads.landing import Entry, add_entries, remove_uploads
from fetchers.uploads.layouts import keep_layouts
from fetchers.uploads.quarantine import quarantine
from fetchers.uploads.receipts import (
    Kept,
    Receipt,
    State,
    open_ids,
    read_receipt,
    read_receipts,
    write_receipt,
)
from fetchers.uploads.standing import Standing

ROWS_AT_ONCE: Final = 1_000_000
_ROW_BYTES: Final = 600
"""Memory per row of what is judged, compared and written at once."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of the uploads that were open.

    Attributes:
        landed: Those whose deliveries are in bronze; they count as landed once the bars are made
            (:func:`finish`).
        nothing_new: Those whose rows are all in the lake already.
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

    Args:
        lake: The lake.
        drop: Where refused uploads are copied from; those of other drops stay for theirs.
        calendar: The exchange calendar.
        now: The instant.
        progress: Where to report to.
        stop_requested: Ends it between two sessions' worth of rows; the next run continues.
        workers: Deliveries read side by side.
        memory_limit: Peak memory in bytes to stay under.

    Raises:
        Interrupted: A stop was requested.
        RetryMayHelp: The store did not answer; the next run continues.
    """
    progress = progress or Silent()
    kept = {one.receipt.id: one for one in read_receipts(lake, open_ids(lake))}
    by_state: dict[State, list[Kept]] = {state: [] for state in State}
    for one in kept.values():
        by_state[one.receipt.state].append(one)
    for one in (*by_state[State.LANDED], *by_state[State.NOTHING_NEW]):
        _forget_staged(lake, one.receipt.id)
    quarantined = tuple(
        one.receipt for one in by_state[State.QUARANTINED] if one.receipt.upload.root == drop.root
    )
    for receipt in quarantined:
        quarantine(lake, drop, receipt)
        _forget_staged(lake, receipt.id)
    entries = add_entries(lake, _plan(one.receipt for one in by_state[State.STAGED]))
    run = _Settling(lake, calendar, now, stop_requested, workers, _rows_at_once(memory_limit))
    progress.begin("landing uploads", sum(len(one.uploads) for one in entries), "files")
    landed: list[Receipt] = []
    nothing_new: list[Receipt] = []
    for entry in sorted(entries, key=lambda one: one.position):
        for receipt in run.carry_out(entry):
            (nothing_new if receipt.state is State.NOTHING_NEW else landed).append(receipt)
            progress.advance()
    remove_uploads(lake, [one.id for one in nothing_new])
    return Settled(
        tuple(landed),
        tuple(nothing_new),
        tuple(one.receipt for one in by_state[State.HELD]),
        quarantined,
    )


def finish(lake: ObjectStore, settled: Settled, *, now: datetime) -> tuple[Receipt, ...]:
    """Count uploads as landed once the bars are made; what was staged of them goes.

    Raises:
        RetryMayHelp: The store did not answer; the next settling and finishing does the rest.
    """
    finished = []
    for receipt in settled.landed:
        done = _become(lake, receipt.id, State.LANDED, deliveries=receipt.deliveries, now=now)
        keep_layouts(lake, done)
        finished.append(done)
        _forget_staged(lake, receipt.id)
    remove_uploads(lake, [one.id for one in finished])
    return tuple(finished)


def _plan(staged: Iterable[Receipt]) -> Iterator[Entry]:
    for one in sorted(staged, key=lambda receipt: receipt.order):
        yield Entry(one.upload.source, one.received_at, one.upload.uploaded_at, (one.id,))


def _rows_at_once(memory_limit: int | None) -> int:
    if memory_limit is None:
        return ROWS_AT_ONCE
    fitting = (memory_limit - PROCESS_BYTES) // _ROW_BYTES
    return max(ROWS_AT_ONCE // 20, min(ROWS_AT_ONCE, fitting))


def _forget_staged(lake: ObjectStore, upload_id: str) -> None:
    lake.delete([item.key for item in lake.list(staged_prefix(upload_id))])


def _become(
    lake: ObjectStore, upload_id: str, state: State, *, deliveries: int | None, now: datetime
) -> Receipt:
    """Give an upload its final state, unless it has one."""
    for _ in range(10):
        kept = read_receipt(lake, upload_id)
        if kept is None:
            raise ObjectMissing(f"{lake.uri}: the receipt of upload {upload_id[:12]} is gone")
        if kept.receipt.state.is_final:
            return kept.receipt
        changed = replace(kept.receipt, state=state, deliveries=deliveries, updated_at=now)
        try:
            return write_receipt(lake, changed, kept.version).receipt
        except CommitConflict:
            continue
    raise CommitConflict(f"upload {upload_id[:12]}: others kept writing its receipt; run it again")


@dataclass(frozen=True, slots=True)
class _Member:
    """An upload that lands, and local copies of its staged rows."""

    receipt: Receipt
    paths: tuple[Path, ...]


class _Settling:
    """One run of settling, which reads each delivery's listing once."""

    def __init__(
        self,
        lake: ObjectStore,
        calendar: Calendar,
        now: datetime,
        stop_requested: StopRequested,
        workers: int,
        rows_at_once: int,
    ) -> None:
        self._lake = lake
        self._calendar = calendar
        self._now = now
        self._stop_requested = stop_requested
        self._rows_at_once = rows_at_once
        self._arrivals = Arrivals(lake)
        self._standing = Standing(lake, calendar, workers=workers)

    def carry_out(self, entry: Entry) -> list[Receipt]:
        """Land the uploads of an entry; return their receipts, final where nothing was new."""
        receipts = [kept.receipt for kept in read_receipts(self._lake, [*entry.uploads])]
        waiting = [one for one in receipts if one.state is State.STAGED]
        if not waiting:
            return []
        try:
            with ExitStack() as stack:
                members = [self._member(one, stack) for one in waiting]
                deliveries = self._land(entry, members)
        except ObjectMissing:
            # Another run may have finished it meanwhile.
            again = [kept.receipt for kept in read_receipts(self._lake, [*entry.uploads])]
            if any(one.state is State.STAGED for one in again):
                raise
            return []
        done = []
        for one in waiting:
            count = len(deliveries[one.id])
            if count:
                done.append(replace(one, deliveries=count))
                continue
            done.append(_become(self._lake, one.id, State.NOTHING_NEW, deliveries=0, now=self._now))
            _forget_staged(self._lake, one.id)
        return done

    def _member(self, receipt: Receipt, stack: ExitStack) -> _Member:
        keys = [item.key for item in self._lake.list(staged_prefix(receipt.id))]
        bars = [key for key in keys if key.endswith(f"-{BARS}.parquet")]
        paths = [stack.enter_context(self._lake.local_copy(key)) for key in bars]
        if not paths and receipt.sessions:
            raise ObjectMissing(f"{self._lake.uri}: what was staged of {receipt.id[:12]} is gone")
        return _Member(receipt, tuple(paths))

    def _land(self, entry: Entry, members: list[_Member]) -> dict[str, set[Delivery]]:
        """Land the rows of an entry, some sessions at a time; return what each upload became."""
        landed: dict[str, set[Delivery]] = {one.receipt.id: set() for one in members}
        for dates in self._stretches(members):
            require_going(self._stop_requested)
            changed = {one.receipt.id: self._changed_rows(one, dates) for one in members}
            rows = pl.concat([empty_frame(schema.STAGED), *changed.values()])
            if rows.is_empty():
                continue
            found = land(
                self._lake,
                rows,
                received_at=entry.received_at,
                source=entry.source,
                calendar=self._calendar_of(rows),
                arrived_at=entry.arrived_at,
                arrivals=self._arrivals,
            )
            self._standing.add(found.deliveries)
            for upload_id, own in changed.items():
                sessions = set(own["date"])
                landed[upload_id] |= {one for one in found.deliveries if one.session in sessions}
        return landed

    def _changed_rows(self, member: _Member, dates: list[date | None]) -> pl.DataFrame:
        """Return an upload's rows of some dates, without the sessions that stand as they are."""
        rows = _rows_of(member.paths, dates)
        receipt = member.receipt
        accepted = sift(rows, self._calendar_of(rows), receipt.received_at).accepted
        if accepted.is_empty():
            return rows
        position = (receipt.received_at, receipt.upload.uploaded_at)
        standing = self._standing.rows_before(accepted, position)
        news = accepted.join(standing, on=accepted.columns, how="anti", nulls_equal=True)
        with_news = news["date"].unique()
        unchanged = accepted.filter(~pl.col("date").is_in(with_news.implode()))["date"].unique()
        return rows.filter(pl.col("date").is_null() | ~pl.col("date").is_in(unchanged.implode()))

    def _stretches(self, members: list[_Member]) -> Iterator[list[date | None]]:
        """Return the dates of the rows, so many at a time as may be in memory; undated first."""
        paths = [path for one in members for path in one.paths]
        if not paths:
            return
        counts = (
            pl.scan_parquet(paths).group_by("date").len().sort("date", nulls_last=False).collect()
        )
        dates: list[date | None] = []
        rows = 0
        for day, count in counts.iter_rows():
            if dates and rows + count > self._rows_at_once:
                yield dates
                dates, rows = [], 0
            dates.append(day)
            rows += count
        yield dates

    def _calendar_of(self, rows: pl.DataFrame) -> Calendar:
        oldest = rows["date"].min()
        too_old = isinstance(oldest, date) and oldest < self._calendar.first
        return load_calendar(EARLIEST) if too_old else self._calendar


def _rows_of(paths: tuple[Path, ...], dates: list[date | None]) -> pl.DataFrame:
    if not paths:
        return empty_frame(schema.STAGED)
    given = [day for day in dates if day is not None]
    is_wanted = pl.col("date").is_null() if None in dates else pl.lit(value=False)
    if given:
        is_wanted |= pl.col("date").is_between(given[0], given[-1])
    return conform(pl.scan_parquet([*paths]).filter(is_wanted).collect(), schema.STAGED)
