"""Files that are not what they seem: read right or refused with a code, never read wrong."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from contextlib import suppress
from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.sessions import load_calendar
from fetchers.files.reader import find_files, read_file
from fetchers.files.refusals import Code, FileRefused

HEAD = "symbol,date,open,high,low,close,volume\n"
ROW = "A,2025-04-08,10.5,12.5,9.25,11.25,1000\n"
TABLE = HEAD + ROW
RIGHT = ("A", date(2025, 4, 8), 10.5, 12.5, 9.25, 11.25, 1000.0)


def read(folder: Path, content: bytes, name: str = "file.csv") -> list[tuple[object, ...]]:
    path = folder / name
    path.write_bytes(content)
    (file,) = find_files(str(path))
    rows = read_file(file).rows.filter(pl.col("reason").is_null())
    return rows.select(HEAD.strip().split(",")).rows()


def refusal(folder: Path, content: bytes, name: str = "file.csv") -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(folder, content, name)
    assert name in caught.value.label
    assert caught.value.remedy
    return caught.value


def parquet(**columns: pl.Series) -> bytes:
    frame = pl.DataFrame(
        {
            "symbol": ["A"],
            "date": [date(2025, 4, 8)],
            **{name: [10.5] for name in ("open", "high", "low", "close")},
            "volume": [1000],
        }
    ).with_columns(**columns)
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, TABLE)
    return buffer.getvalue()


def with_password(content: bytes) -> bytes:
    entry = content.index(b"PK\x01\x02")
    return content[: entry + 8] + b"\x01" + content[entry + 9 :]


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("bars.csv")
        member.size = len(TABLE)
        archive.addfile(member, io.BytesIO(TABLE.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", Code.EMPTY),
        (b" \r\n\n", Code.EMPTY),
        (gzip.compress(b""), Code.EMPTY),
        (b"\xef\xbb\xbf", Code.EMPTY),
        (b"<!DOCTYPE html><html><body>Log in</body></html>", Code.HTML),
        (b'\n<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', Code.HTML),
        (gzip.compress(b"<html>Bad gateway</html>"), Code.HTML),
        (b'{"status":"ERROR"}', Code.NOT_A_TABLE),
        (zipped("xl/workbook.xml"), Code.EXCEL),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), Code.EXCEL),
        (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le"),
            Code.ENCRYPTED,
        ),
        (with_password(zipped("bars.csv")), Code.ENCRYPTED),
        (zipped("bars.csv")[:-30], Code.TRUNCATED),
        (b"Salted__" + TABLE.encode(), Code.ENCRYPTED),
        (tarred(), Code.NOT_A_TABLE),
        (gzip.compress(gzip.compress(TABLE.encode())), Code.NOT_A_TABLE),
        (b"\x28\xb5\x2f\xfd" + bytes(20), Code.TRUNCATED),
        (b"BZh91AY&SY" + bytes(20), Code.NOT_A_TABLE),
        (TABLE.encode("utf-16-le"), Code.NOT_A_TABLE),
        (TABLE.encode("utf-16")[:-1], Code.TRUNCATED),
        (TABLE.encode() + b"\xc9,x\n", Code.UNKNOWN_ENCODING),
        (gzip.compress(TABLE.encode())[:-9], Code.TRUNCATED),
        (parquet()[:-20], Code.TRUNCATED),
        (b"Exceeded the daily hits limit", Code.NO_COLUMNS),
        (b"symbol,date,close\nA,2025-04-08,1\n", Code.NO_COLUMNS),
        ((HEAD + "A,2025-04-08,10,12").encode(), Code.TRUNCATED),
        ((HEAD + ROW + "A,2025-04-09,10,12,9,11,100").encode(), Code.TRUNCATED),
        ((HEAD + '"A,2025-04-08,10,12,9,11,100\n').encode(), Code.TRUNCATED),
        ((TABLE + "A,2025-04-09,10,12,9,11,100,7,7\n").encode(), Code.NOT_A_TABLE),
    ],
)
@pytest.mark.parametrize("name", ["file.csv", "file.parquet"])
def test_what_is_no_table_is_refused_by_its_content_whatever_its_name(
    tmp_path: Path, content: bytes, code: Code, name: str
) -> None:
    assert refusal(tmp_path, content, name).code == code


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (HEAD.encode() + b"A,x\nCaf\xe9,y\n", 3),
        ((TABLE + "A,2025-04-09,10,12").encode(), 3),
        (b"{}", None),
    ],
)
def test_a_refusal_names_the_line(tmp_path: Path, content: bytes, line: int | None) -> None:
    found = refusal(tmp_path, content)

    assert found.line == line
    assert (f", line {line}: " in str(found)) == (line is not None)


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.encode("utf-16"),
        b"\xfe\xff" + TABLE.encode("utf-16-be"),
        TABLE.replace("\n", "\r\n").encode(),
        gzip.compress(TABLE.encode()),
        TABLE.replace("symbol", "<SYMBOL>").encode(),
        (HEAD.strip() + ",note\n" + ROW.strip() + ",é").encode(),
        ((HEAD + ROW * 2).replace(",1000\n", ",1000.00\n").strip()).encode(),
    ],
)
@pytest.mark.parametrize("name", ["file.csv", "file.csv.gz", "file.parquet"])
def test_a_table_is_read_by_its_content_whatever_its_name(
    tmp_path: Path, content: bytes, name: str
) -> None:
    assert set(read(tmp_path, content, name)) == {RIGHT}


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("close", pl.Series([True])),
        ("close", pl.Series([[10.5]])),
        ("close", pl.Series([{"usd": 10.5}])),
        ("close", pl.Series([b"10.5"])),
        ("volume", pl.Series([date(2025, 4, 8)])),
        ("volume", pl.Series([1000], dtype=pl.Duration("us"))),
        ("open", pl.Series([1000], dtype=pl.Time)),
        ("open", pl.Series([1000], dtype=pl.Datetime("us"))),
        ("date", pl.Series([1000], dtype=pl.Time)),
        ("date", pl.Series([True])),
        ("date", pl.Series([1.7440848e9], dtype=pl.Float32)),
        ("symbol", pl.Series([5])),
        ("symbol", pl.Series([b"A"])),
    ],
)
def test_a_parquet_column_of_a_type_that_cannot_stand_for_ours_is_refused(
    tmp_path: Path, column: str, values: pl.Series
) -> None:
    found = refusal(tmp_path, parquet(**{column: values}))

    assert found.code == Code.NO_COLUMNS
    assert f"column '{column}' has values of type" in found.sentence


@pytest.mark.parametrize(
    ("values", "close"),
    [
        (pl.Series([115.92], dtype=pl.Float32), 115.92),
        (pl.Series(["115.92"]).cast(pl.Decimal(10, 2)), 115.92),
        (pl.Series([115], dtype=pl.UInt16), 115.0),
        (pl.Series(["115.92"]), 115.92),
    ],
)
def test_numbers_of_every_type_keep_their_decimals(
    tmp_path: Path, values: pl.Series, close: float
) -> None:
    assert read(tmp_path, parquet(close=values))[0][5] == close


def bars(dates: list[str], *, columns: str = "", cells: str = "") -> bytes:
    rows = [f"A,{day},10.5,12.5,9.25,11.25,1000{cells}\n" for day in dates]
    return (HEAD.strip() + columns + "\n" + "".join(rows)).encode()


@pytest.mark.parametrize(
    ("dates", "found"),
    [
        (["03/04/2024", "03/13/2024"], [date(2024, 3, 4), date(2024, 3, 13)]),
        (["04/03/2024", "13/03/2024"], [date(2024, 3, 4), date(2024, 3, 13)]),
        (["3/4/2024", "3/13/2024"], [date(2024, 3, 4), date(2024, 3, 13)]),
        (["04/07/2025"], [date(2025, 4, 7)]),  # the 4th of July is a holiday
        (["08-04-2025 16:00", "15-04-2025 16:00"], [date(2025, 4, 8), date(2025, 4, 15)]),
        (["20250804", "20252904"], None),
        (["20250204", "20250304", "20250604", "20252904"], None),
        (["20250105", "20251305"], [date(2025, 5, 1), date(2025, 5, 13)]),
        (["2025/04/08"], [date(2025, 4, 8)]),
    ],
)
def test_the_order_of_day_and_month_is_decided_by_the_whole_file(
    tmp_path: Path, dates: list[str], found: list[date] | None
) -> None:
    if not found:
        assert refusal(tmp_path, bars(dates)).code == Code.AMBIGUOUS_DATES
    else:
        assert sorted(row[1] for row in read(tmp_path, bars(dates))) == found


@pytest.mark.parametrize(
    "dates", [["03/04/2024"], ["03/04/2024", "05/02/2024"], ["03/13/2024", "13/03/2024"]]
)
def test_dates_that_read_two_ways_are_refused(tmp_path: Path, dates: list[str]) -> None:
    found = refusal(tmp_path, bars(dates))

    assert found.code == Code.AMBIGUOUS_DATES
    assert "2025-01-31" in found.remedy


@pytest.mark.parametrize(
    ("heading", "rows", "closes"),
    [
        (";", ["7,50;7,50;7,50;7,50;1000"], [7.5]),
        (",", ['"7,50","7,50","7,50","7,50",1000'], [7.5]),
        (";", ["1.234,5;1.234,5;1.234,5;1.234,5;1.000"], [1234.5]),
        (";", ["1,234.5;1,234.5;1,234.5;1,234.5;1,000"], [1234.5]),
        (";", ["1.234;1.234;1.234;1.234;1000", "1.5;1.5;1.5;1.5;10"], [1.234, 1.5]),
        (";", ["1.234;1.234;1.234;1.234;9", "1012;1012;1012;1012;9"], [1.234, 1012.0]),
        (";", ["1,010;1,012;9;1,011;9"], [1011.0]),
        (",", ["10.5,10.5,10.5,10.5,1.5e6"], [10.5]),
        (",", ['10.5,10.5,10.5,"1,2,3.5",100'], [None]),
        (";", ["1.234;1.234;1.234;1.234;9"], None),
        (",", ['"1,234","1,234","1,234","1,234",9'], None),
        (";", ["7,50;7,50;7,50;7,50;9", "7.51;7.51;7.51;7.51;9"], None),
    ],
)
def test_the_decimal_mark_is_decided_by_the_whole_file_or_refused(
    tmp_path: Path, heading: str, rows: list[str], closes: list[float | None] | None
) -> None:
    text = HEAD.replace(",", heading)
    text += "".join(f"A{heading}2025-04-0{day}{heading}{row}\n" for day, row in enumerate(rows, 1))

    if closes is None:
        assert refusal(tmp_path, text.encode()).code == Code.AMBIGUOUS_DECIMALS
    else:
        assert [row[5] for row in read(tmp_path, text.encode())] == closes


@pytest.mark.parametrize(
    "content",
    [
        bars(["2025-04-08 09:30:00", "2025-04-08 09:31:00"]),
        bars(["2025-04-08"], columns=",interval", cells=",1m"),
        bars(["2025-04-08"], columns=",<PER>", cells=",60"),
        bars(["2025-04-08"], columns=",time", cells=",093000")
        + b"A,2025-04-08,10.5,12.5,9.25,11.25,1000,093100\n",
    ],
)
def test_bars_that_are_not_daily_are_refused(tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path, content).code == Code.NO_SESSIONS


@pytest.mark.parametrize("interval", ["1d", "D", "daily", "24h", "1440", ""])
def test_daily_bars_are_taken_whatever_the_interval_is_called(
    tmp_path: Path, interval: str
) -> None:
    content = bars(["2025-04-08"], columns=",interval", cells=f",{interval}")

    assert read(tmp_path, content) == [RIGHT]


def test_columns_that_only_resemble_ours_are_not_taken(tmp_path: Path) -> None:
    content = b"symbol,date,open,high,low,close,shares outstanding,P/E\nA,2025-04-08,1,1,1,1,9,9\n"

    assert "no column for volume" in refusal(tmp_path, content).sentence


SECOND = ("BB", date(2025, 4, 9), 20.5, 22.5, 19.25, 21.25, 2500.0)
TWO = TABLE + "BB,2025-04-09,20.5,22.5,19.25,21.25,2500\n"


def sound_rows(folder: Path, content: bytes) -> set[tuple[object, ...]]:
    """The rows with every value; none of a file that is refused."""
    with suppress(FileRefused):
        return {row for row in read(folder, content) if None not in row}
    return set()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_file_cut_at_any_byte_never_gives_other_numbers(tmp_path: Path, separator: str) -> None:
    whole = TWO.replace(",", separator).encode()
    packed = gzip.compress(whole)

    found = [sound_rows(tmp_path, whole[:end]) for end in range(len(whole) + 1)]
    unpacked = [sound_rows(tmp_path, packed[:end]) for end in range(len(packed))]

    assert found[-1] == {RIGHT, SECOND}
    assert set().union(*found) == {RIGHT, SECOND}
    assert not any(unpacked)


@pytest.mark.parametrize(
    "text",
    [
        "Daily bars\n" + TWO,
        "\n\n" + TWO,
        HEAD + "text,date,usd,usd,usd,usd,shares\n" + TWO.removeprefix(HEAD),
        TWO + "Source: exchange\n",
        TWO + "\n\n",
        TWO + "total,,,,,,3500\n",
        TWO + HEAD,
        TWO.replace("10.5,", "10.5,,"),
        TWO.replace("10.5,", ""),
        TWO.replace("10.5,", "10,5,"),
        TWO.replace("A,", '"A,', 1),
        TWO.replace("A,", "'A',", 1),
        TWO.replace("10.5", '"10.5'),
        TWO.replace("1000", "1000,"),
        TWO.replace("1000", "1000 shares"),
        TWO.replace("10.5", "$10.5"),
        TWO.replace("2025-04-08", "2025-04-08 (Tue)"),
        TWO.replace("\n", "\r"),
        TWO.replace(",", ";", 7),
        HEAD.replace("open", "close") + TWO.removeprefix(HEAD),
        HEAD.replace("open,", "") + TWO.removeprefix(HEAD),
        HEAD.replace("symbol,", "") + TWO.removeprefix(HEAD),
    ],
)
def test_polluted_tables_never_give_other_numbers(tmp_path: Path, text: str) -> None:
    assert sound_rows(tmp_path, text.encode()) <= {RIGHT, SECOND}


SESSIONS = load_calendar().sessions_between(date(2019, 1, 1), date(2024, 12, 31))
PRICE = st.integers(1, 10**7).map(lambda cents: cents / 1000)
VOLUME = st.integers(0, 10**8)
BARS = st.dictionaries(st.sampled_from(SESSIONS), st.tuples(PRICE, VOLUME), min_size=1, max_size=5)
STAMPS = {
    "iso": "%Y-%m-%d",
    "digits": "%Y%m%d",
    "american": "%m/%d/%Y",
    "european": "%d/%m/%Y",
    "points": "%d.%m.%Y",
    "time": "%Y-%m-%d 16:00:00",
    "zone": "%Y-%m-%dT00:00:00+09:00",
    "month by its name": "%d-%b-%Y",
    "words": "%A %d %B %Y",
    "weekday": "%a %d/%m/%Y",
    "twelve hours": "%m/%d/%Y 04:00 PM",
}
MIDNIGHTS = {
    "Berlin": ZoneInfo("Europe/Berlin"),
    "Tokyo": ZoneInfo("Asia/Tokyo"),
    "Kolkata": ZoneInfo("Asia/Kolkata"),
    "Chicago": ZoneInfo("America/Chicago"),
}
"""Zones whose midnight, in UTC, is no usual time of day of a bar in New York."""

EPOCHS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@given(
    BARS,
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(".,"),
    st.booleans(),
    st.sampled_from(["%.2f", "%.3f", "%.4f", "%s"]),
    st.sampled_from([*STAMPS, *EPOCHS, *MIDNIGHTS]),
    st.booleans(),
)
def test_in_any_layout_a_file_gives_its_own_numbers_or_none(
    tmp_path_factory: pytest.TempPathFactory,
    bars_of_day: dict[date, tuple[float, int]],
    separator: str,
    mark: str,
    thousands: bool,
    decimals: str,
    stamp: str,
    zipped_up: bool,
) -> None:
    def number(value: str) -> str:
        whole, _, rest = value.partition(".")
        grouped = f"{int(whole):,}".replace(",", "." if mark == "," else ",")
        text = (grouped if thousands else whole) + (mark + rest if rest else "")
        return f'"{text}"' if separator in text else text

    written, expected = [HEAD.strip().replace(",", separator)], set()
    for day, (price, volume) in bars_of_day.items():
        shown = decimals % price
        if stamp in STAMPS:
            at = day.strftime(STAMPS[stamp])
        elif stamp in MIDNIGHTS:
            midnight = datetime.combine(day, time(), MIDNIGHTS[stamp])
            at = f"{midnight.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        else:
            midnight = datetime.combine(day, time(), ZoneInfo("America/New_York"))
            at = str(int(midnight.timestamp()) * EPOCHS[stamp])
        written.append(separator.join(["A", at, *[number(shown)] * 4, number(str(volume))]))
        expected.add(("A", day, *[float(shown)] * 4, float(volume)))
    content = ("\n".join(written) + "\n").encode()

    file = gzip.compress(content) if zipped_up else content
    with suppress(FileRefused):
        assert set(read(tmp_path_factory.getbasetemp(), file)) <= expected
