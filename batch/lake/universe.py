"""Which symbols a rule lets in on a session, by what was known then. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches

import polars as pl

from batch.core.errors import SettingsError
from batch.core.layout import WIDEST
from batch.core.sectors import SECTORS, sector_of
from batch.core.sessions import Calendar

COLUMNS = ("symbol", "close", "dollar_volume", "sessions", "type", "sector", "name")


@dataclass(frozen=True, slots=True)
class UniverseRules:
    """Whom a universe lets in; :meth:`batch.lake.Lake.universe` explains each field."""

    types: list[str] | None
    sectors: list[str] | None
    min_price: float
    min_dollar_volume: float
    sessions: int
    size: int | None
    hindsight: bool

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            SettingsError: One is out of its range.
        """
        for name in ("min_price", "min_dollar_volume"):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and 0 <= value < float("inf")):
                raise SettingsError(f"{name} {value!r}: expected US dollars, 0 or more")
        if not 1 <= self.sessions <= WIDEST:
            raise SettingsError(f"sessions {self.sessions}: must be from 1 to {WIDEST}")
        if self.size is not None and self.size < 1:
            raise SettingsError(f"size {self.size}: expected a number of symbols, 1 or more")
        for sector in self.sectors or ():
            if sector not in SECTORS:
                near = get_close_matches(sector, SECTORS, n=1)
                meant = f"; did you mean {near[0]!r}?" if near else ""
                raise SettingsError(
                    f"sector {sector!r}: expected one of {', '.join(SECTORS)}{meant}"
                )


def window_of(on: date, sessions: int, calendar: Calendar) -> date:
    """Return the first of some exchange sessions of which ``on`` is the last.

    Raises:
        SettingsError: The exchange is closed on that day.
    """
    if not calendar.is_session(on):
        earlier = calendar.sessions_between(calendar.first, on)[-1:]
        near = f": the session before is {earlier[0]}" if earlier else ""
        raise SettingsError(f"on {on} is not a session of the exchange{near}")
    number = calendar.session_no(on) - sessions + 1
    return calendar.session_at(max(number, calendar.session_no(calendar.first)))


def tickers_on(tickers: pl.DataFrame, on: date, *, hindsight: bool) -> pl.DataFrame:
    """Return one row of what was known of each ticker on a day.

    With ``hindsight``, a symbol of which nothing was known yet has its first row.
    """
    valid_from, valid_to = pl.col("valid_from"), pl.col("valid_to")
    held = tickers.filter(valid_from <= on, valid_to.is_null() | (valid_to > on))
    if not hindsight:
        return held
    first = tickers.sort("symbol", "valid_from").unique("symbol", keep="first")
    return pl.concat([held, first.filter(valid_from > on)])


def choose(
    bars: pl.DataFrame, tickers: pl.DataFrame, on: date, rules: UniverseRules, *, label: str
) -> pl.DataFrame:
    """Return the symbols with a bar on a session that keep the rules.

    Args:
        bars: Daily bars as traded over the window that ends on the session: ``symbol``,
            ``date``, ``close`` and ``volume``, of at least one symbol on the session.
        tickers: All that is known of them, and when: :data:`batch.core.schema.TICKERS`.
        on: The session.
        rules: Whom to let in.
        label: Where the tickers come from, for errors.

    Returns:
        Columns :data:`COLUMNS`, the largest ``dollar_volume`` first, equal ones by symbol.

    Raises:
        SettingsError: A rule needs what the tickers do not know on that day.
    """
    known = tickers_on(tickers, on, hindsight=rules.hindsight)
    named = {code: sector_of(code) for code in known["sic_code"].unique()}
    known = known.select(
        "symbol",
        "type",
        "name",
        sector=pl.col("sic_code").replace_strict(named, default=None, return_dtype=pl.String),
    )
    _require_known(known, tickers, on, rules, label)
    traded = bars.group_by("symbol").agg(
        dollar_volume=_median_with_zeros(
            pl.col("close") * pl.col("volume"), bars["date"].n_unique()
        ),
        sessions=pl.len().cast(pl.Int32),
    )
    chosen = (
        bars.filter(pl.col("date") == on, pl.col("close") >= rules.min_price)
        .join(traded, on="symbol")
        .filter(pl.col("dollar_volume") >= rules.min_dollar_volume)
        .join(known, on="symbol", how="left")
    )
    for column, wanted in (("type", rules.types), ("sector", rules.sectors)):
        if wanted is not None:
            chosen = chosen.filter(pl.col(column).is_in(wanted))
    ranked = chosen.sort(["dollar_volume", "symbol"], descending=[True, False])
    return ranked.select(COLUMNS).head(rules.size or ranked.height)


def _median_with_zeros(values: pl.Expr, count: int) -> pl.Expr:
    """Return the median of ``count`` values of a group, those that it lacks being zero."""
    falling = values.sort(descending=True)
    middle = [falling.get(place, null_on_oob=True) for place in ((count - 1) // 2, count // 2)]
    return (middle[0].fill_null(0.0) + middle[1].fill_null(0.0)) / 2


def _require_known(
    known: pl.DataFrame, tickers: pl.DataFrame, on: date, rules: UniverseRules, label: str
) -> None:
    asked: Sequence[tuple[str, str, list[str] | None, str]] = (
        ("types", "type", rules.types, "fetch them with `ohlcv fetch`"),
        ("sectors", "sector", rules.sectors, "fetch SIC codes with `ohlcv fetch --details 1000`"),
    )
    for argument, column, wanted, remedy in asked:
        if wanted is None:
            continue
        there = known[column].drop_nulls().value_counts(sort=True)
        if there.is_empty():
            if known.is_empty() and not tickers.is_empty():
                first = min(tickers["valid_from"])
                raise SettingsError(
                    f"{argument}: nothing is known of any ticker on {on} in {label}, whose first"
                    f" rows are of {first}; hindsight=True lets these stand in, or leave"
                    f" {argument} out"
                )
            raise SettingsError(
                f"{argument}: no {column} of any ticker is known on {on} in {label}; {remedy} or"
                f" import a file of tickers with `ohlcv import`, or leave {argument} out"
            )
        if column == "type" and not there[column].is_in(wanted).any():
            kinds = ", ".join(f"{name} ({count:,})" for name, count in there.rows())
            raise SettingsError(
                f"types {', '.join(map(repr, wanted))}: no ticker is of such a type on {on} in"
                f" {label}, which has {kinds}"
            )
