"""Resampling while a consolidation backfills an older session ends as resampling after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import pytest

from batch.consolidator.job import consolidate
from batch.core.layout import Anchor
from batch.core.sessions import load_calendar
from batch.resampler.job import resample
from batch.storage.store import ObjectStore
from tests.oracle import library_sessions
from tests.support.bars import bar
from tests.support.lakes import Filled, Receipt, assert_bars, new_lake, silver_bytes, versions
from tests.support.passing import PassingStore

DAYS = [day for day in library_sessions() if date(2021, 12, 20) <= day <= date(2022, 1, 14)]
BACKFILLED = date(2021, 12, 17)


def evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 22, tzinfo=UTC)


def first_deliveries(lake: Filled) -> None:
    lake.receive(*(Receipt(evening(day), "a", (bar("A", day, float(day.day)),)) for day in DAYS))


def backfill(lake: Filled) -> None:
    received_at = datetime(2022, 2, 1, 22, tzinfo=UTC)
    lake.receive(Receipt(received_at, "late", (bar("A", BACKFILLED, 99.0),)))
    consolidate(lake.store, calendar=load_calendar())


def resample_3d(store: ObjectStore, anchor: Anchor, *, full: bool = False) -> None:
    resample(store, intervals=[3], anchor=anchor, full=full, calendar=load_calendar())


class ActingAfterRead(PassingStore):
    """A store that lets somebody else act right after its n-th read."""

    def __init__(self, store: ObjectStore, at: int, act: Callable[[], None]) -> None:
        super().__init__(store)
        self.at, self.act = at, act
        self.reads = 0
        self._lock = threading.Lock()

    def read(self, key: str) -> bytes:
        content = super().read(key)
        self._count()
        return content

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        with super().local_copy(key) as path:
            self._count()
            yield path

    def _count(self) -> None:
        with self._lock:
            self.reads += 1
            due = self.reads == self.at
        if due:
            self.act()


@pytest.mark.slow
@pytest.mark.parametrize("anchor", Anchor)
@pytest.mark.parametrize("published_before", [False, True])
def test_a_backfill_after_any_read_of_a_resampling_ends_as_resampling_after_it(
    published_before: bool, anchor: Anchor
) -> None:
    at, acted = 0, True
    while acted:
        at += 1
        with new_lake() as lake:
            first_deliveries(lake)
            consolidate(lake.store, calendar=load_calendar())
            if published_before:
                resample_3d(lake.store, anchor)
                lake.receive(Receipt(evening(DAYS[-1]), "fix", (bar("A", DAYS[-1], 50.0),)))
                consolidate(lake.store, calendar=load_calendar())
            acting = ActingAfterRead(lake.store, at, partial(backfill, lake))
            resample_3d(acting, anchor)
            acted = acting.reads >= at

            resample_3d(lake.store, anchor)

            assert_bars(lake, lake.expected(), 3, anchor)
            found, settled = silver_bytes(lake.store), versions(lake.store)
            resample_3d(lake.store, anchor)
            assert versions(lake.store) == settled, f"after read {at}"
            resample_3d(lake.store, anchor, full=True)
            assert silver_bytes(lake.store) == found, f"after read {at}"
    assert at > 3
