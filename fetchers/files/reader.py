"""Deliveries in files: CSV, compressed CSV and Parquet, on disk or on S3."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time
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


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that may hold deliveries.

    Attributes:
        store: Where it lies.
        key: Its path there.
        modified_at: When it was last written.
    """

    store: ObjectStore
    key: str
    modified_at: datetime

    @property
    def named(self) -> str:
        """What to call it."""
        return f"{self.store.uri}/{self.key}"

    @property
    def received_at(self) -> datetime:
        """When it was received: the instant or date in its name, else its modification time.

        A date stands for the end of that day in UTC: after the session's close, before
        the next one's.
        """
        return instant_in_name(PurePosixPath(self.key).name) or self.modified_at


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file's rows under our columns.

    Attributes:
        rows: Columns of a delivery, dirty rows included.
        columns: What was taken for what.
    """

    rows: pl.DataFrame
    columns: Columns


def find_files(place: str) -> list[SourceFile]:
    """Return the files at a path, below a folder, or below ``s3://bucket/prefix``.

    Raises:
        SettingsError: There is nothing there that could be a delivery.
    """
    if place.startswith("s3://"):
        bucket, _, prefix = place.removeprefix("s3://").partition("/")
        store = open_store(f"s3://{bucket}")
        found = list(_listed(store, prefix))
    else:
        path = Path(place)
        if path.is_file():
            store = open_store(str(path.parent))
            found = list(_listed(store, path.name, whole=True))
        elif path.is_dir():
            store = open_store(str(path))
            found = [file for file in _listed(store, "") if file.key.endswith(SUFFIXES)]
        else:
            raise SettingsError(f"{place}: no such file or folder")
    if not found:
        raise SettingsError(f"{place}: no file there that ends in {', '.join(SUFFIXES)}")
    return found


def _listed(store: ObjectStore, prefix: str, *, whole: bool = False) -> Iterator[SourceFile]:
    for item in store.list(prefix):
        if (not whole or item.key == prefix) and item.modified_at is not None:
            yield SourceFile(store, item.key, item.modified_at)


def read_file(file: SourceFile) -> ReadFile:
    """Read a file and recognise its columns.

    Raises:
        DeliveryUnreadable: It is empty, cut off, or not what its name says.
    """
    try:
        content = file.store.read(file.key)
    except (ObjectMissing, StoreDenied) as err:
        raise DeliveryUnreadable(f"{file.named}: cannot be read: {err}") from err
    raw = _parse(content, file)
    if raw.width == 0 or (raw.is_empty() and not raw.columns):
        raise DeliveryUnreadable(f"{file.named}: empty, not even a header")
    columns = recognise_columns(raw.columns, named=file.named)
    stem = PurePosixPath(file.key).name.split(".csv")[0].split(".txt")[0].split(".parquet")[0]
    return ReadFile(to_delivery_rows(raw, columns, symbol=symbol_of_name(stem)), columns)


def _parse(content: bytes, file: SourceFile) -> pl.DataFrame:
    try:
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if not content.strip():
            raise DeliveryUnreadable(f"{file.named}: empty")
        if content[:4] == b"PAR1":
            return pl.read_parquet(BytesIO(content))
        if file.key.endswith(".parquet"):
            raise DeliveryUnreadable(f"{file.named}: not a Parquet file")
        return pl.read_csv(content, infer_schema=False)
    except (EOFError, OSError, zlib.error, pl.exceptions.PolarsError) as err:
        reason = str(err).strip().splitlines()[0]
        raise DeliveryUnreadable(f"{file.named}: damaged or cut off: {reason}") from err


def instant_in_name(name: str) -> datetime | None:
    """Return the instant that a file's name tells, if it tells one."""
    if found := _INSTANT_IN_NAME.search(name):
        try:
            return datetime(*(int(part) for part in found.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            return None
    if found := _DATE_IN_NAME.search(name):
        try:
            day = datetime(*(int(part) for part in found.groups()), tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            return None
        return datetime.combine(day.date(), time(23, 59, 59), tzinfo=UTC)
    return None
