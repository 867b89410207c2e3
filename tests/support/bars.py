"""Small daily bars for tests."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl

from batch.core import schema
from batch.core.frames import polars_schema
from batch.core.sessions import Calendar
from batch.lake.landing import Landed, land
from batch.storage.store import ObjectStore


def bar(symbol: str, session: date, close: float = 10.0, **values: Any) -> dict[str, Any]:
    """Return one sound row; any column can be given another value."""
    row = {
        "symbol": symbol,
        "date": session,
        "open": close,
        "high": close,
        "low": close,
        "close": close,
        "volume": 100.0,
        "vwap": close,
        "trades": 10,
    }
    return {**row, **values}


def frame(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Return rows as a delivery's columns."""
    return pl.DataFrame(list(rows), schema=polars_schema(schema.DELIVERY))


def received_after(session: date, days: int = 0) -> datetime:
    """Return the evening of a session, or some days later."""
    return datetime.combine(session + timedelta(days=days), time(22, 0), tzinfo=UTC)


def land_rows(
    store: ObjectStore,
    rows: Iterable[dict[str, Any]],
    calendar: Calendar,
    *,
    received_at: datetime,
    source: str = "test",
) -> Landed:
    """Land rows as one delivery."""
    return land(store, frame(rows), received_at=received_at, source=source, calendar=calendar)
