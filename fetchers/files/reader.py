"""Deliveries and splits in files: CSV, compressed CSV and Parquet, on disk or on S3."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import unquote

import polars as pl

from batch.core.errors import DeliveryUnreadable, ObjectMissing, SettingsError, StoreDenied
from batch.core.layout import NO_VALUE
from batch.storage.store import ObjectStore, open_store
from fetchers.files.columns import (
    Columns,
    has_column,
    recognise_columns,
    symbol_of_name,
    to_delivery_rows,
)

SUFFIXES: Final = (".csv", ".csv.gz", ".txt", ".txt.gz", ".parquet")

_INSTANT_IN_NAME = re.compile(
    r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)[T_ -](\d\d)[-:]?(\d\d)[-:]?(\d\d)Z?(?!\d)"
)
_DATE_IN_NAME = re.compile(r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)(?!\d)")
_SUFFIX = re.compile(r"\.(?:csv|txt|parquet)")
_RANDOM = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
"""What pandas and Spark name their files after; eight digits in it are no date."""

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
    """A file's rows as the columns of a delivery, dirty rows included."""

    rows: pl.DataFrame
    columns: Columns


def find_files(place: str) -> list[SourceFile]:
    """Return the files at a path, below a folder, or below ``s3://bucket/prefix``.

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
        raise SettingsError(f"{place}: no file there that ends in {', '.join(SUFFIXES)}")
    return found


def read_file(file: SourceFile) -> ReadFile:
    """Read a file and recognise its columns; what its folders stand for is a column too.

    Raises:
        DeliveryUnreadable: It is empty, cut off, or not what its name or its folder says.
    """
    table = read_table(file)
    partition = file.partition
    for name, value in partition.items():
        if not has_column(table.columns, name):
            table = table.with_columns(pl.lit(value, dtype=pl.String).alias(name))
    columns = recognise_columns(table.columns, label=file.uri)
    symbol = symbol_of_name(_SUFFIX.split(file.name)[0])
    rows = to_delivery_rows(table, columns, symbol=symbol)
    if "symbol" in partition:
        of_folder = partition["symbol"]
        others = rows.filter(pl.col("symbol").ne_missing(of_folder))["symbol"].drop_nulls()
        if len(others):
            raise DeliveryUnreadable(
                f"{file.uri}: its folder stands for symbol {of_folder or 'null'}, its column has"
                f" {others[0]}; correct the one that is wrong"
            )
    return ReadFile(rows, columns)


def read_table(file: SourceFile) -> pl.DataFrame:
    """Read a file as :func:`read_file` does, without recognising its columns.

    They are text where the file is CSV, typed where it is Parquet.
    """
    try:
        content = file.store.read(file.key)
    except (ObjectMissing, StoreDenied) as err:
        raise DeliveryUnreadable(f"{file.uri}: cannot be read: {err}") from err
    try:
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if not content.strip():
            raise DeliveryUnreadable(f"{file.uri}: empty")
        if content[:4] == b"PAR1":
            return pl.read_parquet(BytesIO(content))
        if file.key.endswith(".parquet"):
            raise DeliveryUnreadable(f"{file.uri}: not a Parquet file")
        return pl.read_csv(content, infer_schema=False)
    except (EOFError, OSError, zlib.error, pl.exceptions.PolarsError) as err:
        reason = str(err).strip().splitlines()[0]
        raise DeliveryUnreadable(f"{file.uri}: damaged or cut off: {reason}") from err


def read_splits_file(file: SourceFile) -> pl.DataFrame:
    """Read the splits of a file; what cannot be read becomes null.

    Columns: ``symbol`` or ``ticker``; ``date`` or ``execution_date``; ``split_from`` and
    ``split_to``, or ``ratio`` (shares after one share before).

    Returns:
        ``symbol``, ``date``, ``split_from``, ``split_to``, in the order of the file.

    Raises:
        DeliveryUnreadable: It cannot be read, or lacks a column.
    """
    table = read_table(file)
    theirs = {name.lower(): name for name in table.columns}

    def column(*names: str) -> pl.Expr | None:
        return next((pl.col(theirs[name]) for name in names if name in theirs), None)

    symbol = column("symbol", "ticker")
    executed = column("date", "execution_date", "ex_date")
    before, after = column("split_from"), column("split_to")
    if before is None or after is None:
        before, after = pl.lit(1.0), column("ratio", "split_ratio")
    if symbol is None or executed is None or after is None:
        raise DeliveryUnreadable(
            f"{file.uri}: columns {', '.join(table.columns)}; expected ticker, execution_date,"
            " split_from, split_to"
        )
    return table.select(
        symbol=symbol.cast(pl.String).str.strip_chars(),
        date=executed.cast(pl.String).str.slice(0, 10).str.to_date(strict=False),
        split_from=before.cast(pl.Float64, strict=False),
        split_to=after.cast(pl.Float64, strict=False),
    )


def instant_in_name(name: str) -> datetime | None:
    """Return the instant in a file's name, or None where there is none.

    A date stands for the end of that day in UTC: after the session's close, before the next
    one's.
    """
    name = _RANDOM.sub("", name)
    at = _INSTANT_IN_NAME.search(name)
    found = at or _DATE_IN_NAME.search(name)
    if not found:
        return None
    year, month, day, *clock = map(int, found.groups())
    hour, minute, second = clock or (23, 59, 59)
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
