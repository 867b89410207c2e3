"""Folding daily bars on read: the bars that no table has. Pure."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from batch.core import schema
from batch.core.frames import empty_frame, to_arrow, to_polars
from batch.core.layout import Anchor
from batch.core.sessions import date_of, year_of
from batch.kernel.columns import DailyColumns
from batch.kernel.windows import calendar_reaching
from batch.kernel.years import CalendarPiece, Carried, ListingPiece, Piece


def fold_daily(
    daily: pl.DataFrame, newest: date | None, width: int, anchor: Anchor
) -> pl.DataFrame:
    """Fold daily bars into bars of N sessions, to the same values as the resampler.

    Args:
        daily: Columns of :data:`batch.core.schema.DAILY`, sorted by (symbol, date). Where windows
            are counted from the listing, all of a symbol's bars or none.
        newest: Newest consolidated session; windows that end by then are complete. None
            where there are no bars.
        width: Sessions per bar.
        anchor: What windows are counted from.

    Returns:
        Columns of :data:`batch.core.schema.BARS`, sorted by (symbol, start).
    """
    rows = DailyColumns.from_table(to_arrow(daily, schema.DAILY))
    if newest is None or not len(rows):
        return empty_frame(schema.BARS)
    oldest = date_of(rows.day.min())
    calendar = calendar_reaching(oldest, newest, width)
    row_no, row_year = rows.row_nos(), year_of(rows.day)
    frames: list[pl.DataFrame] = []
    year, carried = newest.year, Carried()
    while year >= oldest.year or len(carried.into_year):
        inside = np.flatnonzero(row_year == year)
        part = rows.take(inside).with_own_symbols()
        piece: Piece
        if anchor is Anchor.LISTING:
            before = row_no[inside][part.first_rows()]
            piece = ListingPiece.of(part, ends_year=True, rows_before=before)
        else:
            piece = CalendarPiece.of(
                part, ends_year=True, year=year, calendar=calendar, newest=newest
            )
        bars, carried = piece.fold(width, carried)
        frames.append(to_polars(bars.to_batch(), schema.BARS))
        year -= 1
    return pl.concat(frames).sort("symbol", "start")
