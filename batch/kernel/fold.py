"""Aggregating runs of daily bars, and putting parts of one bar together. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from batch.kernel.columns import NO_TRADES, DailyColumns, Floats, Ints
from batch.kernel.splits import later_in_window
from batch.kernel.windows import Rows, Runs

NOTHING_TRADED = -2
"""Stands for the trades of rows that all lack a count and did not trade."""


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """One element per bar, or part of one: the values of its rows at the scale of the last.

    Attributes:
        paid_usd: Dollars traded; NaN where a row that traded has no vwap.
        trades: :data:`batch.kernel.columns.NO_TRADES` where a row that traded has none,
            :data:`NOTHING_TRADED` where no row traded or has any.
        split_ratio: Product over the rows.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    paid_usd: Floats
    trades: Ints
    split_ratio: Floats

    def __len__(self) -> int:
        return len(self.open)

    def columns(self) -> list[npt.NDArray[Any]]:
        """Return the arrays, in the order of the fields."""
        return [getattr(self, field.name) for field in fields(self)]

    @classmethod
    def empty(cls) -> Folded:
        """Return no values."""
        none = np.empty(0)
        return cls(none, none, none, none, none, none, np.empty(0, np.int64), none)

    def take(self, bars: npt.NDArray[np.intp]) -> Folded:
        """Return the values of some bars."""
        return Folded(*(column.take(bars) for column in self.columns()))

    def put(self, bars: npt.NDArray[np.intp], values: Folded) -> None:
        """Replace the values of some bars, in place."""
        for column, replacement in zip(self.columns(), values.columns(), strict=True):
            column[bars] = replacement

    @classmethod
    def concat(cls, lists: list[Folded]) -> Folded:
        """Put lists of values behind each other."""
        columns = zip(*(one.columns() for one in lists), strict=True)
        return cls(*(np.concatenate(column) for column in columns))

    def followed_by(self, later: Folded) -> Folded:
        """Put later parts of the same bars behind these, at the scale of the later ones."""
        scale = later.split_ratio
        return Folded(
            open=self.open / scale,
            high=np.maximum(self.high / scale, later.high),
            low=np.minimum(self.low / scale, later.low),
            close=later.close,
            volume=self.volume * scale + later.volume,
            paid_usd=self.paid_usd + later.paid_usd,
            trades=_trades_together(self.trades, later.trades),
            split_ratio=self.split_ratio * scale,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """What is worked out of daily bars once for all widths.

    Attributes:
        symbols: Symbols of the rows, ascending; each has a row.
        places: Place of each symbol in ``symbols``.
        first_rows: Position of each symbol's first row, ascending.
        paid_usd: Dollars traded in each row; NaN where it traded and its vwap is not known.
        trades_upto: Trades of each row and all before it, 0 where they are not known.
        untold_rows: Positions of the rows that traded and whose trades are not known.
        silent_rows: Positions of the rows that did not trade and whose trades are not known.
        split_rows: Positions of the rows with a split.
    """

    symbols: list[str]
    places: dict[str, int]
    first_rows: Rows
    paid_usd: Floats
    trades_upto: Ints
    untold_rows: Rows
    silent_rows: Rows
    split_rows: Rows

    @classmethod
    def of(cls, rows: DailyColumns) -> Basis:
        """Work it out of daily bars sorted by (symbol, date)."""
        unknown = np.flatnonzero(np.isnan(rows.vwap))
        paid_usd = rows.vwap * rows.volume
        paid_usd[unknown[rows.volume[unknown] == 0]] = 0.0
        untold = np.flatnonzero(rows.trades == NO_TRADES)
        trades = rows.trades
        if len(untold):
            trades = trades.copy()
            trades[untold] = 0
        silent = rows.volume[untold] == 0
        symbols = rows.symbols.to_pylist()
        return cls(
            symbols=symbols,
            places={symbol: place for place, symbol in enumerate(symbols)},
            first_rows=rows.first_rows(),
            paid_usd=paid_usd,
            trades_upto=np.cumsum(trades),
            untold_rows=untold[~silent],
            silent_rows=untold[silent],
            split_rows=np.flatnonzero(rows.split_ratio != 1.0),
        )


def fold(rows: DailyColumns, runs: Runs, basis: Basis) -> Folded:
    """Aggregate runs of rows, each brought to the scale of its last row first.

    Args:
        rows: Daily bars sorted by (symbol, date).
        runs: Contiguous runs that cover all rows.
        basis: What was worked out of the rows.
    """
    values = _aggregate(rows, runs, basis)
    scaled_rows, factors = later_in_window(rows.split_ratio, basis.split_rows, runs.starts)
    if not len(scaled_rows):
        return values
    touched, _ = _distinct(_runs_with(scaled_rows, runs))
    lengths = runs.ends[touched] - runs.starts[touched] + 1
    ends = np.cumsum(lengths)
    starts = ends - lengths
    chosen = np.repeat(runs.starts[touched] - starts, lengths) + np.arange(ends[-1])
    scale = np.ones(len(chosen))
    scale[np.searchsorted(chosen, scaled_rows)] = factors
    part = rows.take(chosen)
    scaled = DailyColumns(
        symbols=part.symbols,
        code=part.code,
        day=part.day,
        open=part.open / scale,
        high=part.high / scale,
        low=part.low / scale,
        close=part.close / scale,
        volume=part.volume * scale,
        vwap=part.vwap / scale,
        trades=part.trades,
        split_ratio=part.split_ratio,
    )
    values.put(touched, _aggregate(scaled, Runs(starts, ends - 1), Basis.of(scaled)))
    return values


def _aggregate(rows: DailyColumns, runs: Runs, basis: Basis) -> Folded:
    if not len(runs):
        return Folded.empty()
    return Folded(
        open=rows.open.take(runs.starts),
        high=_extremes(np.maximum, rows.high, runs.starts),
        low=_extremes(np.minimum, rows.low, runs.starts),
        close=rows.close.take(runs.ends),
        volume=np.add.reduceat(rows.volume, runs.starts),
        paid_usd=np.add.reduceat(basis.paid_usd, runs.starts),
        trades=_trades(basis, runs),
        split_ratio=_split_ratio(rows, basis, runs),
    )


def _extremes(extreme: np.ufunc, prices: Floats, starts: Rows) -> Floats:
    """Reduce prices as the integers of their bits, which is faster.

    Both are in the same order where nothing is negative or NaN, and no price is
    (https://en.wikipedia.org/wiki/IEEE_754#Total-ordering_predicate).
    """
    found: Floats = extreme.reduceat(prices.view(np.int64), starts).view(np.float64)
    return found


def _trades(basis: Basis, runs: Runs) -> Ints:
    total = basis.trades_upto.take(runs.ends)
    total[1:] -= total[:-1].copy()
    total[_runs_with(basis.untold_rows, runs)] = NO_TRADES
    touched, count = _distinct(_runs_with(basis.silent_rows, runs))
    total[touched[count == runs.ends[touched] - runs.starts[touched] + 1]] = NOTHING_TRADED
    return total


def _trades_together(earlier: Ints, later: Ints) -> Ints:
    total = np.maximum(earlier, 0) + np.maximum(later, 0)
    total[(earlier == NOTHING_TRADED) & (later == NOTHING_TRADED)] = NOTHING_TRADED
    total[(earlier == NO_TRADES) | (later == NO_TRADES)] = NO_TRADES
    return total


def _split_ratio(rows: DailyColumns, basis: Basis, runs: Runs) -> Floats:
    ratio = np.ones(len(runs))
    split_rows = basis.split_rows
    np.multiply.at(ratio, _runs_with(split_rows, runs), rows.split_ratio[split_rows])
    return ratio


def _runs_with(rows: Rows, runs: Runs) -> Rows:
    """Return the run of each of some rows."""
    return np.searchsorted(runs.starts, rows, side="right") - 1


def _distinct(ascending: Rows) -> tuple[Rows, Rows]:
    """Return the distinct values of an ascending array, and how often each occurs.

    ``numpy.unique`` does not make use of the order, and imports ``numpy.ma``.
    """
    edge = np.ones(len(ascending) + 1, np.bool_)
    np.not_equal(ascending[1:], ascending[:-1], out=edge[1:-1])
    edges = np.flatnonzero(edge)
    return ascending[edges[:-1]], np.diff(edges)
