"""Uploads killed at any write, and run again, end where they do if they were never killed."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import RetryMayHelp, StoreUnavailable
from batch.core.layout import LANDING, STAGED, UPLOAD_RULES
from batch.core.sessions import load_calendar
from batch.storage import s3
from batch.storage.s3 import S3Store
from batch.storage.store import ObjectStore, open_store
from fetchers.uploads.inspect import inspect
from fetchers.uploads.receipts import State, all_receipts
from fetchers.uploads.settle import settle
from tests.support.bars import bar
from tests.support.faulty_s3 import faulty_s3
from tests.support.killing import Death, DyingStore, Killed
from tests.support.lakes import new_lake
from tests.support.uploads import MadeDrop, ReadHere, csv_of, round_of

DAYS = [date(2024, 12, 31), date(2025, 1, 2)]
AT = datetime(2025, 1, 6, 15, tzinfo=UTC)
STRIDE = int(os.environ.get("OHLCV_KILL_STRIDE", "37"))
"""Every so manyth write is killed at; 1 for all of them."""

RULES = b"[sources.late]\nmax_restated_share = 1.0\n"


def dropped(folder: Path) -> list[MadeDrop]:
    """Two rounds of files: gathered, copied, corrected, of splits, refused, held, and late."""
    rounds = []
    for number in (1, 2):
        drop = MadeDrop(folder / str(number))
        drop.folder.mkdir()
        rounds.append(drop)
    first, second = rounds
    for place, symbol in enumerate("ABC"):
        content = csv_of(*(bar(symbol, day) for day in DAYS))
        first.put(f"one/{symbol}.csv", content, AT + timedelta(seconds=place))
    first.put("one/copy of C.csv", csv_of(*(bar("C", day) for day in DAYS)), AT.replace(hour=16))
    splits = b"ticker,execution_date,split_from,split_to\nA,2025-01-02,1,2\n"
    first.put("one/splits.csv", splits, AT.replace(hour=17))
    first.put("one/page.csv", b"<html>log in</html>", AT.replace(hour=18))
    late = csv_of(bar("A", DAYS[0], 11.0), bar("C", DAYS[0], 11.0))
    second.put("late/A.csv", late, AT + timedelta(milliseconds=500))
    second.put(
        "one/all.csv", csv_of(*(bar(one, DAYS[0], 90.0) for one in "ABC")), AT.replace(day=7)
    )
    return rounds


def play(lake: ObjectStore, rounds: list[MadeDrop], plain: ObjectStore) -> None:
    """Take the files of each round; the bars between are made by a job that is not killed."""
    for number, drop in enumerate(rounds):
        if number:
            consolidate(plain, calendar=load_calendar())
        round_of(lake, drop, drop.uploads, AT + timedelta(days=5 + number))


def outcome(lake: ObjectStore) -> dict[str, object]:
    receipts = [kept.receipt for kept in all_receipts(lake)]
    objects = {
        item.key: lake.read(item.key)
        for prefix in ("bronze/", "reference/", "quarantine/")
        for item in lake.list(prefix)
    }
    return {
        "receipts": {one.id: (one.state, one.deliveries) for one in receipts},
        "objects": objects,
        "staged": [item.key for item in lake.list(STAGED)],
        "plan": lake.read(LANDING),
    }


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> list[MadeDrop]:
    return dropped(tmp_path_factory.mktemp("dropped"))


@pytest.fixture(scope="module")
def never_killed(rounds: list[MadeDrop]) -> dict[str, object]:
    with new_lake() as lake:
        lake.store.write(UPLOAD_RULES, RULES)
        play(lake.store, rounds, lake.store)
        return outcome(lake.store)


def test_the_files_take_every_way(never_killed: dict[str, Any]) -> None:
    states = [state for state, _ in never_killed["receipts"].values()]

    assert Counter(states) == {
        State.LANDED: 5,
        State.NOTHING_NEW: 1,
        State.QUARANTINED: 1,
        State.HELD: 1,
    }
    daily = [key for key in never_killed["objects"] if key.startswith("bronze/daily/")]
    assert len(daily) == 4  # two sessions gathered, and of a late one that is before and inside


def play_with_kill(lake: ObjectStore, rounds: list[MadeDrop], last: int, death: Death) -> bool:
    """Play until a write, then from the start without an end; tell whether it was killed."""
    lake.write(UPLOAD_RULES, RULES)
    try:
        play(DyingStore(lake, last, death), rounds, lake)
    except Killed:
        play(lake, rounds, lake)
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("death", [Death.BEFORE, Death.AFTER])
def test_a_kill_at_any_write_is_finished_by_the_next_run(
    death: Death, rounds: list[MadeDrop], never_killed: dict[str, object]
) -> None:
    last = STRIDE if death is Death.BEFORE else STRIDE // 2 + 1
    kills = 0
    while True:
        with new_lake() as lake:
            if not play_with_kill(lake.store, rounds, last, death):
                break

            assert outcome(lake.store) == never_killed, f"killed {death.value} write {last}"
            kills += 1
            last += STRIDE
    assert (kills + 1) * STRIDE > 90


@pytest.fixture(scope="module")
def first_round(rounds: list[MadeDrop]) -> dict[str, object]:
    with new_lake() as lake:
        lake.store.write(UPLOAD_RULES, RULES)
        play(lake.store, rounds[:1], lake.store)
        return outcome(lake.store)


@pytest.mark.slow
def test_a_kill_at_writes_to_s3_is_finished_by_the_next_run(
    s3_lake: ObjectStore, rounds: list[MadeDrop], first_round: dict[str, object]
) -> None:
    assert isinstance(s3_lake, S3Store)
    for last in range(STRIDE, 60, STRIDE):
        store = S3Store(s3_lake.bucket, f"lake{last}", s3_lake.client)

        assert play_with_kill(store, rounds[:1], last, Death.AFTER)

        assert outcome(store) == first_round, f"killed after write {last}"


@pytest.mark.slow
def test_a_store_that_fails_in_the_middle_loses_nothing(
    s3_lake: ObjectStore,
    rounds: list[MadeDrop],
    first_round: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(s3_lake, S3Store)
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    drop, calendar, now = rounds[0], load_calendar(), AT + timedelta(days=5)
    with faulty_s3() as side:
        monkeypatch.setenv("AWS_ENDPOINT_URL", side.url)
        lake = open_store(f"s3://{s3_lake.bucket}/faulty")
        lake.write(UPLOAD_RULES, RULES)

        side.slow = True
        with pytest.raises(StoreUnavailable):
            round_of(lake, drop, drop.uploads, now)
        side.slow = False
        for one in drop.uploads:
            inspect(lake, drop, one, calendar=calendar, now=now, jail=ReadHere())
        side.slow = True
        with pytest.raises(StoreUnavailable):
            settle(lake, drop, calendar=calendar, now=now)
        side.slow = False
        play(lake, rounds[:1], lake)

        assert len(side.refused) > 1
        assert outcome(lake) == first_round


@pytest.mark.slow
def test_two_runs_at_the_same_time_land_each_upload_once(
    any_lake: ObjectStore, rounds: list[MadeDrop], first_round: dict[str, Any]
) -> None:
    any_lake.write(UPLOAD_RULES, RULES)
    failed: list[BaseException] = []

    def run(start: Barrier) -> None:
        start.wait()
        try:
            for _ in range(2):
                with suppress(RetryMayHelp):  # the other one was first: run again
                    round_of(any_lake, rounds[0], rounds[0].uploads, AT + timedelta(days=5))
        except BaseException as err:  # noqa: BLE001 - reported in the test's own thread
            failed.append(err)

    start = Barrier(2)
    threads = [Thread(target=run, args=(start,)) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    play(any_lake, rounds[:1], any_lake)

    assert failed == []
    assert outcome(any_lake) == first_round
