"""Bars as they were known at an instant, computed in memory from the deliveries known then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused
from batch.core.frames import empty_frame, to_arrow, to_polars
from batch.core.layout import BRONZE, DAILY_TABLE, Anchor, Delivery, partition_key, table_prefix
from batch.core.sessions import calendar_from, date_of, year_of
from batch.kernel.columns import DailyColumns, order_by_key
from batch.kernel.windows import calendar_reaching
from batch.kernel.years import CalendarPiece, Carried, ListingPiece, Piece
from batch.lake.carry import Carry, attach_carried_splits
from batch.lake.inputs import ListedDeliveries
from batch.lake.manifest import load_daily_manifest
from batch.lake.reference import read_splits, splits_known_at
from batch.storage.parquet import read_table
from batch.storage.scan import of_symbols, reading, scan_objects
from batch.storage.store import ObjectStore


def bars_known_at(
    store: ObjectStore,
    as_of: datetime,
    symbols: Sequence[str] | None,
    width: int,
    anchor: Anchor,
) -> tuple[pl.DataFrame, date | None]:
    """Make daily bars (``width`` 1) or N-session bars again as they were known at an instant.

    The rules are those of ``ohlcv consolidate --as-of``: :meth:`YearInputs.known_at` for
    deliveries, :func:`splits_known_at` for splits; bars are folded as the resampler does.
    ``as_of`` is aware and inclusive; ``symbols`` are all where None. Returns the bars, and the
    newest session of which any symbol was known, None if none was.

    Raises:
        DataRefused: A delivery known by then is damaged; it is named.
    """
    received, newest = _received_by(store, as_of, symbols)
    if newest is None:
        return empty_frame(schema.DAILY if width == 1 else schema.BARS), None
    splits = splits_known_at(read_splits(store), as_of)
    daily, _ = attach_carried_splits(_newest_rows(received), splits, Carry.none())
    if width == 1:
        return to_polars(daily.to_batch(), schema.DAILY), newest
    return _fold(daily, newest, width, anchor), newest


def _received_by(
    store: ObjectStore, as_of: datetime, symbols: Sequence[str] | None
) -> tuple[DailyColumns, date | None]:
    """Read every row received by an instant, and the newest session that was delivered.

    A year of which every delivery was known by then is taken from its published partition,
    which holds the rows that its deliveries come to.
    """
    listing = ListedDeliveries.of(store.list(BRONZE))
    published = load_daily_manifest(store).partitions
    parts: list[pl.LazyFrame] = []
    read: list[Delivery] = []
    newest: date | None = None
    for year, inputs in sorted(listing.by_year(calendar_from(listing.oldest)).items()):
        known = sorted(inputs.known_at(as_of).deliveries)
        if not known:
            continue
        newest = known[-1].session
        record = published.get(year)
        all_known = len(known) == len(inputs.deliveries)
        if all_known and record and record.inputs_digest == inputs.digest:
            rows = scan_objects(store, [partition_key(DAILY_TABLE, year)], schema.DAILY)
            parts.append(of_symbols(rows, symbols).drop("split_ratio"))
        else:
            read += known
            rows = scan_objects(store, [delivery.key for delivery in known], schema.DELIVERY)
            parts.append(of_symbols(rows, symbols))
    if not parts:
        return DailyColumns.empty(), None
    try:
        with reading(store, table_prefix(DAILY_TABLE), schema.DAILY):
            received = pl.concat(parts).collect()
    except DataRefused:
        _require_readable(store, read)
        raise
    return DailyColumns.from_table(to_arrow(received)), newest


def _fold(daily: DailyColumns, newest: date, width: int, anchor: Anchor) -> pl.DataFrame:
    if not len(daily):
        return empty_frame(schema.BARS)
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


def _newest_rows(received: DailyColumns) -> DailyColumns:
    """Keep the newest row of every (symbol, date), sorted by both."""
    if not len(received):
        return received
    day = received.day - received.day.min()
    order, newest = order_by_key(received.code.astype(np.int64) * (int(day.max()) + 1) + day)
    return received.take(order[newest])


def _require_readable(store: ObjectStore, deliveries: Sequence[Delivery]) -> None:
    """Read deliveries one by one, so that the damaged one among them is named."""
    for delivery in deliveries:
        label = f"{store.uri}/{delivery.key}"
        read_table(store.read(delivery.key), schema.DELIVERY.names, label=label)
