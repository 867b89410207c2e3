"""Files larger than a piece of memory: read piece by piece, they give what they give whole."""

from __future__ import annotations

import gzip
import io
import random
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from batch.core.sessions import Calendar, load_calendar
from batch.storage.local import LocalStore
from fetchers.files.parts import parts_of
from fetchers.files.reading import Reading
from fetchers.files.refusals import Code, FileRefused
from tests.support.imports import take_files

SESSIONS = load_calendar().sessions_between(date(2023, 1, 1), date(2024, 12, 31))
HEAD = "symbol,date,open,high,low,close,volume,name"
SMALL = 2048


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fetchers.files.streams.CHUNK_BYTES", 512)


def bars(sessions: int = 30, symbols: int = 12) -> pl.DataFrame:
    """Return bars with some that are dirty, by symbol."""
    rng = random.Random(7)
    rows = [
        (f"S{number}", day, price, price + 1, price - 1, price + 0.5, rng.randrange(10**6), "a, b")
        for number in range(symbols)
        for day in SESSIONS[:sessions]
        for price in [rng.randrange(200, 10**6) / 100]
    ]
    return pl.DataFrame(rows, schema=HEAD.split(","), orient="row")


def text_of(frame: pl.DataFrame, stamp: str = "%Y-%m-%d", separator: str = ",") -> bytes:
    return frame.write_csv(date_format=stamp, separator=separator, float_precision=2).encode()


def pieces_of(
    path: Path, content: bytes, piece_bytes: int, reading: Reading | None = None
) -> list[pl.DataFrame]:
    path.write_bytes(content)
    parts = parts_of(path, address=str(path), reading=reading or Reading(), piece_bytes=piece_bytes)
    (pieces,) = [list(part.bars().pieces) for part in parts]
    return pieces


def require_equal(folder: Path, content: bytes, reading: Reading | None = None) -> int:
    """Compare both ways to read a file; return how many pieces there were."""
    (whole,) = pieces_of(folder / "bars.csv", content, 10**9, reading)
    pieces = pieces_of(folder / "bars.csv", content, SMALL, reading)

    dates = [set(piece["date"]) for piece in pieces]
    assert sum(map(len, dates)) == len(set().union(*dates))
    by_date = [rows.sort("date", maintain_order=True) for rows in (pl.concat(pieces), whole)]
    assert_frame_equal(*by_date)
    return len(pieces)


@pytest.mark.slow
@pytest.mark.parametrize("order", [["symbol", "date"], ["date", "symbol"], ["volume"]])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_pieces_have_the_rows_of_the_whole_file_by_whole_dates(
    tmp_path: Path, order: list[str], pack: object
) -> None:
    content = text_of(bars().sort(order))

    assert require_equal(tmp_path, pack(content)) > 10  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(b"2023-01-04", b"no date"),
        lambda text: text.replace(b"S3,", b",").replace(b"S4", b"'S4'"),
        lambda text: text.replace(b'"a, b"', b'"a\nb"'),
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\n\n" + text.replace(b"\nS5", b"\n\nS5"),
        lambda text: text.decode().encode("utf-16"),
        lambda text: text.replace(b'"a, b"', b"caf\xe9"),
        lambda text: (
            text.replace(b"name", b"interval")
            .replace(b'"a, b"', b"D", 200)
            .replace(b'"a, b"', b"5m")
        ),
    ],
)
def test_pieces_of_dirty_files_are_as_dirty(tmp_path: Path, change: object) -> None:
    assert require_equal(tmp_path, change(text_of(bars()))) > 1  # type: ignore[operator]


@pytest.mark.parametrize("stamp", ["%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y%m%d"])
def test_the_order_of_day_and_month_is_that_of_all_pieces(tmp_path: Path, stamp: str) -> None:
    early = bars().filter(pl.col("date").dt.day() <= 12)
    late = bars().filter(pl.col("date").dt.day() > 12)

    require_equal(tmp_path, text_of(pl.concat([early, late]), stamp))


@pytest.mark.slow
@pytest.mark.parametrize("deciding", ["1.234,50", "1,234.50"])
def test_the_decimal_mark_is_that_of_all_pieces(tmp_path: Path, deciding: str) -> None:
    usual = "1,234" if deciding.endswith(",50") else "1.234"
    rows = [
        f"S{number};{day};{usual};{usual};{usual};{usual};{number}"
        for number in range(20)
        for day in SESSIONS[:60]
    ]
    rows.append(f"X;{SESSIONS[0]};{deciding};{deciding};{deciding};{deciding};5")
    head = HEAD.removesuffix(",name").replace(",", ";")

    require_equal(tmp_path, "\n".join([head, *rows, ""]).encode())


