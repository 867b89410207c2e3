"""The second engine agrees with the jobs, and reports the values that differ."""

from __future__ import annotations

import json
import math
import os
import shutil
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.audit.quality import check_lake
from batch.audit.vacuum import apply_vacuum, plan_vacuum
from batch.audit.verify import Verification, verify
from batch.consolidator.job import consolidate
from batch.core.layout import Anchor
from batch.core.rules import (
    LEAST_PRICE,
    LEAST_RATIO,
    LEAST_VOLUME,
    MOST_PRICE,
    MOST_RATIO,
    MOST_TRADES,
    MOST_VOLUME,
)
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.lake.landing import land
from batch.lake.reference import add_splits
from batch.resampler.job import resample
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from simulation.exchange import ExchangeSpec, SyntheticExchange
from tests.support.bars import bar, land_rows, received_after
from tests.support.command_line import run_ohlcv
from tests.support.damage import SESSIONS, SYMBOLS, make_lake
from tests.support.lakes import silver_bytes


def fill(store: ObjectStore, calendar: Calendar) -> None:
    """Make a lake of two years with a split inside a window and a halted symbol."""
    sessions = calendar.sessions_between(date(2024, 12, 2), date(2025, 2, 14))
    for number, session in enumerate(sessions):
        price = 700.0 if session < date(2025, 1, 6) else 100.0
        rows = [bar("SPLIT", session, price + number), bar("NA", session, 5.0, vwap=None)]
        if number % 7:
            rows.append(bar("halts", session, 20.0, volume=0.5 * number))
        land_rows(store, rows, calendar, received_at=received_after(session))
    splits = pl.DataFrame(
        {
            "symbol": ["SPLIT"],
            "date": [date(2025, 1, 6)],
            "split_from": [1.0],
            "split_to": [7.0],
        }
    )
    add_splits(store, splits, label="test")
    consolidate(store, calendar=calendar)
    resample(store, calendar=calendar)
    resample(store, intervals=[1, 5, 50], calendar=calendar)
    resample(store, intervals=[5, 21], anchor=Anchor.LISTING, calendar=calendar)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> Path:
    """The lake that :func:`fill` makes, to be copied."""
    root = tmp_path_factory.mktemp("filled")
    fill(LocalStore(root), calendar)
    return root


@pytest.fixture
def lake(filled: Path, tmp_path: Path) -> LocalStore:
    """A lake of its own for each test."""
    return LocalStore(Path(shutil.copytree(filled, tmp_path / "lake")))


def tamper(path: Path, symbol: str, column: str, change: float) -> None:
    table = pq.read_table(path)
    values = table.column(column).to_pylist()
    row = table.column("symbol").to_pylist().index(symbol)
    values[row] += change
    at = table.schema.get_field_index(column)
    field = table.schema.field(at)
    pq.write_table(table.set_column(at, field, pa.array(values, field.type)), path)


@pytest.mark.slow
def test_restatements_are_among_what_is_recomputed(
    corrected: LocalStore, calendar: Calendar
) -> None:
    outcome = verify(corrected, calendar=calendar)

    assert outcome.differences == []
    assert ("restatements", 2, 30) in outcome.checked


