"""Daily rows in pieces of whole symbols."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from batch.core.layout import Anchor
from batch.core.sessions import day_of
from batch.kernel.columns import DailyColumns, concat_columns
from batch.resampler.plan import BarsPlan


def whole_symbols(tables: Iterable[Any]) -> Iterator[DailyColumns]:
    """Cut a daily partition into pieces that never cut a symbol in two.

    A symbol that lies across two tables is a piece of its own, so that no others are copied.

    Args:
        tables: The partition in stretches, sorted by (symbol, date); none of them empty.
    """
    held: list[DailyColumns] = []
    for table in tables:
        stretch = DailyColumns.from_table(table)
        first = int(np.searchsorted(stretch.code, stretch.code[0], side="right"))
        last = int(np.searchsorted(stretch.code, stretch.code[-1]))
        if held and held[-1].symbols[0] != stretch.symbols[int(stretch.code[0])]:
            yield concat_columns(held)
            held = []
        if not held:
            first = 0
        elif last:
            yield concat_columns([*held, stretch.take(slice(0, first)).with_own_symbols()])
            held = []
        if first < last:
            yield stretch.take(slice(first, last)).with_own_symbols()
        held.append(stretch.take(slice(last, None)).with_own_symbols())
    if held:
        yield concat_columns(held)


@dataclass(frozen=True, slots=True)
class FirstRows:
    """Which rows of a year the bars of lower years may need.

    Attributes:
        last_day: Rows up to this day are.
        per_symbol: No more than this many rows of a symbol are.
    """

    last_day: int
    per_symbol: int | None

    @classmethod
    def of(cls, lower: list[BarsPlan], anchor: Anchor) -> FirstRows:
        """Find what some partitions of lower years may need."""
        last_day = max((day_of(plan.last_day) for plan in lower), default=-(2**31))
        widest = max((plan.width for plan in lower), default=1)
        return cls(last_day, widest - 1 if anchor is Anchor.LISTING else None)

    def choose(self, rows: DailyColumns) -> DailyColumns:
        """Return those rows."""
        chosen = rows.day <= self.last_day
        if self.per_symbol is not None:
            chosen &= rows.row_nos() < self.per_symbol
        return rows.take(np.flatnonzero(chosen)).with_own_symbols()
