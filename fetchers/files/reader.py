"""Deliveries and splits in files: CSV, compressed CSV and Parquet, on disk or on S3."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final

import polars as pl

from batch.core.errors import DeliveryUnreadable, ObjectMissing, SettingsError, StoreDenied
from batch.core.layout import (
    BRONZE,
    REJECTED,
    ROOTS,
    RUNS,
    SILVER,
    STATE,
    VACUUMED,
    Delivery,
)
from batch.storage.store import ObjectStore, open_store
from fetchers.files.bars import partition_of
from fetchers.files.columns import Columns
from fetchers.files.names import instant_in_name
from fetchers.files.parts import Part, parts_of
from fetchers.files.reading import BY_EVIDENCE, Reading

SUFFIXES: Final = (
    *(".csv", ".csv.gz", ".csv.zst"),
    *(".txt", ".txt.gz", ".txt.zst"),
    *(".parquet", ".zip"),
)

_BRONZE = re.compile(rf"(?<=/){BRONZE}date=")
_MADE_BY_LAKES: Final = (SILVER, STATE, RUNS, REJECTED, VACUUMED)


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
        return partition_of(self.uri)


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file's rows, columns of :data:`batch.core.schema.STAGED`, dirty rows included."""

    rows: pl.DataFrame
    columns: Columns


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


@contextmanager
def local_copy(file: SourceFile) -> Iterator[Path]:
    """Give a file under a local path for as long as the context lasts.

    Raises:
        DeliveryUnreadable: The store does not give it.
    """
    with ExitStack() as stack:
        try:
            path = stack.enter_context(file.store.local_copy(file.key))
        except (ObjectMissing, StoreDenied) as err:
            raise DeliveryUnreadable(f"{file.uri}: cannot be read: {err}") from err
        yield path


@contextmanager
def open_parts(file: SourceFile, reading: Reading = BY_EVIDENCE) -> Iterator[Iterator[Part]]:
    """Give the tables in a file, as :func:`parts_of` does, for as long as the context lasts.

    Raises:
        DeliveryUnreadable: The store does not give it.
    """
    with local_copy(file) as path:
        yield parts_of(path, address=file.uri, reading=reading)


def read_file(file: SourceFile, reading: Reading = BY_EVIDENCE) -> ReadFile:
    """Read a file of bars, all of its rows at once.

    Raises:
        DeliveryUnreadable: It, or a member of it, cannot be read as bars.
    """
    with open_parts(file, reading) as parts:
        found = [(bars.columns, pl.concat(bars.pieces)) for bars in (part.bars() for part in parts)]
    return ReadFile(pl.concat(rows for _, rows in found), found[0][0])
