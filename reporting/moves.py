"""Price steps that no split on record explains."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain

import numpy as np
import polars as pl

from batch.audit.checks import unrecorded_splits
from batch.core.sessions import Calendar, day_of
from batch.runtime.formats import split_text

BIG_MOVE = 1.8
"""A close that is this many times the one before, or this part of it, is a big move."""

NEAR_SESSIONS = 10
"""How far from a move a split on record, or the move back, may lie to be named beside it."""

_BACK_WITHIN = 0.25
_AROUND = 20


@dataclass(frozen=True, slots=True)
class Move:
    """A change of price that no split on record accounts for.

    Attributes:
        session: The one after the change.
        before: The close before, in the shares of the session.
        after: Its close.
        traded_usd: Close times volume of the session.
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
    traded_usd: float
    looks_like: str
    on_record: str = ""
    back_on: date | None = None
    closes: tuple[float, ...] = ()
    at: int = 0

    @property
    def factor(self) -> float:
        """The close after over the close before."""
        return self.after / self.before


@dataclass(frozen=True, slots=True)
class Moves:
    """Price steps: those that look like splits, and the other big ones.

    Attributes:
        like_splits: Findings of the check ``unrecorded_split``, most money traded first.
        others: Others of :data:`BIG_MOVE` and more, the biggest first; there and back is one.
        like_splits_count: How many look like a split, whether listed or not.
        others_count: Likewise.
    """

    like_splits: list[Move]
    others: list[Move]
    like_splits_count: int
    others_count: int

    @property
    def count(self) -> int:
        """All of them."""
        return self.like_splits_count + self.others_count


def find_moves(
    groups: Iterable[pl.DataFrame], splits: pl.DataFrame, calendar: Calendar, *, most: int = 8
) -> Moves:
    """Find the changes from close to close that remain after the splits on record.

    A price that falls to a tenth is as big a move as one that rises tenfold.

    Groups are what :func:`batch.audit.checks.with_neighbours` returns for some symbols, one in
    memory at a time; ``most`` of each kind are returned.
    """
    return _largest([_moves_of(bars, splits, calendar, most) for bars in groups], most)


def _largest(found: list[Moves], most: int) -> Moves:
    like_splits = chain.from_iterable(moves.like_splits for moves in found)
    others = chain.from_iterable(moves.others for moves in found)
    return Moves(
        sorted(like_splits, key=lambda m: (-m.traded_usd, m.symbol, m.session))[:most],
        sorted(others, key=lambda m: (-abs(math.log(m.factor)), m.symbol, m.session))[:most],
        sum(moves.like_splits_count for moves in found),
        sum(moves.others_count for moves in found),
    )


def _moves_of(bars: pl.DataFrame, splits: pl.DataFrame, calendar: Calendar, most: int) -> Moves:
    missing = unrecorded_splits(bars).select("symbol", "date", missing="value")
    before = pl.col("before") / pl.col("split_ratio")
    usd = pl.col("close") * pl.col("volume")
    steps = (
        bars.select("symbol", "date", "close", before=before, usd=usd)
        .join(missing, on=["symbol", "date"], how="left", maintain_order="left")
        .filter(
            (pl.col("close") / pl.col("before")).log().abs().ge(math.log(BIG_MOVE))
            | pl.col("missing").is_not_null()
        )
    )
    like_splits: list[Move] = []
    others: list[Move] = []
    for symbol, session, after, close_before, traded, ratio in steps.iter_rows():
        move = Move(
            symbol, session, close_before, after, traded, split_text(ratio) if ratio else ""
        )
        if ratio:
            like_splits.append(move)
        elif others and _returns(others[-1], move, calendar):
            others[-1] = replace(others[-1], back_on=session)
        else:
            others.append(move)
    moves = _largest([Moves(like_splits, others, len(like_splits), len(others))], most)
    return replace(
        moves,
        like_splits=[_in_context(move, bars, splits, calendar) for move in moves.like_splits],
        others=[_in_context(move, bars, splits, calendar) for move in moves.others],
    )


def _returns(first: Move, second: Move, calendar: Calendar) -> bool:
    """Whether the second move leads back to where the price had been soon before."""
    return (
        first.symbol == second.symbol
        and first.back_on is None
        and calendar.session_no(second.session) - calendar.session_no(first.session)
        <= NEAR_SESSIONS
        and abs(second.after / first.before - 1) <= _BACK_WITHIN
    )


def _in_context(move: Move, bars: pl.DataFrame, splits: pl.DataFrame, calendar: Calendar) -> Move:
    """Add the closes around a move, on one scale, and a split on record nearby."""
    own = bars.filter(pl.col("symbol") == move.symbol)
    at = int(own["date"].search_sorted(move.session))
    first = max(at - _AROUND, 0)
    around = own.slice(first, at - first + _AROUND + 1)
    ratios = around["split_ratio"].to_numpy()
    later = np.append(np.cumprod(ratios[::-1])[::-1][1:], 1.0)
    return replace(
        move,
        closes=tuple(map(float, around["close"].to_numpy() / later)),
        at=at - first,
        on_record=_split_near(splits.filter(pl.col("symbol") == move.symbol), move, calendar),
    )


def _split_near(splits: pl.DataFrame, move: Move, calendar: Calendar) -> str:
    here = int(np.searchsorted(calendar.days, day_of(move.session)))
    for day, ratio in splits.select("date", "ratio").iter_rows():
        if abs(int(np.searchsorted(calendar.days, day_of(day))) - here) <= NEAR_SESSIONS:
            return f"{split_text(ratio)} on {day}"
    return ""
