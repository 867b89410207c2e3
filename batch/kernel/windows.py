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


def windows_starting_in(year: int, width: int, calendar: Calendar) -> range:
    """Return the numbers of a width's windows that start in a year.

    Window ``w`` holds the sessions numbered ``w * width`` to ``(w + 1) * width - 1``, the
    same for every symbol, so neither gaps nor history move an edge. The calendar must reach
    past the year.
    """
    new_years = [day_of(date(year, 1, 1)), day_of(date(year + 1, 1, 1))]
    first_nos = np.searchsorted(calendar.days, new_years) + calendar.first_no
    # A window starts in the year if its first session does: round the quotients up.
    return range(*(-(-first_nos // width)).tolist())


def calendar_reaching(
    oldest: date, newest: date, width: int, calendar: Calendar | None = None
) -> Calendar:
    """Return a calendar that covers every window of a width around some sessions.

    It is the one given if that reaches far enough, the library's otherwise.
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
    """Contiguous runs of rows that make one bar each: their first and last rows, ascending."""

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
    """Return the runs of rows with the same symbol and window; rows sorted by both."""
    edge = np.empty(len(window), dtype=np.bool_)
    np.not_equal(window[1:], window[:-1], out=edge[1:])
    edge[first_rows] = True
    starts = np.flatnonzero(edge)
    return Runs(starts, np.append(starts[1:], len(window)) - 1)


def positions(starts: Rows, lengths: Rows) -> Rows:
    """Return the positions of some stretches of rows, one stretch after the other."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(lengths.sum())
