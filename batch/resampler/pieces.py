"""Daily rows on their way to every table, in stretches of whole symbols."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.kernel.columns import DailyColumns, concat_columns
from batch.kernel.windows import positions
from batch.kernel.years import Piece


def whole_symbols(tables: Iterable[Any]) -> Iterator[DailyColumns]:
    """Cut a daily partition into stretches that never cut a symbol in two.

    A symbol that lies across two tables is a stretch of its own, so that no others are copied.

    Args:
        tables: The partition in parts, sorted by (symbol, date); none of them empty.
    """
    held: list[DailyColumns] = []  # rows of one symbol, of which the next table may have more
    for table in tables:
        rows = DailyColumns.from_table(table)
        first = int(np.searchsorted(rows.code, rows.code[0], side="right"))
        last = int(np.searchsorted(rows.code, rows.code[-1]))
        if held and held[-1].symbols[0] != rows.symbols[int(rows.code[0])]:
            yield concat_columns(held)
            held = []
        if not held:
            first = 0
        elif last:  # the held symbol ends in this table
            yield concat_columns([*held, rows.take(slice(0, first)).with_own_symbols()])
            held = []
        if first < last:
            yield rows.take(slice(first, last)).with_own_symbols()
        held.append(rows.take(slice(last, None)).with_own_symbols())
    if held:
        yield concat_columns(held)


@dataclass(frozen=True, slots=True, eq=False)
class DailyYear:
    """A year whose daily bars are read.

    Attributes:
        year: Which.
        rows_before: With the listing anchor, of each symbol with rows in the year: its daily
            bars before the year.
    """

    year: int
    rows_before: Mapping[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """All rows that some symbols have in a year; the last one of a year has none.

    Attributes:
        year: The year.
        whole: The rows, ready to be folded.
        prepare: Makes some of the rows ready.
    """

    year: DailyYear
    whole: Piece
    prepare: Callable[[DailyColumns], Piece]

    def first_rows(self, last_day: int, per_symbol: int | None) -> Piece | None:
        """Return what the bars of lower years need; None where there is nothing to fold.

        Args:
            last_day: With the calendar anchor, rows up to this day, days since 1970-01-01.
            per_symbol: With the listing anchor, so many rows of each symbol.
        """
        rows, firsts = self.whole.rows, self.whole.precomputed.first_rows
        if self.whole.ends_year:
            return self.whole
        if per_symbol is None:
            chosen = np.flatnonzero(rows.day <= last_day)
        else:
            chosen = positions(firsts, np.minimum(np.diff(firsts, append=len(rows)), per_symbol))
        return self.prepare(rows.take(chosen).with_own_symbols()) if len(chosen) else None
