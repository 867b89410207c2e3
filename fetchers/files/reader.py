"""Deliveries and splits in files: CSV, compressed CSV and Parquet, on disk or on S3."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote

import polars as pl

from batch.core.errors import DeliveryUnreadable, ObjectMissing, SettingsError, StoreDenied
from batch.core.layout import (
    BRONZE,
    NO_VALUE,
    REJECTED,
    ROOTS,
    RUNS,
    SILVER,
    STATE,
    VACUUMED,
    Delivery,
)
from batch.storage.store import ObjectStore, open_store
from fetchers.files.columns import (
    Columns,
    has_column,
    plain_name,
    recognise_columns,
    require_types,
    stooq_symbol,
    symbol_of_name,
    to_delivery_rows,
)
from fetchers.files.kinds import PARQUET, unpack
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused
from fetchers.files.text import FileTable, parse_text

SUFFIXES: Final = (".csv", ".csv.gz", ".txt", ".txt.gz", ".parquet")

_INSTANT_IN_NAME = re.compile(
    r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)[T_ -](\d\d)[-:]?(\d\d)[-:]?(\d\d)(\d{6}(?=Z))?Z?(?!-?\d)"
)
_DATE_IN_NAME = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?!\d)")
_SUFFIX = re.compile(r"\.(?:csv|txt|parquet)")
_RANDOM = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
"""What pandas and Spark name their files after; eight digits in it are no date."""

_BRONZE = re.compile(rf"(?<=/){BRONZE}date=")
_MADE_BY_LAKES: Final = (SILVER, STATE, RUNS, REJECTED, VACUUMED)

_SPLIT_ADJUSTED: Final = "this vendor's prices are usually adjusted for splits, not as traded"
_DIVIDEND_ADJUSTED: Final = (
    "without a column Adj Close they are adjusted for dividends too: download with"
    " auto_adjust=False"
)

_PARTITIONS: Final = {"symbol": "symbol", "ticker": "symbol", "date": "date"}
"""Which of our columns a folder such as ``symbol=AAPL`` stands for."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may hold deliveries: where it is, and when it was last written."""

    store: ObjectStore
    key: str
    modified_at: datetime

    @property
    def name(self) -> str:
        """Its name without folders."""
        return PurePosixPath(self.key).name

    @property
    def uri(self) -> str:
        """Its whole address, for messages."""
        return f"{self.store.uri}/{self.key}"

    @property
    def received_at(self) -> datetime:
        """The instant or date in its name, else its modification time."""
        return instant_in_name(self.name) or self.modified_at

    @property
    def partition(self) -> dict[str, str | None]:
        """Our columns that its path has a value for, as in ``symbol=BRK%2FB/date=2025-01-15``.

        The folders above the place that was named count too; None stands for Hive's null.
        """
        path = self.uri if "://" in self.uri else os.path.abspath(self.uri)  # noqa: PTH100 - not to follow links
        found: dict[str, str | None] = {}
        for part in (*PurePosixPath(path).parent.parts, _SUFFIX.split(self.name)[0]):
            name, equals, value = part.partition("=")
            if equals and name.lower() in _PARTITIONS:
                text = unquote(value)
                found[_PARTITIONS[name.lower()]] = None if text in ("", NO_VALUE) else text
        return found


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file's rows as the columns of a delivery, dirty rows included.

    ``adjusted`` says how the prices are not as traded, by the vendor that the file's layout is
    of; None where nothing shows it.
    """

    rows: pl.DataFrame
    columns: Columns
    adjusted: str | None = None


def find_files(place: str, *, lake: ObjectStore | None = None) -> list[SourceFile]:
    """Return the files at a path, below a folder, or below ``s3://bucket/prefix``.

    Nothing that a lake has made is among them: neither what belongs to ``lake``, the one that is
    imported into, nor, where another lake lies there, more than its deliveries and its reference
    tables.

    Raises:
        SettingsError: There is nothing there that could be a delivery.
    """
    path = Path(place)
    if place.startswith("s3://"):
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        store = open_store(f"s3://{bucket}")
        there = store.list(prefix)
    elif path.is_file():
        store = open_store(str(path.parent))
        there = (item for item in store.list(path.name) if item.key == path.name)
    elif path.is_dir():
        store = open_store(str(path))
        there = (item for item in store.list("") if item.key.endswith(SUFFIXES))
    elif path.exists():
        raise SettingsError(
            f"{place}: a pipe, a socket or a device; expected a regular file or a folder"
        )
    else:
        raise SettingsError(f"{place}: no such file or folder")
    found = [SourceFile(store, item.key, item.modified_at) for item in there if item.modified_at]
    if not found:
        raise SettingsError(f"{place}: no file whose name ends in {', '.join(SUFFIXES)}")
    others = _without_results_of_lakes(found, lake)
    if not others:
        raise SettingsError(f"{place}: only files that this lake wrote itself; name the deliveries")
    return others


def _without_results_of_lakes(
    files: list[SourceFile], lake: ObjectStore | None
) -> list[SourceFile]:
    own = [f"{_address(lake.uri)}/{root}" for root in ROOTS] if lake else []
    addresses = {file: f"{_address(file.store.uri)}/{file.key}" for file in files}
    roots = {
        address[: at.start()]
        for address in addresses.values()
        if (at := _BRONZE.search(address)) and Delivery.parse(address[at.start() :])
    }
    made = (*own, *(f"{root}{folder}" for root in roots for folder in _MADE_BY_LAKES))
    return [file for file, address in addresses.items() if not address.startswith(made)]


def _address(uri: str) -> str:
    return uri if "://" in uri else os.path.realpath(uri)


def read_file(file: SourceFile, reading: Reading = BY_EVIDENCE) -> ReadFile:
    """Read a file of bars; see :func:`bars_of`.

    Raises:
        DeliveryUnreadable: It is empty, cut off, or refused by :func:`bars_of`.
    """
    return bars_of(read_table(file), file, reading)


def bars_of(table: FileTable, file: SourceFile, reading: Reading = BY_EVIDENCE) -> ReadFile:
    """Recognise the columns of a file's bars; what its folders stand for is a column too.

    The symbol of a file without any is its name's.

    Raises:
        FileRefused: It has no bars, other bars than its folder says, or adjusted prices; or its
            dates or numbers can be read in two ways.
    """
    rows, partition = table.rows, file.partition
    for name, value in partition.items():
        if not has_column(rows.columns, name):
            rows = rows.with_columns(pl.lit(value, dtype=pl.String).alias(name))
    columns = recognise_columns(rows.columns, label=file.uri)
    if table.open_end is not None and (table.is_wide or table.open_end in columns.taken.values()):
        raise FileRefused(
            Code.TRUNCATED,
            file.uri,
            "its last line has no line break, so that its last number may be cut off",
            f"{DOWNLOAD_AGAIN}, or end the last line with a line break where it is whole",
        )
    require_types(rows.schema, columns, label=file.uri)
    symbol = None if "symbol" in columns.taken else require_symbol_of_name(file)
    bars = to_delivery_rows(rows, columns, symbol=symbol, label=file.uri, reading=reading)
    if "symbol" in partition:
        of_folder = partition["symbol"]
        others = bars.filter(pl.col("symbol").ne_missing(of_folder))["symbol"].drop_nulls()
        if len(others):
            raise FileRefused(
                Code.NO_COLUMNS,
                file.uri,
                f"its folder stands for symbol {of_folder or 'null'}, its column has {others[0]}",
                "correct the one that is wrong",
            )
    adjusted = None
    of_one_symbol = not has_column(table.rows.columns, "symbol")
    if table.is_wide or columns.is_yahoo(of_one_symbol=of_one_symbol):
        raw_closes = "adj_close" in map(plain_name, rows.columns)
        adjusted = _SPLIT_ADJUSTED if raw_closes else f"{_SPLIT_ADJUSTED}; {_DIVIDEND_ADJUSTED}"
    elif columns.is_stooq or stooq_symbol(_SUFFIX.split(file.name)[0]):
        adjusted = _SPLIT_ADJUSTED
    if adjusted and not reading.accept_adjusted:
        raise FileRefused(
            Code.ADJUSTED_PRICES,
            file.uri,
            adjusted,
            "a lake has prices as traded: import such, or give --accept-adjusted",
        )
    return ReadFile(bars, columns, adjusted)


def require_symbol_of_name(file: SourceFile) -> str:
    """Return the symbol that a file without a column of symbols is named after.

    Raises:
        DeliveryUnreadable: It is not named after one.
    """
    symbol = symbol_of_name(_SUFFIX.split(file.name)[0])
    if symbol is None:
        raise FileRefused(
            Code.NO_COLUMNS,
            file.uri,
            "no column of symbols, and its name is not a symbol",
            "name it after its symbol in capitals, AAPL.csv, or put it into a folder such as"
            " symbol=AAPL",
        )
    return symbol


def read_table(file: SourceFile) -> FileTable:
    """Read a file without recognising its columns.

    They are text where the file is text, typed where it is Parquet.

    Raises:
        DeliveryUnreadable: It is empty, cut off, or not a table.
    """
    try:
        content = file.store.read(file.key)
    except (ObjectMissing, StoreDenied) as err:
        raise DeliveryUnreadable(f"{file.uri}: cannot be read: {err}") from err
    content = unpack(content, label=file.uri)
    if content.startswith(PARQUET):
        try:
            return FileTable(pl.read_parquet(BytesIO(content)))
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as err:
            raise FileRefused(
                Code.TRUNCATED,
                file.uri,
                f"damaged or cut off: {_first_line(err)}",
                DOWNLOAD_AGAIN,
            ) from err
    try:
        return parse_text(content, label=file.uri)
    except (csv.Error, pl.exceptions.PolarsError) as err:
        raise FileRefused(
            Code.NOT_A_TABLE,
            file.uri,
            f"not a table of rows under one heading: {_first_line(err)}",
            f"{DOWNLOAD_AGAIN}, or export it as CSV with a heading and a row per bar",
        ) from err


def _first_line(err: BaseException) -> str:
    return str(err).strip().splitlines()[0]


def instant_in_name(name: str) -> datetime | None:
    """Return the instant in a file's name, or None where there is none.

    A date stands for the end of that day in UTC: after the session's close, before the next
    one's; of several, as in a range of dates, the last one does. A delivery of a lake has
    microseconds in its name.
    """
    name = _RANDOM.sub("", name)
    at = _INSTANT_IN_NAME.search(name)
    found = [at] if at else _DATE_IN_NAME.finditer(name)
    instants = (_instant([int(part or 0) for part in one.groups()]) for one in found)
    return max((one for one in instants if one), default=None)


def _instant(parts: Sequence[int]) -> datetime | None:
    year, month, day, *clock = parts
    hour, minute, second, microsecond = clock or (23, 59, 59, 0)
    try:
        return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=UTC)
    except ValueError:
        return None
