"""Folding daily bars into N-session bars. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch.core import schema
from batch.core.columns import (
    NO_TRADES,
    Codes,
    DailyColumns,
    Floats,
    Ints,
    nullable_counts,
    nullable_floats,
)
from batch.core.sessions import Calendar, SessionNos
from batch.core.splits import later_in_window
from batch.core.windows import Rows, Runs, listing_window_nos, runs_of, window_nos


@dataclass(frozen=True, slots=True, eq=False)
class Folded:
    """One element per bar: the values of each run of rows.

    Attributes:
        vwap: NaN where a row that traded has none, or nothing traded.
        trades: :data:`batch.core.columns.NO_TRADES` where a row that traded has none.
    """

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    vwap: Floats
    trades: Ints
    split_ratio: Floats

    def take(self, bars: npt.NDArray[np.intp]) -> Folded:
        """Return the values of some bars."""
        return Folded(*(getattr(self, field.name).take(bars) for field in fields(Folded)))


@dataclass(frozen=True, slots=True, eq=False)
class Traded:
    """What rows contribute to sums, made once for all widths.

    Attributes:
        paid_usd: Dollars traded in each row; NaN where it traded and its vwap is not known.
        trades: Trades of each row, 0 where they are not known.
        any_vwap: Whether any row has a vwap.
        untold_rows: Positions of the rows that traded and whose trades are not known.
        silent_rows: Positions of the rows that did not trade and whose trades are not known.
        split_rows: Positions of the rows with a split.
    """

    paid_usd: Floats
    trades: Ints
    any_vwap: bool
    untold_rows: Rows
    silent_rows: Rows
    split_rows: Rows

    @classmethod
    def of(cls, rows: DailyColumns) -> Traded:
        """Work out the contributions of daily bars."""
        unknown = np.flatnonzero(np.isnan(rows.vwap))
        paid_usd = rows.vwap * rows.volume
        paid_usd[unknown[rows.volume[unknown] == 0]] = 0.0
        untold = np.flatnonzero(rows.trades == NO_TRADES)
        trades = rows.trades
        if len(untold):
            trades = trades.copy()
            trades[untold] = 0
        silent = rows.volume[untold] == 0
        return cls(
            paid_usd=paid_usd,
            trades=trades,
            any_vwap=len(unknown) < len(rows),
            untold_rows=untold[~silent],
            silent_rows=untold[silent],
            split_rows=np.flatnonzero(rows.split_ratio != 1.0),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """N-session bars as parallel arrays, sorted by (symbol, start).

    Attributes:
        symbols: Distinct symbols, ascending; some may have no bar.
        code: Place of each bar's symbol in ``symbols``.
        start: First session of the window, days since 1970-01-01.
        end: Last session of the window.
        sessions: Daily bars in the window.
        complete: Whether the window has closed.
        values: Prices, volume and the rest.
    """

    symbols: Any
    code: Codes
    start: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]
    sessions: npt.NDArray[np.int32]
    complete: npt.NDArray[np.bool_]
    values: Folded

    def __len__(self) -> int:
        return len(self.code)

    def to_batch(self) -> Any:
        """Return the bars as a record batch of :data:`batch.core.schema.BARS`."""
        values = self.values
        return pa.record_batch(
            [
                pa.DictionaryArray.from_arrays(pa.array(self.code), self.symbols),
                pa.array(self.start).cast(pa.date32()),
                pa.array(self.end).cast(pa.date32()),
                pa.array(values.open),
                pa.array(values.high),
                pa.array(values.low),
                pa.array(values.close),
                pa.array(values.volume),
                nullable_floats(values.vwap),
                nullable_counts(values.trades),
                pa.array(self.sessions),
                pa.array(self.complete),
                pa.array(values.split_ratio),
            ],
            names=schema.BARS.names,
        )


@dataclass(frozen=True, slots=True)
class CalendarYear:
    """The windows of one width that start in one year.

    Attributes:
        width: Sessions per window.
        first_window: Number of the first of them.
        last_window: Number of the last of them.
    """

    width: int
    first_window: int
    last_window: int

    @classmethod
    def of(cls, calendar: Calendar, width: int, year: int) -> CalendarYear:
        """Find the windows that start in a year; the calendar must reach past it."""
        first_no, end_no = (_first_session_no(calendar, y) for y in (year, year + 1))
        return cls(width, -(-first_no // width), -(-end_no // width) - 1)

    @property
    def first_session_no(self) -> int:
        """First session of the first window."""
        return self.first_window * self.width

    @property
    def last_session_no(self) -> int:
        """Last session of the last window."""
        return (self.last_window + 1) * self.width - 1


def fold_calendar_windows(
    rows: DailyColumns,
    session_no: SessionNos,
    windows: CalendarYear,
    *,
    calendar: Calendar,
    last_closed: int,
    traded: Traded | None = None,
) -> Bars:
    """Fold daily bars into the calendar's windows that start in one year.

    Edges come from ``session_no``, never from the rows present, so a gap or extra history
    cannot move an edge.

    Args:
        rows: Daily bars sorted by (symbol, date); those of other windows are passed over.
        session_no: Number of each row's session.
        windows: Which windows.
        calendar: Must reach to the end of the last window.
        last_closed: Number of the newest consolidated session, inclusive.
        traded: What the rows contribute, if it is known already.

    Returns:
        One bar per symbol and window with at least one row. ``complete`` is False while
        the window's last session is after ``last_closed``.
    """
    window = window_nos(session_no, windows.width)
    runs = runs_of(rows.code, window)
    values = fold(rows, runs, traded or Traded.of(rows))
    place = window.take(runs.starts).astype(np.intp) - windows.first_window
    known = np.arange(windows.first_window, windows.last_window + 1, dtype=np.int64)
    inside = (place >= 0) & (place < len(known))
    if not inside.all():
        chosen = np.flatnonzero(inside)
        runs, values, place = runs.take(chosen), values.take(chosen), place.take(chosen)
    end_no = (known + 1) * windows.width - 1
    return Bars(
        symbols=rows.symbols,
        code=rows.code.take(runs.starts),
        start=calendar.day_at(known * windows.width).take(place),
        end=calendar.day_at(end_no).take(place),
        sessions=(runs.ends - runs.starts + 1).astype(np.int32),
        complete=(end_no <= last_closed).take(place),
        values=values,
    )


def fold_listing_windows(
    rows: DailyColumns,
    width: int,
    *,
    rows_before: Ints,
    own_rows: Ints,
    traded: Traded | None = None,
) -> Bars:
    """Fold daily bars into windows counted from each symbol's own first bar.

    A window belongs to the year in which its first row lies. Rows before the first
    window of the year complete a window of an earlier one and are passed over.

    Args:
        rows: A year's daily bars and, behind them, the later rows that may complete its
            last windows; sorted by (symbol, date).
        width: Bars per window.
        rows_before: One per symbol: its daily bars before the year.
        own_rows: One per symbol: how many of ``rows`` lie in the year itself.
        traded: What the rows contribute, if it is known already.

    Returns:
        One bar per symbol and window; ``start`` and ``end`` are the dates of its first and
        last row, and it is complete when it has ``width`` rows.
    """
    window = listing_window_nos(rows.code, rows_before, width)
    runs = runs_of(rows.code, window)
    code = rows.code[runs.starts]
    first_own_no = window[runs.starts] * width
    inside = (first_own_no >= rows_before[code]) & (
        first_own_no < rows_before[code] + own_rows[code]
    )
    chosen = np.flatnonzero(inside)
    values = fold(rows, runs, traded or Traded.of(rows)).take(chosen)
    runs = runs.take(chosen)
    sessions = (runs.ends - runs.starts + 1).astype(np.int32)
    return Bars(
        symbols=rows.symbols,
        code=code.take(chosen),
        start=rows.day[runs.starts],
        end=rows.day[runs.ends],
        sessions=sessions,
        complete=sessions == width,
        values=values,
    )


def fold(rows: DailyColumns, runs: Runs, traded: Traded) -> Folded:
    """Aggregate runs of rows, each brought to the scale of its last row first.

    Args:
        rows: Daily bars sorted by (symbol, date).
        runs: Contiguous runs that cover all rows.
        traded: What the rows contribute.
    """
    values = _aggregate(rows, runs, traded)
    scaled_rows, factors = later_in_window(rows.split_ratio, traded.split_rows, runs.starts)
    if not len(scaled_rows):
        return values
    touched = np.unique(_runs_with(scaled_rows, runs))
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
    corrected = _aggregate(scaled, Runs(starts, ends - 1), Traded.of(scaled))
    for field in fields(Folded):
        getattr(values, field.name)[touched] = getattr(corrected, field.name)
    return values


def _aggregate(rows: DailyColumns, runs: Runs, traded: Traded) -> Folded:
    if not len(runs):
        none = np.empty(0)
        return Folded(none, none, none, none, none, none, np.empty(0, np.int64), none)
    volume = np.add.reduceat(rows.volume, runs.starts)
    return Folded(
        open=rows.open.take(runs.starts),
        high=_extremes(np.maximum, rows.high, runs.starts),
        low=_extremes(np.minimum, rows.low, runs.starts),
        close=rows.close.take(runs.ends),
        volume=volume,
        vwap=_vwap(traded, runs.starts, volume),
        trades=_trades(traded, runs),
        split_ratio=_split_ratio(rows, traded, runs),
    )


def _extremes(extreme: np.ufunc, prices: Floats, starts: Rows) -> Floats:
    """Reduce prices as the integers of their bits, which is faster.

    Both are in the same order where nothing is negative or NaN, and no price is
    (https://en.wikipedia.org/wiki/IEEE_754#Total-ordering_predicate).
    """
    found: Floats = extreme.reduceat(prices.view(np.int64), starts).view(np.float64)
    return found


def _vwap(traded: Traded, starts: Rows, volume: Floats) -> Floats:
    if not traded.any_vwap:
        return np.full(len(starts), np.nan)
    paid_usd = np.add.reduceat(traded.paid_usd, starts)
    with np.errstate(invalid="ignore"):  # 0 / 0 where nothing traded
        return np.divide(paid_usd, volume, out=paid_usd)


def _trades(traded: Traded, runs: Runs) -> Ints:
    total = np.add.reduceat(traded.trades, runs.starts)
    total[_runs_with(traded.untold_rows, runs)] = NO_TRADES
    touched, count = np.unique(_runs_with(traded.silent_rows, runs), return_counts=True)
    total[touched[count == runs.ends[touched] - runs.starts[touched] + 1]] = NO_TRADES
    return total


def _split_ratio(rows: DailyColumns, traded: Traded, runs: Runs) -> Floats:
    ratio = np.ones(len(runs))
    split_rows = traded.split_rows
    np.multiply.at(ratio, _runs_with(split_rows, runs), rows.split_ratio[split_rows])
    return ratio


def _runs_with(rows: Rows, runs: Runs) -> Rows:
    """Return the run of each of some rows."""
    return np.searchsorted(runs.starts, rows, side="right") - 1


def _first_session_no(calendar: Calendar, year: int) -> int:
    first_day = np.datetime64(f"{year:04d}-01-01").astype(np.int64)
    return int(np.searchsorted(calendar.days, first_day)) + calendar.first_no
