"""Reading and merging a year's deliveries, a stretch of sessions at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from batch.consolidator.merge import (
    MergedSessions,
    are_sound,
    by_session,
    by_symbol,
    find_unsound,
    keep_restatements,
    merge_rows,
    merge_sessions,
    no_restatements,
    session_digests,
    sort_restatements,
)
from batch.consolidator.plan import YearInputs
from batch.core import schema
from batch.core.errors import DeliveryUnreadable, ObjectMissing
from batch.core.layout import DAILY_TABLE, RESTATEMENTS_TABLE, Delivery, partition_key
from batch.core.sessions import day_of
from batch.kernel.columns import DailyColumns
from batch.lake.manifest import DailyRecord, load_inputs
from batch.runtime.memory import PROCESS_BYTES
from batch.runtime.progress import StopRequested, require_going
from batch.storage.parquet import read_table, require_schema
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


@dataclass(frozen=True, slots=True, eq=False)
class MergedYear:
    """A year's deliveries merged, before anything of earlier years is looked at."""

    bars: DailyColumns
    digests: dict[int, str]
    restatements: pl.DataFrame
    unreadable: set[Delivery]


@dataclass(slots=True, eq=False)
class YearReader:
    """Reads what bronze holds of a year.

    Attributes:
        store: The lake.
        workers: Threads that read deliveries.
        merge_bytes: Compressed deliveries merged at once.
        stop_requested: Asked between stretches.
        tell: Hears of every delivery that cannot be used, and why.
        deliveries_read: How many deliveries were read so far.
    """

    store: ObjectStore
    workers: int
    merge_bytes: int
    stop_requested: StopRequested
    tell: Callable[[str], None]
    deliveries_read: int = 0

    def merge(self, inputs: YearInputs, base: DailyRecord | None) -> MergedYear:
        """Merge a year's deliveries.

        Args:
            inputs: What bronze holds of the year.
            base: What is published of it; its sessions without news come from there. None
                where all is to be read.
        """
        known = load_inputs(self.store, inputs.year, base) if base else None
        merged: list[MergedSessions] = []
        fresh = set(inputs.deliveries)
        if base and known is not None:
            changed = inputs.sessions_that_differ(known)
            fresh = {delivery for delivery in fresh if delivery.session in changed}
            merged.append(self._kept_sessions(inputs.year, base, changed))
        unreadable: set[Delivery] = set()
        merged += self._read(sorted(fresh), inputs, unreadable)
        bars = by_symbol([part.bars for part in merged], workers=self.workers)
        digests = {day: digest for part in merged for day, digest in part.digests.items()}
        restatements = sort_restatements([part.restatements for part in merged])
        return MergedYear(bars, digests, restatements, unreadable)

    def _kept_sessions(self, year: int, base: DailyRecord, changed: set[date]) -> MergedSessions:
        key = partition_key(DAILY_TABLE, year)
        with self.store.local_copy(key) as path:
            bars = DailyColumns.from_table(read_table(path, schema.DAILY.names, named=key))
        left_out = np.isin(bars.day, [day_of(session) for session in changed])
        bars = by_session(bars.take(~left_out))
        days = {int(day) for day in np.unique(bars.day)}
        restatements = no_restatements()
        key = partition_key(RESTATEMENTS_TABLE, year)
        if base.restatements_version:
            with self.store.local_copy(key) as path:
                restatements = pl.read_parquet(path)
        return MergedSessions(
            replace(bars, split_ratio=np.ones(len(bars))),
            keep_restatements(restatements, days),
            session_digests(bars),
        )

    def _read(
        self, fresh: list[Delivery], inputs: YearInputs, unreadable: set[Delivery]
    ) -> Iterator[MergedSessions]:
        """Read and merge deliveries in stretches of whole sessions, reading one ahead.

        Those that cannot be used are told, noted as unreadable and left out.
        """
        with ThreadPoolExecutor(self.workers) as pool:
            ahead: deque[list[tuple[Delivery, Future[Any]]]] = deque()
            for stretch in _stretches(fresh, inputs, self.merge_bytes):
                require_going(self.stop_requested)
                ahead.append([(one, pool.submit(self._read_one, one)) for one in stretch])
                if len(ahead) > 1:
                    yield self._merge_stretch(ahead.popleft(), unreadable)
            while ahead:
                yield self._merge_stretch(ahead.popleft(), unreadable)

    def _merge_stretch(
        self, reading: list[tuple[Delivery, Future[Any]]], unreadable: set[Delivery]
    ) -> MergedSessions:
        tables: dict[Delivery, Any] = {}
        for delivery, read in reading:
            table = read.result()
            if isinstance(table, str):
                self._leave_out(delivery, table, unreadable)
            else:
                tables[delivery] = table
        if not tables:
            return merge_sessions([])
        deliveries = list(tables)
        lengths = [table.num_rows for table in tables.values()]
        rows = DailyColumns.from_table(pa.concat_tables(tables.values()))
        if are_sound(rows, deliveries, lengths):
            self.deliveries_read += len(deliveries)
            return merge_rows(rows, deliveries, lengths)
        received = []
        for delivery, table in tables.items():
            columns = DailyColumns.from_table(table)
            unsound = find_unsound(delivery, columns)
            if unsound:
                self._leave_out(delivery, f"{delivery.key}: {unsound}", unreadable)
            else:
                received.append((delivery, columns))
        self.deliveries_read += len(received)
        return merge_sessions(received)

    def _leave_out(self, delivery: Delivery, why: str, unreadable: set[Delivery]) -> None:
        unreadable.add(delivery)
        self.tell(f"{why}; the other deliveries went on")

    def _read_one(self, delivery: Delivery) -> Any:
        """Return a delivery's rows as a table, or why it cannot be read."""
        try:
            table = read_table(
                self.store.read(delivery.key), schema.DELIVERY.names, named=delivery.key
            )
            table = require_schema(table, schema.DELIVERY, named=delivery.key)
        except (DeliveryUnreadable, ObjectMissing) as err:
            return str(err)
        symbols = table.column("symbol")
        if symbols.type != _ENCODED:
            encoded = symbols.cast(pa.string()).dictionary_encode()
            table = table.set_column(0, pa.field("symbol", _ENCODED), encoded)
        return table


def _stretches(
    fresh: list[Delivery], inputs: YearInputs, merge_bytes: int
) -> Iterator[list[Delivery]]:
    """Cut deliveries into stretches of whole sessions that fit into memory."""
    stretch: list[Delivery] = []
    stretch_bytes = 0
    for _, group in groupby(fresh, key=lambda delivery: delivery.session):
        same_session = list(group)
        stretch += same_session
        stretch_bytes += sum(inputs.deliveries[delivery] for delivery in same_session)
        if stretch_bytes >= merge_bytes:
            yield stretch
            stretch, stretch_bytes = [], 0
    if stretch:
        yield stretch
