"""Bars written piece by piece as CSV, plain or compressed, or as Parquet."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import click
import polars as pl

from batch.core.errors import SettingsError
from batch.core.frames import to_arrow
from batch.storage.parquet import TableWriter

Append = Callable[[pl.DataFrame], None]
"""Adds rows to a file: the columns are those of the first call."""

_LEVEL = 6


@contextmanager
def standard_output() -> Iterator[Append]:
    """Write CSV to standard output."""
    yield _csv_into(lambda content: click.echo(content, nl=False))


@contextmanager
def _csv(path: Path) -> Iterator[Append]:
    with path.open("wb") as file:
        yield _csv_into(file.write)


@contextmanager
def _compressed_csv(path: Path) -> Iterator[Append]:
    # Without a name and a time in it, the same rows give the same bytes.
    with path.open("wb") as file, gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as packed:
        yield _csv_into(packed.write)


def _csv_into(write: Callable[[bytes], object]) -> Append:
    headed = False

    def append(rows: pl.DataFrame) -> None:
        nonlocal headed
        write(rows.write_csv(include_header=not headed).encode())
        headed = True

    return append


@contextmanager
def _parquet(path: Path) -> Iterator[Append]:
    writer: TableWriter | None = None

    def append(rows: pl.DataFrame) -> None:
        nonlocal writer
        table = to_arrow(rows).combine_chunks()
        writer = writer or TableWriter(path, table.schema, {})
        for batch in table.to_batches():
            writer.append(batch)

    try:
        yield append
    finally:
        if writer is not None:
            writer.close()


_KINDS: Final[dict[str, Callable[[Path], AbstractContextManager[Append]]]] = {
    ".csv": _csv,
    ".csv.gz": _compressed_csv,
    ".parquet": _parquet,
}


def kind_of(path: Path) -> Callable[[Path], AbstractContextManager[Append]]:
    """Return what writes files of a name's suffix.

    Raises:
        SettingsError: It is none of those that can be written.
    """
    for suffix, kind in _KINDS.items():
        if path.name.lower().endswith(suffix):
            return kind
    raise SettingsError(f"--output {path}: expected a name ending in {' or '.join(_KINDS)}")
