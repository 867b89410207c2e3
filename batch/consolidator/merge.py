"""Deliveries that may be merged, and stretches of merged sessions put together. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from batch.core import schema
from batch.core.frames import empty_frame
from batch.core.layout import Delivery
from batch.core.rules import (
    LEAST_PRICE,
    LEAST_VOLUME,
    MOST_PRICE,
    MOST_TRADES,
    MOST_VOLUME,
    is_blank,
)
from batch.core.sessions import date_of, day_of
from batch.kernel.columns import (
    NO_TRADES,
    ROW_ARRAYS,
    DailyColumns,
    stable_order,
    union_symbols,
)
from batch.lake.bases import SplitBases
from batch.lake.manifest import fingerprint
from batch.lake.received import Received, newest_rows
from batch.runtime.formats import count_text


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """What merging deliveries of some sessions made; no split is attached yet.

    The bars, one row per symbol and session, are sorted by (date, symbol), those of a whole
    year by (symbol, date). ``digests`` has one of each session's rows by its day, ``unusable``
    the reason why a delivery was left out.
    """

    bars: DailyColumns
    digests: Mapping[int, str]
    restatements: pl.DataFrame = field(default_factory=lambda: empty_frame(schema.RESTATEMENTS))
    unusable: Mapping[Delivery, str] = field(default_factory=dict)
    deliveries_read: int = 0


def find_unsound(received: Received) -> dict[Delivery, str]:
    """Find the stored deliveries that are unfit to be merged, each with the first reason.

    Deliveries are sifted when they land; this guards against files that came another way.
    """
    rows, deliveries, sender = received.rows, received.deliveries, received.sender
    days = np.array([day_of(one.session) for one in deliveries], np.int32)[sender]
    found: dict[Delivery, str] = {}
    for what, broken in _broken_rows(rows, days).items():
        if broken.any():
            counts = np.bincount(sender[broken])
            for at in np.flatnonzero(counts).tolist():
                found.setdefault(deliveries[at], f"{count_text(counts[at], 'rows')} with {what}")
    symbols = pl.DataFrame({"symbol": rows.symbols.to_pylist()}, schema={"symbol": pl.String})
    blank = symbols.select(is_blank("symbol"))["symbol"].arg_true()
    if len(blank):
        for at in np.unique(sender[np.isin(rows.code, blank)]).tolist():
            found.setdefault(deliveries[at], "a row has no symbol")
    descends = (rows.code[1:] <= rows.code[:-1]) & (sender[1:] == sender[:-1])
    for at in np.unique(sender[1:][descends]).tolist():
        found.setdefault(deliveries[at], "symbols are repeated or out of order")
    return found


def _broken_rows(
    rows: DailyColumns, days: npt.NDArray[np.int32]
) -> dict[str, npt.NDArray[np.bool_]]:
    open_, high, low, close = (getattr(rows, name) for name in schema.PRICES)
    return {
        "dates other than its folder's": rows.day != days,
        f"prices that are not from {LEAST_PRICE} to {MOST_PRICE:g} USD": ~(
            (low >= LEAST_PRICE)
            & (open_ <= MOST_PRICE)
            & (high <= MOST_PRICE)
            & (close <= MOST_PRICE)
        ),
        "a high below or a low above another price": (high < np.maximum(open_, close))
        | (low > np.minimum(open_, close))
        | (high < low),
        f"volumes that are not 0 and not from {LEAST_VOLUME} to {MOST_VOLUME:g} shares": ~(
            (rows.volume == 0) | ((rows.volume >= LEAST_VOLUME) & (rows.volume <= MOST_VOLUME))
        ),
        "a vwap outside that range": (rows.vwap < LEAST_PRICE) | (rows.vwap > MOST_PRICE),
        f"a count of trades that is not from 0 to {MOST_TRADES}": (rows.trades < NO_TRADES)
        | (rows.trades > MOST_TRADES),
    }


def merge(received: Received, bases: SplitBases) -> Merged:
    """Merge deliveries by :func:`batch.lake.received.newest_rows`, and digest what came of it."""
    bars, restatements = newest_rows(received, bases)
    return Merged(bars, session_digests(bars), restatements)


def by_session(rows: DailyColumns) -> DailyColumns:
    """Sort daily bars that are sorted by (symbol, date) by (date, symbol)."""
    return rows.take(stable_order(rows.day - int(rows.day.min(initial=0))))


def join(parts: Sequence[Merged], *, workers: int) -> Merged:
    """Put stretches of whole sessions together; no session is in two of them."""
    restatements = pl.concat([empty_frame(schema.RESTATEMENTS), *(p.restatements for p in parts)])
    return Merged(
        _by_symbol([part.bars for part in parts], workers=workers),
        {day: digest for part in parts for day, digest in part.digests.items()},
        restatements.sort("symbol", "date", "received_at", "source", "field"),
        {delivery: why for part in parts for delivery, why in part.unusable.items()},
        sum(part.deliveries_read for part in parts),
    )


def _by_symbol(parts: Sequence[DailyColumns], *, workers: int) -> DailyColumns:
    """Sort daily bars of several stretches, each sorted by (date, symbol), by (symbol, date)."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return DailyColumns.empty()
    symbols, places = union_symbols([part.symbols for part in parts])
    code = np.concatenate([place[part.code] for place, part in zip(places, parts, strict=True)])
    day = np.concatenate([part.day for part in parts])
    if (day[1:] < day[:-1]).any():
        order = stable_order(day - int(day.min()))
        order = order[stable_order(code[order])]
    else:
        order = stable_order(code)

    def sorted_column(name: str) -> npt.NDArray[Any]:
        column: npt.NDArray[Any] = np.concatenate([getattr(part, name) for part in parts])
        return column[order]

    rest = [name for name in ROW_ARRAYS if name not in {"code", "day"}]
    with ThreadPoolExecutor(workers) as pool:
        columns = dict(zip(rest, pool.map(sorted_column, rest), strict=True))
    return DailyColumns(symbols=symbols, code=code[order], day=day[order], **columns)


