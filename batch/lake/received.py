"""From the deliveries of some sessions to one row per symbol and session. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from batch.core import schema
from batch.core.frames import empty_frame, polars_schema
from batch.core.layout import Delivery
from batch.kernel.columns import NO_TRADES, DailyColumns, order_by_key
from batch.kernel.corrections import REASONS, Settled
from batch.lake.bases import SplitBases


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """Deliveries of some sessions, one under the other.

    The rows of each are sorted by symbol, the deliveries in their own order: session, then
    received, then source. ``sender`` is the place of each row's delivery among them.
    """

    rows: DailyColumns
    deliveries: Sequence[Delivery]
    sender: npt.NDArray[np.int32]

    @classmethod
    def of(cls, tables: Mapping[Delivery, Any]) -> Received:
        """Put tables of :data:`batch.core.schema.DELIVERY` one under the other."""
        if not tables:
            return cls(DailyColumns.empty(), [], np.empty(0, np.int32))
        lengths = [table.num_rows for table in tables.values()]
        sender = np.repeat(np.arange(len(tables), dtype=np.int32), lengths)
        return cls(DailyColumns.from_table(pa.concat_tables(tables.values())), [*tables], sender)


def newest_rows(received: Received, bases: SplitBases) -> tuple[DailyColumns, pl.DataFrame]:
    """Let the newest delivery win, value by value, and note what it changed and what did not win.

    A symbol that a newer delivery leaves out keeps its row: absence is not deletion.

    Returns:
        One row per symbol and session, sorted by (date, symbol), and the restatements.
    """
    rows = received.rows
    if not len(rows):
        return rows, empty_frame(schema.RESTATEMENTS)
    key = (rows.day - int(rows.day[0])).astype(np.int64) * len(rows.symbols) + rows.code
    if (key[1:] > key[:-1]).all():
        return rows, empty_frame(schema.RESTATEMENTS)
    order, newest = order_by_key(key)
    ordered = Received(rows.take(order), received.deliveries, received.sender[order])
    last_days = bases.last_days([one.received_at for one in ordered.deliveries])
    settled = bases.settle(ordered.rows, newest, last_days[ordered.sender])
    return settled.standing.take(newest), _restated(ordered, settled, np.flatnonzero(~newest))


def _restated(received: Received, settled: Settled, older: npt.NDArray[np.int64]) -> pl.DataFrame:
    """Compare what stood before each row of a repeated key with the row."""
    rows, newer = received.rows, older + 1
    symbols = pl.Series(rows.symbols.to_pylist(), dtype=pl.String)
    reasons = pl.Series(REASONS, dtype=pl.String)
    senders = pl.DataFrame(
        {
            "received_at": [delivery.received_at for delivery in received.deliveries],
            "source": [delivery.source for delivery in received.deliveries],
        },
        schema=polars_schema(schema.RESTATEMENTS, ["received_at", "source"]),
    )
    won = np.zeros(len(rows), np.int8)
    changed = [empty_frame(schema.RESTATEMENTS)]
    for name in schema.RESTATED_FIELDS:
        old: npt.NDArray[Any] = getattr(settled.standing, name)[older]
        new: npt.NDArray[Any] = getattr(rows, name)[newer]
        differs = old != new
        if name == "vwap":
            differs &= ~(np.isnan(old) & np.isnan(new))
        if not differs.any():
            continue
        at = newer[differs]
        changed.append(
            pl.DataFrame(
                {
                    "symbol": symbols.gather(rows.code[at]),
                    "date": pl.Series(rows.day[at]).cast(pl.Date),
                    "field": pl.repeat(name, len(at), eager=True),
                    "old": _nullable(name, old[differs]),
                    "new": _nullable(name, new[differs]),
                }
            )
            .hstack(senders[received.sender[at]])
            .with_columns(reason=reasons.gather(settled.reasons.get(name, won)[at]))
        )
    return pl.concat(changed)


def _nullable(name: str, values: npt.NDArray[Any]) -> pl.Series:
    floats = values.astype(np.float64)
    if name == "trades":
        floats[values == NO_TRADES] = np.nan
    return pl.Series(floats).fill_nan(None)
