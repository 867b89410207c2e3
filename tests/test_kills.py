"""A job killed at any write and run again ends where one that was never killed does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from batch.core.layout import Anchor
from batch.storage.s3 import S3Store
from batch.storage.store import ObjectStore
from tests.oracle import Split, library_sessions
from tests.support.bars import bar
from tests.support.command_line import ROOT
from tests.support.killing import Death, DyingStore, Killed
from tests.support.lakes import Filled, Receipt, copy_into, new_lake, silver_bytes, versions

WIDTHS = (3, 34)


def evening(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 22, tzinfo=UTC)


def days_of(year: int, first: int, count: int) -> list[date]:
    return [day for day in library_sessions() if day.year == year][first:][:count]


def first_deliveries(lake: Filled) -> None:
    for year in (2021, 2022):
        for day in days_of(year, 249 if year == 2021 else 0, 2):
            lake.receive(Receipt(evening(day), "a", (bar("A", day), bar("B", day))))
    # On the basis of a split that only the next step learns of.
    rebased = bar("A", days_of(2021, 249, 1)[0], volume=200.0)
    lake.receive(Receipt(evening(date(2022, 1, 10)), "again", (rebased,)))


def correction_split_and_late_year(lake: Filled) -> None:
    day = days_of(2021, 249, 1)[0]
    new = days_of(2022, 2, 1)[0]
    lake.receive(Receipt(evening(date(2022, 2, 1)), "fix", (bar("A", day, 12.0), bar("C", day))))
    lake.receive(Receipt(evening(new), "a", (bar("A", new), bar("B", new))))
    late = days_of(2020, 5, 1)[0]
    lake.receive(Receipt(evening(date(2022, 2, 2)), "late", (bar("A", late),)))
    lake.split(Split("A", days_of(2022, 1, 1)[0], 2.0), Split("B", days_of(2021, 250, 1)[0], 3.0))


STEPS = (first_deliveries, correction_split_and_late_year)


def run(store: ObjectStore, *, as_of: datetime | None = None) -> None:
    lake = Filled(store)
    lake.run(WIDTHS, tuple(Anchor), as_of=as_of)


def never_killed() -> list[dict[str, bytes]]:
    states = []
    with new_lake() as lake:
        for step in STEPS:
            step(lake)
            run(lake.store)
            states.append(silver_bytes(lake.store))
    return states


@pytest.fixture(scope="module")
def landed() -> Iterator[list[Filled]]:
    """What each step lands, by itself."""
    with new_lake() as first, new_lake() as second:
        made = [first, second]
        for lake, step in zip(made, STEPS, strict=True):
            step(lake)
        yield made


@pytest.mark.slow
@pytest.mark.parametrize(("step", "death"), [(0, Death.BEFORE), (0, Death.AFTER), (1, Death.AFTER)])
def test_a_kill_at_every_write_of_both_jobs_is_finished_by_the_next_run(
    step: int, death: Death, landed: list[Filled]
) -> None:
    wanted = never_killed()[step]
    kills = 0
    while True:
        with new_lake() as lake:
            for earlier in landed[:step]:
                copy_into(lake, earlier)
                run(lake.store)
            copy_into(lake, landed[step])
            dying = DyingStore(lake.store, kills + 1, death)
            try:
                run(dying)
            except Killed:
                kills += 1
            else:
                break

            run(lake.store)

            assert silver_bytes(lake.store) == wanted, f"killed {death.value} write {kills}"
            settled = versions(lake.store)
            run(lake.store)
            assert versions(lake.store) == settled
            assert list(lake.store.list("_state/arrivals/")) == []
    assert kills > 25


@pytest.mark.slow
def test_a_kill_on_the_way_to_a_past_instant_and_back_is_finished() -> None:
    as_of = datetime(2022, 1, 20, tzinfo=UTC)
    with new_lake() as lake:
        for step in STEPS:
            step(lake)
        run(lake.store)
        present = silver_bytes(lake.store)
        run(lake.store, as_of=as_of)
        past = silver_bytes(lake.store)
        run(lake.store)
        for going_back, reached in ((as_of, past), (None, present)):
            kills = 0
            while True:
                run(lake.store, as_of=None if going_back else as_of)
                dying = DyingStore(lake.store, kills + 1, Death.AFTER)
                try:
                    run(dying, as_of=going_back)
                except Killed:
                    kills += 1
                else:
                    break
                if kills % 3 == 0:
                    run(lake.store, as_of=going_back)
                    assert silver_bytes(lake.store) == reached
                run(lake.store)
                assert silver_bytes(lake.store) == present, f"killed at write {kills}"
            assert kills > 8


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_full_rebuild_is_finished() -> None:
    wanted = never_killed()[-1]
    with new_lake() as lake:
        for step in STEPS:
            step(lake)
            run(lake.store)
        for last in range(1, 25, 3):
            dying = DyingStore(lake.store, last, Death.AFTER)
            with pytest.raises(Killed):
                Filled(dying).run(WIDTHS, tuple(Anchor), full=True)

            run(lake.store)

            assert silver_bytes(lake.store) == wanted


def test_a_kill_at_writes_to_s3_is_finished_by_the_next_run(s3_lake: ObjectStore) -> None:
    wanted = never_killed()[-1]
    assert isinstance(s3_lake, S3Store)
    for last in (3, 8, 13, 22):
        store = S3Store(s3_lake.bucket, f"lake{last}", s3_lake.client)
        lake = Filled(store)
        for step in STEPS:
            step(lake)
        with pytest.raises(Killed):
            run(DyingStore(store, last, Death.AFTER if last % 2 else Death.BEFORE))

        run(store)

        assert silver_bytes(store) == wanted


CHILD = """
import sys
from pathlib import Path
from batch.storage.local import LocalStore
from tests.support.killing import Death, DyingStore
from tests.test_kills import run
run(DyingStore(LocalStore(Path(sys.argv[1])), int(sys.argv[2]), Death(sys.argv[3])))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("last", "death"),
    [(1, Death.EXIT_AFTER), (3, Death.EXIT_BEFORE), (9, Death.EXIT_AFTER), (15, Death.EXIT_BEFORE)],
)
def test_a_process_that_is_gone_leaves_no_lock_and_no_doubt(last: int, death: Death) -> None:
    wanted = never_killed()[-1]
    with new_lake() as lake:
        for step in STEPS:
            step(lake)
        died = subprocess.run(
            [sys.executable, "-c", CHILD, lake.store.uri, str(last), death.value],
            cwd=ROOT,
            check=False,
            timeout=60,
        )

        run(lake.store)

        assert died.returncode == 9
        assert silver_bytes(lake.store) == wanted
        assert list(Path(lake.store.uri, "_state/scratch").iterdir()) == []


def test_a_kill_while_landing_loses_no_delivery_that_lands_again() -> None:
    day, next_day = days_of(2022, 0, 2)
    rows = (bar("A", day), bar("A", next_day), bar(" ", day))
    receipts = (Receipt(evening(next_day), "a", rows),)
    with new_lake() as lake:
        lake.receive(*receipts)
        run(lake.store)
        wanted = silver_bytes(lake.store)
    for last in range(1, 20):
        with new_lake() as lake:
            try:
                Filled(DyingStore(lake.store, last, Death.AFTER)).receive(*receipts)
            except Killed:
                run(lake.store)
            else:
                break
            lake.receive(*receipts)
            run(lake.store)

            assert silver_bytes(lake.store) == wanted
    assert last == 6
