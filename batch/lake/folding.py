"""Folding daily bars on read: the bars that no table has. Pure."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from batch.core import schema
from batch.core.frames import empty_frame, to_arrow, to_polars
from batch.core.layout import Anchor, Period
from batch.core.sessions import EARLIEST, date_of, load_calendar, year_of
from batch.kernel.columns import DailyColumns
from batch.kernel.periods import fold_periods
from batch.kernel.windows import calendar_reaching
from batch.kernel.years import CalendarPiece, Carried, ListingPiece, Piece

_MONTH = timedelta(days=31)


def fold_daily(
    daily: pl.DataFrame, newest: date | None, interval: int | Period, anchor: Anchor
) -> pl.DataFrame:
    """Fold daily bars, into bars of N sessions to the same values as the resampler.

    Args:
        daily: Columns of :data:`batch.core.schema.DAILY`, sorted by (symbol, date). Where windows
            are counted from the listing, all of a symbol's bars or none.
        newest: Newest consolidated session; windows that end by then are complete. None
            where there are no bars.
        interval: Sessions per bar, or a week or month.
        anchor: What windows of N sessions are counted from.

    Returns:
        Columns of :data:`batch.core.schema.BARS`, sorted by (symbol, start).
    """
    rows = DailyColumns.from_table(to_arrow(daily, schema.DAILY))
    if newest is None or not len(rows):
        return empty_frame(schema.BARS)
    if isinstance(interval, Period):
        oldest = date_of(rows.day.min())
        calendar = load_calendar(max(oldest - _MONTH, EARLIEST), newest + _MONTH)
        bars = fold_periods(rows, interval, calendar, newest)
        return to_polars(bars.to_batch(), schema.BARS)
    return _fold_sessions(rows, newest, interval, anchor)


def _fold_sessions(daily: DailyColumns, newest: date, width: int, anchor: Anchor) -> pl.DataFrame:
    oldest = date_of(daily.day.min())
    calendar = calendar_reaching(oldest, newest, width)
    row_no, row_year = daily.row_nos(), year_of(daily.day)
    frames: list[pl.DataFrame] = []
    year, carried = newest.year, Carried()
    while year >= oldest.year or len(carried.into_year):
        inside = np.flatnonzero(row_year == year)
        rows = daily.take(inside).with_own_symbols()
        piece: Piece
        if anchor is Anchor.LISTING:
            before = row_no[inside][rows.first_rows()]
            piece = ListingPiece.of(rows, ends_year=True, rows_before=before)
        else:
            piece = CalendarPiece.of(
                rows, ends_year=True, year=year, calendar=calendar, newest=newest
            )
        bars, carried = piece.fold(width, carried)
        frames.append(to_polars(bars.to_batch(), schema.BARS))
        year -= 1
    return pl.concat(frames).sort("symbol", "start")