def session_digests(rows: DailyColumns) -> dict[int, str]:
    """Digest every session's rows, by its day; rows sorted by (date, symbol).

    A digest covers symbols and values alone, as little-endian bytes: no positions in a list
    of symbols, which depend on the other rows, and no split ratios, which
    :func:`with_split_digests` adds, as they also depend on other years.
    """
    if not len(rows):
        return {}
    of_symbols = [_name_digest(name) for name in rows.symbols.to_pylist()]
    names = np.array(of_symbols, dtype=np.uint64)[rows.code]
    starts = np.flatnonzero(np.append(True, rows.day[1:] != rows.day[:-1]))
    ends = np.append(starts[1:], len(rows))
    columns = [names, *(getattr(rows, name) for name in schema.RESTATED_FIELDS)]
    digests = {}
    for start, end in zip(starts, ends, strict=True):
        digest = hashlib.sha256()
        for column in columns:
            digest.update(column[start:end].data)
        digests[int(rows.day[start])] = digest.hexdigest()[:16]
    return digests


@lru_cache(maxsize=65_536)
def _name_digest(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def with_split_digests(digests: Mapping[int, str], bars: DailyColumns) -> dict[str, str]:
    """Add the splits on rows to the digests of their sessions; by ISO date, ascending.

    A session without a split keeps its digest, so a split touches those that carry it alone.
    """
    by_day: dict[int, list[tuple[str, float]]] = {}
    for row in np.flatnonzero(bars.split_ratio != 1.0):
        ratio = (bars.symbols[int(bars.code[row])].as_py(), float(bars.split_ratio[row]))
        by_day.setdefault(int(bars.day[row]), []).append(ratio)
    return {
        date_of(day).isoformat(): (
            fingerprint(digest, by_day[day])[:16] if day in by_day else digest
        )
        for day, digest in sorted(digests.items())
    }
