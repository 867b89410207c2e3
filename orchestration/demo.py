"""A whole lake from the synthetic exchange: landed, consolidated, resampled, verified."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from batch.audit.verify import Verification, verify
from batch.consolidator.job import Consolidation, consolidate
from batch.core.errors import SettingsError
from batch.core.layout import BRONZE, Delivery
from batch.core.sessions import Calendar
from batch.lake.landing import land
from batch.lake.read import Lake
from batch.lake.reference import add_splits
from batch.resampler.job import Resampling, resample
from batch.runtime.progress import Progress, StopRequested, require_going
from batch.storage.store import ObjectStore
from simulation.exchange import SOURCE, ExchangeSpec, SyntheticExchange


@dataclass(frozen=True, slots=True)
class Demo:
    """What a demonstration made.

    Attributes:
        deliveries: Deliveries that were new to the lake.
        refused_rows: Rows that the lake keeps as refused.
        splits: Splits in the reference table that are new.
        consolidation: What consolidation did.
        resampling: What resampling did.
        verification: What verification found.
    """

    deliveries: int
    refused_rows: int
    splits: int
    consolidation: Consolidation
    resampling: Resampling
    verification: Verification


def three_years_to(last: date) -> date:
    """Return the first day of the three years that end on a date."""
    return date(last.year - 3, last.month, min(last.day, 28))


def make_demo_lake(
    store: ObjectStore,
    spec: ExchangeSpec,
    *,
    calendar: Calendar,
    workers: int,
    progress: Progress,
    stop_requested: StopRequested,
) -> Demo:
    """Fill a lake from a synthetic exchange and make every interval of it.

    Doing it again writes nothing; a later last session adds what is new.

    Args:
        store: Where; it must hold nothing but synthetic deliveries.
        spec: The exchange.
        calendar: The exchange calendar.
        workers: Threads of the jobs.
        progress: Hears what is going on.
        stop_requested: Asked between writes.

    Raises:
        SettingsError: The lake holds other deliveries.
        Interrupted: It was asked to stop.
    """
    require_synthetic(store)
    exchange = SyntheticExchange(spec, calendar)
    written = 0
    progress.begin("delivering", len(exchange.sessions), "sessions")
    reached = exchange.sessions[0]
    for sent in exchange.deliveries():
        require_going(stop_requested)
        landed = land(
            store, sent.rows, received_at=sent.received_at, source=sent.source, calendar=calendar
        )
        written += len(landed.written)
        session = max((delivery.session for delivery in landed.deliveries), default=reached)
        if session > reached:
            progress.advance(len(calendar.sessions_between(reached, session)) - 1)
            reached = session
    progress.advance()
    splits = add_splits(store, exchange.splits(), label="the synthetic exchange")
    consolidation = consolidate(
        store,
        workers=workers,
        progress=progress,
        stop_requested=stop_requested,
        calendar=calendar,
    )
    resampling = resample(
        store,
        workers=workers,
        progress=progress,
        stop_requested=stop_requested,
        calendar=calendar,
    )
    verification = verify(store, progress=progress, stop_requested=stop_requested)
    refused = Lake(store).rejected().height
    return Demo(written, refused, splits, consolidation, resampling, verification)


def require_synthetic(store: ObjectStore) -> None:
    """Refuse a lake that holds deliveries of anybody else.

    Raises:
        SettingsError: It does.
    """
    if not store.exists():
        return
    for item in store.list(BRONZE):
        delivery = Delivery.parse(item.key)
        if delivery is None or not delivery.source.startswith(f"{SOURCE}-"):
            raise SettingsError(
                f"{store.uri}: holds deliveries that are not synthetic ({item.key});"
                " choose another --lake for the demonstration"
            )
