"""What the deliveries of a lake say of some rows before an instant, and after it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

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
from fetchers.uploads.receipts import Receipt

_FIRST = datetime.min.replace(tzinfo=UTC)
_KEY = ("symbol", "date")


class Position(NamedTuple):
    """Where rows stand among those of a session: the later ones win.

    ``source`` decides where both instants are the same, as in
    :class:`batch.core.layout.Delivery`.
    """

    received_at: datetime
    arrived_at: datetime
    source: str = ""

    @classmethod
    def of(cls, delivery: Delivery) -> Position:
        """Return where a delivery stands."""
        return cls(delivery.received_at, delivery.arrived_at or _FIRST, delivery.source)


def position_of(receipt: Receipt) -> Position:
    """Return where the rows of an upload stand by themselves."""
    return Position(receipt.received_at, receipt.upload.uploaded_at)


class Standing:
    """The deliveries of a lake; a year is listed when it is first asked for."""

    def __init__(self, store: ObjectStore, calendar: Calendar, *, workers: int) -> None:
        self._store = store
        self._calendar = calendar
        self._workers = workers
        self._years: dict[int, dict[date, set[Delivery]]] = {}
        self._bases: SplitBases | None = None

    @property
    def bases(self) -> SplitBases:
        """The splits on record."""
        if self._bases is None:
            self._bases = SplitBases.of(read_splits(self._store), self._calendar)
        return self._bases

    def forget_splits(self) -> None:
        """Read the splits again when they are next needed."""
        self._bases = None

    def deliveries(self, session: date) -> Collection[Delivery]:
        """Return the deliveries of a session."""
        return self._of_year(session.year).get(session, ())

    def between(self, first: date, last: date) -> Iterable[Delivery]:
        """Return the deliveries of the sessions between two dates, both inclusive."""
        for year in range(first.year, last.year + 1):
            for session, found in self._of_year(year).items():
                if first <= session <= last:
                    yield from found

    def add(self, deliveries: Sequence[Delivery]) -> None:
        """Count what has landed since."""
        for one in deliveries:
            self._of_year(one.session.year).setdefault(one.session, set()).add(one)

    def rows_before(self, rows: pl.DataFrame, position: Position) -> pl.DataFrame:
        """Return what stands of the sessions and symbols of some rows before a position.

        Rows of :data:`batch.core.schema.DELIVERY`, one per symbol and session.
        """
        tables = self._read(rows, lambda one: Position.of(one) < position)
        if not tables:
            return empty_frame(schema.DELIVERY)
        standing, _ = newest_rows(Received.of(tables), self.bases)
        return to_polars(standing.to_batch(), schema.DELIVERY)

    def keys_after(self, rows: pl.DataFrame, position: Position) -> pl.DataFrame:
        """Return the symbols and sessions of some rows of which something later is known."""
        return self._keys(self._read(rows, lambda one: Position.of(one)[:2] > position[:2]))

    def keys_at(self, rows: pl.DataFrame, position: Position, sender: str) -> pl.DataFrame:
        """Return those of which one sender's deliveries at the instants of a position have some."""
        return self._keys(
            self._read(
                rows,
                lambda one: Position.of(one)[:2] == position[:2] and one.sender == sender,
            )
        )

    def _keys(self, tables: dict[Delivery, Any]) -> pl.DataFrame:
        parts = [to_polars(table, schema.DELIVERY).select(_KEY) for table in tables.values()]
        return pl.concat([empty_frame(schema.DELIVERY).select(_KEY), *parts]).unique()

    def _of_year(self, year: int) -> dict[date, set[Delivery]]:
        if year not in self._years:
            found: dict[date, set[Delivery]] = {}
            for item in self._store.list(bronze_year_prefix(year)):
                if one := Delivery.parse(item.key):
                    found.setdefault(one.session, set()).add(one)
            self._years[year] = found
        return self._years[year]

    def _read(
        self, rows: pl.DataFrame, is_wanted: Callable[[Delivery], bool]
    ) -> dict[Delivery, Any]:
        sessions = rows["date"].unique().sort().to_list()
        found = (one for session in sessions for one in self.deliveries(session))
        wanted = sorted(filter(is_wanted, found))
        symbols = pa.array(rows["symbol"].unique().to_list(), pa.string())

        def read(delivery: Delivery) -> Any:
            content = self._store.read(delivery.key)
            table = read_table(content, schema.DELIVERY.names, label=delivery.key)
            table = require_schema(table, schema.DELIVERY, label=delivery.key)
            table = table.set_column(0, "symbol", table.column("symbol").cast(pa.string()))
            return table.filter(pc.is_in(table.column("symbol"), value_set=symbols))

        with ThreadPoolExecutor(self._workers) as pool:
            return dict(zip(wanted, pool.map(read, wanted), strict=True))
