"""Which rows fold into which bar: window numbers and the runs that share one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from batch.kernel.columns import Codes

Rows = npt.NDArray[np.int64]
"""Positions of rows."""


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


def window_nos(session_no: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    """Return the window of each session: ``session_no // width``, rounding down.

    The same for every symbol, so neither gaps nor history move an edge.
    """
    numbers: npt.NDArray[Any] = np.floor_divide(session_no, width)
    return numbers


def listing_window_nos(
    code: Codes, first_rows: Rows, rows_before: npt.NDArray[np.int64], width: int
) -> npt.NDArray[np.int64]:
    """Return the window of each row counted from its symbol's first bar.

    Args:
        code: Symbol of each row; rows sorted by (symbol, day), every symbol having one.
        first_rows: Position of each symbol's first row.
        rows_before: One per symbol: its daily bars before these rows.
        width: Bars per window.
    """
    own_no = np.arange(len(code), dtype=np.int64) + (rows_before - first_rows)[code]
    return own_no // width


def runs_of(window_no: npt.NDArray[Any], first_rows: Rows) -> Runs:
    """Return the runs of rows with the same symbol and window; rows sorted by both.

    Args:
        window_no: Window of each row.
        first_rows: Position of each symbol's first row.
    """
    if not len(window_no):
        none = np.empty(0, np.int64)
        return Runs(none, none)
    edge = np.empty(len(window_no), dtype=np.bool_)
    np.not_equal(window_no[1:], window_no[:-1], out=edge[1:])
    edge[first_rows] = True
    starts = np.flatnonzero(edge)
    ends = np.empty_like(starts)
    np.subtract(starts[1:], 1, out=ends[:-1])
    ends[-1] = len(edge) - 1
    return Runs(starts, ends)
