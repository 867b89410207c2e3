"""Which rows fold into which bar: window numbers and the runs that share one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from batch.core.columns import Codes
from batch.core.errors import SettingsError

Rows = npt.NDArray[np.int64]
"""Positions of rows."""

WIDEST = 10_000
"""Widest window, in sessions: about forty years."""


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

    def take(self, chosen: Rows) -> Runs:
        """Return some of the runs."""
        return Runs(self.starts.take(chosen), self.ends.take(chosen))


def require_width(width: int) -> int:
    """Return a window width in sessions if it is one.

    Raises:
        SettingsError: It is below 1 or above :data:`WIDEST`.
    """
    if not 1 <= width <= WIDEST:
        raise SettingsError(f"interval {width}: must be from 1 to {WIDEST} sessions")
    return width


def window_nos(session_no: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """Return the window of each session: ``session_no // width``, rounding down.

    The same for every symbol, so neither gaps nor history move an edge.
    """
    numbers: npt.NDArray[Any] = np.floor_divide(session_no, width)
    return numbers


def listing_window_nos(
    code: Codes, rows_before: npt.NDArray[np.int64], width: int
) -> npt.NDArray[np.int64]:
    """Return the window of each row counted from its symbol's first bar.

    Args:
        code: Symbol of each row; rows sorted by (symbol, day).
        rows_before: One per symbol: its daily bars before these rows.
        width: Bars per window.
    """
    symbols = np.arange(len(rows_before), dtype=np.int32)
    first_row = np.searchsorted(code, symbols)
    own_no = np.arange(len(code), dtype=np.int64) - first_row[code] + rows_before[code]
    return own_no // width


def runs_of(code: Codes, window_no: npt.NDArray[Any]) -> Runs:
    """Return the runs of rows with the same symbol and window; rows sorted by both."""
    if not len(code):
        none = np.empty(0, np.int64)
        return Runs(none, none)
    edge = np.empty(len(code), dtype=np.bool_)
    edge[0] = True
    np.not_equal(code[1:], code[:-1], out=edge[1:])
    edge[1:] |= window_no[1:] != window_no[:-1]
    starts = np.flatnonzero(edge)
    return Runs(starts, np.append(starts[1:], len(code)) - 1)
