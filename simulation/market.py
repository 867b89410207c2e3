"""Prices and volumes of the synthetic exchange, a calendar year at a time.

A year's random numbers are drawn for all its sessions from the exchange's seed and the
year alone, so asking for more or fewer sessions never changes one.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import polars as pl

from batch.core import schema
from batch.core.frames import polars_schema
from batch.core.sessions import Calendar
from fetchers.plan import NEW_YORK
from simulation.companies import PER_SLOT, Bools, Companies, Floats, Ints

LARGEST_RETURN = 0.22
"""Bound on the natural logarithm of a session's return, splits taken out."""

_SPLITS_A_YEAR = 0.05
_TWICE = 0.2
_HALTED_AT_SPLIT = 0.25
_HALTS_PER_ROW = 0.0008
_EARLY_CLOSE_VOLUME = 0.45
_YEARS_HELD = 2
_QUARTER = 63
_SEASONED = 20

_FORWARD = ((1.0, 2.0), (1.0, 3.0), (1.0, 4.0), (1.0, 5.0), (1.0, 10.0), (1.0, 20.0))
_MODEST = ((1.0, 2.0), (2.0, 3.0), (4.0, 5.0))
_REVERSE = ((5.0, 1.0), (7.0, 1.0), (10.0, 1.0), (20.0, 1.0), (25.0, 1.0))


_SPLITS = polars_schema(schema.SPLITS, ["symbol", "date", "split_from", "split_to"])
_DIVIDENDS = {"ticker": pl.String, "ex_dividend_date": pl.Date, "cash_amount": pl.Float64}


@dataclass(slots=True, eq=False)
class _State:
    """The market between two sessions, an element per slot; logarithms are natural.

    Attributes:
        place: Company of the slot; -1 before the first one.
        log_price: Of the raw price.
        log_fair: Of the price that it is drawn to.
        due: Slots that split again, by the session's number.
    """

    place: Ints
    log_price: Floats
    log_fair: Floats
    due: dict[int, list[int]] = field(default_factory=dict)


