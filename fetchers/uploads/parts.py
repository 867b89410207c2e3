"""The one door through which uploads are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from fetchers.files.parts import Part, parts_of
from fetchers.files.reading import Reading
from fetchers.files.reference import ReferenceRows
from fetchers.files.refusals import FileRefused


@dataclass(frozen=True, slots=True)
class ReadPart:
    """A table that was read: the file itself, or a member of an archive.

    ``bars`` are columns of a delivery, dirty rows too; all rows of a date are in one frame.
    """

    name: str | None
    layout: str
    adjusted: str | None
    reference: ReferenceRows | None
    bars: Iterable[pl.DataFrame] = ()


@contextmanager
def read_parts(
    path: Path, *, address: str, reading: Reading
) -> Iterator[Iterator[tuple[str | None, ReadPart | FileRefused]]]:
    """Read a local file: its parts, one after another, each with its name in an archive."""
    parts = parts_of(path, address=address, reading=reading)
    yield ((part.name, _read(part)) for part in parts)


def _read(part: Part) -> ReadPart | FileRefused:
    try:
        kind = part.kind
        if kind:
            return ReadPart(part.name, str(kind), None, part.reference(kind))
        bars = part.bars()
    except FileRefused as err:
        return err
    return ReadPart(part.name, bars.columns.summary, bars.adjusted, None, bars.pieces)
