"""Changes of price that no split on record explains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from batch.core.sessions import Calendar, day_of
from reporting.candles import ratio_text

SUSPECT_FACTOR = 1.8
"""A close that is this many times the one before, or this part of it, is a big move."""

NEAR_SESSIONS = 10
"""How far from a move a split on record, or the move back, may lie to be named beside it."""

_CLEAN_RATIOS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100, 1.5, 4 / 3, 5 / 4)
_CLEAN_WITHIN = 0.03
_BACK_WITHIN = 0.25
_CLEAN_FROM_USD = 0.5
"""Below this price a cent is a step that can look like any ratio."""
_AROUND = 20


@dataclass(frozen=True, slots=True)
class Move:
    """A change of price that no split on record accounts for.

    Attributes:
        symbol: Whose.
        session: The session after the change.
        before: The close before, in the shares of the session.
        after: The close of the session.
        looks_like: The split that it looks like, such as ``1:10``, or empty.
        on_record: A split of the symbol on record nearby, or empty.
        back_on: The session at which the price was back where it had been, or None.
        closes: Closes around it, in the shares of the last of them, for a small drawing.
        at: Place of the session among them.
    """

    symbol: str
    session: date
    before: float
    after: float
    looks_like: str
    on_record: str
    back_on: date | None
    closes: list[float]
    at: int

    @property
    def factor(self) -> float:
        """The close after over the close before."""
        return self.after / self.before


@dataclass(frozen=True, slots=True)
class Moves:
    """Moves of :data:`SUSPECT_FACTOR` and more; there and back is one.

    Attributes:
        like_splits: Those that look like a split and stayed, most money traded first.
        others: The biggest of the others.
        like_splits_count: How many look like a split.
        others_count: How many others there are.
    """

    like_splits: list[Move]
    others: list[Move]
    like_splits_count: int
    others_count: int

    @property
    def count(self) -> int:
        """All of them."""
        return self.like_splits_count + self.others_count


def moves_of(
    years: Sequence[pl.LazyFrame], splits: pl.DataFrame, calendar: Calendar, *, most: int = 8
) -> Moves:
    """Find the changes from close to close that remain after the splits on record.

    A price that falls to a tenth is as big a move as one that rises tenfold. One year at a
    time is in memory.

    Args:
        years: Daily bars of one stretch of time after another, each sorted by (symbol, date).
        splits: The splits on record.
        calendar: Must cover the dates.
        most: How many of each kind to return.
    """
    if not years:
        return Moves([], [], 0, 0)
    steps = _steps(years)
    found = _there_and_back(steps, calendar)
    like_splits = [step for step in found if step.looks_like and step.back_on is None]
    others = [step for step in found if not step.looks_like or step.back_on is not None]
    like_splits.sort(key=lambda step: (-step.traded_usd, step.symbol, step.session))
    others.sort(key=lambda step: (-step.size, step.symbol, step.session))
    shown = [*like_splits[:most], *others[:most]]
    around = pl.concat(
        [
            year.select("symbol", "date", "close", "split_ratio")
            .filter(pl.col("symbol").is_in([step.symbol for step in shown]))
            .collect()
            for year in years
        ]
    )

    def whole(step: _Step) -> Move:
        closes, at = _closes_around(around.filter(pl.col("symbol") == step.symbol), step.session)
        return Move(
            symbol=step.symbol,
            session=step.session,
            before=step.before,
            after=step.after,
            looks_like=step.looks_like,
            on_record=_split_near(
                splits.filter(pl.col("symbol") == step.symbol), step.session, calendar
            ),
            back_on=step.back_on,
            closes=closes,
            at=at,
        )

    return Moves(
        [whole(step) for step in like_splits[:most]],
        [whole(step) for step in others[:most]],
        len(like_splits),
        len(others),
    )


def _steps(years: Sequence[pl.LazyFrame]) -> pl.DataFrame:
    """Return the rows whose close is far from the one before, with that one as ``before``."""
    size = (pl.col("close") / pl.col("before")).log().abs()
    own_first = (pl.col("symbol") != pl.col("symbol").shift(1)).fill_null(value=True)
    own_last = (pl.col("symbol") != pl.col("symbol").shift(-1)).fill_null(value=True)
    last_closes = pl.DataFrame(schema={"symbol": pl.String, "last_close": pl.Float64})
    found = []
    for year in years:
        bars = (
            year.select("symbol", "date", "close", "split_ratio", "volume")
            .with_columns(
                before=pl.col("close").shift(1) / pl.col("split_ratio"), own_first=own_first
            )
            .collect()
        )
        firsts = bars.filter("own_first").join(last_closes, on="symbol")
        joined = firsts.with_columns(before=pl.col("last_close") / pl.col("split_ratio"))
        inner = bars.filter(~pl.col("own_first"))
        rows = pl.concat([inner, joined.drop("last_close")])
        found.append(rows.filter(size >= math.log(SUSPECT_FACTOR)).drop("own_first"))
        own_lasts = bars.filter(own_last).select("symbol", last_close="close")
        last_closes = pl.concat([last_closes, own_lasts]).unique("symbol", keep="last")
    return pl.concat(found).sort("symbol", "date")


@dataclass(slots=True)
class _Step:
    symbol: str
    session: date
    before: float
    after: float
    traded_usd: float
    back_on: date | None = None

    @property
    def size(self) -> float:
        return abs(math.log(self.after / self.before))

    @property
    def looks_like(self) -> str:
        if min(self.before, self.after) < _CLEAN_FROM_USD:
            return ""
        return _clean_ratio(self.after / self.before)


def _there_and_back(steps: pl.DataFrame, calendar: Calendar) -> list[_Step]:
    """Make one of a move and the move back to where the price had been soon after."""
    found: list[_Step] = []
    for symbol, session, before, after, volume in steps.select(
        "symbol", "date", "before", "close", "volume"
    ).iter_rows():
        last = found[-1] if found else None
        if last and last.symbol == symbol and last.back_on is None:
            near = calendar.session_no(session) - calendar.session_no(last.session)
            if near <= NEAR_SESSIONS and abs(after / last.before - 1) <= _BACK_WITHIN:
                last.back_on = session
                continue
        found.append(_Step(symbol, session, before, after, volume * after))
    return found


def _closes_around(rows: pl.DataFrame, session: date) -> tuple[list[float], int]:
    at = int(rows["date"].search_sorted(session))
    first = max(at - _AROUND, 0)
    part = rows.slice(first, at - first + _AROUND + 1)
    ratios = part["split_ratio"].to_numpy()
    later = np.append(np.cumprod(ratios[::-1])[::-1][1:], 1.0)
    scaled = part["close"].to_numpy() / later
    return [float(value) for value in scaled], at - first


def _clean_ratio(factor: float) -> str:
    """Return the split that a change of price looks like, or nothing."""
    shares = 1 / factor
    for ratio in _CLEAN_RATIOS:
        for candidate in (ratio, 1 / ratio):
            if abs(shares / candidate - 1) <= _CLEAN_WITHIN:
                return ratio_text(candidate)
    return ""


def _split_near(splits: pl.DataFrame, session: date, calendar: Calendar) -> str:
    here = int(np.searchsorted(calendar.days, day_of(session)))
    for day, ratio in splits.select("date", "ratio").iter_rows():
        away = int(np.searchsorted(calendar.days, day_of(day))) - here
        if abs(away) <= NEAR_SESSIONS:
            return f"{ratio_text(ratio)} on {day}"
    return ""
