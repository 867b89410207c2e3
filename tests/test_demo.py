"""The demonstration makes a lake that a newcomer can look at."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from tests.support.command_line import run_ohlcv

SMALL = ("--symbols", "12", "--first", "2024-06-03", "--last", "2024-12-31")


def test_the_demonstration_ends_with_what_it_made_and_what_to_try(tmp_path: Path) -> None:
    lake = tmp_path / "my lake"

    done = run_ohlcv("demo", "--lake", lake, *SMALL)

    assert done.code == 0, done.err
    assert f"The lake is {lake}" in done.out
    assert f"status --lake '{lake}'" in done.out
    assert all(len(line) <= 80 for line in done.out.splitlines() if str(lake) not in line)
    bars = pl.read_parquet(lake / "silver/5d/**/*.parquet")
    assert bars["symbol"].n_unique() >= 12
    assert bars.filter(~pl.col("complete")).height > 0


def test_the_demonstration_again_adds_nothing_and_a_later_day_does(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    first = json.loads(run_ohlcv("demo", "--lake", lake, *SMALL, "--json").out)

    again = json.loads(run_ohlcv("demo", "--lake", lake, *SMALL, "--json").out)
    later = json.loads(run_ohlcv("demo", "--lake", lake, *SMALL[:-1], "2025-01-10", "--json").out)

    assert first["new_deliveries"] > 140
    assert (again["new_deliveries"], again["tables"]) == (0, first["tables"])
    assert later["newest_session"] == "2025-01-10"


def test_a_lake_with_other_deliveries_is_left_alone(tmp_path: Path) -> None:
    delivery = tmp_path / "2024-06-03.csv"
    delivery.write_text("symbol,date,open,high,low,close,volume\nA,2024-06-03,1,1,1,1,1\n")
    lake = tmp_path / "lake"
    run_ohlcv("import", delivery, "--lake", lake)

    done = run_ohlcv("demo", "--lake", lake, *SMALL)

    assert done.code == 2
    assert "holds deliveries that are not synthetic" in done.err


def test_as_many_refused_rows_are_told_as_the_lake_keeps(tmp_path: Path) -> None:
    lake = tmp_path / "lake"
    wide = ("--symbols", "300", "--first", "2024-11-01", "--last", "2024-12-31")

    told = json.loads(run_ohlcv("demo", "--lake", lake, *wide, "--json").out)["refused_rows"]

    kept = (lake / "bronze/rejected").rglob("*.parquet")
    rows = sum(pl.read_parquet(path, hive_partitioning=False).height for path in kept)
    assert told == rows > 0
