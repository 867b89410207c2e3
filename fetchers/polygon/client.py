"""The vendor's own client for its HTTP interface.

The only module that imports the vendor's package. To move to its successor ``massive``,
change the import: the methods have the same names.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import islice
from typing import Any
from urllib.parse import quote

import polars as pl
from polygon import RESTClient

from fetchers.errors import NotListed
from fetchers.polygon import parsing
from fetchers.polygon.parsing import Details, Holiday, SessionAnswer
from fetchers.polygon.transport import VendorHttp

_PAGE = 1000


class PolygonClient:
    """Requests what the fetchers need, at the vendor's pace; returns whole answers only.

    Every method may raise what :meth:`fetchers.polygon.transport.VendorHttp.request` and
    the functions of :mod:`fetchers.polygon.parsing` raise. May be used by several threads.
    """

    def __init__(self, http: VendorHttp, base_url: str) -> None:
        self._json = http.json
        self._rest: Any = RESTClient(
            api_key=http.key.get_secret_value(), base=base_url.rstrip("/"), custom_json=http.json
        )
        self._rest.client = http

    def session(self, session: date) -> SessionAnswer:
        """Return the bars of every ticker of one session, raw, without OTC."""
        response = self._rest.get_grouped_daily_aggs(
            session.isoformat(), adjusted=False, include_otc=False, raw=True
        )
        return parsing.session_answer(self._json.loads(response.data.decode("utf-8")), session)

    def tickers(self, *, active: bool) -> pl.DataFrame:
        """Return the stock tickers that trade, or those that no longer do.

        Rows of :data:`fetchers.polygon.parsing.TICKERS_LISTED`, sorted by symbol.
        """
        listed = self._rest.list_tickers(market="stocks", active=active, limit=_PAGE, sort="ticker")
        return parsing.ticker_rows(listed)

    def details(self, ticker: str) -> Details | None:
        """Return the details of a ticker, or None where the vendor has none."""
        try:
            found = self._rest.get_ticker_details(quote(ticker, safe=""))
        except NotListed:
            return None
        return parsing.details_of(ticker, found)

    def splits(self, since: date | None) -> Iterator[pl.DataFrame]:
        """Return the splits executed on or after a date, a page at a time, by date."""
        listed = self._rest.list_splits(
            execution_date_gte=since.isoformat() if since else None,
            limit=_PAGE,
            sort="execution_date",
            order="asc",
        )
        return map(parsing.split_rows, _pages(listed))

    def dividends(self, since: date) -> Iterator[pl.DataFrame]:
        """Return the dividends that go ex on or after a date, a page at a time, by date."""
        listed = self._rest.list_dividends(
            ex_dividend_date_gte=since.isoformat(),
            limit=_PAGE,
            sort="ex_dividend_date",
            order="asc",
        )
        return map(parsing.dividend_rows, _pages(listed))

    def upcoming_holidays(self) -> list[Holiday]:
        """Return the market holidays that the vendor expects."""
        response = self._rest.get_market_holidays(raw=True)
        return parsing.holidays(self._json.loads(response.data.decode("utf-8")))


def _pages(listed: Iterator[Any]) -> Iterator[list[Any]]:
    while page := list(islice(listed, _PAGE)):
        yield page
