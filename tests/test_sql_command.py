"""The command ``ohlcv sql``."""

from __future__ import annotations

import json
from datetime import date

import pytest
from click.testing import CliRunner

from batch.consolidator.job import consolidate
from batch.core.sessions import Calendar
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from orchestration.cli.main import cli
from orchestration.cli.sql import command
from tests.support.bars import bar, land_rows, received_after

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

    assert found == {
        "columns": ["symbol", "date", "vwap"],
        "rows": [["A", "2025-01-15", 10.125], ["NA", "2025-01-15", None]],
    }


def test_more_rows_than_asked_for_are_counted(filled: LocalStore) -> None:
    out = run(filled, "select range from range(60)", "--rows", "2")

    assert out.splitlines()[-1] == "2 of 60 rows; --rows, --csv or --json print more"


def test_a_dash_reads_the_query_from_standard_input(filled: LocalStore) -> None:
    ran = CliRunner().invoke(command, ["--lake", filled.uri, "-", "--csv"], input="select 1 as one")

    assert ran.stdout == "one\n1\n"


def test_a_wrong_query_is_a_usage_error(
    filled: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_main(cli, ["sql", "--lake", filled.uri, "select * from bars_2d"], name="ohlcv")

    assert code == 2
    assert "bars_2d" in capsys.readouterr().err


def test_csv_and_json_together_are_a_usage_error(filled: LocalStore) -> None:
    arguments = ["sql", "--lake", filled.uri, "select 1", "--csv", "--json"]

    assert run_main(cli, arguments, name="ohlcv") == 2
