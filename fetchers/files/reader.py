"""Deliveries in files: CSV, compressed CSV and Parquet, on disk or on S3."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Final

import polars as pl

from batch.core.errors import DeliveryUnreadable, ObjectMissing, SettingsError, StoreDenied
from batch.storage.store import ObjectStore, open_store
from fetchers.files.columns import (
    Columns,
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
        found = list(_listed(open_store(f"s3://{bucket}"), prefix))
    elif path.is_file():
        there = _listed(open_store(str(path.parent)), path.name)
        found = [file for file in there if file.key == path.name]
    elif path.is_dir():
        there = _listed(open_store(str(path)), "")
        found = [file for file in there if file.key.endswith(SUFFIXES)]
    else:
        raise SettingsError(f"{place}: no such file or folder")
    if not found:
        raise SettingsError(f"{place}: no file there that ends in {', '.join(SUFFIXES)}")
    return found


def _listed(store: ObjectStore, prefix: str) -> Iterator[SourceFile]:
    for item in store.list(prefix):
        if item.modified_at is not None:
            yield SourceFile(store, item.key, item.modified_at)


def read_file(file: SourceFile) -> ReadFile:
    """Read a file and recognise its columns.

    Raises:
        DeliveryUnreadable: It is empty, cut off, or not what its name says.
    """
    table = read_table(file)
    columns = recognise_columns(table.columns, label=file.uri)
    symbol = symbol_of_name(_SUFFIX.split(file.name)[0])
    return ReadFile(to_delivery_rows(table, columns, symbol=symbol), columns)


def read_table(file: SourceFile) -> pl.DataFrame:
    """Read a file as it is: text where it is CSV, typed where it is Parquet.

    Raises:
        DeliveryUnreadable: It is empty, cut off, or not what its name says.
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


def instant_in_name(name: str) -> datetime | None:
    """Return the instant in a file's name, or None where there is none.

    A date stands for the end of that day in UTC: after the session's close, before the next
    one's.
    """
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
