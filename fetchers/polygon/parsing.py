"""Reading the vendor's answers. Pure: documents in, rows and values out.

Fields: https://polygon.io/docs/rest/stocks
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import isfinite
from typing import Any

import polars as pl

from batch.core import schema
from batch.core.frames import polars_schema
from fetchers.errors import VendorRefused, shown

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

_LONGEST_SYMBOL = 64


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
        raise VendorRefused(
            f"{where}: status '{shown(status)}', expected one of {', '.join(_USABLE)}"
        )
    if document.get("adjusted") not in (None, False):
        raise VendorRefused(f"{where}: adjusted prices arrived although raw ones were requested")
    results = document.get("results") or []
    if not isinstance(results, list):
        raise VendorRefused(f"{where}: expected a list of results, found {type(results).__name__}")
    doubts = []
    if status == "DELAYED":
        doubts.append("the vendor says that it is delayed")
    counted = document.get("resultsCount", len(results))
    if counted != len(results):
        doubts.append(f"{len(results)} results where {shown(counted)} are counted")
    if not results:
        doubts.append("no results")
    # What is not an object has no symbol and no price, and is refused with these reasons.
    bars = [row if isinstance(row, dict) else {} for row in results]
    columns = {
        name: [_symbol(row.get(key)) if name == "symbol" else _number(row.get(key)) for row in bars]
        for name, key in _GROUPED.items()
    }
    rows = pl.DataFrame(
        {**columns, "date": [session] * len(results)},
        schema_overrides=polars_schema(schema.DELIVERY),
        strict=False,
    )
    return SessionAnswer(session, rows.select(schema.DELIVERY.names), tuple(doubts))


def items_of(where: str, document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the items of a page of a list.

    Raises:
        VendorRefused: It is not such a page.
    """
    items = document["results"]
    if not isinstance(items, list):
        raise VendorRefused(
            f"{where}: expected a list of results, found {type(items).__name__}; the page is"
            " not used"
        )
    for number, item in enumerate(items, 1):
        if not isinstance(item, Mapping):
            raise VendorRefused(
                f"{where}: result {number} of {len(items)} is {shown(item)}, expected an object;"
                " the page is not used"
            )
    return items


def ticker_rows(listed: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
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


def split_rows(listed: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
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


def dividend_rows(listed: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Return dividends as rows of :data:`DIVIDENDS_LISTED`, each once.

    One without a symbol, a date or an amount is left out.
    """
    frame = _frame(listed, DIVIDENDS_LISTED, symbol="ticker", date="ex_dividend_date")
    return (
        frame.drop_nulls(["symbol", "date", "cash_amount"])
        .filter(pl.col("cash_amount").is_finite())
        .unique(maintain_order=True)
    )


def _frame(listed: Iterable[Mapping[str, Any]], columns: pl.Schema, **theirs: str) -> pl.DataFrame:
    """Return fields of items as columns; ``theirs`` are those with another name."""
    read = {
        name: (theirs.get(name, name), _listed_symbol if name == "symbol" else _READ[kind])
        for name, kind in columns.items()
    }
    rows = [[of_kind(item.get(field)) for field, of_kind in read.values()] for item in listed]
    return pl.DataFrame(rows, schema=columns, orient="row", strict=False)


def details_of(ticker: str, document: Mapping[str, Any]) -> Details:
    """Read what the details endpoint says of a ticker.

    Raises:
        VendorRefused: It is not such an answer.
    """
    found = document["results"]
    if not isinstance(found, Mapping):
        raise VendorRefused(
            f"Polygon, details of {ticker}: expected an object of results, found {shown(found)}"
        )
    cap = pl.Series([_number(found.get("market_cap"))], dtype=pl.Float64, strict=False)[0]
    return Details(
        ticker,
        market_cap_usd=cap if cap is not None and isfinite(cap) else None,
        sic_code=_text(found.get("sic_code")) or None,
        sic_description=_text(found.get("sic_description")) or None,
        list_date=day_in(found.get("list_date")),
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
        if not isinstance(item, Mapping):
            raise VendorRefused(f"{where}: expected objects, found {shown(item)}")
        day = day_in(item.get("date"))
        if day is None:
            raise VendorRefused(f"{where}: no date in {shown(item)}")
        exchange, name = (_text(item.get(field)) or "" for field in ("exchange", "name"))
        early = item.get("status") == "early-close" and item.get("close")
        closes_at = _close_in(early, day) if early else None
        if early and closes_at is None:
            raise VendorRefused(f"{where}: {shown(early)} is not a time of {day}")
        found.append(Holiday(day, exchange, shown(name), closes_at))
    return found


def _close_in(text: Any, day: date) -> datetime | None:
    """Return the instant of a close, None where there is none or it lies on another day."""
    try:
        instant = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    if instant is None or instant.tzinfo is None or abs(instant.date() - day) > timedelta(days=1):
        return None
    return instant


def day_in(text: Any) -> date | None:
    """Return the date that a date or a timestamp begins with, or None where there is none."""
    try:
        return date.fromisoformat(text[:10]) if isinstance(text, str) else None
    except ValueError:
        return None


def _symbol(value: Any) -> str | None:
    """Return a ticker, None for what no table can hold: not text, endless, or not UTF-8.

    Characters that nobody sees are for the rules of rows to refuse, with that reason.
    """
    is_one = isinstance(value, str) and len(value) <= _LONGEST_SYMBOL
    return value if is_one and _text(value) == value else None


def _listed_symbol(value: Any) -> str | None:
    """Return a ticker of a list, which has no rules of rows: None where it is not printable."""
    symbol = _symbol(value)
    return symbol if symbol is not None and symbol.isprintable() else None


def _number(value: Any) -> int | float | str | None:
    """Return what may be a number, which Polars then reads; text is, where it is one."""
    if isinstance(value, str):
        return value if value.isascii() else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, float) or abs(value) < 2**63 else None


def _text(value: Any) -> str | None:
    """Return text as UTF-8 can hold it; a number counts as text, nothing else does."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).encode("utf-8", "replace").decode()


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


_READ: Mapping[Any, Callable[[Any], Any]] = {
    pl.String: _text,
    pl.Date: day_in,
    pl.Boolean: _flag,
    pl.Float64: _number,
    pl.Int64: _number,
}
"""How a field is read by the type of its column."""