class Market:
    """The market from its first session on, year by year."""

    def __init__(self, companies: Companies, calendar: Calendar, first: date, seed: int) -> None:
        self._companies = companies
        self._calendar = calendar
        self._first = first
        self._seed = seed
        slots = len(companies.listed_from)
        empty = np.full(slots, -1, dtype=np.int64)
        self._states = {first.year: _State(empty, np.zeros(slots), np.zeros(slots))}
        self._symbols = pl.Series(companies.tickers, dtype=pl.String)
        self._splits: dict[int, pl.DataFrame] = {}
        self._dividends: dict[int, pl.DataFrame] = {}
        self._rows: dict[int, list[pl.DataFrame]] = {}

    def session(self, session: date) -> pl.DataFrame:
        """Return one session's rows: columns of a delivery, sorted by symbol."""
        sessions = self._sessions_of(session.year)
        if session.year not in self._rows:
            while len(self._rows) >= _YEARS_HELD:
                del self._rows[next(iter(self._rows))]
            self._know(session.year - 1)
            self._rows[session.year] = list(self._trade(sessions, *self._walk(session.year)))
        return self._rows[session.year][sessions.index(session)]

    def splits_until(self, last: date) -> pl.DataFrame:
        """Return the splits executed up to a session, sorted by (symbol, date)."""
        self._know(last.year)
        splits = pl.concat(self._splits.values()).filter(pl.col("date") <= last)
        return splits.sort("symbol", "date")

    def dividends_until(self, last: date) -> pl.DataFrame:
        """Return the dividends that went ex up to a session, sorted by (ticker, date)."""
        self._know(last.year)
        dividends = pl.concat(self._dividends.values()).filter(pl.col("ex_dividend_date") <= last)
        return dividends.sort("ticker", "ex_dividend_date")

    def _sessions_of(self, year: int) -> list[date]:
        return self._calendar.sessions_between(
            max(self._first, date(year, 1, 1)), date(year, 12, 31)
        )

    def _know(self, year: int) -> None:
        for earlier in range(self._first.year, year + 1):
            if earlier not in self._splits:
                self._walk(earlier)

    def _walk(self, year: int) -> tuple[Ints, Floats, Floats]:
        """Go through a year session by session, and keep where it ends for the next one.

        Returns companies, -1 where there is no row, and logarithms of the prices before each
        session and at its close: arrays of [session, slot].
        """
        companies, state = self._companies, deepcopy(self._states[year])
        sessions = self._sessions_of(year)
        base = len(self._calendar.sessions_between(self._first, date(year - 1, 12, 31)))
        slots = np.arange(len(state.place))
        draws = np.random.default_rng([self._seed, 5, year])
        shape = (len(sessions), len(slots))
        returns = draws.standard_normal(shape)
        common = draws.standard_normal(len(sessions)) * 0.008
        splits_at = draws.random(shape) < _SPLITS_A_YEAR / 252
        halted = _halts(shape, draws)
        splits: list[tuple[str, date, float, float]] = []
        dividends: list[tuple[str, date, float]] = []
        company = np.full(shape, -1, dtype=np.int64)
        log_before, log_close = np.empty(shape), np.empty(shape)
        for at, session in enumerate(sessions):
            number = base + at
            _list_newcomers(companies, state, number)
            mine = slots, np.maximum(state.place, 0)
            numbers = mine[0] * PER_SLOT + mine[1]
            age = number - companies.listed_from[mine]
            listed = (state.place >= 0) & (number < companies.listed_until[mine])
            again = state.due.pop(number, [])
            seasoned = listed & (age >= _SEASONED)
            for slot in sorted({*np.flatnonzero(splits_at[at] & seasoned).tolist(), *again}):
                if not seasoned[slot]:
                    continue
                before, after = _ratio(float(state.log_price[slot]), draws)
                state.log_price[slot] += np.log(before / after)
                state.log_fair[slot] += np.log(before / after)
                splits.append((companies.tickers[numbers[slot]], session, before, after))
                if draws.random() < _HALTED_AT_SPLIT:
                    halted[at : at + int(draws.integers(1, 3)), slot] = True
                if slot not in again and draws.random() < _TWICE:
                    state.due.setdefault(number + int(draws.integers(2, 13)), []).append(slot)
            pull = 0.01 * (state.log_fair - state.log_price)
            moved = np.clip(
                returns[at] * companies.volatility[mine] + common[at] + pull,
                -LARGEST_RETURN,
                LARGEST_RETURN,
            )
            moved[halted[at] | ~listed | (age == 0)] = 0.0
            log_before[at] = state.log_price
            state.log_price += moved
            state.log_fair = np.clip(
                state.log_fair + companies.drift[mine], np.log(0.8), np.log(3_000.0)
            )
            log_close[at] = state.log_price
            company[at] = np.where(listed & ~halted[at], numbers, -1)
            for slot in np.flatnonzero(
                listed & (companies.dividend_yield[mine] > 0) & ((age + slots) % _QUARTER == 11)
            ).tolist():
                cash = np.exp(log_close[at, slot]) * companies.dividend_yield[mine][slot] / 4
                usd = max(float(np.round(cash, 4)), 1e-4)
                dividends.append((companies.tickers[numbers[slot]], session, usd))
        self._splits[year] = pl.DataFrame(splits, schema=_SPLITS, orient="row")
        self._dividends[year] = pl.DataFrame(dividends, schema=_DIVIDENDS, orient="row")
        self._states[year + 1] = state
        return company, log_before, log_close

    def _trade(
        self, sessions: list[date], companies_at: Ints, log_before: Floats, log_close: Floats
    ) -> Iterator[pl.DataFrame]:
        """Make each session's rows from the prices before and at its close."""
        draws = np.random.default_rng([self._seed, 6, sessions[0].year])
        companies = self._companies
        volatility, turnover = companies.volatility.ravel(), companies.turnover_usd.ravel()
        fractional, bare = companies.fractional.ravel(), companies.bare.ravel()
        for at, session in enumerate(sessions):
            company = companies_at[at]
            normal = draws.standard_normal((4, len(company)))
            uniform = draws.random((3, len(company)))
            rows = np.flatnonzero(company >= 0)
            company, normal, uniform = company[rows], normal[:, rows], uniform[:, rows]
            swing = volatility[company]
            before, close = log_before[at, rows], log_close[at, rows]
            open_ = before + 0.35 * (close - before) + 0.2 * swing * np.clip(normal[0], -3, 3)
            high = np.maximum(open_, close) + 0.4 * swing * np.abs(np.clip(normal[1], -3, 3))
            low = np.minimum(open_, close) - 0.4 * swing * np.abs(np.clip(normal[2], -3, 3))
            open_, high, low, last = (_ticks(np.exp(price)) for price in (open_, high, low, close))
            busy = np.exp(0.4 * normal[3] + 6.0 * np.abs(close - before))
            if self._calendar.close_of(session).astimezone(NEW_YORK).hour < 16:
                busy *= _EARLY_CLOSE_VOLUME
            volume = turnover[company] * busy / last
            volume[(turnover[company] < 60_000) & (uniform[0] < 0.03)] = 0.0
            volume = np.where(
                fractional[company], np.round(volume, 4), np.where(volume > 0, np.ceil(volume), 0.0)
            )
            vwap = np.round(low + (high - low) * (0.25 + 0.5 * uniform[1]), 4)
            trades = np.ceil(volume / (60 + 200 * uniform[2])).astype(np.int64)
            whole = pl.lit(pl.Series(~bare[company]))
            yield (
                pl.DataFrame(
                    {
                        "symbol": self._symbols.gather(company),
                        "open": open_,
                        "high": high,
                        "low": low,
                        "close": last,
                        "volume": volume,
                    }
                )
                .with_columns(
                    date=pl.lit(session),
                    vwap=pl.when(whole & (pl.col("volume") > 0)).then(pl.Series(vwap)),
                    trades=pl.when(whole).then(pl.Series(trades)),
                )
                .select(schema.DELIVERY.names)
                .sort("symbol")
            )


