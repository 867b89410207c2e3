"""The columns of every table: names, types, units and meaning.

Prices are USD, raw as traded. Volumes are shares; fractions exist. Dates are sessions of
the exchange. Text compares by its UTF-8 bytes, so ``Aa`` and ``AA`` are two symbols.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import pyarrow as pa

_TEXT, _DATE, _FLOAT, _INT = pa.string(), pa.date32(), pa.float64(), pa.int64()


def _schema(kinds: Mapping[str, Any], *, nullable: Iterable[str] = ()) -> Any:
    optional = set(nullable)
    return pa.schema([pa.field(name, kind, name in optional) for name, kind in kinds.items()])


PRICES: Final = ("open", "high", "low", "close")

_VALUES = {
    **dict.fromkeys([*PRICES, "volume", "vwap"], _FLOAT),
    "trades": _INT,
}

RESTATED_FIELDS: Final = tuple(_VALUES)

DELIVERY: Final = _schema(
    {"symbol": _TEXT, "date": _DATE, **_VALUES},
    nullable=["vwap", "trades"],
)
"""A delivery: one row per symbol of one session, sorted by symbol."""

DAILY: Final = DELIVERY.append(pa.field("split_ratio", _FLOAT, nullable=False))
"""Consolidated daily bars: one row per (symbol, date), sorted by both."""

BARS: Final = _schema(
    {
        "symbol": _TEXT,
        "start": _DATE,
        "end": _DATE,
        **_VALUES,
        "sessions": pa.int32(),
        "complete": pa.bool_(),
        "split_ratio": _FLOAT,
    },
    nullable=["vwap", "trades"],
)
"""N-session bars: one row per (symbol, window) with a daily bar, sorted by (symbol, start)."""

_AS_READ = {"symbol": _TEXT, "date": _DATE, **_VALUES, "reason": _TEXT, "line": _INT}

STAGED: Final = _schema(_AS_READ, nullable=_AS_READ)
"""Rows of a file as read, before they are judged, in any order.

``reason`` says why a row must be refused whatever its values are; null where nothing does.
``line`` is that of :data:`REJECTED`.
"""

REJECTED: Final = _schema(_AS_READ, nullable=_AS_READ.keys() - {"reason"})
"""Refused rows as received, each with every reason that applies, joined by ``; ``.

``line`` is the line of the text file that a row begins on, counted from 1; null where the source
has no lines, and in objects of lakes from before there was such a column.
"""

RESTATEMENTS: Final = _schema(
    {
        "symbol": _TEXT,
        "date": _DATE,
        "field": _TEXT,
        "old": _FLOAT,
        "new": _FLOAT,
        "received_at": pa.timestamp("us", tz="UTC"),
        "source": _TEXT,
        "reason": _TEXT,
    },
    nullable=["old", "new", "reason"],
)
"""Values of later deliveries that differ: a row per (symbol, date, field, received_at, source).

Sorted by these. ``old`` is the value that stood before, ``new`` that of the delivery received at
``received_at`` from ``source``; null stands for a value that a source does not have. ``reason``
is null where ``new`` replaced ``old``, and else says why it did not.
"""

SPLITS: Final = _schema(
    {"symbol": _TEXT, "date": _DATE, "split_from": _FLOAT, "split_to": _FLOAT, "ratio": _FLOAT}
)
"""Splits: one row per (symbol, date of execution), sorted by both. ``ratio`` = to / from."""

DIVIDENDS: Final = _schema(
    {
        "symbol": _TEXT,
        "date": _DATE,
        "cash_amount": _FLOAT,
        "currency": _TEXT,
        "dividend_type": _TEXT,
        "frequency": _INT,
        "declaration_date": _DATE,
        "record_date": _DATE,
        "pay_date": _DATE,
    },
    nullable=[
        *("currency", "dividend_type", "frequency"),
        *("declaration_date", "record_date", "pay_date"),
    ],
)
"""Cash dividends per share: each once, sorted by (symbol, date, dividend_type, cash_amount).

``date`` is the ex-dividend date; it may lie ahead.
"""

_TICKER_DETAILS = {
    "valid_to": _DATE,
    "name": _TEXT,
    "market": _TEXT,
    "locale": _TEXT,
    "primary_exchange": _TEXT,
    "type": _TEXT,
    "active": pa.bool_(),
    "cik": _TEXT,
    "composite_figi": _TEXT,
    "share_class_figi": _TEXT,
    "currency": _TEXT,
    "delisted_date": _DATE,
    "market_cap_usd": _FLOAT,
    "sic_code": _TEXT,
    "sic_description": _TEXT,
    "list_date": _DATE,
    "details_date": _DATE,
}

TICKERS: Final = _schema(
    {"symbol": _TEXT, "valid_from": _DATE, **_TICKER_DETAILS},
    nullable=_TICKER_DETAILS.keys() - {"active"},
)
"""What was known of each ticker, and when: one row per (symbol, valid_from), sorted by both.

A row holds from ``valid_from``, the day on which it was learnt, to the day before
``valid_to``; null while it holds. ``details_date`` is the day on which the columns from
``market_cap_usd`` to ``list_date`` were last asked for; null if they never were.
"""

CARRY: Final = _schema(
    {"symbol": _TEXT, "rows_before": _INT, "rows": _INT, "pending_ratio": _FLOAT}
)
"""What a year of consolidation passes on to the next: one row per symbol seen so far, sorted.

``rows_before`` counts its daily bars before the year and ``rows`` those in it;
``pending_ratio`` is the product of the splits that wait for the symbol's next bar, 1.0
where none does.
"""
