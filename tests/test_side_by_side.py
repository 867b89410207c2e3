"""Jobs at work on one lake at the same time: nothing is lost, doubled or written over."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import CommitConflict
from batch.core.layout import Anchor
from batch.core.sessions import load_calendar
from batch.lake.manifest import (
    BarsRecord,
    commit,
    load_bars_manifest,
)
from batch.resampler.job import resample
from batch.storage.store import Expect, Expectation, ObjectStore, StoredObject
from tests.oracle import Split, library_sessions
from tests.support.bars import bar
from tests.support.command_line import ROOT, warm_python
from tests.support.lakes import Filled, Receipt, copy_into, new_lake, silver_bytes, versions
from tests.support.passing import PassingStore

pytestmark = pytest.mark.slow

BOTH = tuple(Anchor)
DAYS = [day for day in library_sessions() if 2020 <= day.year <= 2022][::90]


def evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 22, tzinfo=UTC)


def first_deliveries(lake: Filled) -> None:
    for no, day in enumerate(DAYS):
        lake.receive(Receipt(evening(day), "a", (bar("A", day, 5.0 + no), bar("B", day))))
    lake.split(Split("A", DAYS[5], 2.0))


@pytest.fixture(scope="module")
def landed() -> Iterator[Filled]:
    with new_lake() as lake:
        first_deliveries(lake)
        yield lake


LATER = Receipt(evening(date(2023, 1, 20)), "fix", (bar("A", DAYS[0], 1.0), bar("C", DAYS[-1])))


@pytest.fixture(scope="module")
def alone() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Silver as one job alone makes it, before and after the later delivery."""
    with new_lake() as lake:
        first_deliveries(lake)
        lake.run([5], BOTH)
        before = silver_bytes(lake.store)
        lake.receive(LATER)
        lake.run([5], BOTH)
        return before, silver_bytes(lake.store)


class Stepping(PassingStore):
    """A store that lets somebody else act right before its n-th write."""

    def __init__(self, store: ObjectStore, at: int, act: Callable[[], None]) -> None:
        super().__init__(store)
        self.at, self.act = at, act
        self.writes = 0
        self._lock = threading.Lock()

    def write(
        self, key: str, content: bytes | Path, *, expect: Expectation = Expect.ANYTHING
    ) -> StoredObject:
        self._count()
        return super().write(key, content, expect=expect)

    def delete(self, keys: Iterable[str]) -> None:
        waiting = [*keys]
        if waiting:
            self._count()
        super().delete(waiting)

    def _count(self) -> None:
        with self._lock:
            self.writes += 1
            due = self.writes == self.at
        if due:
            self.act()


@pytest.mark.parametrize("what", ["the same", "a later delivery", "a later delivery first"])
def test_a_whole_run_of_another_between_any_two_writes_ends_as_one_run_alone(
    alone: tuple[dict[str, bytes], dict[str, bytes]], landed: Filled, what: str
) -> None:
    at, acted = 0, True
    while acted:
        at += 1 if what == "a later delivery" else 2
        with new_lake() as lake:
            copy_into(lake, landed)
            if what == "a later delivery first":
                lake.run([5], BOTH)
                lake.receive(LATER)

            def other(lake: Filled = lake) -> None:
                if what == "a later delivery":
                    lake.receive(LATER)
                lake.run([5], BOTH)

            stepping = Stepping(lake.store, at, other)
            with suppress(CommitConflict):
                Filled(stepping).run([5], BOTH)
            acted = stepping.writes >= at
            if not acted:
                break

            lake.run([5], BOTH)

            wanted = alone[0] if what == "the same" else alone[1]
            assert silver_bytes(lake.store) == wanted, f"before write {at}"
            settled = versions(lake.store)
            lake.run([5], BOTH)
            assert versions(lake.store) == settled
    assert at > 15