@pytest.mark.slow
def test_an_untouched_lake_has_no_differences(any_lake: ObjectStore, calendar: Calendar) -> None:
    fill(any_lake, calendar)

    outcome = verify(any_lake, calendar=calendar)

    assert outcome.differences == []
    assert {table for table, _, _ in outcome.checked} == {
        *("1d", "1d_calendar", "3d", "5d", "5d_listing", "8d", "13d", "21d", "21d_listing"),
        *("34d", "50d"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("table", ["1d", "5d", "5d_listing"])
def test_every_tampered_value_is_found_and_no_other(
    lake: LocalStore, calendar: Calendar, table: str
) -> None:
    path = lake.root / f"silver/{table}/year=2025/data.parquet"
    rows = pl.read_parquet(path)
    columns = ("open", "high", "low", "close", "volume", "vwap", "trades")
    tampered = tamper_rows(rows, [(column, pl.col(column) + 1) for column in columns], path)

    outcome = verify(lake, calendar=calendar)

    assert values_found(outcome, table) == tampered


@pytest.mark.slow
def test_values_that_are_not_finite_are_found(lake: LocalStore, calendar: Calendar) -> None:
    path = lake.root / "silver/5d/year=2025/data.parquet"
    columns, values = ("close", "volume", "vwap"), (math.nan, math.inf, -math.inf)
    changes = [(column, pl.lit(value)) for column in columns for value in values]
    tampered = tamper_rows(pl.read_parquet(path), changes, path)

    outcome = verify(lake, calendar=calendar)

    assert values_found(outcome, "5d") == tampered


def tamper_rows(
    rows: pl.DataFrame, changes: list[tuple[str, pl.Expr]], path: Path
) -> set[tuple[str, str, str]]:
    """Make each change to a row of its own; gives symbol, date and column of each."""
    day = "start" if "start" in rows.columns else "date"
    places = rows.with_row_index().filter(pl.col("symbol") != "NA")["index"].to_list()
    tampered = set()
    for place, (column, change) in zip(places, changes, strict=False):
        here = pl.int_range(pl.len()) == place
        rows = rows.with_columns(pl.when(here).then(change).otherwise(pl.col(column)).alias(column))
        tampered.add((rows["symbol"][place], rows[day][place].isoformat(), column))
    assert len(tampered) == len(changes)
    rows.write_parquet(path)
    return tampered


def values_found(outcome: Verification, table: str) -> set[tuple[str, str, str]]:
    return {(d.symbol, d.day, d.column) for d in outcome.differences if d.table == table and d.day}


@pytest.mark.slow
def test_the_last_digit_of_a_price_matters(lake: LocalStore, calendar: Calendar) -> None:
    tamper(lake.root / "silver/5d/year=2024/data.parquet", "SPLIT", "close", 1e-11)

    outcome = verify(lake, calendar=calendar)

    assert ("5d", "close") in {(d.table, d.column) for d in outcome.differences}


@pytest.mark.slow
def test_missing_and_additional_rows_are_found(lake: LocalStore, calendar: Calendar) -> None:
    path = lake.root / "silver/3d/year=2025/data.parquet"
    bars = pl.read_parquet(path)
    invented = bars.head(1).with_columns(symbol=pl.lit("ZZZ"))
    pl.concat([bars.slice(1), invented]).write_parquet(path)

    outcome = verify(lake, calendar=calendar)

    rows = {(d.symbol, d.expected, d.found) for d in outcome.differences if d.column == "row"}
    assert rows == {("NA", "there", "missing"), ("ZZZ", "none", "there")}


@pytest.mark.slow
def test_rows_out_of_order_are_found(lake: LocalStore, calendar: Calendar) -> None:
    path = lake.root / "silver/8d/year=2025/data.parquet"
    pl.read_parquet(path).reverse().write_parquet(path)

    outcome = verify(lake, calendar=calendar)

    assert {d.column for d in outcome.differences if d.symbol} == {"order"}


@pytest.mark.slow
def test_a_missing_partition_and_a_stray_one_are_found(
    lake: LocalStore, calendar: Calendar
) -> None:
    silver = lake.root / "silver"
    (silver / "5d/year=2024/data.parquet").unlink()
    (silver / "8d/year=1999").mkdir()
    (silver / "8d/year=2024/data.parquet").rename(silver / "8d/year=1999/data.parquet")

    outcome = verify(lake, calendar=calendar)

    found = {(d.table, d.year, d.column, d.found) for d in outcome.differences}
    assert ("5d", 2024, "partition", "missing") in found
    assert ("8d", 1999, "manifest", "an object") not in found
    assert ("8d", 1999, "manifest", "no record") in found


@pytest.mark.slow
def test_every_missing_object_of_a_table_is_reported_where_only_its_manifest_is_left(
    lake: LocalStore, calendar: Calendar
) -> None:
    shutil.rmtree(lake.root / "silver/5d")
    shutil.rmtree(lake.root / "silver/5d_listing")

    outcome = verify(lake, calendar=calendar)

    missing = {(d.table, d.year) for d in outcome.differences if d.found == "no object"}
    assert missing == {("5d", 2024), ("5d", 2025), ("5d_listing", 2024), ("5d_listing", 2025)}


def test_every_table_is_reported_where_all_daily_bars_are_gone(
    lake: LocalStore, calendar: Calendar
) -> None:
    shutil.rmtree(lake.root / "silver")

    outcome = verify(lake, calendar=calendar)

    assert outcome.checked == []
    missing = {d.table for d in outcome.differences if d.found == "no object"}
    assert missing == {
        *("1d", "1d_calendar", "3d", "5d", "5d_listing", "8d", "13d", "21d", "21d_listing"),
        *("34d", "50d"),
    }


@pytest.fixture(scope="session")
def filled_with_corrections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small lake with restatements in two years, to be copied."""
    return Path(make_lake(tmp_path_factory.mktemp("corrected") / "lake").store.uri)


@pytest.fixture
def corrected(filled_with_corrections: Path, tmp_path: Path) -> LocalStore:
    """A small lake with restatements, its own for each test."""
    return LocalStore(Path(shutil.copytree(filled_with_corrections, tmp_path / "corrected")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "at_quarter"), [("1d", 1), ("3d", 2), ("5d_listing", 3), ("restatements", 2)]
)
def test_one_flipped_bit_is_found_in_any_table(
    corrected: LocalStore, calendar: Calendar, table: str, at_quarter: int
) -> None:
    path = corrected.root / f"silver/{table}/year=2022/data.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) * at_quarter // 4] ^= 1
    dates = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))

    outcome = verify(corrected, calendar=calendar)

    assert (table, 2022) in {(d.table, d.year) for d in outcome.differences}


RESTATEMENTS = "silver/restatements/year=2021/data.parquet"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (pl.col("new") + 1, "20.125 to 22.125"),
        (pl.col("old") + 1, "21.125 to 21.125"),
        (pl.lit("closing").alias("field"), "missing"),
        (pl.lit("others").alias("source"), "missing"),
        (pl.col("date") + pl.duration(days=1), "missing"),
        (pl.col("received_at") + pl.duration(days=1), "missing"),
    ],
)
def test_restatements_are_recomputed_from_the_deliveries(
    corrected: LocalStore, calendar: Calendar, change: pl.Expr, found: str
) -> None:
    path = corrected.root / RESTATEMENTS
    rows = pl.read_parquet(path)
    rows.with_columns(change).select(rows.columns).write_parquet(path)

    outcome = verify(corrected, calendar=calendar)

    close = ("restatements", "S00", str(SESSIONS[1]), "close", "20.125 to 21.125", found)
    assert close in {
        (d.table, d.symbol, d.day, d.column, d.expected, d.found) for d in outcome.differences
    }


@pytest.mark.slow
def test_restatements_of_deliveries_that_were_removed_are_no_differences(
    corrected: LocalStore, calendar: Calendar
) -> None:
    again = [
        bar(symbol, SESSIONS[1], 20.125 + at, volume=1001.0, trades=10 + at)
        for at, symbol in enumerate(SYMBOLS)
    ]
    land_rows(corrected, again, calendar, received_at=received_after(SESSIONS[1], 1))
    consolidate(corrected, calendar=calendar)
    resample(corrected, intervals=[3, 5], calendar=calendar)
    resample(corrected, intervals=[3, 5], anchor=Anchor.LISTING, calendar=calendar)
    now = received_after(date(2025, 12, 1))
    plan = plan_vacuum(corrected, now=now, forget_corrections=True)
    apply_vacuum(corrected, plan)
    kept = verify(corrected, calendar=calendar)
    path = corrected.root / RESTATEMENTS
    rows = pl.read_parquet(path)
    rows.with_columns(pl.col("new") + 1).write_parquet(path)

    changed = verify(corrected, calendar=calendar)

    assert [one.delivery.session for one in plan.superseded] == [SESSIONS[1]] * 2
    assert kept.differences == []
    assert ("close", "20.125", "to 21.125") in {
        (d.column, d.expected, d.found) for d in changed.differences
    }


def test_a_delivery_whose_rows_changed_after_it_landed_is_named(
    lake: LocalStore, calendar: Calendar
) -> None:
    path = next(lake.root.glob("bronze/daily/date=2025-01-08/*.parquet"))
    tamper(path, "NA", "close", -0.5)

    outcome = verify(lake, calendar=calendar)

    assert [(d.day, d.column) for d in outcome.differences] == [("2025-01-08", "delivery")]
    assert path.name in str(outcome.differences[0].expected)


@pytest.mark.slow
@pytest.mark.parametrize("last", [1.0, 1e9, 1e-9])
def test_the_engines_agree_at_the_bounds_of_prices_and_volumes(
    tmp_path: Path, calendar: Calendar, last: float
) -> None:
    lake = LocalStore(tmp_path / "bounds")
    values = [
        (LEAST_PRICE, MOST_VOLUME),
        (MOST_PRICE, LEAST_VOLUME),
        (MOST_PRICE, MOST_VOLUME),
        (LEAST_PRICE, LEAST_VOLUME),
        (last, 0.0),
    ]
    sessions = calendar.sessions_between(date(2025, 1, 13), date(2025, 1, 17))
    for session, (price, volume) in zip(sessions, values, strict=True):
        row = bar("A", session, price, volume=volume, trades=MOST_TRADES)
        land_rows(lake, [row], calendar, received_at=received_after(session))
    for at, ratio in ((1, MOST_RATIO), (3, LEAST_RATIO)):
        split = {"symbol": ["A"], "date": [sessions[at]], "split_from": [1.0], "split_to": [ratio]}
        add_splits(lake, pl.DataFrame(split), label="test")
    consolidate(lake, calendar=calendar)
    resample(lake, intervals=[3, 5, 8], calendar=calendar)

    outcome = verify(lake, calendar=calendar)

    assert outcome.differences == []
    assert outcome.checked[0].rows == 5


@pytest.mark.slow
def test_a_lost_manifest_of_the_daily_bars_is_a_difference_of_every_year(
    lake: LocalStore, calendar: Calendar
) -> None:
    lake.delete(["_state/1d.json.gz"])

    outcome = verify(lake, calendar=calendar)

    found = {(d.table, d.year, d.found) for d in outcome.differences if d.column == "manifest"}
    assert found == {("1d", 2024, "no record"), ("1d", 2025, "no record")}


@pytest.mark.slow
def test_a_delivery_that_was_not_consolidated_is_reported(
    lake: LocalStore, calendar: Calendar
) -> None:
    late = land_rows(
        lake,
        [bar("LATE", date(2025, 1, 3))],
        calendar,
        received_at=received_after(date(2025, 3, 1)),
    )

    outcome = verify(lake, calendar=calendar)

    assert [(d.column, d.found) for d in outcome.differences] == [("delivery", late.written[0])]


def test_sessions_without_bars_are_gaps_and_not_differences(
    tmp_path: Path, calendar: Calendar
) -> None:
    lake = LocalStore(tmp_path / "empty")
    for session in (date(2025, 1, 8), date(2025, 1, 13)):
        land_rows(lake, [bar("A", session)], calendar, received_at=received_after(session))
    consolidate(lake, calendar=calendar)

    outcome = verify(lake, calendar=calendar)

    assert outcome.gaps == [date(2025, 1, 10)]
    assert outcome.count == 0


@pytest.mark.slow
def test_the_engines_agree_on_a_synthetic_market(tmp_path: Path, calendar: Calendar) -> None:
    lake = LocalStore(tmp_path / "synthetic")
    spec = ExchangeSpec(symbols=60, first=date(2019, 10, 1), last=date(2021, 3, 31), seed=3)
    exchange = SyntheticExchange(spec, calendar)
    for sent in exchange.deliveries():
        source = str(sent.rows["date"][0])
        land(lake, sent.rows, received_at=sent.received_at, source=source, calendar=calendar)
    add_splits(lake, exchange.splits(), label="test")
    consolidate(lake, calendar=calendar)
    resample(lake, intervals=[3, 13, 34, 300], calendar=calendar)
    resample(lake, intervals=[8, 34], anchor=Anchor.LISTING, calendar=calendar)

    outcome = verify(lake, calendar=calendar)

    assert outcome.differences == []
    assert sum(rows for _, _, rows in outcome.checked) > 30_000


def test_the_command_ends_with_3_and_shows_the_difference(
    lake: LocalStore, calendar: Calendar
) -> None:
    clean = run_ohlcv("verify", "--lake", lake.uri)
    tamper(lake.root / "silver/34d/year=2024/data.parquet", "NA", "close", 0.25)

    table = run_ohlcv("verify", "--lake", lake.uri)
    as_json = run_ohlcv("verify", "--lake", lake.uri, "--json")

    assert (clean.code, table.code, as_json.code) == (0, 3, 3)
    assert "5.25" in table.out
    shown = [d for d in json.loads(as_json.out)["shown"] if d["symbol"] == "NA"]
    assert [(d["column"], d["expected"], d["found"]) for d in shown] == [("close", 5.0, 5.25)]


@pytest.mark.slow
def test_a_lake_below_folders_named_like_partitions_reads_as_anywhere_else(
    filled: Path, tmp_path: Path, calendar: Calendar
) -> None:
    root = tmp_path / "date=2001-01-01" / "start=2001-01-01" / "symbol=ZZ" / "year=1999" / "lake"
    shutil.copytree(filled, root)
    elsewhere, below = Lake(LocalStore(filled)), Lake(LocalStore(root))

    found = verify(below.store)
    remade = consolidate(below.store, calendar=calendar, full=True)

    assert found.differences == []
    assert remade.published
    assert silver_bytes(below.store) == silver_bytes(elsewhere.store)
    for answer in (
        lambda lake: lake.bars("1d"),
        lambda lake: lake.bars("5d", adjusted=True, complete=False),
        lambda lake: lake.bars("5d", as_of="2025-01-31", complete=False),
        lambda lake: lake.bars("21d", anchor="listing"),
        lambda lake: lake.rejected(),
        lambda lake: lake.restatements(),
        lambda lake: lake.sql("select * from bars_5d order by symbol, start"),
        lambda lake: lake.sql("select * from splits"),
        lambda lake: check_lake(lake).findings,
    ):
        assert answer(below).equals(answer(elsewhere))
