"""Daily bars as they were known at an instant, from the deliveries known then."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused
from batch.core.frames import empty_frame, to_arrow, to_polars
from batch.core.layout import BRONZE, DAILY_TABLE, Delivery, partition_key, table_prefix
from batch.core.sessions import calendar_from
from batch.kernel.columns import DailyColumns, order_by_key
from batch.lake.bases import SplitBases
from batch.lake.carry import Carry, attach_carried_splits
from batch.lake.inputs import ListedDeliveries, YearInputs
from batch.lake.manifest import DailyRecord, load_daily_manifest
from batch.lake.reference import read_splits, splits_known_at
from batch.storage.parquet import read_table
from batch.storage.scan import of_symbols, reading, scan_objects
from batch.storage.store import ObjectStore
from batch.version import RESULTS_VERSION

_PATH = "path"


def daily_known_at(
    store: ObjectStore, as_of: datetime, symbols: Sequence[str] | None
) -> tuple[pl.DataFrame, date | None]:
    """Make daily bars again as they were known at an instant.

    The rules are those of ``ohlcv consolidate --as-of``: :meth:`YearInputs.known_at` for
    deliveries, :func:`splits_known_at` for splits, :class:`SplitBases` for later values.
    ``as_of`` is aware and inclusive; ``symbols`` are all where None. Returns the bars, sorted by
    (symbol, date), and the newest session of which any symbol was known, None if none was.

    Raises:
        DataRefused: A delivery known by then is damaged; it is named.
    """
    splits = read_splits(store)
    listing = ListedDeliveries.of(store.list(BRONZE))
    bases = SplitBases.of(splits, calendar_from(listing.oldest))
    received, newest = _received_by(store, listing, bases, as_of, symbols)
    known = splits_known_at(splits, as_of)
    daily, _ = attach_carried_splits(_newest_rows(received, bases), known, Carry.none())
    return to_polars(daily.to_batch(), schema.DAILY), newest


def _received_by(
    store: ObjectStore,
    listing: ListedDeliveries,
    bases: SplitBases,
    as_of: datetime,
    symbols: Sequence[str] | None,
) -> tuple[pl.DataFrame, date | None]:
    """Read every row received by an instant, and the newest session that was delivered.

    ``path`` says which file a row is from. A year of which every delivery was known by then is
    taken from its published partition, if that holds the rows that its deliveries come to.
    """
    published = load_daily_manifest(store).partitions
    parts: list[pl.LazyFrame] = []
    read: list[Delivery] = []
    newest: date | None = None
    for year, inputs in sorted(listing.by_year(bases.calendar).items()):
        known = sorted(inputs.known_at(as_of).deliveries)
        if not known:
            continue
        newest = known[-1].session
        record = published.get(year)
        all_known = len(known) == len(inputs.deliveries)
        if all_known and record and _holds_today(record, inputs, bases):
            keys = [partition_key(DAILY_TABLE, year)]
            rows = scan_objects(store, keys, schema.DAILY, include_file_paths=_PATH)
            parts.append(of_symbols(rows, symbols).drop("split_ratio"))
        else:
            read += known
            keys = [delivery.key for delivery in known]
            rows = scan_objects(store, keys, schema.DELIVERY, include_file_paths=_PATH)
            parts.append(of_symbols(rows, symbols))
    if not parts:
        return empty_frame(schema.DELIVERY), None
    try:
        with reading(store, table_prefix(DAILY_TABLE), schema.DAILY):
            received = pl.concat(parts).collect()
    except DataRefused:
        _require_readable(store, read)
        raise
    return received, newest


def _holds_today(record: DailyRecord, inputs: YearInputs, bases: SplitBases) -> bool:
    """Return whether a year's partition is what its deliveries come to with today's splits."""
    return (
        record.results_version == RESULTS_VERSION
        and record.inputs_digest == inputs.digest
        and not bases.changed_since(record)
    )


def _newest_rows(received: pl.DataFrame, bases: SplitBases) -> DailyColumns:
    """Let the newest row of every (symbol, date) win, value by value; sorted by both."""
    if received.is_empty():
        return DailyColumns.empty()
    rows = DailyColumns.from_table(to_arrow(received.drop(_PATH)))
    day = rows.day - rows.day.min()
    order, newest = order_by_key(rows.code.astype(np.int64) * (int(day.max()) + 1) + day)
    later = np.flatnonzero(~newest) + 1  # a row that follows another of its key
    last_days = np.zeros(len(order), np.int32)
    if len(later):
        last_days[later] = _last_days(received[_PATH].gather(order[later]), bases)
    return bases.settle(rows.take(order), newest, last_days).standing.take(newest)


def _last_days(paths: pl.Series, bases: SplitBases) -> npt.NDArray[np.int32]:
    """Return the last day of whose split the delivery under each path can be on the basis."""
    keys = {path: BRONZE + path.rpartition(BRONZE)[2] for path in paths.unique()}
    found = {path: one.received_at for path, key in keys.items() if (one := Delivery.parse(key))}
    days = bases.last_days([*found.values()])
    return paths.replace_strict([*found], days, return_dtype=pl.Int32).to_numpy()


def _require_readable(store: ObjectStore, deliveries: Sequence[Delivery]) -> None:
    """Read deliveries one by one, so that the damaged one among them is named."""
    for delivery in deliveries:
        label = f"{store.uri}/{delivery.key}"
        read_table(store.read(delivery.key), schema.DELIVERY.names, label=label)
