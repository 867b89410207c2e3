"""The vendor's own client for its HTTP interface.

The only module that imports the vendor's package. To move to its successor ``massive``,
change the import: the methods have the same names.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import chain
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import polars as pl
from polygon import RESTClient

from fetchers.errors import NotListed, VendorRefused, shown
from fetchers.polygon import parsing
from fetchers.polygon.parsing import Details, Holiday, SessionAnswer
from fetchers.polygon.transport import VendorAnswer, VendorHttp, origin_of

_PAGE = 1000

_MOST_PAGES = 1000
"""Pages of a list; the longest, all dividends, has some hundreds."""

_VENDOR_ORIGINS = {
    ("https", "api.polygon.io", 443),
    ("https", "api.massive.com", 443),
}
"""What a page may name as the place of the next one, besides the base URL."""


class PolygonClient:
    """Requests what the fetchers need, at the vendor's pace; returns whole answers only.

    Every method may raise what :meth:`fetchers.polygon.transport.VendorHttp.request` and
    the functions of :mod:`fetchers.polygon.parsing` raise. May be used by several threads.
    """

    def __init__(self, http: VendorHttp, base_url: str) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        # Every call is raw: the package builds the request, the answer is read here. By itself
        # it takes odd answers for empty ones, and follows pages to whatever host they name.
        self._rest: Any = RESTClient(api_key=http.key.get_secret_value(), base=self._base_url)
        self._rest.client = http

    def session(self, session: date) -> SessionAnswer:
        """Return the bars of every ticker of one session, raw, without OTC."""
        answer = self._rest.get_grouped_daily_aggs(
            session.isoformat(), adjusted=False, include_otc=False, raw=True
        )
        return parsing.session_answer(answer.document, session)

    def tickers(self, *, active: bool) -> pl.DataFrame:
        """Return the stock tickers that trade, or those that no longer do.

        Rows of :data:`fetchers.polygon.parsing.TICKERS_LISTED`, sorted by symbol.
        """
        answer = self._rest.list_tickers(
            market="stocks", active=active, limit=_PAGE, sort="ticker", raw=True
        )
        return parsing.ticker_rows(chain.from_iterable(self._pages(answer)))

    def details(self, ticker: str) -> Details | None:
        """Return the details of a ticker, or None where the vendor has none."""
        try:
            answer = self._rest.get_ticker_details(quote(ticker, safe=""), raw=True)
        except NotListed:
            return None
        return parsing.details_of(ticker, answer.document)

    def splits(self, since: date | None) -> Iterator[pl.DataFrame]:
        """Return the splits executed on or after a date, a page at a time, by date."""
        answer = self._rest.list_splits(
            execution_date_gte=since.isoformat() if since else None,
            limit=_PAGE,
            sort="execution_date",
            order="asc",
            raw=True,
        )
        return map(parsing.split_rows, self._pages(answer))

    def dividends(self, since: date) -> Iterator[pl.DataFrame]:
        """Return the dividends that go ex on or after a date, a page at a time, by date."""
        answer = self._rest.list_dividends(
            ex_dividend_date_gte=since.isoformat(),
            limit=_PAGE,
            sort="ex_dividend_date",
            order="asc",
            raw=True,
        )
        return map(parsing.dividend_rows, self._pages(answer))

    def upcoming_holidays(self) -> list[Holiday]:
        """Return the market holidays that the vendor expects."""
        return parsing.holidays(self._rest.get_market_holidays(raw=True).document)

    def _pages(self, answer: VendorAnswer) -> Iterator[list[Any]]:
        """Yield the items of a list page by page, each page requested when the last was taken.

        Raises:
            VendorRefused: A page is not one, leads to another host or to a page already seen,
                or there is no end of them.
        """
        seen = {answer.target}
        while True:
            yield parsing.items_of(answer.where, answer.document)
            if "next_url" not in answer.document:
                return
            target = self._next_target(answer)
            if target in seen:
                raise VendorRefused(
                    f"{answer.where}: page {len(seen)} of the list leads back to one already seen;"
                    " the list is not used further"
                )
            if len(seen) == _MOST_PAGES:
                raise VendorRefused(
                    f"{answer.where}: the list goes on after {_MOST_PAGES:,} pages, more than"
                    " the vendor can have; it is not used further"
                )
            seen.add(target)
            base = urlsplit(self._base_url)
            answer = self._http.request(
                "GET", f"{base.scheme}://{base.netloc}{target}", headers=self._rest.headers
            )

    def _next_target(self, answer: VendorAnswer) -> str:
        """Return path and query of the next page, which is requested of the base URL alone.

        The vendor names itself by its own hosts, whichever host was asked. The package would
        append to the base URL whatever stands behind them, and so could be led to another host.
        """
        named = answer.document["next_url"]
        if not isinstance(named, str) or not named or not named.isascii():
            raise VendorRefused(
                f"{answer.where}: next_url is {shown(named) or 'empty'}, expected an address"
            )
        base = urlsplit(self._base_url)
        try:
            url = urljoin(f"{self._base_url}/", named)
        except ValueError:
            url = named
        origin = origin_of(url)
        if origin is None:
            raise VendorRefused(f"{answer.where}: next_url is {shown(named)}, not an address")
        if origin not in {origin_of(self._base_url), *_VENDOR_ORIGINS}:
            scheme, host, port = origin
            raise VendorRefused(
                f"{answer.where}: the next page is at {shown(f'{scheme}://{host}:{port}')}, where"
                f" the key is not sent; expected it at {base.scheme}://{base.netloc}"
            )
        parts = urlsplit(url)
        within = parts.path.removeprefix(base.path)
        return f"{base.path}{within}" + (f"?{parts.query}" if parts.query else "")
