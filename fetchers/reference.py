"""Fetching reference data: tickers, details, splits, dividends, and a look at the holidays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Protocol

import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused, DeliveryUnreadable, ObjectMissing
from batch.core.frames import empty_frame
from batch.core.layout import DIVIDENDS, LISTED, SPLITS, TICKERS, Delivery
from batch.core.sessions import Calendar
from batch.lake.reference import add_splits, read_reference, rewrite_reference
from batch.runtime.progress import Progress, StopRequested, require_going
from batch.storage.parquet import read_table
from batch.storage.store import ObjectStore
from fetchers.bronze import BronzeLook
from fetchers.plan import NEW_YORK, exchange_date, lookback_start, newest_due
from fetchers.polygon.parsing import Details, Holiday
from fetchers.tickers import (
    Mismatch,
    apply_details,
    apply_listing,
    choose_for_details,
    compare_with_traded,
    current_rows,
)

PARTS = ("splits", "holidays", "tickers", "dividends", "details")
"""What is fetched, in this order."""

OVERLAP = timedelta(days=30)
"""Lists of splits and dividends are read again from this long before where they ended."""

FIRST_DIVIDENDS = timedelta(days=365)
"""How far back a lake without dividends begins."""

INACTIVE_EVERY = timedelta(days=7)
"""How often the long list of tickers that trade no more is read."""

_SHRUNK = 0.8
_TOLD = 10
_NAMED_VENUES = {"NYSE", "NASDAQ"}


class ReferenceSource(Protocol):
    """Who is asked for reference data."""

    def tickers(self, *, active: bool) -> pl.DataFrame:
        """Return the tickers that trade, or those that no longer do."""

    def details(self, ticker: str) -> Details | None:
        """Return the details of a ticker, or None where there are none."""

    def splits(self, since: date | None) -> Iterable[pl.DataFrame]:
        """Return the splits from a date on, by date, in pages."""

    def dividends(self, since: date) -> Iterable[pl.DataFrame]:
        """Return the dividends from a date on, by ex-dividend date, in pages."""

    def upcoming_holidays(self) -> list[Holiday]:
        """Return the market holidays to come."""


@dataclass(slots=True)
class ReferenceFetched:
    """What one fetch of reference data did; filled as it goes.

    Attributes:
        tickers: Tickers known now, active or not.
        active: Those of them that trade.
        tickers_changed: Tickers that are new or of which something changed.
        details: Tickers whose details were asked for.
        details_left: Active tickers whose details were never asked for.
        splits: Splits that are new or changed.
        dividends: Dividends known now.
        mismatch: Tickers that trade and are not listed, and the reverse.
        warnings: What somebody should look at.
        done: Parts that are up to date, in order.
    """

    tickers: int = 0
    active: int = 0
    tickers_changed: int = 0
    details: int = 0
    details_left: int = 0
    splits: int = 0
    dividends: int = 0
    mismatch: Mismatch | None = None
    warnings: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, Any]:
        """What a report tells of it."""
        odd = self.mismatch
        return {
            "tickers": self.tickers,
            "active_tickers": self.active,
            "tickers_changed": self.tickers_changed,
            "details_asked": self.details,
            "details_never_asked": self.details_left,
            "splits_changed": self.splits,
            "dividends": self.dividends,
            "traded_not_listed": list(odd.traded_not_listed) if odd else [],
            "listed_not_traded": list(odd.listed_not_traded) if odd else [],
            "reference_done": self.done,
            "warnings": self.warnings,
        }

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        return (
            f"reference: {self.tickers:,} tickers ({self.active:,} active,"
            f" {self.tickers_changed:,} changed), {self.details:,} details,"
            f" {self.splits:,} splits new or changed, {self.dividends:,} dividends"
        )


@dataclass(frozen=True, slots=True)
class _Listed:
    """How far the vendor's lists have been read."""

    splits: date | None = None
    dividends: date | None = None
    inactive: date | None = None

    def with_date(self, name: str, day: date) -> _Listed:
        values = {"splits": self.splits, "dividends": self.dividends, "inactive": self.inactive}
        return _Listed(**{**values, name: day})


def fetch_reference(
    store: ObjectStore,
    source: ReferenceSource,
    *,
    calendar: Calendar,
    now: datetime,
    details_per_run: int,
    downloads: int,
    progress: Progress,
    stop_requested: StopRequested,
    outcome: ReferenceFetched | None = None,
) -> ReferenceFetched:
    """Bring the reference tables up to what the vendor lists.

    Each table is replaced whole or not at all. Splits and dividends are kept a page at a
    time, so a run that is stopped is continued by the next one. Details are asked for
    last, and not for more tickers than the budget of the run.

    Args:
        store: The lake.
        source: The vendor; must be usable by several threads.
        calendar: The exchange calendar.
        now: Decides today's date at the exchange.
        details_per_run: Tickers whose details are asked for.
        downloads: Details asked for side by side.
        progress: Hears what is going on.
        stop_requested: Asked between writes.
        outcome: Where to tell what was done, so that it is known after an error, too.

    Raises:
        VendorDenied: The key or the plan does not allow it.
        VendorUnavailable: The vendor gave no whole answer; what came before is kept.
        DataRefused: A list cannot be true.
        Interrupted: It was asked to stop.
    """
    outcome = outcome if outcome is not None else ReferenceFetched()
    job = _Job(
        store,
        source,
        calendar,
        now,
        details_per_run,
        downloads,
        progress,
        stop_requested,
        outcome,
    )
    job.run()
    return outcome


