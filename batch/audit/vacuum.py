"""Which deliveries newer ones supersede, and removing them when asked.

A delivery may go only where the daily bars stay what they are: one newer delivery of the
same session has every symbol of it. Removing it can still take history away: what was
known before the newer one came, and a restatement that compares with it. The first is
told; for the second the delivery is kept unless corrections may be forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial

import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused, DeliveryUnreadable, ObjectMissing
from batch.core.frames import empty_frame, to_polars
from batch.core.layout import ARRIVALS, BRONZE, Delivery
from batch.lake.manifest import load_daily_manifest, load_inputs
from batch.storage.parquet import read_table
from batch.storage.store import ObjectStore

ORPHANED_AFTER = timedelta(days=1)
"""Age at which an announcement without a delivery counts as left behind."""

_VALUES = schema.RESTATED_FIELDS


@dataclass(frozen=True, slots=True)
class Superseded:
    """A delivery that can go.

    Attributes:
        delivery: Which.
        size_bytes: Its length.
        by: The newer delivery that has every symbol of it.
        restated_values: Values of it that a kept delivery changed or that changed a kept
            one: as many restatements go with it or are told differently without it.
    """

    delivery: Delivery
    size_bytes: int
    by: Delivery
    restated_values: int


@dataclass(frozen=True, slots=True)
class VacuumPlan:
    """What a vacuum would remove.

    Attributes:
        superseded: Deliveries to remove, in order of sessions.
        kept_for_restatements: Superseded deliveries that stay because a restatement
            compares with them.
        deliveries: How many deliveries there are.
        sessions: How many sessions were looked into, having several deliveries.
        passed_over: Keys that were left alone, and why.
        orphaned: Announcements of deliveries that never came.
        scratch: Files and folders that killed jobs left on the lake's disk.
    """

    superseded: tuple[Superseded, ...]
    kept_for_restatements: tuple[Superseded, ...]
    deliveries: int
    sessions: int
    passed_over: Mapping[str, str] = field(default_factory=dict)
    orphaned: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()

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

    Args:
        store: The lake.
        now: The present instant, aware.
        keep: Deliveries received less than this ago stay.
        forget_corrections: Let deliveries go that restatements compare with.
        workers: Threads that read deliveries.

    Raises:
        DataRefused: The lake shows a past instant, or the daily bars were never made.
    """
    used = _consolidated(store)
    by_session: dict[date, list[Delivery]] = {}
    sizes: dict[Delivery, int] = {}
    passed_over: dict[str, str] = {}
    for item in store.list(BRONZE):
        delivery = Delivery.parse(item.key)
        if delivery is None:
            passed_over[item.key] = "is not a delivery's name"
        elif used.get(item.key) != item.size_bytes:
            passed_over[item.key] = "has not been consolidated, or could not be"
        else:
            by_session.setdefault(delivery.session, []).append(delivery)
            sizes[delivery] = item.size_bytes
    several = [sorted(found) for found in by_session.values() if len(found) > 1]
    going: list[Superseded] = []
    staying: list[Superseded] = []
    with ThreadPoolExecutor(workers) as pool:
        for deliveries in several:
            contents: dict[Delivery, pl.DataFrame] = {}
            read = pool.map(partial(_read, store), deliveries)
            for delivery, rows in zip(deliveries, read, strict=True):
                if isinstance(rows, str):
                    passed_over[delivery.key] = rows
                else:
                    contents[delivery] = rows
            goes, stays = _superseded(contents, sizes, now - keep, forget_corrections)
            going += goes
            staying += stays
    return VacuumPlan(
        tuple(going),
        tuple(staying),
        len(sizes) + len(passed_over),
        len(several),
        passed_over,
        tuple(_orphaned(store, now)),
        _left_behind(store),
    )


def apply_vacuum(store: ObjectStore, plan: VacuumPlan) -> None:
    """Remove what a plan found; refused rows of the deliveries stay under rejected."""
    store.delete(one.delivery.key for one in plan.superseded)
    store.delete(plan.orphaned)
    with store.scratch():
        pass


def _consolidated(store: ObjectStore) -> dict[str, int]:
    """Return key and size of every delivery that the daily bars were made from."""
    manifest = load_daily_manifest(store)
    if not manifest.partitions:
        raise DataRefused(
            f"{store.uri}: there are no daily bars yet, so nothing tells what is superseded;"
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


def _read(store: ObjectStore, delivery: Delivery) -> pl.DataFrame | str:
    """Read a delivery; where it cannot be read, return the reason."""
    try:
        table = read_table(store.read(delivery.key), schema.DELIVERY.names, label=delivery.name)
    except (DeliveryUnreadable, ObjectMissing) as err:
        return str(err)
    return to_polars(table, schema.DELIVERY)


def _superseded(
    contents: Mapping[Delivery, pl.DataFrame],
    sizes: Mapping[Delivery, int],
    received_before: datetime,
    forget_corrections: bool,
) -> tuple[list[Superseded], list[Superseded]]:
    """Take the deliveries of one session, oldest first, and see which can go.

    Returns:
        Those that go, and those that only restatements keep.
    """
    kept = dict(sorted(contents.items()))
    going, staying = [], []
    for delivery in list(kept):
        rows = kept[delivery]
        newer = [other for other in kept if other > delivery]
        cover = next((o for o in newer if _has_all(kept[o], rows)), None)
        if cover is None or delivery.received_at > received_before:
            continue
        restated = _restated_by_removal(delivery, kept)
        found = Superseded(delivery, sizes[delivery], cover, restated)
        if restated and not forget_corrections:
            staying.append(found)
        else:
            going.append(found)
            del kept[delivery]
    return going, staying


def _has_all(newer: pl.DataFrame, rows: pl.DataFrame) -> bool:
    return rows.join(newer, on="symbol", how="anti").is_empty()


def _restated_by_removal(delivery: Delivery, kept: Mapping[Delivery, pl.DataFrame]) -> int:
    """Count the values of a delivery without which restatements would read otherwise.

    Restatements compare each value with that of the next newer delivery of its symbol. A
    delivery leaves no trace in them where it repeats the one before it or, having none
    before it, where the next one repeats it.
    """
    rows = kept[delivery]
    older = _last_of([kept[other] for other in kept if other < delivery])
    newer = _first_of([kept[other] for other in kept if other > delivery])
    known = rows.join(older.select("symbol"), on="symbol", how="semi")
    first = rows.join(older.select("symbol"), on="symbol", how="anti")
    return _differences(known, older) + _differences(first, newer)


def _last_of(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return _stack(parts).unique("symbol", keep="last", maintain_order=True)


def _first_of(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return _stack(parts).unique("symbol", keep="first", maintain_order=True)


def _stack(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat([empty_frame(schema.DELIVERY), *parts])


def _differences(rows: pl.DataFrame, others: pl.DataFrame) -> int:
    both = rows.join(others, on="symbol", suffix="_other")
    changed = both.select(
        pl.col(name).ne_missing(pl.col(f"{name}_other")).sum() for name in _VALUES
    )
    return int(sum(changed.row(0)))


def _left_behind(store: ObjectStore) -> tuple[str, ...]:
    return tuple(str(path) for path in store.abandoned_scratch())


def _orphaned(store: ObjectStore, now: datetime) -> Iterable[str]:
    for item in store.list(ARRIVALS):
        if item.modified_at is None or now - item.modified_at < ORPHANED_AFTER:
            continue
        delivery = Delivery.of_arrival(item.key)
        if delivery is None or store.head(delivery.key) is None:
            yield item.key
