"""Compressed files and archives: each part read or refused on its own, and no bomb goes off."""

from __future__ import annotations

import gzip
import io
import random
import resource
import zipfile
import zlib
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fetchers.files.parts import parts_of
from fetchers.files.reader import find_files, read_file
from fetchers.files.reading import Reading
from fetchers.files.refusals import Code, FileRefused
from tests.support.bombs import overlapping_zip, repeating_parquet

HEAD = "symbol,date,open,high,low,close,volume\n"
ROW = "A,2025-04-08,10.5,12.5,9.25,11.25,1000\n"
TABLE = (HEAD + ROW).encode()
RIGHT = ("A", date(2025, 4, 8), 10.5, 12.5, 9.25, 11.25, 1000.0)
NAMES = HEAD.strip().split(",")
MIB = 1024 * 1024


def zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content, asbytes=True))


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def outcomes(folder: Path, content: bytes) -> list[tuple[str | None, object]]:
    """Return for each part its name, and its rows or the code of its refusal."""
    path = folder / "file.bin"
    path.write_bytes(content)
    found: list[tuple[str | None, object]] = []
    for part in parts_of(path, address=str(path)):
        try:
            rows = pl.concat(part.bars().pieces).select(NAMES).rows()
            found.append((part.name, rows))
        except FileRefused as err:
            found.append((part.name, err.code if err.remedy and str(path) in err.label else err))
    return found


BARS = pl.read_csv(TABLE, try_parse_dates=True)


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(TABLE) + bytes(512),
        gzip.compress(TABLE[:50]) + gzip.compress(b"") + gzip.compress(TABLE[50:]),
        zstd(TABLE),
        zstd(TABLE[:50]) + b"\x50\x2a\x4d\x18\x04\0\0\0note" + zstd(TABLE[50:]),
        gzip.compress(TABLE.decode().encode("utf-16")),
        gzip.compress(parquet(BARS)),
        zstd(parquet(BARS)),
    ],
)
def test_what_is_compressed_is_read(tmp_path: Path, content: bytes) -> None:
    assert outcomes(tmp_path, content) == [(None, [RIGHT])]


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_compressed_bytes_cut_anywhere_are_refused(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    content = pack(TABLE)

    found = [outcomes(tmp_path, content[:end])[0][1] for end in range(1, len(content))]

    assert set(found) <= {Code.TRUNCATED, Code.NOT_A_TABLE, Code.NO_COLUMNS}
    assert set(found[4:]) == {Code.TRUNCATED}


def test_of_an_archive_good_members_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    content = zipped(
        ("us/aapl.us.txt", TABLE),
        ("us/", b""),
        ("__MACOSX/us/._aapl.us.txt", b"\0\5\x16\7"),
        ("us/.DS_Store", b"\0\0\0\1Bud1"),
        ("page.csv", b"<html>Log in</html>"),
        ("again.csv.gz", gzip.compress(TABLE)),
        ("inner.zip", zipped(("a.csv", TABLE))),
        ("bars.parquet", parquet(BARS)),
        ("symbol=B/2025.csv", TABLE.replace(b"A,", b"").replace(b"symbol,", b"")),
        ("../../etc/\x1b[31mbars.csv", TABLE),
    )

    assert outcomes(tmp_path, content) == [
        ("us/aapl.us.txt", Code.ADJUSTED_PRICES),
        ("page.csv", Code.HTML),
        ("again.csv.gz", Code.NOT_A_TABLE),
        ("inner.zip", Code.NOT_A_TABLE),
        ("bars.parquet", [RIGHT]),
        ("symbol=B/2025.csv", [("B", *RIGHT[1:])]),
        ("../../etc/?[31mbars.csv", [RIGHT]),
    ]
    assert not (tmp_path.parent / "etc").exists()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (zipped(), Code.EMPTY),
        (zipped(("folder/", b"")), Code.EMPTY),
        (zipped(("a.csv", TABLE), method=zipfile.ZIP_BZIP2), Code.NOT_A_TABLE),
        (zipped(("a.csv", TABLE * 50))[:100], Code.TRUNCATED),
        (gzip.compress(zipped(("a.csv", TABLE))), Code.NOT_A_TABLE),
        (zstd(gzip.compress(TABLE)), Code.NOT_A_TABLE),
    ],
)
def test_archives_that_cannot_be_read_are_refused(
    tmp_path: Path, content: bytes, code: Code
) -> None:
    assert [found for _, found in outcomes(tmp_path, content)] == [code]


