"""Reading the vendor's answers. Pure: documents in, rows and values out.

Fields: https://polygon.io/docs/rest/stocks
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import polars as pl

from batch.core import schema
from batch.core.frames import polars_schema
from fetchers.errors import VendorRefused

_GROUPED = {
    "symbol": "T",
    "open": "o",
    "high": "h",
    "low": "l",
    "close": "c",
    "volume": "v",
    "vwap": "vw",
    "trades": "n",
}

_USABLE = ("OK", "DELAYED")


@dataclass(frozen=True, slots=True, eq=False)
class SessionAnswer:
    """The bars of one session of the whole market, as the vendor sends them.

    ``rows`` has the columns of :data:`batch.core.schema.DELIVERY`; ``doubts`` says why it may
    not be the whole session.
    """

    session: date
    rows: pl.DataFrame
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Holiday:
    """A day on which an exchange will be closed, or close early at ``closes_at``."""

    day: date
    exchange: str
    name: str
    closes_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """What the vendor knows of one ticker beyond the list."""

    symbol: str
    market_cap_usd: float | None = None
    sic_code: str | None = None
    sic_description: str | None = None
    list_date: date | None = None


TICKERS_LISTED = polars_schema(
    schema.TICKERS,
    [
        *("symbol", "name", "market", "locale", "primary_exchange", "type", "active"),
        *("cik", "composite_figi", "share_class_figi", "currency", "delisted_date"),
    ],
)
"""One row per ticker as the vendor lists it."""

SPLITS_LISTED = polars_schema(schema.SPLITS, ["symbol", "date", "split_from", "split_to"])

DIVIDENDS_LISTED = polars_schema(schema.DIVIDENDS)


def session_answer(document: Any, session: date) -> SessionAnswer:
    """Read an answer of the grouped daily endpoint.

    The session is the one requested: the bars' own timestamps differ by endpoint.

    Raises:
        VendorRefused: It is not such an answer, or its prices are adjusted for splits.
    """
    where = f"Polygon, bars of {session}"
    if not isinstance(document, Mapping):
        raise VendorRefused(f"{where}: expected an object, found {type(document).__name__}")
    status = document.get("status")
    if status not in _USABLE:
        raise VendorRefused(f"{where}: status {status!r}, expected one of {', '.join(_USABLE)}")
    if document.get("adjusted") is True:
        raise VendorRefused(f"{where}: adjusted prices came although raw ones were requested")
    results = document.get("results") or []
    if not isinstance(results, list):
        raise VendorRefused(f"{where}: expected a list of results, found {type(results).__name__}")
    doubts = []
    if status == "DELAYED":
        doubts.append("the vendor says it is delayed")
    counted = document.get("resultsCount", len(results))
    if counted != len(results):
        doubts.append(f"{len(results)} results where {counted} are counted")
    if not results:
        doubts.append("no results")
    columns = {name: [row.get(key) for row in results] for name, key in _GROUPED.items()}
    rows = pl.DataFrame(
        {**columns, "date": [session] * len(results)},
        schema_overrides=polars_schema(schema.DELIVERY),
        strict=False,
    )
    return SessionAnswer(session, rows.select(schema.DELIVERY.names), tuple(doubts))


def ticker_rows(listed: Iterable[Any]) -> pl.DataFrame:
    """Return tickers as rows of :data:`TICKERS_LISTED`, sorted, each symbol once."""
    theirs = {"symbol": "ticker", "currency": "currency_name", "delisted_date": "delisted_utc"}
    return (
        _frame(listed, TICKERS_LISTED, **theirs)
        .filter(pl.col("symbol") != "")
        .with_columns(pl.col("active").fill_null(value=False))
        .sort(
            *("symbol", "active", "delisted_date", "composite_figi"),
            descending=[False, True, True, False],
        )
        .unique("symbol", keep="first", maintain_order=True)
    )


def split_rows(listed: Iterable[Any]) -> pl.DataFrame:
    """Return splits as rows of :data:`SPLITS_LISTED`, the last one of each symbol and date.

    One without a symbol, a date or two positive numbers is left out.
    """
    ratio = pl.col("split_from", "split_to")
    return (
        _frame(listed, SPLITS_LISTED, symbol="ticker", date="execution_date")
        .drop_nulls()
        .filter(pl.all_horizontal(ratio.is_finite() & (ratio > 0)))
        .unique(["symbol", "date"], keep="last", maintain_order=True)
    )


def dividend_rows(listed: Iterable[Any]) -> pl.DataFrame:
    """Return dividends as rows of :data:`DIVIDENDS_LISTED`, each once."""
    frame = _frame(listed, DIVIDENDS_LISTED, symbol="ticker", date="ex_dividend_date")
    return frame.drop_nulls(["symbol", "date", "cash_amount"]).unique(maintain_order=True)


def _frame(listed: Iterable[Any], columns: pl.Schema, **theirs: str) -> pl.DataFrame:
    """Return attributes of items as columns; ``theirs`` are those with another name."""
    rows = [
        [
            day_in(value) if kind == pl.Date else value
            for name, kind in columns.items()
            for value in [getattr(item, theirs.get(name, name))]
        ]
        for item in listed
    ]
    return pl.DataFrame(rows, schema=columns, orient="row", strict=False)


def details_of(ticker: str, found: Any) -> Details:
    """Read what the details endpoint says of a ticker."""
    cap = found.market_cap
    return Details(
        ticker,
        market_cap_usd=float(cap) if isinstance(cap, int | float) else None,
        sic_code=_text(found.sic_code),
        sic_description=_text(found.sic_description),
        list_date=day_in(found.list_date),
    )


def holidays(document: Any) -> list[Holiday]:
    """Read the list of upcoming market holidays.

    Raises:
        VendorRefused: It is not the list that the vendor describes.
    """
    where = "Polygon, upcoming holidays"
    if not isinstance(document, list):
        raise VendorRefused(f"{where}: expected a list, found {type(document).__name__}")
    found = []
    for item in document:
        day = day_in(item.get("date"))
        if day is None:
            raise VendorRefused(f"{where}: no date in {item!r}")
        exchange, name = str(item.get("exchange", "")), str(item.get("name", ""))
        early = item.get("status") == "early-close" and item.get("close")
        closes_at = datetime.fromisoformat(str(item["close"])) if early else None
        found.append(Holiday(day, exchange, name, closes_at))
    return found


def day_in(text: Any) -> date | None:
    """Return the date that a date or a timestamp begins with, or None where there is none."""
    try:
        return date.fromisoformat(str(text)[:10]) if text else None
    except ValueError:
        return None


def _text(value: Any) -> str | None:
    return str(value) if value not in (None, "") else None
