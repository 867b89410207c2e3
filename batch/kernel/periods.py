"""Bars of whole weeks and months: daily bars folded between dates, not by counting sessions."""

from __future__ import annotations

from datetime import date

import numpy as np

from batch.core.layout import Period
from batch.core.sessions import Calendar, Days, day_of
from batch.kernel.bars import Bars
from batch.kernel.columns import DailyColumns, Ints
from batch.kernel.fold import Precomputed, fold
from batch.kernel.windows import runs_of

_MONDAY = -3
"""The Monday before 1970-01-01, a Thursday."""


def number_periods(days: Days, period: Period) -> Ints:
    """Number the ISO week, Monday to Sunday, or the month of each day since 1970-01-01."""
    if period is Period.WEEK:
        return (days.astype(np.int64) - _MONDAY) // 7
    return days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)


def fold_periods(rows: DailyColumns, period: Period, calendar: Calendar, newest: date) -> Bars:
    """Fold daily bars into one bar per symbol and week or month in which it has any.

    Args:
        rows: Sorted by (symbol, date); every symbol has a row.
        period: Week or month.
        calendar: Covers every session of the weeks or months of the rows.
        newest: Newest consolidated session: a bar is complete if its last session is not later.

    Returns:
        Bars whose ``start`` and ``end`` are the first and last session of their week or month, at
        the scale of its last daily bar.
    """
    precomputed = Precomputed.of(rows)
    runs = runs_of(number_periods(rows.day, period), precomputed.first_rows)
    window = number_periods(rows.day[runs.starts], period)
    of_sessions = number_periods(calendar.days, period)
    start = calendar.days[np.searchsorted(of_sessions, window)]
    end = calendar.days[np.searchsorted(of_sessions, window, side="right") - 1]
    return Bars(
        symbols=rows.symbols,
        code=rows.code[runs.starts],
        window=window,
        start=start,
        end=end,
        sessions=runs.lengths(),
        complete=end <= day_of(newest),
        values=fold(rows, runs, precomputed),
    )
