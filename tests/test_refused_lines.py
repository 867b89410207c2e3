"""Refused rows name the line of the file that they came from."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from batch.core.rules import sift
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.lake.landing import land
from batch.storage.store import ObjectStore
from fetchers.files.reader import find_files, read_file
from fetchers.files.reading import Reading
from fetchers.files.refusals import Code
from tests.support.imports import take_files

HEAD = "symbol,date,open,high,low,close,volume\n"
NOTED = HEAD.strip() + ",note\n"
BAD = "B,2025-04-08,-1,2,1,1,9"
RECEIVED = datetime(2025, 5, 1, tzinfo=UTC)


def rows_of(folder: Path, text: str) -> pl.DataFrame:
    (folder / "file.csv").write_bytes(text.encode())
    (file,) = find_files(str(folder / "file.csv"))
    return read_file(file).rows


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{NOTED}A,2025-04-08,1,2,1,1,9,x\n{BAD},x\n", 3),
        (f"{NOTED}A,2025-04-08,1,2,1,1,9,x\n\n{BAD},x", 4),
        (f"\n\n{NOTED}A,2025-04-08,1,2,1,1,9,x\r\n{BAD},x\r\n", 5),
        (f'{NOTED}A,2025-04-08,1,2,1,1,9,"x\n""y""\n"\n{BAD},"z\n"\n', 5),
        (f'{NOTED}A,2025-04-08,1,2,1,1,9,"x"\n{BAD},"z"', 3),
        (f'{HEAD.strip()},"note\non it"\n{BAD},x\n', 3),
        (f"{NOTED}A,2025-04-09,1,2,1,1,9,x\n{BAD},x\n{BAD},y\n", 3),
    ],
)
def test_a_refused_row_has_the_line_of_the_file_that_it_begins_on(
    tmp_path: Path, calendar: Calendar, text: str, line: int
) -> None:
    refused = sift(rows_of(tmp_path, text), calendar, RECEIVED).refused

    lines = refused.filter(pl.col("symbol") == "B")["line"].to_list()
    assert lines[0] == line
    assert text.splitlines()[line - 1].startswith("B,")


def test_rows_of_a_wide_table_have_the_line_of_their_date(
    tmp_path: Path, calendar: Calendar
) -> None:
    fields = ("Open", "High", "Low", "Close", "Volume", "Adj Close")
    head = f"Price,{','.join(2 * fields)}\nTicker,{'A,' * 6}{','.join(6 * 'B')}\n"
    text = f"{head}Date{',' * 12}\n2025-04-08,1,2,1,1,9,1,-1,2,1,1,9,1\n"
    (tmp_path / "wide.csv").write_text(text)
    (file,) = find_files(str(tmp_path / "wide.csv"))

    rows = read_file(file, Reading(accept_adjusted=True)).rows

    assert rows.select("symbol", "line").rows() == [("A", 4), ("B", 4)]


def test_rows_of_sources_without_lines_have_none(calendar: Calendar, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    rows_of(tmp_path, f"{HEAD}{BAD}\n").drop("line", "reason").write_parquet(buffer)
    (tmp_path / "file.csv").write_bytes(buffer.getvalue())
    (file,) = find_files(str(tmp_path / "file.csv"))

    assert sift(read_file(file).rows, calendar, RECEIVED).refused["line"].to_list() == [None]


def test_lines_of_refused_rows_are_kept_and_shown(
    any_lake: ObjectStore, tmp_path: Path, calendar: Calendar
) -> None:
    (tmp_path / "some.csv").write_text(f"{HEAD}A,2025-04-08,1,2,1,1,9\n{BAD}\n")
    (tmp_path / "all.csv").write_text(f"{HEAD}{BAD}\n{BAD}\n")

    outcome = take_files(any_lake, tmp_path, calendar, received_at=RECEIVED, now=RECEIVED)

    found = {one.code: (one.line, one.remedy) for one in outcome.refused}
    assert found == {
        Code.TOO_MANY_REFUSED: (3, "correct line 3 and the others, and import the file again"),
        Code.ALL_ROWS_REFUSED: (2, "correct line 2 and the others, and import the file again"),
    }
    assert all(
        f"the first on line {one.line}: price not above zero" in one.sentence
        for one in outcome.refused
    )
    assert sorted(Lake(any_lake).rejected()["line"]) == [2, 3, 3]


def test_reference_rows_name_the_first_refused_line_too(
    lake: ObjectStore, tmp_path: Path, calendar: Calendar
) -> None:
    text = "ticker,execution_date,split_from,split_to\nA,2025-04-08,1,2\n\nB,2025-04-08,0,2\n"
    (tmp_path / "splits.csv").write_text(text.replace("\n\n", "\n"))

    (refused,) = take_files(lake, tmp_path, calendar, received_at=RECEIVED, now=RECEIVED).refused

    assert refused.line == 3


def test_refused_rows_of_a_lake_from_before_there_were_lines_are_read_and_keep_their_name(
    any_lake: ObjectStore, tmp_path: Path, calendar: Calendar
) -> None:
    rows = rows_of(tmp_path, f"{HEAD}{BAD}\n")
    land(any_lake, rows.drop("line"), received_at=RECEIVED, source="test", calendar=calendar)
    (key,) = [item.key for item in any_lake.list("bronze/rejected/")]
    buffer = io.BytesIO()
    pl.read_parquet(any_lake.read(key)).drop("line").write_parquet(buffer)
    any_lake.write(key, buffer.getvalue())

    before = Lake(any_lake).rejected()
    land(any_lake, rows, received_at=RECEIVED, source="test", calendar=calendar)
    after = Lake(any_lake).rejected()

    assert before["line"].to_list() == [None]
    assert after["line"].to_list() == [2]
    assert before["delivery"].to_list() == after["delivery"].to_list()
