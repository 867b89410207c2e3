"""Which daily bars fold into which bar: windows of sessions, and the runs of rows in one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from batch.core.sessions import EPOCH, Calendar, day_of, load_calendar

Rows = npt.NDArray[np.int64]
"""Positions of rows."""


@dataclass(frozen=True, slots=True)
class CalendarYear:
    """The calendar's windows of one width that start in one year.

    Window ``w`` holds the sessions numbered ``w * width`` to ``(w + 1) * width - 1``, the
    same for every symbol, so neither gaps nor history move an edge.

    Attributes:
        width: Sessions per window.
        first_window: Number of the first of them.
        last_window: Number of the last of them; below the first where there are none.
    """

    width: int
    first_window: int
    last_window: int

    @classmethod
    def of(cls, calendar: Calendar, width: int, year: int) -> CalendarYear:
        """Find the windows that start in a year; the calendar must reach past it."""
        new_years = [day_of(date(year, 1, 1)), day_of(date(year + 1, 1, 1))]
        first_no, end_no = np.searchsorted(calendar.days, new_years).tolist()
        # A window starts in the year if its first session does: round the quotients up.
        first, end = (-(-(no + calendar.first_no) // width) for no in (first_no, end_no))
        return cls(width, first, end - 1)

    @property
    def first_session_no(self) -> int:
        """First session of the first window."""
        return self.first_window * self.width

    @property
    def last_session_no(self) -> int:
        """Last session of the last window."""
        return (self.last_window + 1) * self.width - 1


def calendar_reaching(
    oldest: date, newest: date, width: int, calendar: Calendar | None = None
) -> Calendar:
    """Return a calendar that covers every window of a width around some sessions.

    Args:
        oldest: The first of the sessions.
        newest: The last of them.
        width: Sessions per window.
        calendar: Returned if it reaches far enough; the library's otherwise.
    """
    reach = timedelta(days=(width + 252) * 3 // 2)
    first, last = oldest - reach, newest + reach
    if oldest >= EPOCH:  # window 0 starts at the epoch
        first = EPOCH
    if calendar is not None and calendar.first <= first and calendar.last >= last:
        return calendar
    return load_calendar(first, last)


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Contiguous runs of rows that make one bar each.

    Attributes:
        starts: First row of each run, ascending.
        ends: Last row of each run, inclusive.
    """

    starts: Rows
    ends: Rows

    def __len__(self) -> int:
        return len(self.starts)

    def lengths(self) -> Rows:
        """Return the number of rows of each run."""
        return self.ends - self.starts + 1

    def holding(self, rows: Rows) -> Rows:
        """Return the run of each of some rows."""
        return np.searchsorted(self.starts, rows, side="right") - 1


def runs_of(window: npt.NDArray[Any], first_rows: Rows) -> Runs:
    """Return the runs of rows with the same symbol and window; rows sorted by both.

    Args:
        window: Window of each row.
        first_rows: Position of each symbol's first row.
    """
    if not len(window):
        none = np.empty(0, np.int64)
        return Runs(none, none)
    edge = np.empty(len(window), dtype=np.bool_)
    np.not_equal(window[1:], window[:-1], out=edge[1:])
    edge[first_rows] = True
    starts = np.flatnonzero(edge)
    ends = np.empty_like(starts)
    np.subtract(starts[1:], 1, out=ends[:-1])
    ends[-1] = len(edge) - 1
    return Runs(starts, ends)


def positions(starts: Rows, lengths: Rows) -> Rows:
    """Return the positions of some stretches of rows, one stretch after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())
