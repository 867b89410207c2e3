"""The daily rows that a year of bars needs: its own, and later ones that complete it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from batch.core import schema
from batch.core.columns import DailyColumns, concat_columns, union_symbols
from batch.lake.parquet import stream_batches


def whole_symbols(path: Path, *, rows: int) -> Iterator[list[DailyColumns]]:
    """Stream a daily partition in pieces that never cut a symbol in two.

    Args:
        path: A daily partition, sorted by (symbol, date).
        rows: About how many rows a piece should have.

    Returns:
        Each piece as the stretches it lies in, one after the other.
    """
    held: list[DailyColumns] = []
    for table in stream_batches(path, schema.DAILY.names, rows=rows):
        stretch = DailyColumns.from_table(table)
        cut = int(np.searchsorted(stretch.code, stretch.code[-1]))
        rest = with_own_symbols(stretch.take(slice(cut, None)))
        if cut:
            yield [*held, with_own_symbols(stretch.take(slice(0, cut)))]
            held = []
        elif held and held[-1].symbols != rest.symbols:
            yield held
            held = []
        held.append(rest)
    if held:
        yield held


def with_own_symbols(rows: DailyColumns) -> DailyColumns:
    """Drop the symbols that have no row; rows sorted by symbol."""
    if not len(rows):
        return DailyColumns.empty()
    first, last = int(rows.code[0]), int(rows.code[-1])
    used = rows.code[np.append(True, rows.code[1:] != rows.code[:-1])]
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

    def join(self, piece: list[DailyColumns]) -> DailyColumns:
        """Put the later rows of a piece's symbols behind its own, sorted by (symbol, date)."""
        upto = bisect_right(self._symbols, piece[-1].symbols[-1].as_py())
        return by_symbol_and_day([*piece, self._take(upto)])

    def rest(self) -> DailyColumns:
        """Return the later rows of the symbols that no piece took along."""
        return self._take(len(self._symbols))

    def _take(self, upto: int) -> DailyColumns:
        first, self._taken = self._taken, upto
        low, high = np.searchsorted(self.rows.code, [first, upto])
        return with_own_symbols(self.rows.take(slice(int(low), int(high))))


def by_symbol_and_day(parts: list[DailyColumns]) -> DailyColumns:
    """Merge tables sorted by (symbol, date); of a symbol, each has later days than those before."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return concat_columns(parts)
    symbols, places = union_symbols([part.symbols for part in parts])
    codes = [place[part.code] for place, part in zip(places, parts, strict=True)]
    edges = np.arange(len(symbols) + 1, dtype=np.int32)
    firsts = [np.searchsorted(code, edges) for code in codes]
    next_row = np.sum(firsts, axis=0)[:-1]
    total = sum(map(len, parts))
    # The longest part goes where the others do not: long stretches of it are copied at once.
    longest = max(range(len(parts)), key=lambda number: len(parts[number]))
    targets: list[npt.NDArray[Any]] = []
    left_over = np.ones(total, dtype=np.bool_)
    for number, (code, first) in enumerate(zip(codes, firsts, strict=True)):
        if number == longest:
            targets.append(left_over)
        else:
            targets.append(np.arange(len(code)) + (next_row - first[:-1])[code])
            left_over[targets[-1]] = False
        next_row = next_row + np.diff(first)

    def merged(columns: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        column = np.empty(total, dtype=columns[0].dtype)
        for target, part in zip(targets, columns, strict=True):
            column[target] = part
        return column

    rest = (merged([getattr(part, name) for part in parts]) for name in _AFTER_CODE)
    return DailyColumns(symbols, merged(codes), *rest)


def place_in_symbol(rows: DailyColumns) -> npt.NDArray[np.int64]:
    """Number each symbol's rows from 0; rows sorted by symbol."""
    first = np.searchsorted(rows.code, np.arange(len(rows.symbols), dtype=np.int32))
    return np.arange(len(rows), dtype=np.int64) - first[rows.code]
