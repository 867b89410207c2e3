"""An existing lake with a folder per symbol, such as ``symbol=AAPL/data.parquet``.

pandas and pyarrow write such folders when told to partition by the symbol, and leave the
column out of the files. Each file holds one symbol; a session's rows are gathered across all
of them into one delivery. Where files disagree about a (symbol, session), every version is
kept: the n-th oldest of each goes into the session's n-th delivery, so the newest one wins and
the others are restatements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from batch.core.errors import DeliveryUnreadable
from batch.runtime.progress import Progress
from fetchers.files.jail import Jail
from fetchers.files.reader import SourceFile, local_copy
from fetchers.files.reading import Reading
from fetchers.files.refusals import Code, FileRefused

ROWS_AT_ONCE = 4_000_000


@dataclass(frozen=True, slots=True)
class SessionVersion:
    """The rows of one session that are received together, as far as can be known.

    ``received_at`` is the newest time that a file with one of the rows was written;
    ``version`` counts the session's from 0, the oldest.
    """

    received_at: datetime
    version: int
    rows: pl.DataFrame


def is_symbol_folder(file: SourceFile) -> bool:
    """Tell whether a file lies where such a lake keeps its bars."""
    return "symbol" in file.partition


def read_bars(jail: Jail, file: SourceFile, *, reading: Reading) -> pl.DataFrame:
    """Return all bars of a file, read in a jail.

    Raises:
        DeliveryUnreadable: It, or a member of it, cannot be read as bars.
    """
    pieces = []
    with local_copy(file) as path, jail.read(path, address=file.uri, reading=reading) as parts:
        for part in parts:
            if isinstance(part, FileRefused):
                raise part
            if part.reference:
                kind = part.reference.kind
                raise FileRefused(
                    Code.NO_COLUMNS,
                    part.address,
                    f"it holds {kind}, and its folder is one of bars",
                    "import it from another folder",
                )
            pieces += list(part.pieces())
    return pl.concat(pieces)


def gather_sessions(
    files: Sequence[SourceFile],
    *,
    read: Callable[[SourceFile], pl.DataFrame],
    received_at: datetime | None,
    progress: Progress,
) -> Iterator[SessionVersion | DeliveryUnreadable]:
    """Read a lake of symbol folders, year by year where it is large.

    Yields the files that cannot be read, as errors, then each session in its versions.
    ``received_at`` is what a session is stamped with, where given; files are ordered by their
    own times even so. ``read`` returns the bars of a file; of a large lake, it is called again
    for each year.
    """
    readable: list[SourceFile] = []
    years: dict[int, list[SourceFile]] = {}
    total_rows = 0
    for file in files:
        try:
            dates = read(file)["date"]
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
        yield from _versions(readable, received_at, None, read)
    else:
        for year in sorted(years):
            yield from _versions(years[year], received_at, year, read)


def _versions(
    files: Sequence[SourceFile],
    received_at: datetime | None,
    year: int | None,
    read: Callable[[SourceFile], pl.DataFrame],
) -> Iterator[SessionVersion]:
    parts = []
    for file in sorted(files, key=lambda one: (one.received_at, one.modified_at)):
        rows = read(file)
        if year is not None:
            rows = rows.filter(pl.col("date").dt.year().fill_null(0) == year)
        at = pl.lit(received_at or file.received_at).dt.cast_time_unit("us")
        # A line means nothing beside rows of other files.
        parts.append(rows.with_columns(received_at=at, line=pl.lit(None, pl.Int64)))
    if not parts:
        return
    columns = [name for name in parts[0].columns if name != "received_at"]
    versions = (
        pl.concat(parts)
        .unique(columns, keep="last", maintain_order=True)
        .with_columns(version=pl.int_range(pl.len()).over("symbol", "date"))
    )
    for part in versions.partition_by("date", "version", maintain_order=True):
        received = max(part["received_at"].to_list())
        yield SessionVersion(received, part["version"][0], part.select(columns))
