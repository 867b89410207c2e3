"""Vacuum removes what newer deliveries fully supersede, and nothing else."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batch.audit.vacuum import VacuumPlan, apply_vacuum, plan_vacuum
from batch.consolidator.job import consolidate
from batch.core.errors import DataRefused
from batch.core.layout import BRONZE, Delivery
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from fetchers.request import SessionRange
from orchestration.cli.main import cli
from tests.fetchers.support import new_york, vendor
from tests.support.bars import bar, land_rows, received_after

DAY = date(2025, 1, 15)
NOW = datetime(2025, 2, 1, tzinfo=UTC)


def deliver(
    store: ObjectStore, calendar: Calendar, rows: list[dict[str, Any]], *, day: int
) -> Delivery:
    """Land rows of one session some days after it."""
    landed = land_rows(store, rows, calendar, received_at=received_after(DAY, days=day))
    return landed.deliveries[0]


def gone(plan: VacuumPlan) -> list[Delivery]:
    return [one.delivery for one in plan.superseded]


def published(store: ObjectStore) -> dict[str, bytes]:
    return {item.key: store.read(item.key) for item in store.list("silver/")}


def test_a_repeated_delivery_is_superseded_by_its_repetition(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    rows = [bar("A", DAY), bar("B", DAY)]
    first = deliver(any_lake, calendar, rows, day=0)
    second = deliver(any_lake, calendar, rows, day=1)
    consolidate(any_lake, calendar=calendar)
    before = published(any_lake)

    plan = plan_vacuum(any_lake, now=NOW)
    apply_vacuum(any_lake, plan)

    assert [(one.delivery, one.by, one.restated_values) for one in plan.superseded] == [
        (first, second, 0)
    ]
    assert [item.key for item in any_lake.list(BRONZE)] == [second.key]
    consolidate(any_lake, full=True, calendar=calendar)
    assert published(any_lake) == before


def test_a_delivery_with_a_symbol_of_its_own_stays(lake: LocalStore, calendar: Calendar) -> None:
    deliver(lake, calendar, [bar("A", DAY), bar("B", DAY)], day=0)
    deliver(lake, calendar, [bar("A", DAY)], day=1)
    consolidate(lake, calendar=calendar)

    assert gone(plan_vacuum(lake, now=NOW, forget_corrections=True)) == []


def test_two_newer_deliveries_together_supersede_nothing(
    lake: LocalStore, calendar: Calendar
) -> None:
    deliver(lake, calendar, [bar("A", DAY), bar("B", DAY)], day=0)
    deliver(lake, calendar, [bar("A", DAY)], day=1)
    deliver(lake, calendar, [bar("B", DAY)], day=2)
    consolidate(lake, calendar=calendar)

    assert gone(plan_vacuum(lake, now=NOW)) == []


def test_a_corrected_delivery_stays_for_its_restatement_unless_it_may_be_forgotten(
    lake: LocalStore, calendar: Calendar
) -> None:
    first = deliver(lake, calendar, [bar("A", DAY, 10.0)], day=0)
    deliver(lake, calendar, [bar("A", DAY, 11.0, volume=100.0)], day=1)
    consolidate(lake, calendar=calendar)
    daily = Lake(lake).bars("1d")

    kept = plan_vacuum(lake, now=NOW)
    forgotten = plan_vacuum(lake, now=NOW, forget_corrections=True)
    apply_vacuum(lake, forgotten)
    consolidate(lake, full=True, calendar=calendar)

    assert gone(kept) == []
    assert [one.delivery for one in kept.kept_for_restatements] == [first]
    assert [(one.delivery, one.restated_values) for one in forgotten.superseded] == [(first, 5)]
    assert Lake(lake).bars("1d").equals(daily)
    assert Lake(lake).restatements().is_empty()


@pytest.mark.parametrize(
    ("closes", "left"),
    [
        ([10.0, 10.0, 11.0], [1, 2]),
        ([10.0, 11.0, 11.0], [0, 1, 2]),
        ([10.0, 11.0, 10.0], [0, 1, 2]),
        ([10.0, 10.0, 10.0], [2]),
        ([10.0, 11.0, 11.0, 11.0], [0, 1, 3]),
    ],
)
def test_whatever_is_removed_a_rebuild_gives_the_same_bars_and_restatements(
    lake: LocalStore, calendar: Calendar, closes: list[float], left: list[int]
) -> None:
    deliveries = [
        deliver(lake, calendar, [bar("A", DAY, close)], day=day) for day, close in enumerate(closes)
    ]
    consolidate(lake, calendar=calendar)
    before = published(lake)

    apply_vacuum(lake, plan_vacuum(lake, now=NOW))
    consolidate(lake, full=True, calendar=calendar)

    assert [item.key for item in lake.list(BRONZE)] == [deliveries[n].key for n in left]
    assert published(lake) == before


def test_an_answer_that_a_vacuum_removed_is_no_news_when_it_is_fetched_again(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    with vendor(calendar, new_york(DAY, 18)) as polygon:
        polygon.fetch(any_lake, SessionRange(DAY, DAY))
        answer = polygon.stub.market.rows(DAY, polygon.clock()).to_dicts()
        corrected = [{**row, "volume": row["volume"] + 5_000.0} for row in answer]
        later = received_after(DAY, days=1)
        land_rows(any_lake, corrected, calendar, received_at=later, source="import")
        consolidate(any_lake, calendar=calendar)
        before = Lake(any_lake).bars("1d")
        plan = plan_vacuum(any_lake, now=NOW, forget_corrections=True)
        apply_vacuum(any_lake, plan)

        again = polygon.fetch(any_lake, SessionRange(DAY, DAY, again=True))
    consolidate(any_lake, full=True, calendar=calendar)

    assert [one.delivery.sender for one in plan.superseded] == ["polygon"]
    assert again.unchanged_sessions == 1
    assert Lake(any_lake).bars("1d").equals(before)


def test_a_file_that_a_vacuum_removed_is_no_news_when_it_is_imported_again(
    lake: LocalStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"{DAY}.csv"

    def run(*words: str) -> Any:
        assert run_main(cli, [*words, "--lake", lake.uri, "--json"], name="ohlcv") == 0
        return json.loads(capsys.readouterr().out)

    def import_close(close: int) -> Any:
        row = f"A,{DAY},{close},{close},{close},{close},1"
        file.write_text(f"symbol,date,open,high,low,close,volume\n{row}\n")
        return run("import", str(file))

    import_close(10)
    import_close(11)
    run("consolidate")
    forgotten = run("vacuum", "--forget-corrections", "--yes")
    left = list(lake.list(BRONZE))

    again = import_close(10)

    assert len(forgotten["superseded"]) == 1
    assert again["new_deliveries"] == 0
    assert list(lake.list(BRONZE)) == left


def test_an_incremental_run_after_a_vacuum_changes_nothing(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    deliver(any_lake, calendar, [bar("A", DAY)], day=0)
    deliver(any_lake, calendar, [bar("A", DAY)], day=1)
    consolidate(any_lake, calendar=calendar)
    before = published(any_lake)
    apply_vacuum(any_lake, plan_vacuum(any_lake, now=NOW))

    outcome = consolidate(any_lake, calendar=calendar)

    assert outcome.problems == ()
    assert published(any_lake) == before


def test_a_newer_delivery_that_waits_to_be_consolidated_supersedes_nothing(
    lake: LocalStore, calendar: Calendar
) -> None:
    deliver(lake, calendar, [bar("A", DAY)], day=0)
    consolidate(lake, calendar=calendar)
    waiting = deliver(lake, calendar, [bar("A", DAY)], day=1)

    plan = plan_vacuum(lake, now=NOW)

    assert gone(plan) == []
    assert "has not been consolidated" in plan.passed_over[waiting.key]


def test_a_damaged_newer_delivery_supersedes_nothing(lake: LocalStore, calendar: Calendar) -> None:
    deliver(lake, calendar, [bar("A", DAY)], day=0)
    newer = deliver(lake, calendar, [bar("A", DAY)], day=1)
    consolidate(lake, calendar=calendar)
    size = (lake.root / newer.key).stat().st_size
    (lake.root / newer.key).write_bytes(b"x" * size)

    plan = plan_vacuum(lake, now=NOW)

    assert gone(plan) == []
    assert "not a readable Parquet file" in plan.passed_over[newer.key]


def test_files_that_are_not_deliveries_are_left_alone(lake: LocalStore, calendar: Calendar) -> None:
    deliver(lake, calendar, [bar("A", DAY)], day=0)
    consolidate(lake, calendar=calendar)
    stray = f"{BRONZE}date={DAY}/notes.txt"
    lake.write(stray, b"by hand")

    apply_vacuum(lake, plan_vacuum(lake, now=NOW))

    assert lake.read(stray) == b"by hand"


def test_recent_deliveries_can_be_kept(lake: LocalStore, calendar: Calendar) -> None:
    deliver(lake, calendar, [bar("A", DAY)], day=0)
    deliver(lake, calendar, [bar("A", DAY)], day=1)
    consolidate(lake, calendar=calendar)

    assert gone(plan_vacuum(lake, now=NOW, keep=timedelta(days=30))) == []
    assert len(gone(plan_vacuum(lake, now=NOW, keep=timedelta(days=10)))) == 1


def test_a_lake_that_shows_the_past_is_refused(lake: LocalStore, calendar: Calendar) -> None:
    deliver(lake, calendar, [bar("A", DAY)], day=0)
    deliver(lake, calendar, [bar("A", DAY)], day=1)
    consolidate(lake, as_of=received_after(DAY), calendar=calendar)

    with pytest.raises(DataRefused, match="return to the present, then vacuum"):
        plan_vacuum(lake, now=NOW)


def test_a_lake_without_daily_bars_is_refused(lake: LocalStore, calendar: Calendar) -> None:
    deliver(lake, calendar, [bar("A", DAY)], day=0)

    with pytest.raises(DataRefused, match="run `ohlcv consolidate` first"):
        plan_vacuum(lake, now=NOW)


def test_refused_rows_of_a_removed_delivery_stay(lake: LocalStore, calendar: Calendar) -> None:
    deliver(lake, calendar, [bar("A", DAY), bar("B", DAY, -1.0)], day=0)
    deliver(lake, calendar, [bar("A", DAY)], day=1)
    consolidate(lake, calendar=calendar)

    apply_vacuum(lake, plan_vacuum(lake, now=NOW))

    assert Lake(lake).rejected()["symbol"].to_list() == ["B"]


def test_announcements_without_a_delivery_go_after_a_day(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    deliver(any_lake, calendar, [bar("A", DAY)], day=0)
    consolidate(any_lake, calendar=calendar)
    orphan = Delivery(DAY, received_after(DAY, days=3), "killed").arrival_key
    any_lake.write(orphan, b"")
    waiting = deliver(any_lake, calendar, [bar("A", DAY)], day=4)
    written = datetime.now(UTC)

    fresh = plan_vacuum(any_lake, now=written)
    old = plan_vacuum(any_lake, now=written + timedelta(days=1, minutes=1))
    apply_vacuum(any_lake, old)

    assert fresh.orphaned == ()
    assert old.orphaned == (orphan,)
    assert [item.key for item in any_lake.list("_state/arrivals/")] == [waiting.arrival_key]


def test_scratch_that_killed_jobs_left_goes_and_that_in_use_stays(
    lake: LocalStore, calendar: Calendar
) -> None:
    deliver(lake, calendar, [bar("A", DAY)], day=0)
    consolidate(lake, calendar=calendar)
    scratch = lake.root / "_state" / "scratch"
    left = scratch / "left"
    left.mkdir()
    (left / ".owner").touch()
    (left / "partition").write_bytes(b"half")
    yesterday = time.time() - 90_000
    (scratch / "single").write_bytes(b"half")
    os.utime(scratch / "single", (yesterday, yesterday))

    with lake.scratch() as in_use:
        left.mkdir()
        (left / ".owner").touch()
        plan = plan_vacuum(lake, now=NOW)
        apply_vacuum(lake, plan)

        assert in_use.is_dir()

    assert plan.scratch == (str(left),)
    assert list(scratch.iterdir()) == []


def test_the_command_is_a_dry_run_without_yes(
    lake: LocalStore, calendar: Calendar, capsys: pytest.CaptureFixture[str]
) -> None:
    first = deliver(lake, calendar, [bar("A", DAY)], day=0)
    deliver(lake, calendar, [bar("A", DAY)], day=1)
    consolidate(lake, calendar=calendar)

    dry = run_main(cli, ["vacuum", "--lake", lake.uri], name="ohlcv")
    out = capsys.readouterr().out
    there = lake.head(first.key)
    wet = run_main(cli, ["vacuum", "--lake", lake.uri, "--yes", "--json"], name="ohlcv")

    removed = json.loads(capsys.readouterr().out)
    report = next(iter(lake.list("_runs/"))).key
    assert (dry, wet) == (0, 0)
    assert there is not None
    assert "nothing was removed" in out
    assert removed["superseded"][0]["delivery"] == first.key
    assert lake.head(first.key) is None
    assert json.loads(lake.read(report))["counts"]["superseded"][0]["delivery"] == first.key


def test_a_wrong_option_value_is_a_usage_error(lake: LocalStore) -> None:
    assert run_main(cli, ["vacuum", "--lake", lake.uri, "--keep-days", "-1"], name="ohlcv") == 2
