"""An existing lake of ``symbol=*/data.parquet`` and ``symbol=*/date=*.parquet`` files.

Columns: symbol, open, high, low, close, volume, timestamp, interval. Each file holds one
symbol; a session's rows are gathered across all of them into one delivery. Where files
disagree about a (symbol, session), every version is kept: the n-th oldest of each goes
into the session's n-th delivery, so the newest one wins and the others are restatements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from batch.core.errors import DeliveryUnreadable
from batch.runtime.progress import Progress
from fetchers.files.reader import SourceFile, read_file

_PLACE = re.compile(r"(?:^|/)symbol=[^/]+/(?:data|date=[^/]+)\.parquet$")
ROWS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class SessionVersion:
    """The rows of one session that are received together, as far as can be known.

    ``received_at`` is the newest time that a file with one of the rows was written.
    """

    received_at: datetime
    rows: pl.DataFrame


def is_symbol_folder(file: SourceFile) -> bool:
    """Tell whether a file lies where such a lake keeps its bars."""
    return bool(_PLACE.search(file.key))


def gather_sessions(
    files: Sequence[SourceFile], *, received_at: datetime | None, progress: Progress
) -> Iterator[SessionVersion | DeliveryUnreadable]:
    """Read a lake of symbol folders, year by year where it is large.

    Yields the files that cannot be read, as errors, then each session in its versions.
    ``received_at`` stands for every file's own time, where given.
    """
    readable: list[SourceFile] = []
    years: dict[int, list[SourceFile]] = {}
    total_rows = 0
    for file in files:
        try:
            dates = read_file(file).rows["date"]
        except DeliveryUnreadable as err:
            yield err
            continue
        finally:
            progress.advance()
        total_rows += len(dates)
        found = dates.dt.year().fill_null(0).unique().to_list()
        readable += [file] if found else []
        for year in found:
            years.setdefault(year, []).append(file)
    if total_rows <= ROWS_AT_ONCE:
        yield from _versions(readable, received_at, None)
    else:
        for year in sorted(years):
            yield from _versions(years[year], received_at, year)


def _versions(
    files: Sequence[SourceFile], received_at: datetime | None, year: int | None
) -> Iterator[SessionVersion]:
    parts = []
    for file in files:
        rows = read_file(file).rows
        if year is not None:
            rows = rows.filter(pl.col("date").dt.year().fill_null(0) == year)
        at = pl.lit(received_at or file.received_at).dt.cast_time_unit("us")
        parts.append(rows.with_columns(received_at=at))
    if not parts:
        return
    columns = [name for name in parts[0].columns if name != "received_at"]
    versions = (
        pl.concat(parts)
        .sort("received_at", maintain_order=True)
        .unique(columns, keep="last", maintain_order=True)
        .with_columns(version=pl.int_range(pl.len()).over("symbol", "date"))
    )
    for part in versions.partition_by("date", "version", maintain_order=True):
        yield SessionVersion(max(part["received_at"].to_list()), part.select(columns))
