"""Files that are not what they seem: read right or refused with a code, never read wrong."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from datetime import date
from pathlib import Path

import polars as pl
import pytest

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
    return read_file(file).rows.select(HEAD.strip().split(",")).rows()


def refusal(folder: Path, content: bytes, name: str = "file.csv") -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(folder, content, name)
    assert caught.value.label.endswith(name)
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
        (zipped("bars.csv"), Code.NOT_A_TABLE),
        (with_password(zipped("bars.csv")), Code.ENCRYPTED),
        (zipped("bars.csv")[:-30], Code.TRUNCATED),
        (b"Salted__" + TABLE.encode(), Code.ENCRYPTED),
        (tarred(), Code.NOT_A_TABLE),
        (gzip.compress(gzip.compress(TABLE.encode())), Code.NOT_A_TABLE),
        (b"\x28\xb5\x2f\xfd" + bytes(20), Code.NOT_A_TABLE),
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
