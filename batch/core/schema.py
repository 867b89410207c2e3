"""The columns of every table: names, types, units and meaning.

Prices are USD, raw as traded. Volumes are shares; fractions exist. Dates are sessions of
the exchange. Text compares by its UTF-8 bytes, so ``Aa`` and ``AA`` are two symbols.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

PRICES: Final = ("open", "high", "low", "close")

DELIVERY: Final = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("open", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("close", pa.float64(), nullable=False),
        pa.field("volume", pa.float64(), nullable=False),
        pa.field("vwap", pa.float64()),
        pa.field("trades", pa.int64()),
    ]
)
"""A delivery: one row per symbol of one session, sorted by symbol."""

DAILY: Final = DELIVERY.append(pa.field("split_ratio", pa.float64(), nullable=False))
"""Consolidated daily bars: one row per (symbol, date), sorted by both."""

BARS: Final = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("start", pa.date32(), nullable=False),
        pa.field("end", pa.date32(), nullable=False),
        pa.field("open", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("close", pa.float64(), nullable=False),
        pa.field("volume", pa.float64(), nullable=False),
        pa.field("vwap", pa.float64()),
        pa.field("trades", pa.int64()),
        pa.field("sessions", pa.int32(), nullable=False),
        pa.field("complete", pa.bool_(), nullable=False),
        pa.field("split_ratio", pa.float64(), nullable=False),
    ]
)
"""N-session bars: one row per (symbol, window) with a daily bar, sorted by (symbol, start)."""

REJECTED: Final = pa.schema(
    [
        pa.field("symbol", pa.string()),
        pa.field("date", pa.date32()),
        pa.field("open", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("close", pa.float64()),
        pa.field("volume", pa.float64()),
        pa.field("vwap", pa.float64()),
        pa.field("trades", pa.int64()),
        pa.field("reason", pa.string(), nullable=False),
    ]
)
"""Refused rows as received, each with every reason that applies, joined by ``; ``."""

RESTATEMENTS: Final = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("field", pa.string(), nullable=False),
        pa.field("old", pa.float64()),
        pa.field("new", pa.float64()),
        pa.field("received_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
"""What a later delivery changed: one row per (symbol, date, field, received_at, source), sorted so.

``old`` is the value of the delivery before, ``new`` the value of the one received at
``received_at`` from ``source``. Null stands for a value that a source does not have.
"""

RESTATED_FIELDS: Final = ("open", "high", "low", "close", "volume", "vwap", "trades")

SPLITS: Final = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("split_from", pa.float64(), nullable=False),
        pa.field("split_to", pa.float64(), nullable=False),
        pa.field("ratio", pa.float64(), nullable=False),
    ]
)
"""Splits: one row per (symbol, date of execution), sorted by both. ``ratio`` = to / from."""

DIVIDENDS: Final = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("date", pa.date32(), nullable=False),
        pa.field("cash_amount", pa.float64(), nullable=False),
        pa.field("currency", pa.string()),
        pa.field("dividend_type", pa.string()),
        pa.field("frequency", pa.int64()),
        pa.field("declaration_date", pa.date32()),
        pa.field("record_date", pa.date32()),
        pa.field("pay_date", pa.date32()),
    ]
)
"""Cash dividends per share: each once, sorted by (symbol, date, dividend_type, cash_amount).

``date`` is the ex-dividend date; it may lie ahead.
"""

TICKERS: Final = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("valid_from", pa.date32(), nullable=False),
        pa.field("valid_to", pa.date32()),
        pa.field("name", pa.string()),
        pa.field("market", pa.string()),
        pa.field("locale", pa.string()),
        pa.field("primary_exchange", pa.string()),
        pa.field("type", pa.string()),
        pa.field("active", pa.bool_(), nullable=False),
        pa.field("cik", pa.string()),
        pa.field("composite_figi", pa.string()),
        pa.field("share_class_figi", pa.string()),
        pa.field("currency", pa.string()),
        pa.field("delisted_date", pa.date32()),
        pa.field("market_cap_usd", pa.float64()),
        pa.field("sic_code", pa.string()),
        pa.field("sic_description", pa.string()),
        pa.field("list_date", pa.date32()),
        pa.field("details_date", pa.date32()),
    ]
)
"""What was known of each ticker, and when: one row per (symbol, valid_from), sorted by both.

A row held from ``valid_from``, the day on which it was learnt, to the day before
``valid_to``; null while it holds. ``details_date`` is the day on which the columns from
``market_cap_usd`` to ``list_date`` were last asked for; null if they never were.
"""

CARRY: Final = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("rows_before", pa.int64(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("pending_ratio", pa.float64(), nullable=False),
    ]
)
"""What a year of consolidation passes on to the next: one row per symbol seen so far, sorted.

``rows_before`` counts its daily bars before the year and ``rows`` those in it;
``pending_ratio`` is the product of the splits that wait for the symbol's next bar, 1.0
where none does.
"""
