"""Fetching reference data: splits, holidays, tickers, dividends, details."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial

import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused, DeliveryUnreadable, ObjectMissing, OhlcvError
from batch.core.frames import empty_frame
from batch.core.layout import DIVIDENDS, LISTED, SPLITS, TICKERS, Delivery
from batch.core.sessions import Calendar
from batch.lake.reference import add_splits, last_dividends, read_reference, rewrite_reference
from batch.runtime.formats import count_text
from batch.storage.parquet import read_table
from batch.storage.store import ObjectStore
from fetchers.bronze import BronzeListing
from fetchers.context import FetchContext
from fetchers.plan import NEW_YORK, exchange_date, lookback_start
from fetchers.polygon.client import PolygonClient
from fetchers.polygon.parsing import Details, Holiday
from fetchers.results import PARTS, ReferenceFetched, last_result
from fetchers.tickers import apply_details, apply_listing, choose_for_details, current_rows

OVERLAP = timedelta(days=30)
"""Lists of splits and dividends are read again from this long before where they ended."""

FIRST_DIVIDENDS = timedelta(days=365)
"""How far back a lake without dividends begins."""

INACTIVE_EVERY = timedelta(days=7)
"""How often the long list of tickers that trade no more is read."""

_SHRUNK = 0.8
_DIVIDEND_PAGES = 10
_VENUES = {"NYSE", "NASDAQ"}
_TRADED_WITHIN = 10
_NAMED = 10


def fetch_reference(context: FetchContext, source: PolygonClient) -> ReferenceFetched:
    """Bring the reference tables up to what the vendor lists.

    Each table is replaced whole or not at all. Splits and dividends are kept page by page,
    so a run that is stopped is continued by the next one. Details come last, and within the
    budget of the run.

    The result's ``error`` is what ended it: ``VendorDenied`` where the key or the plan does not
    allow it, ``VendorUnavailable`` where the vendor gave no whole answer, ``DataRefused`` where
    a list cannot be true, ``Interrupted`` where a stop was requested; what came before is kept.
    """
    return last_result(_Attempt(context, source, exchange_date(context.clock())).results())


@dataclass(frozen=True, slots=True, eq=False)
class _Attempt:
    """One attempt to fetch the parts, each of which yields the result so far after each step."""

    context: FetchContext
    source: PolygonClient
    today: date

    def results(self) -> Iterator[ReferenceFetched]:
        fetched = ReferenceFetched()
        yield fetched
        self.context.progress.begin("fetching reference", len(PARTS), "parts")
        parts = (self._splits, self._holidays, self._tickers, self._dividends, self._details)
        for name, part in zip(PARTS, parts, strict=True):
            self.context.require_going()
            for so_far in part(fetched):
                fetched = so_far
                yield fetched
            fetched = replace(fetched, reference_done=(*fetched.reference_done, name))
            yield fetched
            self.context.progress.advance()

    def _splits(self, fetched: ReferenceFetched) -> Iterator[ReferenceFetched]:
        store = self.context.store
        since = _listed_until(store)["splits"] if store.head(SPLITS) else None
        for page in self.source.splits(since - OVERLAP if since else None):
            self.context.require_going()
            if page.is_empty():
                continue
            changed = add_splits(store, page, label="Polygon, splits")
            fetched = replace(fetched, splits_changed=fetched.splits_changed + changed)
            yield fetched
            self._note_listed("splits", max(page["date"].to_list()))
        self._note_listed("splits", self.today)

    def _holidays(self, fetched: ReferenceFetched) -> Iterator[ReferenceFetched]:
        upcoming = self.source.upcoming_holidays()
        differences = calendar_differences(upcoming, self.context.calendar, self.today)
        yield _with_warnings(self.context, fetched, differences)

    def _tickers(self, fetched: ReferenceFetched) -> Iterator[ReferenceFetched]:
        store, today = self.context.store, self.today
        active = self.source.tickers(active=True)
        before = read_reference(store, TICKERS, schema.TICKERS)
        active_before = current_rows(before).filter("active")["symbol"]
        if active.height < _SHRUNK * len(active_before):
            raise DataRefused(
                f"Polygon, tickers: {active.height:,} active ones are listed where"
                f" {len(active_before):,} were before; the table is left as it was"
            )
        missing = set(active_before.to_list()) - set(active["symbol"].to_list())
        listed, gone = active, set[str]()
        read_on = _listed_until(store)["inactive"]
        if before.is_empty() or missing or read_on is None or today - read_on >= INACTIVE_EVERY:
            self.context.require_going()
            inactive = self.source.tickers(active=False).join(active, on="symbol", how="anti")
            listed = pl.concat([active, inactive])
            gone = missing - set(inactive["symbol"].to_list())
            self._note_listed("inactive", today)
        rewrite = partial(apply_listing, listed=listed, today=today, gone=gone)
        table = rewrite_reference(store, TICKERS, schema.TICKERS, rewrite).after
        changed = table.join(before, on=table.columns, how="anti", nulls_equal=True)
        fetched = replace(fetched, tickers_changed=current_rows(changed).height)
        yield _with_tickers(fetched, table)

    def _dividends(self, fetched: ReferenceFetched) -> Iterator[ReferenceFetched]:
        store = self.context.store
        known = _listed_until(store)["dividends"] if store.head(DIVIDENDS) else None
        first = known - OVERLAP if known else self.today - FIRST_DIVIDENDS
        waiting: list[pl.DataFrame] = []
        for number, page in enumerate(self.source.dividends(first), 1):
            self.context.require_going()
            waiting.append(page)
            if number % _DIVIDEND_PAGES == 0 and page.height:
                last = page["date"][-1]  # the next page may list more of this date
                count = _replace_dividends(store, waiting, first, before=last)
                fetched = replace(fetched, dividends=count)
                yield fetched
                self._note_listed("dividends", last)
                waiting, first = [], last
        yield replace(fetched, dividends=_replace_dividends(store, waiting, first, before=None))
        self._note_listed("dividends", self.today)

    def _details(self, fetched: ReferenceFetched) -> Iterator[ReferenceFetched]:
        store = self.context.store
        table = read_reference(store, TICKERS, schema.TICKERS)
        chosen = choose_for_details(table, self.context.settings.details_per_run)
        found: list[Details] = []
        error: OhlcvError | None = None

        def request(ticker: str) -> Details:
            self.context.require_going()
            return self.source.details(ticker) or Details(ticker)

        try:
            with ThreadPoolExecutor(self.context.downloads) as pool:
                for details in pool.map(request, chosen):
                    found.append(details)  # noqa: PERF402 - what came before an error is kept
        except OhlcvError as err:
            error = err
        if found:
            rewrite = partial(apply_details, found=found, today=self.today)
            table = rewrite_reference(store, TICKERS, schema.TICKERS, rewrite).after
            fetched = _with_tickers(fetched, table)
        yield replace(fetched, details_asked=len(found))
        if error:
            raise error

    def _note_listed(self, name: str, day: date) -> None:
        """Note how far a list has been read; a date ahead counts as today."""
        until = _listed_until(self.context.store)
        reached = {**until, name: min(day, self.today)}
        if reached != until:
            content = json.dumps(reached, default=str, indent=2)
            self.context.store.write(LISTED, content.encode())


def compare_tickers(context: FetchContext, fetched: ReferenceFetched) -> ReferenceFetched:
    """Warn of tickers that traded in the newest session without being listed, and the reverse.

    Returns the result with both. Nothing is compared where no session of the last ten, or no
    ticker, is in the lake.
    """
    store, calendar = context.store, context.calendar
    bronze = BronzeListing(store, calendar)
    newest = calendar.newest_closed(context.clock())
    bronze.list_range(lookback_start(calendar, newest, _TRADED_WITHIN), newest)
    table = read_reference(store, TICKERS, schema.TICKERS)
    listed = set(current_rows(table).filter("active")["symbol"])
    if not bronze.present or not listed:
        return fetched
    session = max(bronze.present)
    traded = _symbols(store, bronze.deliveries(session))
    unlisted, untraded = sorted(traded - listed), sorted(listed - traded)
    warnings = [
        f"{count_text(len(symbols), 'tickers')} {what} on {session}: {', '.join(symbols[:_NAMED])}"
        f"{', ...' if len(symbols) > _NAMED else ''}"
        for what, symbols in (
            ("traded but not listed", unlisted),
            ("listed but not traded", untraded),
        )
        if symbols
    ]
    fetched = _with_warnings(context, fetched, warnings)
    return replace(fetched, traded_not_listed=tuple(unlisted), listed_not_traded=tuple(untraded))


def _with_warnings(
    context: FetchContext, fetched: ReferenceFetched, warnings: list[str]
) -> ReferenceFetched:
    for text in warnings:
        context.progress.warn(text)
    return replace(fetched, warnings=(*fetched.warnings, *warnings))


def _symbols(store: ObjectStore, deliveries: Iterable[Delivery]) -> set[str]:
    found: set[str] = set()
    for delivery in deliveries:
        try:
            table = read_table(store.read(delivery.key), ["symbol"], label=delivery.key)
        except (DeliveryUnreadable, ObjectMissing):
            continue
        found.update(table.column("symbol").to_pylist())
    return found


def _with_tickers(fetched: ReferenceFetched, table: pl.DataFrame) -> ReferenceFetched:
    current = current_rows(table)
    active = current.filter("active")
    return replace(
        fetched,
        tickers=current.height,
        active_tickers=active.height,
        details_never_asked=active["details_date"].null_count(),
    )


def _replace_dividends(
    store: ObjectStore, pages: list[pl.DataFrame], first: date, *, before: date | None
) -> int:
    """Replace the dividends from ``first`` on by those listed; return how many there are now.

    Where the list goes on, ``before`` ends the stretch replaced: what is listed at it or later
    is added without replacing anything, as the list may have more of it.
    """
    listed = pl.concat([empty_frame(schema.DIVIDENDS), *pages])

    def rewrite(there: pl.DataFrame) -> pl.DataFrame:
        replaced = pl.col("date") >= first
        if before is not None:
            replaced &= pl.col("date") < before
        return last_dividends([there.filter(~replaced), listed])

    return rewrite_reference(store, DIVIDENDS, schema.DIVIDENDS, rewrite).after.height


def _listed_until(store: ObjectStore) -> dict[str, date | None]:
    try:
        content = json.loads(store.read(LISTED))
    except ObjectMissing:
        content = {}
    return {
        name: date.fromisoformat(content[name]) if content.get(name) else None
        for name in ("splits", "dividends", "inactive")
    }


def calendar_differences(upcoming: Iterable[Holiday], calendar: Calendar, today: date) -> list[str]:
    """Return where the vendor's market holidays and the exchange calendar differ, in words.

    Only days that both the vendor's list and the calendar reach are compared.
    """
    at_exchange = [
        day
        for day in upcoming
        if day.exchange.upper() in _VENUES and today < day.day <= calendar.last
    ]
    closed = {day.day: day.name for day in at_exchange if day.closes_at is None}
    early = {day.day: day.closes_at for day in at_exchange if day.closes_at is not None}
    found = [
        f"{day}: the vendor expects the exchange to be closed ({name}), the calendar has a session"
        for day, name in sorted(closed.items())
        if calendar.is_session(day)
    ]
    for day, closes_at in sorted(early.items()):
        if not calendar.is_session(day):
            found.append(f"{day}: the vendor expects an early close, the calendar has no session")
        elif calendar.close_of(day) != closes_at:
            ours, theirs = (at.astimezone(NEW_YORK) for at in (calendar.close_of(day), closes_at))
            found.append(
                f"{day}: the vendor expects a close at {theirs:%H:%M}, the calendar at"
                f" {ours:%H:%M} New York time"
            )
    horizon = max((day.day for day in at_exchange), default=today)
    for ahead in range(1, (horizon - today).days + 1):
        day = today + timedelta(days=ahead)
        expected = day not in closed and day not in early  # an early close is reported above
        if day.weekday() < 5 and not calendar.is_session(day) and expected:
            found.append(f"{day}: the calendar has no session, the vendor expects one")
    advice = "see the exchange's announcements, and update exchange-calendars if it is behind"
    return [f"{difference}; {advice}" for difference in found]
