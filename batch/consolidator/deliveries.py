"""Reading and merging a year's deliveries, a stretch of sessions at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from batch.consolidator.merge import (
    Merged,
    by_session,
    find_unsound,
    join,
    merge,
    session_digests,
)
from batch.core import schema
from batch.core.errors import DeliveryUnreadable, ObjectMissing
from batch.core.frames import to_polars
from batch.core.layout import DAILY_TABLE, RESTATEMENTS_TABLE, Delivery, partition_key
from batch.core.sessions import day_of
from batch.kernel.columns import DailyColumns
from batch.lake.bases import SplitBases
from batch.lake.inputs import YearInputs
from batch.lake.manifest import DailyRecord, load_contested_splits, load_inputs
from batch.lake.received import Received
from batch.runtime.memory import PROCESS_BYTES
from batch.runtime.progress import StopRequested, require_going
from batch.storage.parquet import advising, read_table, require_schema
from batch.storage.store import ObjectStore

MERGE_BYTES = 8 * 1024 * 1024
"""Compressed deliveries merged at once, unless a memory limit asks for fewer."""

_EXPANSION = 12
"""Memory of a stretch being merged, and of the one read ahead, per compressed byte."""

_ENCODED = pa.dictionary(pa.int32(), pa.string())


def merge_bytes(memory_limit: int | None) -> int:
    """Return how many compressed bytes of deliveries to merge at once under a limit."""
    if memory_limit is None:
        return MERGE_BYTES
    return max(
        MERGE_BYTES // 16, min(MERGE_BYTES, (memory_limit - PROCESS_BYTES) // _EXPANSION // 4)
    )


@dataclass(frozen=True, slots=True)
class DeliveryReader:
    """Reads what bronze holds of a year; at most ``merge_bytes`` compressed bytes at once."""

    store: ObjectStore
    workers: int
    merge_bytes: int
    stop_requested: StopRequested

    def merge(self, inputs: YearInputs, bases: SplitBases, base: DailyRecord | None) -> Merged:
        """Merge a year's deliveries; sessions without news come from the partition of ``base``."""
        parts: list[Merged] = []
        to_read = sorted(inputs.deliveries)
        changed = self._changed_sessions(inputs, bases, base) if base else None
        if base and changed is not None:
            to_read = [delivery for delivery in to_read if delivery.session in changed]
            parts.append(self._published_sessions(inputs.year, base, changed))
        return join([*parts, *self._read(to_read, inputs, bases)], workers=self.workers)

    def _changed_sessions(
        self, inputs: YearInputs, bases: SplitBases, base: DailyRecord
    ) -> set[date] | None:
        """Return the sessions that may differ from those of ``base``; None for all of them."""
        known = load_inputs(self.store, inputs.year, base)
        if known is None:
            return None
        changed = inputs.sessions_that_differ(known)
        if bases.changed_since(base):
            before = load_contested_splits(self.store, inputs.year, base)
            affected = bases.sessions_affected(inputs.deliveries, base, before)
            return None if affected is None else changed | affected
        return changed

    def _published_sessions(self, year: int, base: DailyRecord, changed: set[date]) -> Merged:
        """Take the sessions without news from the published partitions."""
        bars = DailyColumns.from_table(self._published(DAILY_TABLE, year, schema.DAILY))
        left_out = np.isin(bars.day, [day_of(session) for session in changed])
        bars = by_session(bars.take(~left_out))
        bars = replace(bars, split_ratio=np.ones(len(bars)))
        if not base.restatements_version:
            return Merged(bars, session_digests(bars))
        table = self._published(RESTATEMENTS_TABLE, year, schema.RESTATEMENTS)
        restatements = to_polars(table, schema.RESTATEMENTS)
        sessions = pl.Series(np.unique(bars.day)).cast(pl.Date)
        kept = restatements.filter(pl.col("date").is_in(sessions.implode()))
        return Merged(bars, session_digests(bars), kept)

    def _published(self, table: str, year: int, table_schema: Any) -> Any:
        key = partition_key(table, year)
        label = f"{self.store.uri}/{key}"
        advice = "run `ohlcv consolidate --full`, which rebuilds it from the deliveries alone"
        with self.store.local_copy(key) as path, advising(advice):
            found = read_table(path, table_schema.names, label=label)
            return require_schema(found, table_schema, label=label)

    def _read(
        self, deliveries: list[Delivery], inputs: YearInputs, bases: SplitBases
    ) -> Iterator[Merged]:
        """Read and merge deliveries in stretches of whole sessions, reading one ahead."""
        with ThreadPoolExecutor(self.workers) as pool:
            ahead: deque[dict[Delivery, Future[Any]]] = deque()
            for stretch in _stretches(deliveries, inputs, self.merge_bytes):
                require_going(self.stop_requested)
                ahead.append({one: pool.submit(self._read_one, one) for one in stretch})
                if len(ahead) > 1:
                    yield _merge_stretch(ahead.popleft(), bases)
            while ahead:
                yield _merge_stretch(ahead.popleft(), bases)

    def _read_one(self, delivery: Delivery) -> Any:
        content = self.store.read(delivery.key)
        table = read_table(content, schema.DELIVERY.names, label=delivery.key)
        table = require_schema(table, schema.DELIVERY, label=delivery.key)
        symbols = table.column("symbol")
        if symbols.type != _ENCODED:
            encoded = symbols.cast(pa.string()).dictionary_encode()
            table = table.set_column(0, pa.field("symbol", _ENCODED), encoded)
        return table


def _merge_stretch(reading: Mapping[Delivery, Future[Any]], bases: SplitBases) -> Merged:
    tables: dict[Delivery, Any] = {}
    unusable: dict[Delivery, str] = {}
    for delivery, table in reading.items():
        try:
            tables[delivery] = table.result()
        except (DeliveryUnreadable, ObjectMissing) as err:
            unusable[delivery] = str(err)
    received = Received.of(tables)
    unsound = find_unsound(received)
    if unsound:
        unusable |= {delivery: f"{delivery.key}: {why}" for delivery, why in unsound.items()}
        tables = {one: table for one, table in tables.items() if one not in unsound}
        received = Received.of(tables)
    return replace(merge(received, bases), unusable=unusable, deliveries_read=len(tables))


def _stretches(
    deliveries: list[Delivery], inputs: YearInputs, merge_bytes: int
) -> Iterator[list[Delivery]]:
    stretch: list[Delivery] = []
    stretch_bytes = 0
    for _, group in groupby(deliveries, key=lambda delivery: delivery.session):
        same_session = list(group)
        stretch += same_session
        stretch_bytes += sum(inputs.deliveries[delivery] for delivery in same_session)
        if stretch_bytes >= merge_bytes:
            yield stretch
            stretch, stretch_bytes = [], 0
    if stretch:
        yield stretch
