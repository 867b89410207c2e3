"""The vendor's answers, as its endpoints give them: field names, pages, error documents.

Fields: https://polygon.io/docs/rest/stocks
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode
from uuid import uuid4

import polars as pl

from batch.core.sessions import Calendar
from fetchers.plan import NEW_YORK
from simulation.vendor_market import VendorMarket

VENDOR_HOST = "https://api.polygon.io"
_GROUPED = "/v2/aggs/grouped/locale/us/market/stocks/"
_RANGE = "/v2/aggs/ticker/"
_TICKERS = "/v3/reference/tickers"
_SPLITS = "/v3/reference/splits"
_DIVIDENDS = "/v3/reference/dividends"
_STATUS = "/v1/marketstatus/"
_MOST_ROWS = 1000
_MOST_BARS = 50_000
_VENUES = ("NYSE", "NASDAQ")
_LISTED_FIELDS = (
    *("ticker", "name", "market", "locale", "primary_exchange", "type", "active"),
    *("currency_name", "cik", "composite_figi", "share_class_figi"),
    *("last_updated_utc", "delisted_utc"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a JSON body and further headers."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Any, status: int = 200) -> Answer:
        """Return a document as an answer."""
        return cls(status, json.dumps(document).encode())

    @classmethod
    def error(cls, status: int, text: str) -> Answer:
        """Return an error as the vendor words it."""
        kind = "NOT_AUTHORIZED" if status == 403 else "NOT_FOUND" if status == 404 else "ERROR"
        field = "error" if kind == "ERROR" else "message"
        return cls.of({"status": kind, "request_id": uuid4().hex, field: text}, status)


@dataclass(frozen=True, slots=True)
class SessionShape:
    """How to spoil an answer about a session.

    ``kept_share`` of the rows are in it; its count exceeds them by ``counted_too_many``.
    """

    status: str = "OK"
    kept_share: float = 1.0
    counted_too_many: int = 0


class VendorAnswers:
    """Answers requests from a market, as the vendor would at an instant."""

    def __init__(self, market: VendorMarket, calendar: Calendar) -> None:
        self._market = market
        self._calendar = calendar

    def answer(
        self, path: str, query: Mapping[str, str], now: datetime, shape: SessionShape
    ) -> Answer:
        """Return the answer to a request for a path, quoted as sent, and a decoded query."""
        if path.startswith(_GROUPED):
            return self._grouped(unquote(path.removeprefix(_GROUPED)), query, now, shape)
        if path.startswith(_RANGE):
            return self._range(path.removeprefix(_RANGE).split("/"), query, now)
        if path.startswith(f"{_TICKERS}/"):
            return self._details(unquote(path.removeprefix(f"{_TICKERS}/")), now)
        lists = {_TICKERS: self._tickers, _SPLITS: self._splits, _DIVIDENDS: self._dividends}
        if path in lists:
            return _page(path, query, lambda filters: lists[path](filters, now))
        if path == f"{_STATUS}upcoming":
            return Answer.of(self._upcoming(now.date()))
        if path == f"{_STATUS}now":
            return Answer.of(self._market_status(now))
        return Answer(404, b"404 page not found")

    def _grouped(
        self, day: str, query: Mapping[str, str], now: datetime, shape: SessionShape
    ) -> Answer:
        try:
            session = date.fromisoformat(day)
        except ValueError:
            return Answer.error(400, f"Could not parse the date '{day}'. Use YYYY-MM-DD.")
        if session > now.astimezone(NEW_YORK).date():
            return Answer.error(400, "The requested date is in the future.")
        rows = self._market.rows(session, now)
        rows = rows.head(round(rows.height * shape.kept_share))
        head = _head(rows.height + shape.counted_too_many, query, shape.status)
        if rows.is_empty() and not shape.counted_too_many:
            return Answer.of(head)
        bars = _bars(rows, self._close_of(session) or datetime.combine(session, time(), UTC))
        return Answer(200, json.dumps(head)[:-1].encode() + b', "results": ' + bars + b"}")

    def _range(self, parts: list[str], query: Mapping[str, str], now: datetime) -> Answer:
        """Answer ``{ticker}/range/1/day/{from}/{to}``."""
        if len(parts) != 6 or parts[1:4] != ["range", "1", "day"]:
            return Answer.error(400, "only range/1/day is served here")
        ticker = unquote(parts[0])
        limit = min(int(query.get("limit", "5000")), _MOST_BARS)
        first, last = (date.fromisoformat(part) for part in parts[4:])
        found: list[dict[str, Any]] = []
        next_first: date | None = None
        for session in self._calendar.sessions_between(first, last):
            if len(found) == limit:
                next_first = session
                break
            rows = self._market.rows(session, now).filter(pl.col("symbol") == ticker)
            bars = json.loads(_bars(rows, datetime.combine(session, time(), NEW_YORK)))
            found += [{name: value for name, value in bar.items() if name != "T"} for bar in bars]
        document = {"ticker": ticker, **_head(len(found), query)}
        if found:
            document["results"] = found
        if next_first:
            rest = f"{_RANGE}{parts[0]}/range/1/day/{next_first}/{last}"
            document["next_url"] = f"{VENDOR_HOST}{rest}?{urlencode(query)}"
        return Answer.of(document)

    def _tickers(self, query: Mapping[str, str], now: datetime) -> list[dict[str, Any]]:
        active = query.get("active", "true") == "true"
        rows = self._market.tickers(now).filter(pl.col("active") == active)
        if "ticker" in query:
            rows = rows.filter(pl.col("ticker") == query["ticker"])
        rows = rows.sort("ticker", descending=query.get("order") == "desc")
        return [_listed(row) for row in rows.iter_rows(named=True)]

    def _details(self, ticker: str, now: datetime) -> Answer:
        rows = self._market.tickers(now).filter(pl.col("ticker") == ticker)
        if rows.is_empty():
            return Answer.error(404, "Ticker not found.")
        row = rows.row(0, named=True)
        more = ("list_date", "market_cap", "sic_code", "sic_description")
        known = {name: _plain(row[name]) for name in more if row.get(name) is not None}
        return Answer.of(
            {
                "request_id": uuid4().hex,
                "results": {**_listed(row), "ticker_root": ticker, "round_lot": 100, **known},
                "status": "OK",
            }
        )

    def _splits(self, query: Mapping[str, str], now: datetime) -> list[dict[str, Any]]:
        """List the splits, one in ten of them twice, as happens."""
        rows = self._market.splits(now).rename({"symbol": "ticker", "date": "execution_date"})
        found = []
        for number, row in enumerate(_chosen(rows, query, "execution_date")):
            split = {
                "id": f"E{number:05d}",
                "execution_date": str(row["execution_date"]),
                "split_from": _plain(row["split_from"]),
                "split_to": _plain(row["split_to"]),
                "ticker": row["ticker"],
            }
            found.append(split)
            if number % 10 == 3:
                found.append({**split, "id": f"P{number:05d}"})
        return found

    def _dividends(self, query: Mapping[str, str], now: datetime) -> list[dict[str, Any]]:
        rows = _chosen(self._market.dividends(now), query, "ex_dividend_date")
        return [
            {
                "id": f"E{number:06d}",
                **{name: _plain(value) for name, value in row.items() if value is not None},
            }
            for number, row in enumerate(rows)
        ]

    def _upcoming(self, today: date) -> list[dict[str, Any]]:
        """List the days of the coming months without a full session, per exchange."""
        found = []
        for ahead in range(1, 200):
            day = today + timedelta(days=ahead)
            if day.weekday() >= 5:
                continue
            closes = self._close_of(day)
            if not closes:
                kind = {"status": "closed"}
            elif closes.astimezone(NEW_YORK).hour < 16:
                opens = datetime.combine(day, time(9, 30), NEW_YORK)
                kind = {"status": "early-close", "open": _utc(opens), "close": _utc(closes)}
            else:
                continue
            base = {"date": str(day), "name": "Market Holiday"}
            found += [{**base, "exchange": venue, **kind} for venue in _VENUES]
        return found

    def _market_status(self, now: datetime) -> dict[str, Any]:
        today = now.astimezone(NEW_YORK).date()
        closes = self._close_of(today)
        is_open = closes is not None and now < closes
        state = "open" if is_open else "closed"
        return {
            "afterHours": False,
            "earlyHours": False,
            "currencies": {"crypto": "open", "fx": "open"},
            "exchanges": {"nasdaq": state, "nyse": state, "otc": state},
            "market": state,
            "serverTime": now.astimezone(NEW_YORK).isoformat(timespec="seconds"),
        }

    def _close_of(self, day: date) -> datetime | None:
        return self._calendar.close_of(day) if self._calendar.is_session(day) else None


def _head(count: int, query: Mapping[str, str], status: str = "OK") -> dict[str, Any]:
    return {
        "queryCount": count,
        "resultsCount": count,
        "adjusted": query.get("adjusted", "true") == "true",
        "request_id": uuid4().hex,
        "status": status,
    }


def _bars(rows: pl.DataFrame, at: datetime) -> bytes:
    """Return rows as the vendor's bars; what is not known is left out."""
    renamed = rows.select(
        T="symbol",
        v="volume",
        vw="vwap",
        o="open",
        c="close",
        h="high",
        l="low",
        t=pl.lit(int(at.timestamp() * 1000)),
        n="trades",
    )
    body = renamed.write_json().encode()
    for name in ("n", "vw"):
        body = body.replace(f',"{name}":null'.encode(), b"")
    return body