def test_a_wide_table_is_read_in_pieces(tmp_path: Path) -> None:
    symbols = [f"S{number}" for number in range(10)]
    fields = ["Close", "High", "Low", "Open", "Volume"]
    head = [["Price", "Ticker", "Date"]]
    head += [[field, symbol, ""] for field in fields for symbol in symbols]
    lines = [",".join(column[row] for column in head) for row in range(3)]
    lines += [f"{day}," + ",".join(["10.5"] * 40 + ["7"] * 10) for day in SESSIONS[:100]]
    content = "\n".join([*lines, ""]).encode()

    assert require_equal(tmp_path, content, Reading(accept_adjusted=True)) > 10


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (text_of(bars())[:-20], Code.TRUNCATED),
        (text_of(bars())[:-4] + b"S5,2023", Code.TRUNCATED),
        (text_of(bars()) + b"1,2,3,4,5,6,7,8,9,10\n", Code.NOT_A_TABLE),
        (text_of(bars()) + b'"', Code.TRUNCATED),
        (text_of(bars()) + b"\0\n", Code.NOT_A_TABLE),
        (text_of(bars()) + b"S\xe9" + text_of(bars()).partition(b"\n")[2], Code.UNKNOWN_ENCODING),
        (text_of(bars()) + b"x" * (2**20 + 1) + b"\n", Code.TOO_LARGE),
        (text_of(bars().with_columns(name=pl.lit("5m")).rename({"name": "per"})), Code.NO_SESSIONS),
        (gzip.compress(text_of(bars()))[:-9], Code.TRUNCATED),
        (gzip.compress(text_of(bars()))[:-8] + bytes(8), Code.TRUNCATED),
        (text_of(bars().with_columns(date=pl.lit("03/04/2024"))), Code.AMBIGUOUS_DATES),
    ],
)
def test_what_is_wrong_at_the_end_is_known_before_the_first_piece(
    tmp_path: Path, content: bytes, code: Code
) -> None:
    path = tmp_path / "bars.csv"
    path.write_bytes(content)

    parts = parts_of(path, address=str(path), piece_bytes=SMALL)
    with closing(parts), pytest.raises(FileRefused) as caught:
        next(parts).bars()

    assert caught.value.code == code


@pytest.mark.parametrize("group_rows", [100, 10**6])
def test_row_groups_of_any_size_are_read_in_pieces(tmp_path: Path, group_rows: int) -> None:
    buffer = io.BytesIO()
    pq.write_table(bars().to_arrow(), buffer, row_group_size=group_rows)

    assert require_equal(tmp_path, buffer.getvalue()) > 10


def test_a_date_with_more_rows_than_there_are_symbols_is_not_daily(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetchers.files.evidence._MOST_ROWS_OF_A_DATE", 11)

    with pytest.raises(FileRefused) as caught:
        pieces_of(tmp_path / "bars.csv", text_of(bars()), SMALL)

    assert caught.value.code == Code.NO_SESSIONS


def test_a_column_of_unlimited_dates_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fetchers.files.evidence._MOST_STAMPS", 100)
    table = pa.table({**bars().to_dict(as_series=False), "date": [f"x{n}" for n in range(360)]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)

    with pytest.raises(FileRefused) as caught:
        pieces_of(tmp_path / "bars.csv", buffer.getvalue(), SMALL)

    assert caught.value.code == Code.NOT_A_TABLE


def test_an_import_within_a_memory_limit_lands_the_same(tmp_path: Path, calendar: Calendar) -> None:
    rows = [
        f"S{number},{day},10.5,{9 if number < 150 and day == SESSIONS[3] else 12},9,11,{number}\n"
        for number in range(6000)
        for day in SESSIONS[:5]
    ]
    path = tmp_path / "2024-01-15.csv"
    path.write_text(HEAD.removesuffix(",name") + "\n" + "".join(rows))
    lakes = []
    for limit in (None, 400 * 2**20):
        lake = LocalStore(tmp_path / f"lake-{limit}")
        done = take_files(
            lake,
            path,
            calendar,
            now=datetime(2025, 1, 15, tzinfo=UTC),
            memory_limit=limit,
        )
        assert (done.problems, done.refused_rows, done.deliveries) == ([], 150, 5)
        lakes.append({one.key: lake.read(one.key) for one in lake.list("bronze/")})

    assert lakes[0] == lakes[1]
