"""Folding one year's daily bars, and completing its last windows from later years. Pure."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from batch.core.sessions import Days
from batch.kernel.arrow import arrow_text
from batch.kernel.columns import Codes, DailyColumns, Ints
from batch.kernel.fold import Basis, Folded, fold
from batch.kernel.windows import Rows, runs_of

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class LaterParts:
    """What later years hold of windows that start before them; at most one part a symbol.

    Attributes:
        symbols: Symbol of each part, ascending.
        window: Number of its window.
        end: Date of its last daily bar, days since 1970-01-01.
        sessions: Its daily bars.
        values: Their values.
    """

    symbols: list[str]
    window: Ints
    end: Days
    sessions: Ints
    values: Folded

    def __len__(self) -> int:
        return len(self.symbols)

    @classmethod
    def empty(cls) -> LaterParts:
        """Return no parts."""
        none = np.empty(0, np.int64)
        return cls([], none, np.empty(0, np.int32), none, Folded.empty())

    @classmethod
    def concat(cls, lists: list[LaterParts]) -> LaterParts:
        """Put lists behind each other, each of later symbols than those before it."""
        lists = lists or [cls.empty()]
        return cls(
            [symbol for one in lists for symbol in one.symbols],
            np.concatenate([one.window for one in lists]),
            np.concatenate([one.end for one in lists]),
            np.concatenate([one.sessions for one in lists]),
            Folded.concat([one.values for one in lists]),
        )

    def take(self, parts: Rows) -> LaterParts:
        """Return some parts, in the order given."""
        return LaterParts(
            [self.symbols[part] for part in parts.tolist()],
            self.window.take(parts),
            self.end.take(parts),
            self.sessions.take(parts),
            self.values.take(parts),
        )

    def where(self, chosen: Flags) -> LaterParts:
        """Return the parts that are chosen."""
        return self if chosen.all() else self.take(np.flatnonzero(chosen))

    def between(self, after: str | None, upto: str | None) -> LaterParts:
        """Return the parts of the symbols after one and up to another; None bounds nothing."""
        low = 0 if after is None else bisect_right(self.symbols, after)
        high = len(self) if upto is None else bisect_right(self.symbols, upto)
        part = slice(low, high)
        return LaterParts(
            self.symbols[part],
            self.window[part],
            self.end[part],
            self.sessions[part],
            Folded(*(column[part] for column in self.values.columns())),
        )

    def digest(self) -> str:
        """Digest of all that completes windows by them."""
        digest = hashlib.sha256("\n".join(self.symbols).encode())
        for column in (self.window, self.end, self.sessions, *self.values.columns()):
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """Bars of the windows that start in a year, sorted by (symbol, window).

    Attributes:
        symbols: Distinct symbols, ascending: Arrow text.
        code: Place of each bar's symbol in ``symbols``.
        window: Number of its window.
        start: Date of its first row; without meaning where all are in later years.
        end: Date of its last row, days since 1970-01-01.
        sessions: Its daily bars.
        values: Their values.
    """

    symbols: Any
    code: Codes
    window: Ints
    start: Days
    end: Days
    sessions: Ints
    values: Folded

    def with_missing(self, slots: Rows, missing: LaterParts, basis: Basis) -> Begun:
        """Fill places that were left for bars without any rows in the year.

        Args:
            slots: Those places.
            missing: The bars.
            basis: What was worked out of the year's rows.
        """
        self.window[slots] = missing.window
        self.end[slots] = missing.end
        self.sessions[slots] = missing.sessions
        self.values.put(slots, missing.values)
        new = sorted(set(missing.symbols) - basis.places.keys())
        if not new:
            self.code[slots] = [basis.places[symbol] for symbol in missing.symbols]
            return self
        symbols = sorted([*basis.symbols, *new])
        places = {symbol: place for place, symbol in enumerate(symbols)}
        code = np.array([places[symbol] for symbol in basis.symbols], np.int32)[self.code]
        code[slots] = [places[symbol] for symbol in missing.symbols]
        return replace(self, symbols=arrow_text(symbols), code=code)


@dataclass(frozen=True, slots=True, eq=False)
class _Own:
    """The windows of a year's rows, also those that started before it.

    Attributes:
        first_run: First window of each symbol, and behind them the number of windows.
        end: Date of the last row of each window, days since 1970-01-01.
        sessions: Daily bars of each.
        values: Values of each.
    """

    first_run: Rows
    end: Days
    sessions: Ints
    values: Folded

    def complete(self, windows: Rows, later: LaterParts) -> None:
        """Put what later years hold of some windows behind their own rows, in place."""
        self.end[windows] = later.end
        self.sessions[windows] += later.sessions
        self.values.put(windows, self.values.take(windows).followed_by(later.values))


def fold_year(
    rows: DailyColumns,
    window: npt.NDArray[Any],
    basis: Basis,
    later: LaterParts,
    starts_before: Callable[[Codes, Ints], Flags],
) -> tuple[Begun, LaterParts]:
    """Fold a year's daily bars, and complete its last windows by what later years hold.

    Args:
        rows: Sorted by (symbol, date); all of a symbol's rows in the year, or none.
        window: Window of each row, ascending within a symbol.
        basis: What was worked out of the rows.
        later: Parts of windows that start in this year or an earlier one.
        starts_before: Tells which windows start in an earlier year, by the places of
            their symbols among those of the rows (-1 for a symbol without rows) and by
            their numbers.

    Returns:
        The bars of the windows that start in the year, and what this year and later ones
        hold of windows that start before it.
    """
    if not len(rows):
        early = starts_before(np.full(len(later), -1, np.int32), later.window)
        missing = later.where(~early)
        return _without_rows(missing), later.where(early)
    runs = runs_of(window, basis.first_rows)
    own = _Own(
        first_run=np.append(np.searchsorted(runs.starts, basis.first_rows), len(runs)),
        end=rows.day.take(runs.ends),
        sessions=runs.ends - runs.starts + 1,
        values=fold(rows, runs, basis),
    )
    code = np.array([basis.places.get(symbol, -1) for symbol in later.symbols], np.int32)
    last_run = own.first_run[code + 1] - 1
    joins = (code >= 0) & (window[runs.starts[last_run]] == later.window)
    own.complete(last_run[joins], later.where(joins))
    apart = later.where(~joins)

    # Only a symbol's first window in the year can have started before it.
    places = np.arange(len(basis.symbols), dtype=np.int32)
    early_places = np.flatnonzero(starts_before(places, window[basis.first_rows]))
    heads = own.first_run[early_places]
    early_parts = LaterParts(
        [basis.symbols[place] for place in early_places],
        window[runs.starts[heads]],
        own.end[heads],
        own.sessions[heads],
        own.values.take(heads),
    )
    apart_early = starts_before(code[~joins], apart.window)
    passed_on = _merged(early_parts, apart.where(apart_early))
    missing = apart.where(~apart_early)

    keep = np.ones(len(runs), np.bool_)
    keep[heads] = False
    chosen = np.flatnonzero(keep)
    next_place = np.array([bisect_right(basis.symbols, name) for name in missing.symbols], np.intp)
    slots = np.searchsorted(chosen, own.first_run[next_place])
    if len(missing):
        chosen = np.insert(chosen, slots, 0)
        slots += np.arange(len(missing))
    firsts = runs.starts.take(chosen)
    begun = Begun(
        symbols=rows.symbols,
        code=rows.code.take(firsts),
        window=window.take(firsts),
        start=rows.day.take(firsts),
        end=own.end.take(chosen),
        sessions=own.sessions.take(chosen),
        values=own.values.take(chosen),
    )
    return (begun.with_missing(slots, missing, basis) if len(missing) else begun), passed_on


def _without_rows(missing: LaterParts) -> Begun:
    """Return the bars of a year in which no symbol has rows: all theirs are in later years."""
    return Begun(
        symbols=arrow_text(missing.symbols),
        code=np.arange(len(missing), dtype=np.int32),
        window=missing.window,
        start=missing.end,
        end=missing.end,
        sessions=missing.sessions,
        values=missing.values,
    )


def _merged(parts: LaterParts, others: LaterParts) -> LaterParts:
    """Merge parts of different symbols, each sorted by symbol."""
    if not len(others):
        return parts
    together = LaterParts.concat([parts, others])
    order = sorted(range(len(together)), key=together.symbols.__getitem__)
    return together.take(np.array(order, np.intp))
