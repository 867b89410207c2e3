"""An existing lake of ``symbol=*/data.parquet`` and ``symbol=*/date=*.parquet`` files.

Columns: symbol, open, high, low, close, volume, timestamp, interval. Each file holds one
symbol; a session's rows are gathered across all of them into one delivery. Where files
disagree about a (symbol, session), every version is kept: the n-th oldest of each goes
into the session's n-th delivery, so the newest one wins and the others are restatements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from batch.core.errors import DeliveryUnreadable
from fetchers.files.reader import SourceFile, read_file

_PLACE = re.compile(r"(?:^|/)symbol=[^/]+/(?:data|date=[^/]+)\.parquet$")
ROWS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class Generation:
    """Rows of several sessions that are received together as far as the lake can know.

    Attributes:
        received_at: The newest time that a file with one of the rows was written.
        rows: Columns of a delivery.
    """

    received_at: datetime
    rows: pl.DataFrame


def is_symbol_folder(file: SourceFile) -> bool:
    """Tell whether a file lies where such a lake keeps its bars."""
    return bool(_PLACE.search(file.key))


def gather_sessions(
    files: Sequence[SourceFile],
    *,
    received_at: datetime | None,
    problem: Callable[[str], None],
    advance: Callable[[], None],
) -> Iterator[Generation]:
    """Read a lake of symbol folders year by year, one generation per session and version.

    Args:
        files: The lake's files.
        received_at: Stands for every file's own time, where given.
        problem: Told of every file that cannot be read.
        advance: Told of every file that was read for the first time.
    """
    years: dict[int, list[SourceFile]] = {}
    total_rows = 0
    for file in files:
        try:
            dates = read_file(file).rows["date"]
        except DeliveryUnreadable as err:
            problem(str(err))
            continue
        finally:
            advance()
        total_rows += len(dates)
        for year in dates.dt.year().unique().to_list():
            years.setdefault(year if year is not None else 0, []).append(file)
    if total_rows <= ROWS_AT_ONCE:
        everything = [file for file in files if any(file in held for held in years.values())]
        yield from _generations(everything, received_at, None)
        return
    for year in sorted(years):
        yield from _generations(years[year], received_at, year)


def _generations(
    files: Sequence[SourceFile], received_at: datetime | None, year: int | None
) -> Iterator[Generation]:
    parts = []
    for file in files:
        rows = read_file(file).rows
        if year is not None:
            rows = rows.filter(pl.col("date").dt.year().fill_null(0) == year)
        told = received_at or file.received_at
        parts.append(rows.with_columns(received_at=pl.lit(told).dt.cast_time_unit("us")))
    if not parts:
        return
    columns = [name for name in parts[0].columns if name != "received_at"]
    versions = (
        pl.concat(parts)
        .sort("received_at", maintain_order=True)
        .unique(columns, keep="last", maintain_order=True)
        .with_columns(version=pl.int_range(pl.len()).over("symbol", "date"))
    )
    by_version = versions.partition_by("date", "version", maintain_order=True, include_key=True)
    for part in by_version:
        newest = part["received_at"].max()
        assert isinstance(newest, datetime)  # noqa: S101 - tells the type checker
        yield Generation(newest, part.select(columns))
