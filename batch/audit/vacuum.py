"""Which deliveries newer ones supersede, and removing them when asked.

A delivery may go only where the daily bars stay as they are: one newer delivery of the
same session has every symbol of it, and no newer value lost against one of it. Removing it
can still take history away: what was known before the newer one came, and a restatement that
compares with it. The plan counts the second, and keeps the delivery for it unless
corrections may be forgotten.

What was removed is remembered by name: the same rows, received again, are as little news
as they would be were the delivery still there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any

import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused, DeliveryUnreadable, ObjectMissing
from batch.core.frames import to_polars
from batch.core.layout import ARRIVALS, BRONZE, Delivery
from batch.core.sessions import calendar_from
from batch.lake.bases import SplitBases
from batch.lake.inputs import ListedDeliveries
from batch.lake.manifest import load_daily_manifest, load_inputs
from batch.lake.received import Received, newest_rows
from batch.lake.reference import read_splits
from batch.runtime.run_report import old_run_reports
from batch.storage.parquet import read_table, require_schema
from batch.storage.store import ObjectStore

ORPHANED_AFTER = timedelta(days=1)
"""Age at which an announcement without a delivery counts as left behind."""


@dataclass(frozen=True, slots=True)
class Superseded:
    """A delivery that can go, as one newer delivery, ``by``, has every symbol of it.

    ``restated_values`` counts the restatements that are missing, or compare with another value,
    without it.
    """

    delivery: Delivery
    size_bytes: int
    by: Delivery
    restated_values: int

    @property
    def is_repeat(self) -> bool:
        """Whether it counts for nothing, as the same rows arrived before."""
        return self.delivery.as_sent == self.by.as_sent


@dataclass(frozen=True, slots=True)
class VacuumPlan:
    """What a vacuum would remove.

    Attributes:
        superseded: Deliveries to remove, in order of sessions.
        kept_for_restatements: Superseded, but a restatement compares with them.
        deliveries: Number of objects under bronze.
        passed_over: Keys that were left alone, and why.
        orphaned: Announcements of deliveries that never came.
        scratch: Files and folders that killed jobs left on the lake's disk.
        reports: Keys of run reports that :func:`old_run_reports` calls old.
    """

    superseded: tuple[Superseded, ...]
    kept_for_restatements: tuple[Superseded, ...]
    deliveries: int
    passed_over: Mapping[str, str]
    orphaned: tuple[str, ...]
    scratch: tuple[str, ...]
    reports: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of the deliveries to remove."""
        return sum(one.size_bytes for one in self.superseded)


def plan_vacuum(
    store: ObjectStore,
    *,
    now: datetime,
    keep: timedelta = timedelta(0),
    forget_corrections: bool = False,
    workers: int = 2,
) -> VacuumPlan:
    """Find what can be removed. Nothing is.

    Only deliveries that the published daily bars were made from are considered, on either
    side: one that waits to be consolidated, or that consolidation could not use, neither
    goes nor supersedes another.

    Deliveries received less than ``keep`` before ``now`` stay, and so do those that
    restatements compare with unless ``forget_corrections``.

    Raises:
        DataRefused: The lake shows a past instant, or the daily bars were never made.
    """
    used = _consolidated(store)
    listing = ListedDeliveries.of(store.list(BRONZE))
    calendar = calendar_from(listing.oldest)
    before_close = {*listing.before_close(calendar)}
    bases = SplitBases.of(read_splits(store), calendar)
    by_session: dict[date, list[Delivery]] = {}
    passed_over = dict.fromkeys(listing.strays, "is not a delivery's name")
    first: dict[Delivery, Delivery] = {}
    for delivery, size_bytes in listing.deliveries.items():
        if delivery in before_close:
            passed_over[delivery.key] = "was received before its session closed"
        elif used.get(delivery.key) != size_bytes:
            passed_over[delivery.key] = "has not been consolidated, or could not be"
        else:
            by_session.setdefault(delivery.session, []).append(delivery)
            first[delivery.as_sent] = delivery
    # Repeats count for nothing, and go before what they repeat: alone, they would count.
    found = [
        Superseded(repeat, size_bytes, first[repeat.as_sent], 0)
        for repeat, size_bytes in listing.repeats.items()
        if repeat.as_sent in first and repeat.received_at <= now - keep
    ]
    with ThreadPoolExecutor(workers) as pool:
        for deliveries in map(sorted, by_session.values()):
            if len(deliveries) == 1:
                continue
            tables: dict[Delivery, Any] = {}
            reads = pool.map(partial(_read, store), deliveries)
            for delivery, read in zip(deliveries, reads, strict=True):
                if isinstance(read, str):
                    passed_over[delivery.key] = read
                else:
                    tables[delivery] = read
            found += _superseded(tables, used, bases, now - keep, forget_corrections)
    return VacuumPlan(
        superseded=tuple(one for one in found if forget_corrections or not one.restated_values),
        kept_for_restatements=tuple(
            one for one in found if one.restated_values and not forget_corrections
        ),
        deliveries=len(listing.deliveries) + len(listing.repeats) + len(listing.strays),
        passed_over=passed_over,
        orphaned=tuple(_orphaned(store, now)),
        scratch=tuple(str(path) for path in store.abandoned_scratch()),
        reports=old_run_reports(store, now),
    )


