"""Bars as they were known at an instant, made again in memory from the deliveries of then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

import numpy as np
import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused
from batch.core.frames import empty_frame, to_arrow, to_polars
from batch.core.layout import BRONZE, DAILY_TABLE, Anchor, Delivery, partition_key
from batch.core.sessions import EPOCH, Calendar, date_of, load_calendar, year_of
from batch.kernel.columns import DailyColumns
from batch.kernel.splits import SplitColumns, attach_splits
from batch.kernel.windows import calendar_reaching
from batch.kernel.years import CalendarPiece, Carried, ListingPiece, Piece
from batch.lake.manifest import fingerprint, load_daily_manifest
from batch.lake.reference import read_splits
from batch.storage.parquet import read_table
from batch.storage.scan import Access, of_symbols, reading
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

    The rule is that of ``ohlcv consolidate --as-of``: deliveries received by then, and
    splits executed by that date. A year of which every delivery had come by then is taken
    from its published partition, which holds the same rows.

    Args:
        store: The lake.
        as_of: An aware instant, inclusive.
        symbols: Which; all where None.

    Raises:
        DataRefused: A delivery of then is damaged; it is named.
    """
    by_year = _deliveries_by_year(store)
    calendar = _calendar_around(by_year)
    published = load_daily_manifest(store).partitions
    access = Access.of(store)
    parts: list[pl.LazyFrame] = []
    read: list[Delivery] = []
    newest: date | None = None
    for year, deliveries in sorted(by_year.items()):
        inside = [d for d in sorted(deliveries) if calendar.is_session(d.session)]
        known = [delivery for delivery in inside if delivery.received_at <= as_of]
        if not known:
            continue
        newest = max(known).session
        record = published.get(year)
        sizes = {delivery.key: deliveries[delivery] for delivery in inside}
        if len(known) == len(inside) and record and record.inputs_digest == fingerprint(sizes):
            rows = access.scan([partition_key(DAILY_TABLE, year)], schema.DAILY)
            parts.append(of_symbols(rows, symbols).drop("split_ratio"))
        else:
            read += known
            rows = access.scan([delivery.key for delivery in known], schema.DELIVERY)
            parts.append(
                of_symbols(rows, symbols).unique(
                    ["symbol", "date"], keep="last", maintain_order=True
                )
            )
    if not parts:
        return KnownDaily(DailyColumns.empty(), None)
    try:
        with reading(store.uri):
            merged = pl.concat(parts).collect().sort("symbol", "date")
    except DataRefused:
        _require_readable(store, read)
        raise
    columns = DailyColumns.from_table(to_arrow(merged))
    splits = read_splits(store).filter(pl.col("date") <= as_of.date())
    return KnownDaily(_with_splits(columns, splits), newest)


def _require_readable(store: ObjectStore, deliveries: Sequence[Delivery]) -> None:
    """Read deliveries one by one, so that the damaged one among them is named."""
    for delivery in deliveries:
        named = f"{store.uri}/{delivery.key}"
        read_table(store.read(delivery.key), schema.DELIVERY.names, named=named)


def _deliveries_by_year(store: ObjectStore) -> dict[int, dict[Delivery, int]]:
    found: dict[int, dict[Delivery, int]] = {}
    for item in store.list(BRONZE):
        delivery = Delivery.parse(item.key)
        if delivery is not None:
            found.setdefault(delivery.session.year, {})[delivery] = item.size_bytes
    return found


def _calendar_around(by_year: dict[int, dict[Delivery, int]]) -> Calendar:
    if not by_year:
        return load_calendar()
    return load_calendar(min(date(min(by_year), 1, 1), EPOCH), date(max(by_year), 12, 31))


def _with_splits(rows: DailyColumns, splits: pl.DataFrame) -> DailyColumns:
    symbols = pl.DataFrame({"symbol": pl.Series(rows.symbols.to_pylist(), dtype=pl.String)})
    placed = splits.join(symbols.with_row_index("place"), on="symbol").sort("place", "date")
    attached = attach_splits(
        rows.code,
        rows.day,
        SplitColumns(
            placed["place"].to_numpy().astype(np.int32),
            placed["date"].cast(pl.Int32).to_numpy(),
            placed["ratio"].to_numpy(),
        ),
        seen_before=np.zeros(len(rows.symbols), dtype=np.bool_),
        pending_before=np.ones(len(rows.symbols)),
    )
    return replace(rows, split_ratio=attached.split_ratio)
