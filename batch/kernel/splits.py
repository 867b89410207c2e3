"""Splits: which row carries each, and how windows and series are brought to one scale.

A split executed on date D with ratio r = shares after / shares before makes every row
before D comparable with the rows from D on when its prices are divided by r and its
volume is multiplied by r.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from batch.kernel.columns import Codes, Floats
from batch.kernel.windows import Rows, positions


@dataclass(frozen=True, slots=True, eq=False)
class SplitColumns:
    """Splits, one per (symbol, date), sorted by both: place of the symbol, day of execution."""

    code: Codes
    day: npt.NDArray[np.int32]
    ratio: Floats


def attach_splits(
    code: Codes,
    day: npt.NDArray[np.int32],
    splits: SplitColumns,
    *,
    seen_before: npt.NDArray[np.bool_],
    pending_before: Floats,
) -> tuple[Floats, Floats]:
    """Give every split to its symbol's first row on or after its date.

    A split dated before the symbol's very first row scales nothing and is dropped.

    Args:
        code: Symbol of each row; rows are sorted by (symbol, day).
        day: Of each row.
        splits: Those of this stretch of time, over the same symbols.
        seen_before: Whether each symbol has a row before this stretch.
        pending_before: Of each symbol: the splits of earlier stretches still without a row.

    Returns:
        The ratio of each row; and of each symbol the product of the splits that found no row,
        1.0 if none.
    """
    ratio = np.ones(len(code))
    pending = pending_before.copy()
    symbols = np.arange(len(pending_before), dtype=np.int32)
    first_row = np.searchsorted(code, symbols, side="left")
    end_row = np.searchsorted(code, symbols, side="right")
    has_rows = end_row > first_row

    due = has_rows & (pending != 1.0)
    ratio[first_row[due]] = pending[due]
    pending[has_rows] = 1.0

    low_day = int(min(day.min(initial=0), splits.day.min(initial=0)))
    span = int(max(day.max(initial=0), splits.day.max(initial=0))) - low_day + 1
    row_key = code.astype(np.int64) * span + (day - low_day)
    split_key = splits.code.astype(np.int64) * span + (splits.day - low_day)
    at = np.searchsorted(row_key, split_key)
    rows_upto = np.searchsorted(row_key, split_key, side="right")
    kept = seen_before[splits.code] | (rows_upto > first_row[splits.code])
    finds_row = at < end_row[splits.code]
    lands, waits = kept & finds_row, kept & ~finds_row
    np.multiply.at(ratio, at[lands], splits.ratio[lands])
    np.multiply.at(pending, splits.code[waits], splits.ratio[waits])
    return ratio, pending


def later_in_window(split_ratio: Floats, split_rows: Rows, starts: Rows) -> tuple[Rows, Floats]:
    """Find the rows that a later split of their own window rescales, and the factor of each.

    It is the product of the split ratios of the later rows of its window. ``split_rows`` are
    the rows with a split and ``starts`` the first row of each window, both ascending; windows
    are contiguous runs of rows.
    """
    windows = np.searchsorted(starts, split_rows, side="right") - 1
    inner = split_rows > starts[windows]  # on a window's first row it rescales nothing in it
    split_rows, windows = split_rows[inner], windows[inner]
    # Split k rescales the rows from begins[k] up to the one before it: back to the split
    # before it in the same window, whose rows then need both factors, or to the start.
    factors = split_ratio[split_rows]
    begins = starts[windows]
    for at in np.flatnonzero(windows[1:] == windows[:-1])[::-1]:
        factors[at] *= factors[at + 1]
        begins[at + 1] = split_rows[at]
    scaled = np.flatnonzero(factors != 1.0)
    lengths = split_rows[scaled] - begins[scaled]
    return positions(begins[scaled], lengths), np.repeat(factors[scaled], lengths)
