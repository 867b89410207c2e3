"""Watching a drop folder: what is dropped is inspected, landed, and made into bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from batch.consolidator.command import consolidate_as_set
from batch.core.errors import (
    DeliveryUnreadable,
    Interrupted,
    ObjectMissing,
    RetryMayHelp,
    SettingsError,
    StoreFull,
)
from batch.core.layout import RECEIPTS, receipt_id
from batch.core.sessions import load_calendar
from batch.lake.partitions import PublishedPartition
from batch.resampler.command import resample_as_set
from batch.runtime.formats import printable
from batch.runtime.progress import LOGGER, Progress, StopRequested, require_going
from batch.runtime.settings import (
    BarsSettings,
    ConsolidatorSettings,
    MemorySettings,
    ResamplerSettings,
    WorkerSettings,
)
from batch.storage.store import ObjectStore
from fetchers.uploads.drop import Upload
from fetchers.uploads.folder import FolderDrop, Unreadable
from fetchers.uploads.inspect import inspect
from fetchers.uploads.lease import Lease
from fetchers.uploads.parts import Reader, jail_for_uploads
from fetchers.uploads.receipts import Receipt, State, give_up_claim, open_ids, read_receipts
from fetchers.uploads.settle import finish, settle
from fetchers.uploads.stillness import PATIENCE, Sorted, Stillness
from fetchers.uploads.waking import Alarm

RESCAN_S: Final = 60.0
"""How often the folder is listed though nothing seems to have changed."""

GATHERED_FOR_S: Final = 60.0
"""How long more files are waited for, if they keep coming, before the bars are made."""


class WatchSettings(BarsSettings, WorkerSettings, MemorySettings):
    """What a watcher reads; all else of its jobs is as by default."""


@dataclass(slots=True)
class Pass:
    """What became of the files of one pass.

    Attributes:
        held: Those held in this pass, not those that have waited for longer.
        moving: Files that were still being written in the end.
        newest: Newest session of the daily bars, if any were made.
        problems: What could not be read, and what the jobs could not do.
    """

    landed: tuple[Receipt, ...] = ()
    nothing_new: tuple[Receipt, ...] = ()
    held: tuple[Receipt, ...] = ()
    quarantined: tuple[Receipt, ...] = ()
    published: list[PublishedPartition] = field(default_factory=list)
    moving: tuple[Upload, ...] = ()
    newest: str | None = None
    problems: list[str] = field(default_factory=list)


class Watcher:
    """Knows which files of a folder were inspected; the folder's listing decides what is new.

    Args:
        time_s: Seconds of a clock that only goes forward.
        clock: The instant.
        stop_requested: Ends a pass between two files, and between two writes of a job.
        open_jail: Opens what reads the files of a pass.
    """

    def __init__(
        self,
        lake: ObjectStore,
        drop: FolderDrop,
        settings: WatchSettings,
        *,
        settle_s: float,
        alarm: Alarm,
        lease: Lease,
        clock: Callable[[], datetime],
        time_s: Callable[[], float],
        stop_requested: StopRequested,
        open_jail: Callable[[ObjectStore], AbstractContextManager[Reader]] = jail_for_uploads,
    ) -> None:
        self._lake = lake
        self._drop = drop
        self._settings = settings
        self._stillness = Stillness(settle_s)
        self._alarm = alarm
        self._lease = lease
        self._clock = clock
        self._time_s = time_s
        self._stop_requested = stop_requested
        self._open_jail = open_jail
        self._known = {found for item in lake.list(RECEIPTS) if (found := receipt_id(item.key))}
        self._unreadable: tuple[Unreadable, ...] = ()

    def watch(self, bring_in: Callable[[], None]) -> None:
        """Watch until a stop is requested; ``bring_in`` makes one pass, by :meth:`bring_in`.

        What a store could not do, and what settings or permissions forbade, is tried again within
        a minute.

        Raises:
            StoreFull: The disk is full.
            Interrupted: A stop was requested in the middle of a pass.
            CommitConflict: Another watcher took over.
        """
        rescan_s = self._time_s()
        while not self._stop_requested():
            due_s: float | None = None
            try:
                self._lease.require()
                is_due = self._time_s() >= rescan_s
                rescan_s = self._time_s() + RESCAN_S if is_due else rescan_s
                has_work = is_due and self.has_work_left()
                found = self._look()
                if found.ready or has_work:
                    bring_in()
                    continue
                due_s = found.due_s
            except (StoreFull, Interrupted):
                raise
            except (RetryMayHelp, SettingsError) as err:
                if self._lease.is_lost:
                    raise
                LOGGER.warning("%s; trying again within a minute", err)
                rescan_s = self._time_s() + RESCAN_S
                self._alarm.wait(RESCAN_S, self._stop_requested)
                continue
            self._wait(rescan_s if due_s is None else min(due_s, rescan_s))

    def has_work_left(self) -> bool:
        """Tell whether something waits that needs no inspection: left over, or released."""
        found = False
        for kept in read_receipts(self._lake, open_ids(self._lake)):
            receipt = kept.receipt
            is_ours = receipt.upload.root == self._drop.root
            if receipt.state is State.CLAIMED:
                if is_ours and self._drop.has(receipt.upload):
                    self._known.discard(receipt.id)
                elif is_ours:
                    give_up_claim(self._lake, receipt.upload)
            elif receipt.state is not State.HELD:
                found |= is_ours or receipt.state is not State.QUARANTINED
        return found

    def has_files(self) -> bool:
        """Tell whether there are files that were not inspected, or that cannot be read."""
        found = self._look()
        return bool(found.ready or found.moving or found.without_end or self._unreadable)

    def bring_in(self, progress: Progress, *, wait_for_all: bool) -> Pass:
        """Inspect what is ready and what becomes ready meanwhile, land it, and make the bars.

        Args:
            progress: Where to report to.
            wait_for_all: Wait also for files without an end, until they are whole or given up.

        Raises:
            Interrupted: A stop was requested; the next pass does the rest.
            RetryMayHelp: The store did not answer, or files would not hold still.
        """
        done, began = Pass(), self._clock()
        moving = self._inspect_all(progress, done, wait_for_all=wait_for_all)
        settled = settle(
            self._lake,
            self._drop,
            calendar=load_calendar(),
            now=self._clock(),
            progress=progress,
            stop_requested=self._must_stop,
            workers=self._settings.workers,
            memory_limit=self._settings.memory_limit,
        )
        done.nothing_new = settled.nothing_new
        done.quarantined = settled.quarantined
        done.held = tuple(one for one in settled.held if one.updated_at >= began)
        if settled.landed:
            self._make_bars(progress, done)
            done.landed = finish(self._lake, settled, now=self._clock())
        self._lease.require()
        if wait_for_all:
            done.moving = moving
            done.problems += [f"{printable(one.key)}: {one.sentence}" for one in self._unreadable]
        return done

    def _make_bars(self, progress: Progress, done: Pass) -> None:
        given = dict(self._settings)
        daily = consolidate_as_set(
            ConsolidatorSettings.model_construct(**given),
            self._lake,
            progress=progress,
            stop_requested=self._must_stop,
        )
        bars = resample_as_set(
            ResamplerSettings.model_construct(**given),
            self._lake,
            progress=progress,
            stop_requested=self._must_stop,
        )
        done.published = [*daily.published, *bars.published]
        done.newest = bars.newest
        done.problems += daily.problems

    def _inspect_all(
        self, progress: Progress, done: Pass, *, wait_for_all: bool
    ) -> tuple[Upload, ...]:
        """Inspect until nothing is left that will be ready soon; return what would not be."""
        found = self._look()
        # Only waiting counts: however long it takes to read what is there, it is made into bars
        # together.
        left_s = max(PATIENCE * self._stillness.settle_s, GATHERED_FOR_S)
        while True:
            if found.ready:
                self._inspect_each(found.ready, progress, done)
            found = self._look()
            is_late = left_s <= 0
            if found.ready and (wait_for_all or not is_late):
                continue
            if found.moving:
                if is_late:
                    return found.moving
            elif found.ready or not (wait_for_all and found.without_end):
                return ()
            began_s = self._time_s()
            self._wait(began_s + left_s if found.due_s is None else found.due_s)
            left_s -= self._time_s() - began_s
            require_going(self._must_stop)
            found = self._look()

    def _inspect_each(self, ready: Sequence[Upload], progress: Progress, done: Pass) -> None:
        progress.begin("inspecting", len(ready), "files")
        with self._open_jail(self._lake) as jail:
            for upload in ready:
                self._inspect(upload, jail, progress, done)
                progress.advance()
                require_going(self._must_stop)

    def _inspect(self, upload: Upload, jail: Reader, progress: Progress, done: Pass) -> None:
        now = self._clock()
        # A file may be dated by another machine's clock; nothing was received in the future.
        dated = replace(upload, uploaded_at=min(upload.uploaded_at, now))
        try:
            inspect(self._lake, self._drop, dated, calendar=load_calendar(), now=now, jail=jail)
        except (ObjectMissing, DeliveryUnreadable) as err:
            give_up_claim(self._lake, upload)
            progress.warn(str(err))
            done.problems.append(str(err))
        self._known.add(upload.id)

    def _look(self) -> Sorted:
        listing = self._drop.scan()
        for one in listing.unreadable:
            if one not in self._unreadable:
                LOGGER.warning("%s: %s", printable(one.key), one.sentence)
        self._unreadable = listing.unreadable
        unknown = [one for one in listing.uploads if one.id not in self._known]
        return self._stillness.sort(unknown, self._time_s(), self._drop.is_whole)

    def _wait(self, until_s: float) -> None:
        left_s = until_s - self._time_s()
        if not self._alarm.has_word:
            left_s = min(left_s, self._stillness.settle_s or 1.0)
        self._alarm.wait(max(left_s, 0.0), self._stop_requested)

    def _must_stop(self) -> bool:
        return self._stop_requested() or self._lease.is_lost