def test_an_archive_damaged_anywhere_gives_its_own_numbers_or_none(tmp_path: Path) -> None:
    content = zipped(("a.csv", TABLE), ("b.csv", TABLE.replace(b"A,", b"B,")))
    rng = random.Random(3)

    for _ in range(40):
        damaged = bytearray(content)
        damaged[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        for _, found in outcomes(tmp_path, bytes(damaged)):
            assert isinstance(found, Code) or found in ([RIGHT], [("B", *RIGHT[1:])])


def test_too_many_members_are_refused_before_they_are_listed(tmp_path: Path) -> None:
    one = zipped(("a", b""))
    entry = one[one.index(b"PK\x01\x02") : one.index(b"PK\x05\x06")]
    count = 400_000
    end = bytearray(one[one.index(b"PK\x05\x06") :])
    end[12:16] = (len(entry) * count).to_bytes(4, "little")

    found = outcomes(tmp_path, one[: one.index(b"PK\x01\x02")] + entry * count + bytes(end))

    assert found == [(None, Code.TOO_LARGE)]


def repeated(pack: Callable[[bytes], bytes], one: bytes, mib: int) -> bytes:
    """Pack one text again and again, in members or frames of 1 MiB."""
    return pack(one * (MIB // len(one))) * mib


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (repeated(gzip.compress, b"\0", 64), Code.BOMB),
        (repeated(zstd, b"\0", 64), Code.BOMB),
        (gzip.compress(HEAD.encode()) + repeated(gzip.compress, ROW.encode(), 64), Code.BOMB),
        (HEAD.encode() + b"\n" * 2 * MIB, Code.NOT_A_TABLE),
        (gzip.compress(b"") * 2000, Code.BOMB),
        (zipped(("a.csv", bytes(64 * MIB))), Code.BOMB),
        (overlapping_zip(200, MIB), Code.BOMB),
        (repeating_parquet(2 * 10**6, 3), Code.BOMB),
    ],
)
def test_a_bomb_is_refused_in_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, code: Code
) -> None:
    monkeypatch.setattr("fetchers.files.streams.UNJUDGED_BYTES", 8 * MIB)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert outcomes(tmp_path, content) == [(None, code)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 300 * 1024


def test_the_overlapping_archive_would_unpack_to_what_it_promises() -> None:
    content = overlapping_zip(3, MIB)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:  # newer ones refuse to read the members
        found = archive.infolist()
    starts = [one.header_offset + 30 + len(one.filename) for one in found]

    unpacked = [zlib.decompressobj(wbits=-15).decompress(content[start:]) for start in starts]

    assert [len(one) for one in unpacked] == [one.file_size for one in found]
    assert [zlib.crc32(one) for one in unpacked] == [one.CRC for one in found]
    assert len(unpacked[-1]) == MIB


def wide(symbols: int) -> bytes:
    fields = ["Close", "High", "Low", "Open", "Volume"]
    names = [f"S{number}" for number in range(symbols)]
    head = ["Price," + ",".join(field for field in fields for _ in names)]
    head.append("Ticker," + ",".join(names * len(fields)))
    head.append("Date," + "," * (len(names) * len(fields) - 1))
    row = "2025-04-08," + ",".join(["10.5"] * len(names) * 4 + ["7"] * len(names))
    return "\n".join([*head, row, ""]).encode()


def test_only_a_table_of_a_column_per_symbol_may_be_wide(tmp_path: Path) -> None:
    many = HEAD.strip() + ",x" * 250 + "\n" + ROW.strip() + "," * 250 + "\n"
    of_symbols = tmp_path / "wide.csv"
    of_symbols.write_bytes(wide(500))

    (found,) = find_files(str(of_symbols))
    rows = read_file(found, Reading(accept_adjusted=True)).rows

    assert outcomes(tmp_path, many.encode()) == [(None, Code.TOO_LARGE)]
    assert rows["symbol"].n_unique() == 500


def mutated(rng: random.Random, content: bytes) -> bytes:
    """Change some bytes, most of them in the footer of a Parquet file."""
    changed = bytearray(content)
    footer = int.from_bytes(content[-8:-4], "little")
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        at = rng.randrange(len(changed))
        if rng.random() < 0.5:
            at = max(0, len(changed) - 8 - rng.randrange(footer))
        match rng.randrange(4):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                changed[at] ^= 1 << rng.randrange(8)
            case 2:
                del changed[at : at + rng.randrange(1, 9)]
            case 3:
                changed[at:at] = rng.randbytes(rng.randrange(1, 9))
    return bytes(changed)


SAVED = [
    {"compression": "snappy"},
    {"compression": "none", "use_dictionary": False},
    {"compression": "gzip", "data_page_version": "2.0", "row_group_size": 7},
    {
        "compression": "none",
        "use_dictionary": False,
        "column_encoding": {"symbol": "DELTA_BYTE_ARRAY", "volume": "DELTA_BINARY_PACKED"},
    },
]


@pytest.mark.parametrize("options", SAVED)
def test_mutated_parquet_has_an_outcome_with_a_code(
    tmp_path: Path, options: dict[str, object]
) -> None:
    table = (
        pl.concat([BARS] * 20)
        .to_arrow()
        .cast(
            pa.schema(
                [("symbol", pa.string()), ("date", pa.date32())]
                + [(name, pa.float64()) for name in NAMES[2:6]]
                + [("volume", pa.int64())]
            )
        )
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    rng = random.Random(5)

    found = [outcomes(tmp_path, mutated(rng, buffer.getvalue())) for _ in range(60)]

    assert sum(isinstance(one, Code) for ((_, one),) in found) > 20


@pytest.mark.parametrize("zone", [None, "UTC", "America/New_York"])
def test_dates_beyond_every_calendar_are_no_dates(tmp_path: Path, zone: str | None) -> None:
    stamps = pl.Series([2**61, -(2**61), 1744084800 * 10**6], dtype=pl.Int64)
    table = pl.concat([BARS] * 3).with_columns(date=stamps.cast(pl.Datetime("us", zone)))
    buffer = io.BytesIO()
    table.write_parquet(buffer)

    ((_, rows),) = outcomes(tmp_path, buffer.getvalue())

    assert isinstance(rows, list)
    assert [row[1] for row in rows[:2]] == [None, None]


def test_a_time_zone_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    stamps = pa.array([0], pa.timestamp("us", "Mars/Olympus"))
    buffer = io.BytesIO()
    pq.write_table(BARS.to_arrow().set_column(1, "date", stamps), buffer)

    assert outcomes(tmp_path, buffer.getvalue()) == [(None, Code.NO_COLUMNS)]
