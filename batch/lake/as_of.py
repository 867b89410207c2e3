"""Bars as they were known at an instant, computed in memory from the deliveries known then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused
from batch.core.frames import empty_frame, to_arrow, to_polars
from batch.core.layout import BRONZE, DAILY_TABLE, Anchor, Delivery, partition_key
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


@dataclass(frozen=True, slots=True, eq=False)
class KnownDaily:
    """The daily bars that a consolidation at some instant would have published.

    Attributes:
        rows: Sorted by (symbol, date), splits attached; some symbols or all.
        newest: Newest session of which any symbol was known, None if nothing was.
    """

    rows: DailyColumns
    newest: date | None

    def daily(self) -> pl.DataFrame:
        """Return the daily bars: columns of :data:`batch.core.schema.DAILY`."""
        return to_polars(self.rows.to_batch(), schema.DAILY)

    def bars(self, width: int, anchor: Anchor) -> pl.DataFrame:
        """Fold them as the resampler does: columns of :data:`batch.core.schema.BARS`."""
        if not len(self.rows) or self.newest is None:
            return empty_frame(schema.BARS)
        oldest = date_of(self.rows.day.min())
        calendar = calendar_reaching(oldest, self.newest, width)
        row_no, row_year = self.rows.row_nos(), year_of(self.rows.day)
        frames: list[pl.DataFrame] = []
        year, carried = self.newest.year, Carried()
        while year >= oldest.year or len(carried.into_year):
            inside = np.flatnonzero(row_year == year)
            rows = self.rows.take(inside).with_own_symbols()
            piece: Piece
            if anchor is Anchor.LISTING:
                before = row_no[inside][rows.first_rows()]
                piece = ListingPiece.of(rows, ends_year=True, rows_before=before)
            else:
                piece = CalendarPiece.of(
                    rows, ends_year=True, year=year, calendar=calendar, newest=self.newest
                )
            bars, carried = piece.fold(width, carried)
            frames.append(to_polars(bars.to_batch(), schema.BARS))
            year -= 1
        return pl.concat(frames).sort("symbol", "start")


def known_daily(
    store: ObjectStore, as_of: datetime, symbols: Sequence[str] | None = None
) -> KnownDaily:
    """Make the daily bars again as they were known at an instant.

    The rules are those of ``ohlcv consolidate --as-of``: :meth:`YearInputs.known_at` for
    deliveries, :func:`splits_known_at` for splits. A year of which every delivery was known
    by then is taken from its published partition, which holds the same rows.

    Args:
        store: The lake.
        as_of: An aware instant, inclusive.
        symbols: Which; all where None.

    Raises:
        DataRefused: A delivery known by then is damaged; it is named.
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
        return KnownDaily(DailyColumns.empty(), None)
    try:
        with reading(store.uri):
            received = pl.concat(parts).collect()
    except DataRefused:
        _require_readable(store, read)
        raise
    columns = DailyColumns.from_table(to_arrow(received))
    splits = splits_known_at(read_splits(store), as_of)
    daily, _ = attach_carried_splits(_newest_rows(columns), splits, Carry.none())
    return KnownDaily(daily, newest)


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
