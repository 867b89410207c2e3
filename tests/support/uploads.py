"""A drop for tests whose uploads have whatever instants a test gives them, and its rounds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import polars as pl

from batch.core.errors import ObjectMissing
from batch.core.sessions import load_calendar
from batch.storage.store import ObjectStore
from fetchers.files.parts import Bars, Part, parts_of
from fetchers.files.reading import Reading
from fetchers.files.reference import ReferenceRows
from fetchers.files.refusals import FileRefused
from fetchers.uploads.drop import Drop, Upload, source_of
from fetchers.uploads.inspect import inspect
from fetchers.uploads.settle import Settled, finish, settle
from tests.oracle import Row

HEADING = "symbol,date,open,high,low,close,volume,vwap,trades"


@dataclass
class MadeDrop:
    """Files as a folder has them, with versions and instants of our own."""

    folder: Path
    root: str = "/drop"
    uploads: list[Upload] = field(default_factory=list)

    def put(self, key: str, content: bytes, at: datetime) -> Upload:
        """Drop a file; the same content under the same name again is another version."""
        version = f"{len(self.uploads)}-{hashlib.sha256(content).hexdigest()[:8]}"
        upload = Upload(source_of(key), self.root, key, version, len(content), at)
        (self.folder / upload.id).write_bytes(content)
        self.uploads.append(upload)
        return upload

    def list(self) -> Iterator[Upload]:
        yield from self.uploads

    @contextmanager
    def open(self, upload: Upload) -> Iterator[Path]:
        path = self.folder / upload.id
        if not path.exists():
            raise ObjectMissing(f"{upload.address}: no such file")
        yield path

    def copy(self, upload: Upload, lake: ObjectStore, key: str) -> None:
        with self.open(upload) as path:
            lake.write(key, path.read_bytes())


@dataclass(frozen=True)
class _Table:
    """A table that was read in this process."""

    name: str | None
    address: str
    layout: str
    adjusted: str | None
    reference: ReferenceRows | None
    bars: Bars | None = None

    def pieces(self) -> Iterator[pl.DataFrame]:
        yield from self.bars.pieces if self.bars else ()


class ReadHere:
    """Reads as the jail does, but in this process: a new process a file takes too long."""

    def __init__(self, *_: object, **__: object) -> None:
        """Take what a jail takes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing."""

    @contextmanager
    def read(
        self, path: Path, *, address: str, reading: Reading
    ) -> Iterator[list[_Table | FileRefused]]:
        yield [_read(part) for part in parts_of(path, address=address, reading=reading)]


def _read(part: Part) -> _Table | FileRefused:
    try:
        if kind := part.kind:
            return _Table(part.name, part.address, str(kind), None, part.reference(kind))
        bars = part.bars()
        bars = replace(bars, pieces=list(bars.pieces))
    except FileRefused as err:
        return err
    return _Table(part.name, part.address, bars.columns.summary, bars.adjusted, None, bars)


def csv_of(*rows: Row) -> bytes:
    """Return rows as a file of comma-separated values; None is an empty cell."""
    names = HEADING.split(",")
    lines = [
        ",".join("" if row[name] is None else str(row[name]) for name in names) for row in rows
    ]
    return ("\n".join([HEADING, *lines]) + "\n").encode()


def round_of(
    lake: ObjectStore, drop: Drop, uploads: Sequence[Upload], now: datetime, **options: object
) -> Settled:
    """Inspect some uploads, settle and finish, without making bars."""
    calendar = load_calendar()
    for one in uploads:
        inspect(lake, drop, one, calendar=calendar, now=now, jail=ReadHere())
    settled = settle(lake, drop, calendar=calendar, now=now, **options)  # type: ignore[arg-type]
    landed = finish(lake, settled, now=now + timedelta(minutes=5))
    return replace(settled, landed=landed)
