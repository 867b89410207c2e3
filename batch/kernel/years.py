"""Folding the years of daily bars from the newest down, carrying parts of bars along. Pure.

A bar belongs to the year in which its window starts, and its last rows may lie in the years
after. Going down the years, each passes on what it holds of windows that start before it,
aggregated to one part a symbol, and the year in which such a window starts puts that part
behind its own rows. So no year is read twice, and of the years above only the parts are kept.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from batch.core.sessions import Calendar, day_of
from batch.kernel.arrow import arrow_text
from batch.kernel.bars import Bars, PartialBars
from batch.kernel.columns import DailyColumns, Ints
from batch.kernel.fold import Precomputed, fold
from batch.kernel.windows import Rows, positions, runs_of, windows_starting_in

_NEVER = np.iinfo(np.int64).max
"""The first window of a symbol that starts none in a year."""


@dataclass(frozen=True, slots=True, eq=False)
class Carried:
    """The partial bars of one width between two pieces of a year.

    ``into_year`` is what the years above hold of windows that start in this year or before,
    ``below`` what the pieces folded so far pass on to the year below, one list each, and
    ``upto`` the last symbol that was folded, None at the start of a year.
    """

    into_year: PartialBars = field(default_factory=PartialBars.empty)
    below: tuple[PartialBars, ...] = ()
    upto: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Piece(ABC):
    """Daily bars of a year, ready to be folded into bars of any width.

    The rows are sorted by (symbol, date): all that a symbol has in the year, or none. Behind
    the piece that ends the year follow no later symbols; it alone may be without rows.
    """

    rows: DailyColumns
    ends_year: bool
    precomputed: Precomputed

    def fold(self, width: int, carried: Carried) -> tuple[Bars, Carried]:
        """Fold the piece into the bars that start in the year, and into what is carried on.

        Pieces come newest year first, and in a year in the order of their symbols. The bars
        are those of the symbols after the last piece's up to this one's last.
        """
        upto = None if self.ends_year else self.rows.symbols[-1].as_py()
        bars, part = self._fold(width, carried.into_year.between(carried.upto, upto))
        below = (*carried.below, part) if len(part) else carried.below
        if self.ends_year:
            return bars, Carried(PartialBars.concat(below))
        return bars, replace(carried, below=below, upto=upto)

    @abstractmethod
    def head(self, width: int, last_day: int) -> Piece | None:
        """Return the rows that windows of lower years may take, None where there are none.

        By the calendar these windows end on ``last_day``, days since 1970-01-01.
        """

    @abstractmethod
    def _fold(self, width: int, later: PartialBars) -> tuple[Bars, PartialBars]:
        """Fold the rows, and complete their bars by the parts of the same symbols."""

    def _part(self, chosen: Rows, **changes: Any) -> Piece | None:
        if not len(chosen) and not self.ends_year:
            return None
        rows = self.rows.take(chosen).with_own_symbols()
        return replace(self, rows=rows, precomputed=Precomputed.of(rows), **changes)


@dataclass(frozen=True, slots=True, eq=False)
class CalendarPiece(Piece):
    """A piece whose windows the exchange calendar numbers.

    It must reach to the end of the year's last windows. ``last_closed`` is the newest
    consolidated session; ``session_no`` numbers each row's.
    """

    year: int
    calendar: Calendar
    last_closed: date
    session_no: npt.NDArray[np.int32]

    @classmethod
    def of(
        cls, rows: DailyColumns, *, ends_year: bool, year: int, calendar: Calendar, newest: date
    ) -> CalendarPiece:
        """Prepare rows of a year."""
        numbers = calendar.session_nos(rows.day)
        return cls(rows, ends_year, Precomputed.of(rows), year, calendar, newest, numbers)

    def head(self, width: int, last_day: int) -> Piece | None:  # noqa: ARG002 - any width
        """Return the rows up to the last day."""
        chosen = np.flatnonzero(self.rows.day <= last_day)
        return self._part(chosen, session_no=self.session_no[chosen])

    def _fold(self, width: int, later: PartialBars) -> tuple[Bars, PartialBars]:
        windows = windows_starting_in(self.year, width, self.calendar)
        bars, below = fold_year(
            self.rows,
            self.precomputed,
            self.session_no // width,
            # Parts of a year that was left out between this one and theirs are of no use.
            later.where(later.window < windows.stop),
            np.full(len(self.precomputed.symbols) + 1, windows.start, np.int64),
            width,
        )
        # Dates of the windows, not of the rows that happen to be in them.
        numbers = np.arange(windows.start, windows.stop, dtype=np.int64)
        place = bars.window - windows.start
        start = self.calendar.day_at(numbers * width).take(place)
        end = self.calendar.day_at((numbers + 1) * width - 1).take(place)
        complete = end <= day_of(self.last_closed)
        return replace(bars, start=start, end=end, complete=complete), below


@dataclass(frozen=True, slots=True, eq=False)
class ListingPiece(Piece):
    """A piece whose windows are counted from each symbol's own first bar.

    A window starts in the year in which its first row lies, and is complete when it has as
    many rows as the width. ``rows_before`` counts each symbol's daily bars before the year.
    """

    rows_before: Ints

    @classmethod
    def of(cls, rows: DailyColumns, *, ends_year: bool, rows_before: Ints) -> ListingPiece:
        """Prepare rows of a year."""
        return cls(rows, ends_year, Precomputed.of(rows), rows_before)

    def head(self, width: int, last_day: int) -> Piece | None:  # noqa: ARG002 - no calendar
        """Return the rows of each symbol that a window from the year before can still take."""
        firsts = self.precomputed.first_rows
        rows_of_each = np.diff(firsts, append=len(self.rows))
        return self._part(positions(firsts, np.minimum(rows_of_each, width - 1)))

    def _fold(self, width: int, later: PartialBars) -> tuple[Bars, PartialBars]:
        first_rows = self.precomputed.first_rows
        own_no = np.arange(len(self.rows)) + (self.rows_before - first_rows)[self.rows.code]
        # A window that starts in a year has a row there: without rows, a symbol has none.
        first_window = np.append(_first_listing_window(self.rows_before, width), _NEVER)
        return fold_year(self.rows, self.precomputed, own_no // width, later, first_window, width)


def listing_parts_of_year(
    parts: PartialBars, rows_before: Mapping[str, int], width: int
) -> PartialBars:
    """Return the parts of windows, counted from the listing, that start in a year.

    ``rows_before`` counts the daily bars before the year of each symbol with rows in it.
    """
    before = np.array([rows_before.get(symbol, -1) for symbol in parts.symbols], np.int64)
    first_window = np.where(before < 0, _NEVER, _first_listing_window(before, width))
    return parts.where(parts.window >= first_window)


def _first_listing_window(rows_before: Ints, width: int) -> Ints:
    return -(-rows_before // width)  # the first whose first row is not among those before


def fold_year(
    rows: DailyColumns,
    precomputed: Precomputed,
    window: npt.NDArray[Any],
    later: PartialBars,
    first_window: Ints,
    width: int,
) -> tuple[Bars, PartialBars]:
    """Fold a year's daily bars, and complete its last windows by parts of later years.

    Args:
        rows: Sorted by (symbol, date): all of a symbol's rows in the year, or none.
        precomputed: Of them.
        window: Of each row, ascending within a symbol.
        later: Parts of windows that start in this year or before.
        first_window: Of each symbol, the first that starts in the year; behind them, that of
            every symbol without rows.
        width: Sessions per window.

    Returns:
        The bars of the windows that start in the year, and the parts of windows that start
        before it. A bar's ``start`` and ``end`` are the dates of its first and last row, of
        which ``start`` means nothing where all its rows are in later years; it is complete
        when it has ``width`` rows.
    """
    if not len(rows):
        early = later.window < first_window[-1]
        return _bars_of_parts(later.where(~early), width), later.where(early)
    runs = runs_of(window, precomputed.first_rows)
    # Symbol s has the runs from first_run[s] to first_run[s + 1] - 1.
    first_run = np.append(np.searchsorted(runs.starts, precomputed.first_rows), len(runs))
    end = rows.day.take(runs.ends)
    sessions = runs.lengths()
    values = fold(rows, runs, precomputed)

    # A later part continues its symbol's last run, or it is a window without rows in the
    # year. Its code is -1 where the symbol has no rows; last_run is not used then.
    code = np.array([precomputed.places.get(symbol, -1) for symbol in later.symbols], np.int32)
    last_run = first_run[code + 1] - 1
    joins = (code >= 0) & (window[runs.starts[last_run]] == later.window)
    continued, parts = last_run[joins], later.where(joins)
    end[continued] = parts.end
    sessions[continued] += parts.sessions
    values.put(continued, values.take(continued).followed_by(parts.values))

    # Of a symbol's runs only the first can be of a window that starts before the year. It
    # is passed on with the part that it was continued by, if it is the last one as well.
    starts_before = np.flatnonzero(window[precomputed.first_rows] < first_window[:-1])
    heads = first_run[starts_before]
    own_parts = PartialBars(
        [precomputed.symbols[place] for place in starts_before.tolist()],
        window[runs.starts[heads]],
        end[heads],
        sessions[heads],
        values.take(heads),
    )
    apart = later.where(~joins)
    apart_early = apart.window < first_window[code[~joins]]
    below = own_parts.merged(apart.where(apart_early))
    missing = apart.where(~apart_early)

    # The bars are the other runs, with a slot behind the last run of its symbol for each
    # window of which all rows are in later years.
    keep = np.ones(len(runs), np.bool_)
    keep[heads] = False
    chosen = np.flatnonzero(keep)
    next_symbol = [bisect_right(precomputed.symbols, symbol) for symbol in missing.symbols]
    slots = np.searchsorted(chosen, first_run[np.array(next_symbol, np.intp)])
    if len(missing):
        chosen = np.insert(chosen, slots, 0)
        slots += np.arange(len(missing))
    first_rows = runs.starts.take(chosen)
    bars = Bars(
        symbols=rows.symbols,
        code=rows.code.take(first_rows),
        window=window.take(first_rows),
        start=rows.day.take(first_rows),
        end=end.take(chosen),
        sessions=sessions.take(chosen),
        complete=sessions.take(chosen) == width,
        values=values.take(chosen),
    )
    return (_filled(bars, slots, missing, precomputed, width) if len(missing) else bars), below


def _filled(
    bars: Bars, slots: Rows, missing: PartialBars, precomputed: Precomputed, width: int
) -> Bars:
    """Put bars of later rows alone into the slots that were left for them, in place."""
    bars.window[slots] = missing.window
    bars.end[slots] = missing.end
    bars.sessions[slots] = missing.sessions
    bars.complete[slots] = missing.sessions == width
    bars.values.put(slots, missing.values)
    symbols, code = bars.symbols, bars.code
    places: Mapping[str, int] = precomputed.places
    if new := set(missing.symbols) - places.keys():
        union = sorted([*precomputed.symbols, *new])
        places = {symbol: place for place, symbol in enumerate(union)}
        code = np.array([places[symbol] for symbol in precomputed.symbols], np.int32)[code]
        symbols = arrow_text(union)
    code[slots] = [places[symbol] for symbol in missing.symbols]
    return replace(bars, symbols=symbols, code=code)


def _bars_of_parts(missing: PartialBars, width: int) -> Bars:
    return Bars(
        symbols=arrow_text(missing.symbols),
        code=np.arange(len(missing), dtype=np.int32),
        window=missing.window,
        start=missing.end,
        end=missing.end,
        sessions=missing.sessions,
        complete=missing.sessions == width,
        values=missing.values,
    )
