"""What the values of a file mean: decided from evidence or from settings, else refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from fetchers.files.reader import find_files, read_file
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.refusals import Code, FileRefused

HEAD = "symbol,date,open,high,low,close,volume\n"
BY_DAY = Reading(date_order="day/month/year")
BY_MONTH = Reading(date_order="month/day/year")
COMMAS = Reading(decimal_mark=",")
POINTS = Reading(decimal_mark=".")


def read(
    folder: Path, text: str, reading: Reading = BY_EVIDENCE, name: str = "file.csv"
) -> list[tuple[object, ...]]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    (file,) = find_files(str(path))
    return read_file(file, reading).rows.select(HEAD.strip().split(",")).rows()


def refusal(
    folder: Path, text: str, reading: Reading = BY_EVIDENCE, name: str = "file.csv"
) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(folder, text, reading, name)
    return caught.value


def dated(*stamps: str) -> str:
    return HEAD + "".join(f"A,{stamp},10.5,12.5,9.25,11.25,1000\n" for stamp in stamps)


def priced(*closes: str) -> str:
    head = HEAD.replace(",", ";")
    return head + "".join(
        f"A;2025-04-{day:02};{close};{close};{close};{close};1000\n"
        for day, close in enumerate(closes, 7)
    )


@pytest.mark.parametrize(
    ("reading", "day"), [(BY_DAY, date(2024, 4, 3)), (BY_MONTH, date(2024, 3, 4))]
)
def test_the_order_of_a_source_decides_dates_that_read_two_ways(
    tmp_path: Path, reading: Reading, day: date
) -> None:
    assert read(tmp_path, dated("03/04/2024"), reading)[0][1] == day


@pytest.mark.parametrize(
    ("reading", "stamp"),
    [
        (BY_DAY, "03/13/2024"),
        (BY_MONTH, "13/03/2024"),
        (Reading(date_order="year-day-month"), "2024-03-13"),
    ],
)
def test_dates_that_contradict_the_order_of_their_source_are_refused(
    tmp_path: Path, reading: Reading, stamp: str
) -> None:
    found = refusal(tmp_path, dated(stamp), reading)

    assert found.code == Code.AMBIGUOUS_DATES
    assert "date_order" in found.remedy


def test_the_order_of_a_source_says_nothing_of_dates_with_the_year_elsewhere(
    tmp_path: Path,
) -> None:
    assert read(tmp_path, dated("2024-03-04"), BY_DAY)[0][1] == date(2024, 3, 4)


@pytest.mark.parametrize(("reading", "close"), [(COMMAS, 1.234), (POINTS, 1234.0)])
def test_the_mark_of_a_source_decides_numbers_that_read_two_ways(
    tmp_path: Path, reading: Reading, close: float
) -> None:
    assert read(tmp_path, priced("1,234"), reading)[0][5] == close


@pytest.mark.parametrize(("reading", "close"), [(COMMAS, "7.50"), (POINTS, "7,50")])
def test_numbers_that_contradict_the_mark_of_their_source_are_refused(
    tmp_path: Path, reading: Reading, close: str
) -> None:
    found = refusal(tmp_path, priced(close), reading)

    assert found.code == Code.AMBIGUOUS_DECIMALS
    assert "decimal_mark" in found.remedy


@pytest.mark.parametrize("wrong", [{"date_order": "month-day-year"}, {"decimal_mark": "'"}])
def test_an_order_or_a_mark_that_does_not_exist_is_an_error(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected one of"):
        Reading(**wrong)  # type: ignore[arg-type]


def test_yahoo_prices_in_folders_per_symbol_and_beside_symbols_are_refused_too(
    tmp_path: Path,
) -> None:
    text = "Date,Open,High,Low,Close,Adj Close,Volume\n2025-04-08,10,12,9,11,11,1000\n"
    folder, name = tmp_path / "symbol=A", "data.csv"
    named = text.replace("Date", "Ticker,Date").replace("2025-", "A,2025-")

    assert refusal(folder, text, name=name).code == Code.ADJUSTED_PRICES
    assert refusal(tmp_path, named).code == Code.ADJUSTED_PRICES
    assert read(folder, text, Reading(accept_adjusted=True), name)[0][0] == "A"