def _list_newcomers(companies: Companies, state: _State, number: int) -> None:
    """Give the companies that are listed from this session on their slots."""
    following = np.minimum(state.place + 1, PER_SLOT - 1)
    slots = np.arange(len(following))
    arrive = (companies.listed_from[slots, following] <= number) & (following > state.place)
    if not arrive.any():
        return
    state.place[arrive] += 1
    price = np.log(companies.price_usd[slots, following][arrive])
    state.log_price[arrive] = price
    state.log_fair[arrive] = price
    newcomers = set(np.flatnonzero(arrive).tolist())
    for due, waiting in state.due.items():
        state.due[due] = [slot for slot in waiting if slot not in newcomers]


def _halts(shape: tuple[int, int], draws: np.random.Generator) -> Bools:
    """Draw the sessions in which a slot does not trade: mostly one, at times a week."""
    halted: Bools = draws.random(shape) < _HALTS_PER_ROW
    starts = np.argwhere(halted)
    lengths = np.minimum(draws.geometric(0.6, len(starts)), 10)
    for (at, slot), length in zip(starts.tolist(), lengths.tolist(), strict=True):
        halted[at : at + length, slot] = True
    return halted


def _ratio(log_price: float, draws: np.random.Generator) -> tuple[float, float]:
    """Choose a split that suits the price: shares before and after."""
    price = float(np.exp(log_price))
    if price > 80:
        suits = [split for split in _FORWARD if price / split[1] > 8]
    else:
        suits = list(_MODEST if price > 12 else _REVERSE)
    return suits[int(draws.integers(len(suits)))]


def _ticks(price_usd: Floats) -> Floats:
    """Round prices to what they are quoted in: cents, below a dollar hundredths of a cent."""
    return np.where(price_usd >= 1.0, np.round(price_usd, 2), np.round(price_usd, 4))