def test_threads_at_once_end_as_one_run_alone(
    alone: tuple[dict[str, bytes], dict[str, bytes]], landed: Filled
) -> None:
    def consolidating(store: ObjectStore, barrier: threading.Barrier) -> None:
        barrier.wait()
        with suppress(CommitConflict):
            consolidate(store, calendar=load_calendar())

    def resampling(store: ObjectStore, barrier: threading.Barrier) -> None:
        barrier.wait()
        for anchor in BOTH:
            with suppress(CommitConflict):
                resample(store, intervals=[5], anchor=anchor, calendar=load_calendar())

    for jobs in (
        (consolidating, consolidating),
        (resampling, resampling),
        (consolidating, resampling, consolidating, resampling),
    ):
        for _ in range(3):
            with new_lake() as lake:
                copy_into(lake, landed)
                if jobs[0] is resampling:
                    consolidate(lake.store, calendar=load_calendar())
                else:
                    lake.run([5], BOTH)
                    lake.receive(LATER)
                barrier = threading.Barrier(len(jobs))
                with ThreadPoolExecutor(len(jobs)) as pool:
                    running = [pool.submit(job, lake.store, barrier) for job in jobs]
                    for one in running:
                        one.result()

                lake.run([5], BOTH)

                wanted = alone[0] if jobs[0] is resampling else alone[1]
                assert silver_bytes(lake.store) == wanted
                assert list(lake.store.list("_state/arrivals/")) == []


def test_processes_at_once_on_both_stores_end_as_one_run_alone(
    any_lake: ObjectStore, alone: tuple[dict[str, bytes], dict[str, bytes]]
) -> None:
    lake = Filled(any_lake)
    first_deliveries(lake)
    consolidate(any_lake, calendar=load_calendar())
    lake.receive(LATER)
    jobs = [
        ["-m", "batch.consolidator"],
        ["-m", "batch.consolidator", "--full"],
        ["-m", "batch.resampler", "--interval", "5"],
        ["-m", "batch.resampler", "--interval", "5"],
    ]

    running = [
        subprocess.Popen(
            [*warm_python(), *job, "--lake", any_lake.uri, "--quiet"],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for job in jobs
    ]
    ended = [(one.communicate(timeout=120)[1], one.returncode) for one in running]
    lake.run([5], BOTH)

    assert {code for _, code in ended} <= {0, 75}, ended
    assert all("Traceback" not in err for err, _ in ended)
    assert silver_bytes(any_lake) == alone[1]


def test_of_two_records_of_one_year_the_first_stays_and_of_two_years_both_do(
    any_lake: ObjectStore,
) -> None:
    def record(digest: str) -> BarsRecord:
        return BarsRecord(digest, "2022-01-03", 1, 1, "v")

    seen = load_bars_manifest(any_lake, "5d")
    commit(any_lake, seen, {2021: record("mine")})

    commit(any_lake, seen, {2022: record("another year")})
    with pytest.raises(CommitConflict, match="2021"):
        commit(any_lake, seen, {2021: record("theirs")})
    commit(any_lake, seen, {2021: record("mine")})

    found = load_bars_manifest(any_lake, "5d").partitions
    assert {year: one.fingerprint for year, one in found.items()} == {
        2021: "mine",
        2022: "another year",
    }


def test_many_committers_of_different_years_all_get_in(any_lake: ObjectStore) -> None:
    seen = load_bars_manifest(any_lake, "5d")
    barrier = threading.Barrier(5)

    def attempt(year: int) -> None:
        barrier.wait()
        commit(any_lake, seen, {year: BarsRecord(str(year), "2022-01-03", 1, 1, "v")})

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(attempt, range(2000, 2005)))

    assert set(load_bars_manifest(any_lake, "5d").partitions) == set(range(2000, 2005))


def test_landing_beside_consolidation_loses_nothing() -> None:
    receipts = [
        Receipt(evening(day), f"s{no}", (bar("A", day, 1.0 + no), bar(f"N{no}", day)))
        for day in DAYS[:8]
        for no in range(4)
    ]
    with new_lake() as lake:
        lake.receive(receipts[0])
        done = threading.Event()

        def keep_consolidating() -> None:
            while not done.is_set():
                consolidate(lake.store, calendar=load_calendar())

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(keep_consolidating)
            for receipt in receipts[1:]:
                lake.receive(receipt)
            done.set()
            running.result()
        lake.run([3])
        found = silver_bytes(lake.store)

    with new_lake() as quiet:
        quiet.receive(*receipts)
        quiet.run([3])
        assert found == silver_bytes(quiet.store)