def apply_vacuum(store: ObjectStore, plan: VacuumPlan, *, workers: int = 2) -> None:
    """Remove what a plan found; refused rows of the deliveries stay under rejected.

    Each delivery is remembered before any is removed, so that none is ever news again.
    """
    going = [one.delivery for one in plan.superseded]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda one: store.write(one.vacuumed_key, b""), going))
    store.delete(one.delivery.key for one in plan.superseded if one.is_repeat)
    store.delete(delivery.key for delivery in going)
    store.delete([*plan.orphaned, *plan.reports])
    with store.scratch():
        pass  # opening it removes what was left there


def _consolidated(store: ObjectStore) -> dict[str, int]:
    """Return key and size of every delivery that the daily bars were made from."""
    manifest = load_daily_manifest(store)
    if not manifest.partitions:
        raise DataRefused(
            f"{store.uri}: there are no daily bars yet, so nothing is known to be superseded;"
            " run `ohlcv consolidate` first"
        )
    if manifest.as_of is not None:
        raise DataRefused(
            f"{store.uri}: the daily bars show what was known at {manifest.as_of};"
            " run `ohlcv consolidate` to return to the present, then vacuum"
        )
    used: dict[str, int] = {}
    for year, record in manifest.partitions.items():
        used |= load_inputs(store, year, record) or {}
    return used


def _read(store: ObjectStore, delivery: Delivery) -> Any:
    """Read a delivery as an Arrow table; where it cannot be read, return the reason."""
    try:
        table = read_table(store.read(delivery.key), schema.DELIVERY.names, label=delivery.name)
        return require_schema(table, schema.DELIVERY, label=delivery.name)
    except (DeliveryUnreadable, ObjectMissing) as err:
        return str(err)


def _superseded(
    tables: Mapping[Delivery, Any],
    sizes: Mapping[str, int],
    bases: SplitBases,
    received_before: datetime,
    forget_corrections: bool,
) -> Iterable[Superseded]:
    """Find the superseded deliveries of one session, oldest first.

    One that goes no longer counts when the next ones are judged; one that a restatement
    keeps does.
    """
    symbols = {one: set(table.column("symbol").to_pylist()) for one, table in tables.items()}
    kept = dict(tables)
    for delivery in tables:
        newer = (other for other in kept if other > delivery)
        cover = next((other for other in newer if symbols[other] >= symbols[delivery]), None)
        if cover is None or delivery.received_at > received_before:
            continue
        others = {one: table for one, table in kept.items() if one != delivery}
        bars, restated = _merged(kept, bases)
        bars_without, restated_without = _merged(others, bases)
        if not bars.equals(bars_without):
            continue  # a newer value lost against one of it, and would now win
        on = schema.RESTATEMENTS.names
        lost = restated.join(restated_without, on=on, how="anti", nulls_equal=True).height
        if forget_corrections or not lost:
            kept = others
        yield Superseded(delivery, sizes[delivery.key], cover, lost)


def _merged(tables: Mapping[Delivery, Any], bases: SplitBases) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the daily bars and the restatements that deliveries of one session come to."""
    bars, restatements = newest_rows(Received.of(tables), bases)
    return to_polars(bars.to_batch(), schema.DAILY), restatements


def _orphaned(store: ObjectStore, now: datetime) -> Iterable[str]:
    for item in store.list(ARRIVALS):
        if item.modified_at is None or now - item.modified_at < ORPHANED_AFTER:
            continue
        delivery = Delivery.of_arrival(item.key)
        if delivery is None or store.head(delivery.key) is None:
            yield item.key
