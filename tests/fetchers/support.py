"""The stand-in for the vendor, a clock that the tests set, and the real client between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from batch.core.layout import BRONZE, Delivery
from batch.core.sessions import Calendar
from batch.runtime.progress import Silent, StopRequested, never
from batch.storage.store import ObjectStore
from fetchers.context import FetchContext
from fetchers.daily_bars import BarsSource, fetch_daily_bars
from fetchers.polygon.client import PolygonClient
from fetchers.polygon.pacing import Pacer
from fetchers.polygon.transport import VendorHttp
from fetchers.request import SessionRange
from fetchers.results import BarsFetched
from fetchers.secrets import VendorKey
from fetchers.settings import FetchSettings
from simulation.vendor_market import SyntheticMarket, VendorMarket
from simulation.vendor_server import VendorServer

KEY = "pk-3f9c1e7a-not-to-be-seen"
NEW_YORK = ZoneInfo("America/New_York")
FRIDAY = date(2025, 1, 17)


def new_york(day: date, hour: int, minute: int = 0) -> datetime:
    """Return an instant by the clock on the exchange's wall."""
    return datetime.combine(day, time(hour, minute), tzinfo=NEW_YORK).astimezone(UTC)


@dataclass
class Clock:
    """A clock that stands where it was set."""

    now: datetime

    def __call__(self) -> datetime:
        return self.now


class KeptProgress(Silent):
    """Keeps the notes and warnings of a job."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


@dataclass
class Vendor:
    """A running stand-in and the real client that talks to it."""

    stub: VendorServer
    client: PolygonClient
    clock: Clock
    calendar: Calendar
    base_url: str
    progress: KeptProgress = field(default_factory=KeptProgress)

    def context(
        self, store: ObjectStore, stop_requested: StopRequested = never, **settings: Any
    ) -> FetchContext:
        return FetchContext(
            store,
            FetchSettings(**settings),
            self.calendar,
            self.progress,
            stop_requested,
            self.clock,
        )

    def try_fetch(
        self,
        store: ObjectStore,
        wanted: SessionRange | None = None,
        *,
        downloads: int = 1,
        stop_requested: StopRequested = never,
    ) -> BarsFetched:
        source = BarsSource("polygon", self.client.session, timedelta(minutes=5), downloads)
        return fetch_daily_bars(self.context(store, stop_requested), source, wanted)

    def fetch(
        self, store: ObjectStore, wanted: SessionRange | None = None, **options: Any
    ) -> BarsFetched:
        """Fetch, and raise what ended it early."""
        fetched = self.try_fetch(store, wanted, **options)
        if fetched.error:
            raise fetched.error
        return fetched

    @property
    def sessions_asked(self) -> list[str]:
        """Sessions requested of the stand-in, in order."""
        return [
            target.split("?")[0].rpartition("/")[2]
            for target in self.stub.asked
            if "/aggs/grouped/" in target
        ]


@contextmanager
def vendor(
    calendar: Calendar,
    now: datetime,
    *,
    market: VendorMarket | None = None,
    first: date = date(2024, 10, 1),
    symbols: int = 60,
    budget_s: float = 3.0,
    timeout_s: float = 10.0,
    answer_s: float = 60.0,
    key: str = KEY,
    connections: int = 4,
) -> Iterator[Vendor]:
    """Run a stand-in whose clock and the fetcher's are the same."""
    clock = Clock(now)
    market = market or SyntheticMarket(symbols=symbols, first=first, seed=3, calendar=calendar)
    stub = VendorServer(market, calendar, clock=clock, key=KEY)
    with stub.running() as base_url:
        http = VendorHttp(
            key=VendorKey(key),
            pacer=Pacer(0),
            retry_s=budget_s,
            timeout_s=timeout_s,
            answer_s=answer_s,
            connections=connections,
            first_pause_s=0.01,
            longest_pause_s=0.05,
        )
        yield Vendor(stub, PolygonClient(http, base_url), clock, calendar, base_url)


def deliveries(store: ObjectStore) -> list[Delivery]:
    """Return every delivery in bronze."""
    found = (Delivery.parse(item.key) for item in store.list(BRONZE))
    return [delivery for delivery in found if delivery]


def sessions_in(store: ObjectStore) -> list[str]:
    """Return the sessions with a delivery."""
    return sorted({str(delivery.session) for delivery in deliveries(store)})


def read_silver(store: ObjectStore, table: str, year: int) -> pl.DataFrame:
    """Read a year of a silver table."""
    with store.local_copy(f"silver/{table}/year={year}/data.parquet") as path:
        return pl.read_parquet(path)