def compare_tickers(
    store: ObjectStore, calendar: Calendar, now: datetime, lookback: int = 10
) -> Mismatch | None:
    """Compare the tickers listed with those that traded in the newest session of the lake."""
    look = BronzeLook(store, calendar)
    newest = newest_due(calendar, now, timedelta())
    look.look(lookback_start(calendar, newest, lookback), newest)
    found = look.symbols_of_newest()
    if found is None:
        return None
    session, deliveries = found
    table = read_reference(store, TICKERS, schema.TICKERS)
    return compare_with_traded(table, _symbols(store, deliveries), session)


@dataclass(slots=True, eq=False)
class _Job:
    """One fetch of reference data into one lake."""

    store: ObjectStore
    source: ReferenceSource
    calendar: Calendar
    now: datetime
    details_per_run: int
    downloads: int
    progress: Progress
    stop_requested: StopRequested
    outcome: ReferenceFetched
    today: date = field(init=False)
    listed: _Listed = field(init=False)

    def run(self) -> None:
        """Fetch part by part; what corrects prices comes first."""
        self.today = exchange_date(self.now)
        self.listed = _read_listed(self.store)
        work = (
            self._splits,
            self._holidays,
            self._tickers,
            self._dividends,
            self._details,
        )
        self.progress.begin("fetching reference", len(PARTS), "parts")
        for name, fetch in zip(PARTS, work, strict=True):
            require_going(self.stop_requested)
            fetch()
            self.outcome.done.append(name)
            self.progress.advance()

    def _splits(self) -> None:
        since = self.listed.splits if self.store.head(SPLITS) else None
        for page in self.source.splits(since - OVERLAP if since else None):
            require_going(self.stop_requested)
            if page.is_empty():
                continue
            self.outcome.splits += add_splits(self.store, page, named="Polygon, splits")
            self._reached("splits", page["date"])
        self._reached("splits", pl.Series([self.today]))

    def _dividends(self) -> None:
        known = self.listed.dividends if self.store.head(DIVIDENDS) else None
        start = known - OVERLAP if known else self.today - FIRST_DIVIDENDS
        begun = start
        pages = iter(self.source.dividends(start))
        waiting: list[pl.DataFrame] = []
        for number, page in enumerate(pages, 1):
            require_going(self.stop_requested)
            waiting.append(page)
            if number % 10 == 0 and page.height:
                begun = self._keep_dividends(waiting, begun, last=page["date"][-1])
                waiting = []
        self._keep_dividends(waiting, begun, last=None)
        self._reached("dividends", pl.Series([self.today]))

    def _keep_dividends(self, pages: list[pl.DataFrame], first: date, *, last: date | None) -> date:
        """Replace the dividends of a stretch of dates by those listed.

        Args:
            pages: All that is listed from ``first`` on, up to ``last``.
            first: First date of the stretch.
            last: A date that perhaps is not listed whole yet; None where the list ended.

        Returns:
            Where the next stretch begins.
        """
        columns = schema.DIVIDENDS.names
        key = ["symbol", "date", "dividend_type", "cash_amount"]
        empty = empty_frame(schema.DIVIDENDS)
        listed = pl.concat([empty, *(page.select(columns) for page in pages)])

        def rewrite(there: pl.DataFrame) -> pl.DataFrame:
            replaced = pl.col("date") >= first
            if last is not None:
                replaced &= pl.col("date") < last
            merged = pl.concat([there.filter(~replaced), listed])
            return merged.unique([*key, "currency"], keep="last", maintain_order=True).sort(
                [*key, "currency"]
            )

        table = rewrite_reference(self.store, DIVIDENDS, schema.DIVIDENDS, rewrite)
        self.outcome.dividends = table.height
        if last is not None:
            self._reached("dividends", pl.Series([last]))
        return last or first

    def _tickers(self) -> None:
        active = self.source.tickers(active=True)
        before = current_rows(read_reference(self.store, TICKERS, schema.TICKERS))
        traded_before = before.filter("active")["symbol"]
        if active.height < _SHRUNK * len(traded_before):
            raise DataRefused(
                f"Polygon, tickers: {active.height:,} active ones are listed where"
                f" {len(traded_before):,} were before; the table is left as it was"
            )
        missing = set(traded_before.to_list()) - set(active["symbol"].to_list())
        listed, gone = active, set[str]()
        due = self.listed.inactive is None or self.today - self.listed.inactive >= INACTIVE_EVERY
        if before.is_empty() or missing or due:
            require_going(self.stop_requested)
            inactive = self.source.tickers(active=False)
            inactive = inactive.join(active, on="symbol", how="anti")
            listed = pl.concat([active, inactive])
            gone = missing - set(inactive["symbol"].to_list())
            self._reached("inactive", pl.Series([self.today]))

        def rewrite(there: pl.DataFrame) -> pl.DataFrame:
            made = apply_listing(there, listed, self.today, gone=gone)
            self.outcome.tickers_changed = (
                made.join(there, on=made.columns, how="anti", nulls_equal=True)
                .filter(pl.col("valid_to").is_null())
                .height
            )
            return made

        self._keep_tickers(rewrite)

    def _details(self) -> None:
        table = read_reference(self.store, TICKERS, schema.TICKERS)
        chosen = choose_for_details(table, self.details_per_run)
        found: list[Details] = []

        def one(ticker: str) -> Details:
            require_going(self.stop_requested)
            return self.source.details(ticker) or Details(ticker)

        try:
            with ThreadPoolExecutor(self.downloads) as pool:
                for details in pool.map(one, chosen):
                    found.append(details)  # noqa: PERF402 - what came before an error is kept
        finally:
            self.outcome.details = len(found)
            if found:
                self._keep_tickers(lambda there: apply_details(there, found, self.today))

    def _keep_tickers(self, rewrite: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        table = rewrite_reference(self.store, TICKERS, schema.TICKERS, rewrite)
        current = current_rows(table)
        active = current.filter("active")
        self.outcome.tickers, self.outcome.active = current.height, active.height
        self.outcome.details_left = active["details_date"].null_count()

    def _holidays(self) -> None:
        for told in calendar_differences(
            self.source.upcoming_holidays(), self.calendar, self.today
        ):
            self.outcome.warnings.append(told)
            self.progress.warn(told)

    def _reached(self, name: str, dates: pl.Series) -> None:
        """Keep how far a list has been read; a date ahead counts as today."""
        newest = dates.max()
        assert isinstance(newest, date)  # noqa: S101 - tells the type checker
        reached = self.listed.with_date(name, min(newest, self.today))
        if reached != self.listed:
            self.listed = reached
            content = {
                "splits": reached.splits,
                "dividends": reached.dividends,
                "inactive": reached.inactive,
            }
            self.store.write(LISTED, json.dumps(content, default=str, indent=2).encode())


def calendar_differences(upcoming: Iterable[Holiday], calendar: Calendar, today: date) -> list[str]:
    """Return where the vendor's market holidays and the exchange calendar disagree.

    Only days that the vendor's list reaches are compared, in words; none where they agree.
    """
    at_exchange = [
        day for day in upcoming if day.exchange.upper() in _NAMED_VENUES and day.day > today
    ]
    closed = {day.day: day.name for day in at_exchange if day.closes_at is None}
    early = {day.day: day.closes_at for day in at_exchange if day.closes_at is not None}
    advice = "; see the exchange's announcements, and update exchange-calendars if it is behind"
    told = [
        f"{day}: the vendor expects the exchange to be closed ({name}),"
        f" the calendar has a session{advice}"
        for day, name in sorted(closed.items())
        if calendar.is_session(day)
    ]
    for day, closes_at in sorted(early.items()):
        if not calendar.is_session(day):
            told.append(
                f"{day}: the vendor expects an early close, the calendar has no session{advice}"
            )
        elif calendar.close_of(day) != closes_at:
            ours = calendar.close_of(day).astimezone(NEW_YORK)
            theirs = closes_at.astimezone(NEW_YORK) if closes_at else None
            told.append(
                f"{day}: the vendor expects a close at {theirs:%H:%M}, the calendar at"
                f" {ours:%H:%M} New York time{advice}"
            )
    horizon = max((day.day for day in at_exchange), default=today)
    day = today + timedelta(days=1)
    while day <= horizon:
        if day.weekday() < 5 and not calendar.is_session(day) and day not in closed:
            told.append(f"{day}: the calendar has no session, the vendor expects one{advice}")
        day += timedelta(days=1)
    return told


def told_mismatch(odd: Mismatch) -> list[str]:
    """Return a mismatch in words, the first tickers named."""
    told = []
    for text, symbols in (
        ("traded but are not listed", odd.traded_not_listed),
        ("are listed but did not trade", odd.listed_not_traded),
    ):
        if symbols:
            more = ", ..." if len(symbols) > _TOLD else ""
            told.append(
                f"{len(symbols):,} tickers {text} on {odd.session}:"
                f" {', '.join(symbols[:_TOLD])}{more}"
            )
    return told


def _symbols(store: ObjectStore, deliveries: Iterable[Delivery]) -> set[str]:
    found: set[str] = set()
    for delivery in deliveries:
        try:
            content = store.read(delivery.key)
            table = read_table(content, ["symbol"], named=delivery.key)
        except (DeliveryUnreadable, ObjectMissing):
            continue
        found.update(table.column("symbol").to_pylist())
    return found


def _read_listed(store: ObjectStore) -> _Listed:
    try:
        content = json.loads(store.read(LISTED))
    except ObjectMissing:
        return _Listed()
    return _Listed(
        **{name: date.fromisoformat(text) if text else None for name, text in content.items()}
    )