def _listed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a ticker as the list has it; what is not known is left out."""
    gone = row.get("delisted_date")
    full = {
        **row,
        "currency_name": "usd",
        "last_updated_utc": "2025-01-02T00:00:00Z",
        "delisted_utc": f"{gone}T05:00:00Z" if gone else None,
    }
    return {name: full[name] for name in _LISTED_FIELDS if full.get(name) is not None}


def _chosen(rows: pl.DataFrame, query: Mapping[str, str], column: str) -> list[dict[str, Any]]:
    """Filter by date and ticker, and sort as the query says."""
    compared = {
        "": pl.Expr.eq,
        ".gte": pl.Expr.ge,
        ".gt": pl.Expr.gt,
        ".lte": pl.Expr.le,
        ".lt": pl.Expr.lt,
    }
    for ending, compare in compared.items():
        if text := query.get(f"{column}{ending}"):
            rows = rows.filter(compare(pl.col(column), date.fromisoformat(text)))
    if "ticker" in query:
        rows = rows.filter(pl.col("ticker") == query["ticker"])
    descending = query.get("order", "desc") == "desc"
    return rows.sort(column, "ticker", descending=[descending, False]).to_dicts()


def _page(
    path: str, query: Mapping[str, str], rows: Callable[[Mapping[str, str]], list[dict[str, Any]]]
) -> Answer:
    """Cut one page out of a list, with the address of the next one."""
    filters, start = dict(query), 0
    if "cursor" in filters:
        filters = dict(parse_qsl(base64.urlsafe_b64decode(filters["cursor"]).decode()))
        start = int(filters.pop("start"))
    limit = int(filters.get("limit", "100" if path == _TICKERS else "10"))
    if not 1 <= limit <= _MOST_ROWS:
        return Answer.error(400, f"'limit' must be between 1 and {_MOST_ROWS}")
    found = rows(filters)
    page = found[start : start + limit]
    document: dict[str, Any] = {"results": page, "status": "OK", "request_id": uuid4().hex}
    if path == _TICKERS:
        document["count"] = len(page)
    if start + limit < len(found):
        place = urlencode({**filters, "start": start + limit}).encode()
        cursor = base64.urlsafe_b64encode(place).decode()
        document["next_url"] = f"{VENDOR_HOST}{path}?{urlencode({'cursor': cursor})}"
    return Answer.of(document)


def _plain(value: Any) -> Any:
    """Return dates as text and whole numbers without a point, as the vendor does."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e12:
        return int(value)
    return value


def _utc(instant: datetime) -> str:
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
