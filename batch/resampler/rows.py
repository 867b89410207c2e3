"""The daily rows that a year of bars needs: its own, and later ones that complete it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from batch.core import schema
from batch.core.columns import DailyColumns, concat_columns, stable_order
from batch.lake.parquet import stream_batches


def whole_symbols(path: Path, *, rows: int) -> Iterator[DailyColumns]:
    """Stream a daily partition in pieces that never cut a symbol in two.

    Args:
        path: A daily partition, sorted by (symbol, date).
        rows: About how many rows a piece should have.
    """
    held: DailyColumns | None = None
    for table in stream_batches(path, schema.DAILY.names, rows=rows):
        piece = DailyColumns.from_table(table)
        if held is not None:
            piece = concat_columns([held, piece])
        cut = int(np.searchsorted(piece.code, piece.code[-1]))
        held = with_own_symbols(piece.take(slice(cut, None)))
        if cut:
            yield with_own_symbols(piece.take(slice(0, cut)))
    if held is not None:
        yield held


def with_own_symbols(rows: DailyColumns) -> DailyColumns:
    """Drop the symbols that have no row; rows sorted by symbol."""
    if not len(rows):
        return DailyColumns.empty()
    first, last = int(rows.code[0]), int(rows.code[-1])
    used = np.unique(rows.code)
    if len(used) == len(rows.symbols):
        return rows
    if len(used) == last - first + 1:
        symbols, code = rows.symbols.slice(first, last - first + 1), rows.code - first
    else:
        place = np.empty(len(rows.symbols), dtype=np.int32)
        place[used] = np.arange(len(used), dtype=np.int32)
        symbols, code = rows.symbols.take(used), place[rows.code]
    return DailyColumns(
        symbols, code.astype(np.int32), *(getattr(rows, name) for name in _AFTER_CODE)
    )


_AFTER_CODE = (
    "day",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "vwap",
    "trades",
    "split_ratio",
)


class LaterRows:
    """Rows of later years that may complete the windows of the year at hand.

    Pieces of that year are taken through in order of symbols; each takes along the later
    rows of its own symbols and of those before it that it does not have.
    """

    def __init__(self, rows: DailyColumns) -> None:
        self.rows = with_own_symbols(rows)
        self._symbols: list[str] = self.rows.symbols.to_pylist()
        self._taken = 0

    def join(self, piece: DailyColumns) -> DailyColumns:
        """Put the later rows of a piece's symbols behind its own, sorted by (symbol, date)."""
        upto = bisect_right(self._symbols, piece.symbols[-1].as_py())
        later = self._take(upto)
        return by_symbol_and_day([piece, later]) if len(later) else piece

    def rest(self) -> DailyColumns:
        """Return the later rows of the symbols that no piece took along."""
        return self._take(len(self._symbols))

    def _take(self, upto: int) -> DailyColumns:
        first, self._taken = self._taken, upto
        low, high = np.searchsorted(self.rows.code, [first, upto])
        return with_own_symbols(self.rows.take(slice(int(low), int(high))))


def by_symbol_and_day(parts: list[DailyColumns]) -> DailyColumns:
    """Merge tables sorted by (symbol, date), each later than the one before."""
    rows = concat_columns([part for part in parts if len(part)])
    return rows.take(stable_order(rows.code)) if len(rows) else rows


def place_in_symbol(rows: DailyColumns) -> npt.NDArray[np.int64]:
    """Number each symbol's rows from 0; rows sorted by symbol."""
    first = np.searchsorted(rows.code, np.arange(len(rows.symbols), dtype=np.int32))
    return np.arange(len(rows), dtype=np.int64) - first[rows.code]
