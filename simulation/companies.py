"""The companies of the synthetic exchange: who is listed, from when to when, under which ticker.

The exchange has a fixed number of slots. A slot is held by one company after the other, so
that listings and delistings go on for ever while about as many stocks are listed at
any time. Nothing here depends on the last session of the exchange.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PER_SLOT = 8
"""Companies that hold a slot, one after the other; afterwards it stays empty."""

ODD_TICKERS = ("NA", "NAN", "TRUE", "BRK.B", "BF/B", "ABCw", "INF", "NULL", "FALSE", "GOOGp", "E")
"""Tickers that careless readers turn into nulls, numbers, truth values or folders.

They are listed from the first session on, for more than ten years.
"""

_MEAN_LIFE = 3_000
_LISTED_AT_FIRST = 0.94
_INDUSTRIES = (
    ("1311", "CRUDE PETROLEUM & NATURAL GAS"),
    ("2834", "PHARMACEUTICAL PREPARATIONS"),
    ("3674", "SEMICONDUCTORS & RELATED DEVICES"),
    ("4911", "ELECTRIC SERVICES"),
    ("5812", "RETAIL-EATING PLACES"),
    ("6021", "NATIONAL COMMERCIAL BANKS"),
    ("6798", "REAL ESTATE INVESTMENT TRUSTS"),
    ("7372", "SERVICES-PREPACKAGED SOFTWARE"),
)
_FIRST_WORDS = ("Alder", "Boreal", "Cobalt", "Delta", "Ember", "Fjord", "Granite", "Harbor")
_SECOND_WORDS = (
    "Dynamics",
    "Energy",
    "Financial",
    "Foods",
    "Labs",
    "Logistics",
    "Mining",
    "Systems",
)
_KINDS = ("CS", "CS", "CS", "CS", "CS", "ETF", "ETF", "ADRC", "PFD", "WARRANT")
_VENUES = ("XNYS", "XNAS", "XNAS", "ARCX", "BATS")
_LISTED = {
    **dict.fromkeys(["ticker", "name", "market", "locale", "primary_exchange", "type"], pl.String),
    "active": pl.Boolean,
    **dict.fromkeys(["cik", "composite_figi", "share_class_figi"], pl.String),
    **dict.fromkeys(["list_date", "delisted_date"], pl.Date),
    **dict.fromkeys(["sic_code", "sic_description"], pl.String),
    "market_cap": pl.Float64,
}


@dataclass(frozen=True, slots=True, eq=False)
class Companies:
    """Every company that may ever be listed.

    The number of a company is ``slot * PER_SLOT + place``; arrays have the shape [slot, place].

    Attributes:
        tickers: By number.
        listed_from: First session it may trade, counted from the exchange's first.
        listed_until: First session after its last one.
        price_usd: Price at its listing.
        drift: Growth of its fair price per session, natural logarithm.
        volatility: Standard deviation of a session's return, natural logarithm.
        turnover_usd: Dollars traded in an ordinary session.
        fractional: Whether its volumes have fractions of a share.
        bare: Whether its source gives neither vwap nor trades.
        dividend_yield: Share of the price paid out a year; 0 where it pays none.
    """

    tickers: tuple[str, ...]
    listed_from: Ints
    listed_until: Ints
    price_usd: Floats
    drift: Floats
    volatility: Floats
    turnover_usd: Floats
    fractional: Bools
    bare: Bools
    dividend_yield: Floats

    @classmethod
    def draw(cls, slots: int, seed: int) -> Companies:
        """Draw the companies of an exchange."""
        draws = np.random.default_rng([seed, 0])
        shape = (slots, PER_SLOT)
        lives = 60 + draws.exponential(_MEAN_LIFE, shape).astype(np.int64)
        lives[: len(ODD_TICKERS), 0] += _MEAN_LIFE
        gaps = draws.integers(1, 40, shape)
        gaps[:, 0] = np.where(
            draws.random(slots) < _LISTED_AT_FIRST, 0, draws.integers(1, 250, slots)
        )
        gaps[: len(ODD_TICKERS), 0] = 0
        listed_from = np.cumsum(gaps, axis=1)
        listed_from[:, 1:] += np.cumsum(lives, axis=1)[:, :-1]
        pays = draws.random(shape) < 0.4
        return cls(
            tickers=_tickers(slots),
            listed_from=listed_from,
            listed_until=listed_from + lives,
            price_usd=np.clip(np.exp(draws.normal(3.3, 1.0, shape)), 1.0, 2_000.0),
            drift=draws.normal(0.0003, 0.0005, shape),
            volatility=np.clip(np.exp(draws.normal(-4.0, 0.4, shape)), 0.006, 0.05),
            turnover_usd=np.exp(draws.normal(15.0, 2.2, shape)),
            fractional=draws.random(shape) < 0.05,
            bare=draws.random(shape) < 0.02,
            dividend_yield=np.where(pays, draws.uniform(0.005, 0.05, shape), 0.0),
        )


def ticker_rows(companies: Companies, sessions: Sequence[date], seed: int) -> pl.DataFrame:
    """Return the companies listed in these sessions of the exchange as its vendor lists them.

    Sorted by ``ticker``; nulls occur as they do at vendors.
    """
    newest = len(sessions) - 1
    found = []
    for number, ticker in enumerate(companies.tickers):
        at = divmod(number, PER_SLOT)
        start, end = int(companies.listed_from[at]), int(companies.listed_until[at])
        if start > newest:
            continue
        before = timedelta(days=365 * (number % 29 + 1) + number % 31)
        found.append(
            {
                **_profile_of(number, ticker, seed, active=end > newest),
                "ticker": ticker,
                "market": "stocks",
                "locale": "us",
                "list_date": sessions[start] if start else sessions[0] - before,
                "delisted_date": sessions[end] if end <= newest else None,
            }
        )
    return pl.DataFrame(found, schema=_LISTED).sort("ticker")


def _profile_of(number: int, ticker: str, seed: int, *, active: bool) -> dict[str, object]:
    draws = np.random.default_rng([seed, 1, number])
    kind = _KINDS[int(draws.integers(len(_KINDS)))]
    words = [pool[int(draws.integers(len(pool)))] for pool in (_FIRST_WORDS, _SECOND_WORDS)]
    fund = kind == "ETF"
    sic_code, sic_description = _INDUSTRIES[int(draws.integers(len(_INDUSTRIES)))]
    has_figi = draws.random() < 0.9
    profile: dict[str, object] = {
        "name": f"{' '.join(words)} {'Fund' if fund else 'Inc.'} ({ticker})",
        "primary_exchange": _VENUES[int(draws.integers(len(_VENUES)))],
        "type": kind,
        "active": active,
    }
    if has_figi:
        profile["composite_figi"] = f"BBG00{number * 2:07d}"
        profile["share_class_figi"] = f"BBG00{number * 2 + 1:07d}"
    if not fund:
        profile["cik"] = f"{1_000_000 + number:010d}"
        profile["sic_code"], profile["sic_description"] = sic_code, sic_description
    if active and not fund:
        profile["market_cap"] = float(np.round(np.exp(draws.normal(21.0, 1.8)), 2))
    return profile


def _tickers(slots: int) -> tuple[str, ...]:
    """Name every company, each with a ticker of its own; the odd ones are listed first."""
    taken = set(ODD_TICKERS)
    named = {slot * PER_SLOT: ticker for slot, ticker in enumerate(ODD_TICKERS[:slots])}
    for place in range(PER_SLOT):
        for slot in range(slots):
            number = slot * PER_SLOT + place
            if number in named:
                continue
            step = place * slots + slot
            while (ticker := _ticker_at(step)) in taken:
                step += PER_SLOT * slots
            taken.add(ticker)
            named[number] = ticker
    return tuple(named[number] for number in range(slots * PER_SLOT))


def _ticker_at(step: int) -> str:
    """Spell a number as a ticker; different numbers below 26 ** 5 give different ones."""
    length = 3 if step < 26**3 else 4 if step < 26**3 + 26**4 else 5
    scrambled = step * 7_919 % 26**length
    letters = ""
    for _ in range(length):
        scrambled, letter = divmod(scrambled, 26)
        letters += chr(ord("A") + letter)
    if step % 47 == 0:
        return f"{letters}w"
    return f"{letters}.A" if step % 61 == 0 else letters
