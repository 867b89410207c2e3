"""Aggregating runs of daily bars, and joining the parts of one bar. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from batch.kernel.columns import NO_TRADES, DailyColumns, Floats, Ints
from batch.kernel.splits import later_in_window
from batch.kernel.windows import Rows, Runs, positions

NOTHING_TRADED = -2
"""Stands for the trades of rows that all lack a count and did not trade."""


@dataclass(frozen=True, slots=True, eq=False)
class BarValues:
    """The values of bars, or of parts of bars, at the scale of the last row of each.

    ``paid_usd``, dollars traded, is NaN where a row that traded has no vwap. ``trades`` is
    :data:`batch.kernel.columns.NO_TRADES` where a row that traded has none, and
    :data:`NOTHING_TRADED` where no row traded or has any. ``split_ratio`` is a product.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    paid_usd: Floats
    trades: Ints
    split_ratio: Floats

    def columns(self) -> list[npt.NDArray[Any]]:
        """Return the arrays, in the order of the fields."""
        return [getattr(self, field.name) for field in fields(self)]

    @classmethod
    def empty(cls) -> BarValues:
        """Return no values."""
        none = np.empty(0)
        return cls(none, none, none, none, none, none, np.empty(0, np.int64), none)

    def take(self, bars: npt.NDArray[np.intp]) -> BarValues:
        """Return the values of some bars."""
        return BarValues(*(column.take(bars) for column in self.columns()))

    def put(self, bars: npt.NDArray[np.intp], values: BarValues) -> None:
        """Replace the values of some bars, in place."""
        for column, replacement in zip(self.columns(), values.columns(), strict=True):
            column[bars] = replacement

    @classmethod
    def concat(cls, lists: list[BarValues]) -> BarValues:
        """Put lists of values behind each other."""
        columns = zip(*(one.columns() for one in lists), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def followed_by(self, later: BarValues) -> BarValues:
        """Join later parts of the same bars to these, at the scale of the later ones."""
        scale = later.split_ratio
        return BarValues(
            open=self.open / scale,
            high=np.maximum(self.high / scale, later.high),
            low=np.minimum(self.low / scale, later.low),
            close=later.close,
            volume=self.volume * scale + later.volume,
            paid_usd=self.paid_usd + later.paid_usd,
            trades=_joined_trades(self.trades, later.trades),
            split_ratio=self.split_ratio * scale,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Precomputed:
    """What folding needs of daily bars whatever the width, so that it is computed once.

    Attributes:
        symbols: Ascending; each has a row. ``places`` says where each is.
        paid_usd: Of each row; NaN where it traded and has no vwap.
        trades_upto: Trades of each row and all before it, a null count taken as 0.
        uncounted_rows: Rows that traded and have no count of trades.
        untraded_rows: Rows that did not trade and have no count.
    """

    symbols: list[str]
    places: dict[str, int]
    first_rows: Rows
    paid_usd: Floats
    trades_upto: Ints
    uncounted_rows: Rows
    untraded_rows: Rows
    split_rows: Rows

    @classmethod
    def of(cls, rows: DailyColumns) -> Precomputed:
        """Compute it from daily bars sorted by (symbol, date)."""
        no_vwap = np.flatnonzero(np.isnan(rows.vwap))
        paid_usd = rows.vwap * rows.volume
        paid_usd[no_vwap[rows.volume[no_vwap] == 0]] = 0.0
        no_count = np.flatnonzero(rows.trades == NO_TRADES)
        untraded = rows.volume[no_count] == 0
        symbols = rows.symbols.to_pylist()
        return cls(
            symbols=symbols,
            places={symbol: place for place, symbol in enumerate(symbols)},
            first_rows=rows.first_rows(),
            paid_usd=paid_usd,
            trades_upto=np.cumsum(np.maximum(rows.trades, 0)),
            uncounted_rows=no_count[~untraded],
            untraded_rows=no_count[untraded],
            split_rows=np.flatnonzero(rows.split_ratio != 1.0),
        )


def fold(rows: DailyColumns, runs: Runs, precomputed: Precomputed) -> BarValues:
    """Aggregate runs that cover all rows, each brought to the scale of its last row first."""
    values = _aggregate(rows, runs, precomputed)
    scaled_rows, factors = later_in_window(rows.split_ratio, precomputed.split_rows, runs.starts)
    if not len(scaled_rows):
        return values
    # Few runs have a split behind their first row: these alone are aggregated again, from
    # a copy of their rows in which run k has the rows from starts[k] to starts[k + 1] - 1.
    touched, _ = _distinct(runs.holding(scaled_rows))
    lengths = runs.lengths()[touched]
    chosen = positions(runs.starts[touched], lengths)
    scale = np.ones(len(chosen))
    scale[np.searchsorted(chosen, scaled_rows)] = factors
    part = rows.take(chosen)
    scaled = replace(
        part,
        open=part.open / scale,
        high=part.high / scale,
        low=part.low / scale,
        close=part.close / scale,
        volume=part.volume * scale,
        vwap=part.vwap / scale,
    )
    ends = np.cumsum(lengths)
    again = _aggregate(scaled, Runs(ends - lengths, ends - 1), Precomputed.of(scaled))
    values.put(touched, again)
    return values


def _aggregate(rows: DailyColumns, runs: Runs, precomputed: Precomputed) -> BarValues:
    split_ratio = np.ones(len(runs))
    split_rows = precomputed.split_rows
    np.multiply.at(split_ratio, runs.holding(split_rows), rows.split_ratio[split_rows])
    return BarValues(
        open=rows.open.take(runs.starts),
        high=_extremes(np.maximum, rows.high, runs.starts),
        low=_extremes(np.minimum, rows.low, runs.starts),
        close=rows.close.take(runs.ends),
        volume=np.add.reduceat(rows.volume, runs.starts),
        paid_usd=np.add.reduceat(precomputed.paid_usd, runs.starts),
        trades=_trades(precomputed, runs),
        split_ratio=split_ratio,
    )


def _extremes(extreme: np.ufunc, prices: Floats, starts: Rows) -> Floats:
    # As the integers of their bits, which is faster. Both are in the same order where nothing
    # is negative or NaN, and no price is
    # (https://en.wikipedia.org/wiki/IEEE_754#Total-ordering_predicate).
    found: Floats = extreme.reduceat(prices.view(np.int64), starts).view(np.float64)
    return found


def _trades(precomputed: Precomputed, runs: Runs) -> Ints:
    total = precomputed.trades_upto.take(runs.ends)
    total[1:] -= total[:-1].copy()
    total[runs.holding(precomputed.uncounted_rows)] = NO_TRADES
    touched, count = _distinct(runs.holding(precomputed.untraded_rows))
    total[touched[count == runs.lengths()[touched]]] = NOTHING_TRADED
    return total


def _joined_trades(earlier: Ints, later: Ints) -> Ints:
    total = np.maximum(earlier, 0) + np.maximum(later, 0)
    total[(earlier == NOTHING_TRADED) & (later == NOTHING_TRADED)] = NOTHING_TRADED
    total[(earlier == NO_TRADES) | (later == NO_TRADES)] = NO_TRADES
    return total


def _distinct(ascending: Rows) -> tuple[Rows, Rows]:
    # As ``numpy.unique`` with counts, which makes no use of the order and imports ``numpy.ma``.
    edge = np.ones(len(ascending) + 1, np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=edge[1:-1])
    edges = np.flatnonzero(edge)
    return ascending[edges[:-1]], np.diff(edges)
