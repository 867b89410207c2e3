"""The command ``ohlcv sql``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from batch.consolidator.job import consolidate
from batch.core.errors import DataRefused, ExitCode, SettingsError, StoreUnavailable
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.lake.partitions import list_tables
from batch.resampler.job import resample
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from orchestration.cli.main import cli
from orchestration.cli.sql import command
from tests.support.bars import bar, land_rows, received_after
from tests.support.lakes import versions

DAY = date(2025, 1, 15)


@pytest.fixture
def filled(lake: LocalStore, calendar: Calendar) -> LocalStore:
    rows = [bar("A", DAY, 10.125), bar("NA", DAY, 3.0, vwap=None)]
    land_rows(lake, rows, calendar, received_at=received_after(DAY))
    consolidate(lake, calendar=calendar)
    return lake


def run(lake: LocalStore, *arguments: str) -> str:
    ran = CliRunner().invoke(command, ["--lake", lake.uri, *arguments])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


def test_rows_are_printed_in_aligned_columns_with_every_digit(filled: LocalStore) -> None:
    out = run(filled, "select symbol, close, vwap from bars_1d order by 1")

    assert out.splitlines() == [
        "symbol   close    vwap",
        "------  ------  ------",
        "A       10.125  10.125",
        "NA         3.0",
    ]


def test_csv_is_every_row_and_nothing_else(filled: LocalStore) -> None:
    out = run(filled, "select symbol, date, close from bars_1d order by 1", "--csv", "--rows", "1")

    assert out == "symbol,date,close\nA,2025-01-15,10.125\nNA,2025-01-15,3.0\n"


def test_json_has_columns_and_rows(filled: LocalStore) -> None:
    found = json.loads(run(filled, "select symbol, date, vwap from bars_1d order by 1", "--json"))

    assert found["columns"] == ["symbol", "date", "vwap"]
    assert found["rows"] == [["A", "2025-01-15", 10.125], ["NA", "2025-01-15", None]]


def test_more_rows_than_asked_for_are_counted(filled: LocalStore) -> None:
    out = run(filled, "select range from range(60)", "--rows", "2")

    assert out.splitlines()[-1] == "2 of 60 rows; --rows, --csv or --json print more"


def test_a_dash_reads_the_query_from_standard_input(filled: LocalStore) -> None:
    ran = CliRunner().invoke(command, ["--lake", filled.uri, "-", "--csv"], input="select 1 as one")

    assert ran.stdout == "one\n1\n"


def test_a_wrong_query_is_a_usage_error(
    filled: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_main(cli, ["sql", "--lake", filled.uri, "select * from bras_1d"], name="ohlcv")

    assert code == 2
    assert "bras_1d" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "makes"),
    [
        ("bars_7d", "ohlcv resample --interval 7"),
        ("adjusted.BARS_7d", "ohlcv resample --interval 7"),
        ("bars_5d_listing", "ohlcv resample --interval 5 --anchor listing"),
    ],
)
def test_an_interval_that_was_never_made_is_answered_by_how_to_make_it(
    filled: LocalStore, table: str, makes: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        Lake(filled).sql(f"select * from {table}")

    told = str(raised.value)
    assert f"has no table {table.removeprefix('adjusted.').lower()}: `{makes}` makes it" in told
    assert "it has bars_1d" in told
    assert "LINE 1" not in told


@pytest.mark.parametrize(
    "query",
    [
        "select end from bars_1d",
        "select symbol, End from bars_1d",
        "select symbol from bars_1d where end > today()",
    ],
)
def test_the_reserved_word_end_is_answered_by_how_to_quote_it(
    filled: LocalStore, query: str
) -> None:
    with pytest.raises(SettingsError, match='write the column in double quotes, "end"'):
        Lake(filled).sql(query)


def test_another_syntax_error_gets_no_advice_about_end(filled: LocalStore) -> None:
    with pytest.raises(SettingsError) as caught:
        Lake(filled).sql("select symbol from from bars_1d")

    assert "reserved" not in str(caught.value)


def test_json_has_instants_with_t_and_zone(filled: LocalStore) -> None:
    query = "select timestamptz '2025-01-15 16:00:00-05' as at, date '2025-01-15' as day"

    assert json.loads(run(filled, query, "--json"))["rows"] == [
        ["2025-01-15T21:00:00Z", "2025-01-15"]
    ]


def test_csv_and_json_together_are_a_usage_error(filled: LocalStore) -> None:
    arguments = ["sql", "--lake", filled.uri, "select 1", "--csv", "--json"]

    assert run_main(cli, arguments, name="ohlcv") == 2


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to '{lake}/silver/1d/year=2025/data.parquet'",
        "copy bars_1d to '{lake}/silver/1d' (format parquet, partition_by (symbol))",
        "explain analyze copy (select 1) to '{lake}/x.csv'",
        "export database '{lake}/out'",
        "import database '{lake}/out'",
        "attach '{lake}/x.duckdb'",
        "attach ':memory:' as other",
        "install httpfs",
        "load httpfs",
        "create table t as select 1",
        "create or replace view bars_1d as select 1",
        "drop view bars_1d",
        "call enable_logging(storage = 'file', storage_config = {{'path': '{lake}/log'}})",
        "set enable_external_access = true",
        "set threads = 1",
        "reset lock_configuration",
        "pragma enable_profiling",
        "pragma database_list",
        "select 1; copy (select 1) to '{lake}/x.csv'",
        "copy (select 1) to '{lake}/x.csv'; select 1",
        "select * from read_csv('/etc/passwd')",
        "select * from read_text('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from glob('/*')",
        "select * from sniff_csv('/etc/passwd')",
        "select * from read_parquet('{lake}/silver/1d/year=2025/data.parquet')",
        "select * from 's3://bucket/key.parquet'",
        "select * from enable_logging(storage = 'file', storage_config = {{'path': '{lake}/log'}})",
        "select * from connection",
        "",
        "-- nothing",
    ],
)
def test_sql_writes_nothing_and_reads_nothing_but_the_lake(
    filled: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    with pytest.raises(SettingsError, match="SQL"):
        Lake(filled).sql(statement.format(lake=filled.uri))

    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("show tables", 5),
        ("describe bars_1d", 10),
        ("summarize bars_1d", 10),
        ("from bars_1d", 2),
        ("with a as (select * from BARS_1D) select * from a", 2),
        ("pivot bars_1d on symbol using max(close)", 2),
        ("select * from query_table('bars_1d');", 2),
        ("explain select * from bars_1d", 1),
        ("select symbol from tickers union all select symbol from dividends", 0),
    ],
)
def test_sql_takes_every_kind_of_query(any_filled: ObjectStore, query: str, rows: int) -> None:
    assert Lake(any_filled).sql(query).height == rows


@pytest.fixture
def any_filled(any_lake: ObjectStore, calendar: Calendar) -> ObjectStore:
    """Daily bars and bars of 5 sessions, on disk and on S3."""
    rows = [bar("A", DAY, 10.125), bar("NA", DAY, 3.0, vwap=None)]
    land_rows(any_lake, rows, calendar, received_at=received_after(DAY))
    consolidate(any_lake, calendar=calendar)
    resample(any_lake, intervals=[5], calendar=calendar)
    return any_lake


def _cut_off(content: bytes) -> bytes:
    return content[:-20]


def _page_overwritten(content: bytes) -> bytes:
    return content[:4] + bytes(40) + content[44:]


def _column_missing(content: bytes) -> bytes:
    table = pq.read_table(BytesIO(content)).drop_columns(["vwap"])
    sink = BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


@pytest.mark.parametrize("damage", [_cut_off, _page_overwritten, _column_missing])
def test_a_damaged_table_is_refused_by_name_and_blocks_no_other(
    any_filled: ObjectStore, damage: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    key = "silver/5d/year=2025/data.parquet"
    any_filled.write(key, damage(any_filled.read(key)))
    any_filled.write("reference/splits/data.parquet", b"PAR1 cut off")
    before = versions(any_filled)
    lake = Lake(any_filled)

    code = run_main(
        cli, ["sql", "--lake", any_filled.uri, "select symbol, vwap from bars_5d"], name="ohlcv"
    )

    assert code == ExitCode.DATA_REFUSED
    assert f"{any_filled.location(key)}: " in capfd.readouterr().err
    with pytest.raises(DataRefused, match=r"reference/splits/data\.parquet"):
        lake.sql("select * from splits")
    assert lake.sql("select * from bars_1d").height == 2
    assert lake.sql("show tables").height == 5
    assert lake.sql("describe splits").height == 5
    assert versions(any_filled) == before


def test_an_object_that_a_job_removed_meanwhile_is_worth_another_try(
    any_filled: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "silver/5d/year=2025/data.parquet"
    listed = list_tables(any_filled)
    monkeypatch.setattr("batch.lake.query.list_tables", lambda store: listed)
    any_filled.delete([key])

    with pytest.raises(StoreUnavailable, match=rf"{re.escape(key)}: .*run it again"):
        Lake(any_filled).sql("select * from bars_5d")
