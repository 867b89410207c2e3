"""A synthetic exchange: a whole stock market from a seed, and what a vendor sends of it.

Listings, delistings, halts, splits, early closes, odd tickers, late and repeated
deliveries, corrections and broken rows all occur. The same specification gives the same
rows, and a later last session adds to them without changing the earlier ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl

from batch.core.sessions import Calendar, day_of
from simulation.companies import Companies, ticker_rows
from simulation.market import Market

LONGEST_LAG = 5
"""Sessions after which the last correction of a session has been received."""


@dataclass(frozen=True, kw_only=True)
class ExchangeSpec:
    """All that a synthetic exchange follows from.

    About ``symbols`` stocks are listed at any time. Dates are inclusive; a later ``last``
    changes nothing before it.
    """

    symbols: int = 400
    first: date
    last: date
    seed: int = 7

    def __post_init__(self) -> None:
        if self.symbols < 1:
            raise ValueError(f"symbols: {self.symbols} given, at least 1 is needed")
        if self.seed < 0:
            raise ValueError(f"seed: {self.seed} given, it must not be negative")
        if self.last < self.first:
            raise ValueError(f"last: {self.last} given, it must not be before first {self.first}")


@dataclass(frozen=True, slots=True, eq=False)
class ReceivedDelivery:
    """What a vendor sent at one instant.

    ``rows`` have the columns of :data:`batch.core.schema.DELIVERY`: one session, broken rows
    included, sorted by symbol.
    """

    received_at: datetime
    rows: pl.DataFrame


class SyntheticExchange:
    """A stock market made from a specification, a year at a time.

    Sessions may be read in any order; in ascending order each year is made once. At most two
    years are held in memory.
    """

    def __init__(self, spec: ExchangeSpec, calendar: Calendar) -> None:
        """Prepare the market.

        Raises:
            ValueError: The calendar does not reach from ``first`` to the end of the year
                of ``last``, or there is no session between them.
        """
        self.spec = spec
        self.sessions: list[date] = calendar.sessions_between(spec.first, spec.last)
        year_end = date(spec.last.year, 12, 24)
        if spec.first < calendar.first or calendar.last < year_end:
            raise ValueError(
                f"the exchange from {spec.first} to {spec.last} needs sessions to the end of its"
                f" last year; the calendar has {calendar.first} to {calendar.last}"
            )
        if not self.sessions:
            raise ValueError(f"there is no session from {spec.first} to {spec.last}")
        self._calendar = calendar
        self._companies = Companies.draw(spec.symbols, spec.seed)
        self._market = Market(self._companies, calendar, spec.first, spec.seed)
        self._listed = set(self.sessions)

    def session_rows(self, session: date) -> pl.DataFrame:
        """Return the true final rows of one session, sorted by symbol.

        Raises:
            ValueError: It is not a session of this exchange.
        """
        if session not in self._listed:
            raise ValueError(
                f"{session} is not a session of the exchange from {self.sessions[0]} to"
                f" {self.sessions[-1]}"
            )
        return self._market.session(session)

    def splits(self) -> pl.DataFrame:
        """Return the splits executed up to the last session, sorted by (symbol, date).

        Columns ``symbol``, ``date``, ``split_from``, ``split_to``. Some fall on a session
        in which their symbol was halted and has no row.
        """
        return self._market.splits_until(self.sessions[-1])

    def dividends(self) -> pl.DataFrame:
        """Return the cash dividends that went ex up to the last session, sorted."""
        ex_date = pl.col("ex_dividend_date")
        return self._market.dividends_until(self.sessions[-1]).select(
            "ticker",
            "ex_dividend_date",
            record_date=ex_date,
            pay_date=ex_date + timedelta(days=21),
            declaration_date=ex_date - timedelta(days=28),
            cash_amount="cash_amount",
            currency=pl.lit("USD"),
            frequency=pl.lit(4, dtype=pl.Int64),
            dividend_type=pl.lit("CD"),
        )

    def tickers(self) -> pl.DataFrame:
        """Return the companies listed up to the last session, sorted by ticker."""
        return ticker_rows(self._companies, self.sessions, self.spec.seed)

    def deliveries(self) -> Iterator[ReceivedDelivery]:
        """Send the market day by day, as vendors do, in the order of arrival.

        Each session arrives in the evening after its close. Some come sessions late, some
        twice. About a third are first sent with values that are not final and a few broken
        rows; their final rows follow within :data:`LONGEST_LAG` sessions, for the last ones
        after the last session. So the newest delivery of every session holds its final rows.
        """
        waiting: list[tuple[datetime, date, int]] = []
        for session in self.sessions:
            for sent_at, attempt in self._schedule(session):
                heapq.heappush(waiting, (sent_at, session, attempt))
            closes_at = self._calendar.close_of(session)
            while waiting and waiting[0][0] <= closes_at:
                yield self._send(*heapq.heappop(waiting))
        while waiting:
            yield self._send(*heapq.heappop(waiting))

    def _schedule(self, session: date) -> list[tuple[datetime, int]]:
        """Decide when a session is sent: attempts 0 as first cut, 1 as final rows."""
        draws = np.random.default_rng([self.spec.seed, 3, day_of(session)])
        late = int(draws.integers(1, 3)) if draws.random() < 0.03 else 0
        minutes = int(draws.integers(20, 90))
        first_cut = self._evening(session, late, minutes)
        corrected = draws.random() < 0.35
        sent = [(first_cut, 0 if corrected else 1)]
        repeated = draws.random()
        if repeated < 0.02:
            sent.append((first_cut + timedelta(hours=9), sent[0][1]))
        elif repeated < 0.03:
            sent.append(sent[0])
        if corrected:
            lag = max(late + 1, int(draws.integers(1, LONGEST_LAG + 1)))
            sent.append((self._evening(session, lag, 150), 1))
        return sent

    def _evening(self, session: date, sessions_later: int, minutes: int) -> datetime:
        calendar = self._calendar
        later = calendar.session_at(calendar.session_no(session) + sessions_later)
        return calendar.close_of(later) + timedelta(minutes=minutes)

    def _send(self, received_at: datetime, session: date, attempt: int) -> ReceivedDelivery:
        final = self.session_rows(session)
        rows = final if attempt else self._first_cut(session, final)
        return ReceivedDelivery(received_at, rows)

    def _first_cut(self, session: date, final: pl.DataFrame) -> pl.DataFrame:
        """Return rows as first sent: late prints missing, some prices off, a few rows broken."""
        draws = np.random.default_rng([self.spec.seed, 4, day_of(session)])
        count = final.height
        early_volume = draws.random(count) < 0.02
        other_close = draws.random(count) < 0.002
        names = ("open", "high", "low", "close", "volume")
        open_, high, low, close, volume = (final[name].to_numpy().copy() for name in names)
        volume[early_volume] = np.floor(volume[early_volume] * draws.uniform(0.9, 0.999))
        drawn = low + (high - low) * draws.random(count)
        close[other_close] = np.round(drawn[other_close], 4)
        broken = min(int(draws.poisson(count / 1_000)), count // 200)
        for place, row in enumerate(draws.choice(count, size=broken, replace=False)):
            if place % 3 == 0:
                open_[row] = 0.0
            elif place % 3 == 1:
                low[row], high[row] = high[row] + 0.01, low[row]
            else:
                volume[row] = np.nan
        return final.with_columns(
            open=pl.Series(open_),
            high=pl.Series(high),
            low=pl.Series(low),
            close=pl.Series(close),
            volume=pl.Series(volume),
        )
