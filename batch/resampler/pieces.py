"""Daily rows on their way to every table, in stretches of whole symbols."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.kernel.columns import DailyColumns, concat_columns


def whole_symbols(tables: Iterable[Any]) -> Iterator[DailyColumns]:
    """Cut a daily partition into stretches that never cut a symbol in two.

    A symbol that lies across two tables is a stretch of its own, so that no others are copied.
    The tables are the partition's parts, sorted by (symbol, date); none of them is empty.
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

    With the listing anchor, ``rows_before`` counts the daily bars before the year of each
    symbol with rows in it.
    """

    year: int
    rows_before: Mapping[str, int]
