"""N-session bars, made of a year's daily bars and what later years add to them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch.core import schema
from batch.core.sessions import Calendar, Days, SessionNos, day_of
from batch.kernel.arrow import arrow_of
from batch.kernel.columns import Codes, DailyColumns, Ints, nullable_counts, nullable_floats
from batch.kernel.fold import Basis, Folded
from batch.kernel.windows import listing_window_nos, window_nos
from batch.kernel.years import LaterParts, fold_year


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """N-session bars as parallel arrays, sorted by (symbol, start).

    Attributes:
        symbols: Distinct symbols, ascending: Arrow text; some may have no bar.
        code: Place of each bar's symbol in ``symbols``.
        start: First session of the window, days since 1970-01-01.
        end: Last session of the window.
        sessions: Daily bars in the window.
        complete: Whether the window has closed.
        values: Prices, volume and the rest.
    """

    symbols: Any
    code: Codes
    start: Days
    end: Days
    sessions: Ints
    complete: npt.NDArray[np.bool_]
    values: Folded

    def __len__(self) -> int:
        return len(self.code)

    def to_batch(self) -> Any:
        """Return the bars as a record batch of :data:`batch.core.schema.BARS`."""
        values = self.values
        with np.errstate(invalid="ignore"):  # 0 / 0 where nothing traded
            vwap = values.paid_usd / values.volume
        return pa.record_batch(
            [
                pa.DictionaryArray.from_arrays(arrow_of(self.code), self.symbols),
                arrow_of(self.start, pa.date32()),
                arrow_of(self.end, pa.date32()),
                arrow_of(values.open),
                arrow_of(values.high),
                arrow_of(values.low),
                arrow_of(values.close),
                arrow_of(values.volume),
                nullable_floats(vwap),
                nullable_counts(values.trades),
                arrow_of(self.sessions.astype(np.int32)),
                arrow_of(self.complete),
                arrow_of(values.split_ratio),
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


def fold_calendar_year(
    rows: DailyColumns,
    session_no: SessionNos,
    basis: Basis,
    later: LaterParts,
    *,
    windows: CalendarYear,
    calendar: Calendar,
    last_closed: date,
) -> tuple[Bars, LaterParts]:
    """Fold a year's daily bars into the calendar's windows that start in it.

    Edges come from ``session_no``, never from the rows present, so a gap or extra history
    cannot move an edge.

    Args:
        rows: Daily bars of the year sorted by (symbol, date); all of a symbol's or none.
        session_no: Number of each row's session.
        basis: What was worked out of the rows.
        later: What later years hold of windows that start before them.
        windows: Which windows start in the year.
        calendar: Must reach to the end of the last of them.
        last_closed: The newest consolidated session.

    Returns:
        One bar per symbol and window with at least one row, and what is known of windows
        that start in earlier years. A bar's ``complete`` is False while the window's last
        session is after ``last_closed``.
    """
    begun, passed_on = fold_year(
        rows,
        window_nos(session_no, windows.width),
        basis,
        later.where(later.window <= windows.last_window),
        lambda _, window: window < windows.first_window,
    )
    known = np.arange(windows.first_window, windows.last_window + 1, dtype=np.int64)
    place = begun.window - windows.first_window
    end = calendar.day_at((known + 1) * windows.width - 1).take(place)
    bars = Bars(
        symbols=begun.symbols,
        code=begun.code,
        start=calendar.day_at(known * windows.width).take(place),
        end=end,
        sessions=begun.sessions,
        complete=end <= day_of(last_closed),
        values=begun.values,
    )
    return bars, passed_on


def fold_listing_year(
    rows: DailyColumns, basis: Basis, later: LaterParts, *, width: int, rows_before: Ints
) -> tuple[Bars, LaterParts]:
    """Fold a year's daily bars into windows counted from each symbol's own first bar.

    A window belongs to the year in which its first row lies.

    Args:
        rows: Daily bars of the year sorted by (symbol, date); all of a symbol's or none.
        basis: What was worked out of the rows.
        later: What later years hold of windows that start before them.
        width: Bars per window.
        rows_before: One per symbol: its daily bars before the year.

    Returns:
        One bar per symbol and window, and what is known of windows that start in earlier
        years. A bar's ``start`` and ``end`` are the dates of its first and last row, and it
        is complete when it has ``width`` rows.
    """

    def starts_before(code: Codes, window: Ints) -> npt.NDArray[np.bool_]:
        # A symbol without rows in the year can have begun its window only before it.
        first_no = np.append(rows_before, np.iinfo(np.int64).max)[code]
        early: npt.NDArray[np.bool_] = window * width < first_no
        return early

    window = listing_window_nos(rows.code, basis.first_rows, rows_before, width)
    begun, passed_on = fold_year(rows, window, basis, later, starts_before)
    bars = Bars(
        symbols=begun.symbols,
        code=begun.code,
        start=begun.start,
        end=begun.end,
        sessions=begun.sessions,
        complete=begun.sessions == width,
        values=begun.values,
    )
    return bars, passed_on


def _first_session_no(calendar: Calendar, year: int) -> int:
    first_day = np.datetime64(f"{year:04d}-01-01").astype(np.int64)
    return int(np.searchsorted(calendar.days, first_day)) + calendar.first_no
