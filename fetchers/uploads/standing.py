"""What stands of some sessions before an instant, by the deliveries that the lake has."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from batch.core import schema
from batch.core.frames import empty_frame, to_polars
from batch.core.layout import Delivery, bronze_year_prefix
from batch.core.sessions import Calendar
from batch.lake.bases import SplitBases
from batch.lake.received import Received, newest_rows
from batch.lake.reference import read_splits
from batch.storage.parquet import read_table, require_schema
from batch.storage.store import ObjectStore

Position = tuple[datetime, datetime]
"""When something was received, and when it reached the lake: the order in which rows win."""

_FIRST = datetime.min.replace(tzinfo=UTC)


class Standing:
    """The deliveries of a lake; a year is listed when it is first asked for."""

    def __init__(self, store: ObjectStore, calendar: Calendar, *, workers: int) -> None:
        self._store = store
        self._bases = SplitBases.of(read_splits(store), calendar)
        self._workers = workers
        self._years: dict[int, dict[date, set[Delivery]]] = {}

    def deliveries(self, session: date) -> Collection[Delivery]:
        """Return the deliveries of a session."""
        year = session.year
        if year not in self._years:
            found: dict[date, set[Delivery]] = {}
            for item in self._store.list(bronze_year_prefix(year)):
                if one := Delivery.parse(item.key):
                    found.setdefault(one.session, set()).add(one)
            self._years[year] = found
        return self._years[year].get(session, set())

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Count what has landed since."""
        for one in deliveries:
            self.deliveries(one.session)
            self._years[one.session.year].setdefault(one.session, set()).add(one)

    def rows_before(self, rows: pl.DataFrame, position: Position) -> pl.DataFrame:
        """Return what stands of the sessions and symbols of some rows before a position.

        Rows of :data:`batch.core.schema.DELIVERY`, one per symbol and session.
        """
        sessions = rows["date"].unique().sort().to_list()
        wanted = sorted(
            one
            for session in sessions
            for one in self.deliveries(session)
            if position_of(one) < position
        )
        if not wanted:
            return empty_frame(schema.DELIVERY)
        symbols = pa.array(rows["symbol"].unique().to_list(), pa.string())

        def read(delivery: Delivery) -> Any:
            table = read_table(
                self._store.read(delivery.key), schema.DELIVERY.names, label=delivery.key
            )
            table = require_schema(table, schema.DELIVERY, label=delivery.key)
            text = table.column("symbol").cast(pa.string())
            table = table.set_column(0, "symbol", text)
            return table.filter(pc.is_in(text, value_set=symbols))

        with ThreadPoolExecutor(self._workers) as pool:
            tables = dict(zip(wanted, pool.map(read, wanted), strict=True))
        standing, _ = newest_rows(Received.of(tables), self._bases)
        return to_polars(standing.to_batch(), schema.DELIVERY)


def position_of(delivery: Delivery) -> Position:
    """Return where a delivery stands among those of its session."""
    return (delivery.received_at, delivery.arrived_at or _FIRST)
