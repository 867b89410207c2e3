"""A stretch of a year's daily rows, ready to be folded into bars of any width."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Protocol

import numpy as np

from batch.core.sessions import Calendar, SessionNos
from batch.kernel.bars import Bars, CalendarYear, fold_calendar_year, fold_listing_year
from batch.kernel.columns import DailyColumns, Ints
from batch.kernel.fold import Basis
from batch.kernel.years import LaterParts

if TYPE_CHECKING:
    import polars as pl


class Piece(Protocol):
    """All daily rows of some symbols in one year."""

    @property
    def rows(self) -> DailyColumns:
        """The rows, sorted by (symbol, date)."""
        ...

    def fold(self, width: int, later: LaterParts) -> tuple[Bars, LaterParts]:
        """Fold the rows into bars of one width.

        Args:
            width: Sessions per bar.
            later: What later years hold of windows that start before them.

        Returns:
            The bars that start in the year, sorted by (symbol, start), and what is known
            of bars that start in earlier years.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CalendarPiece:
    """Rows whose windows the exchange calendar numbers.

    Attributes:
        year: Which year.
        calendar: Must reach to the end of the year's last windows.
        last_closed: The newest consolidated session.
        rows: The rows.
        session_no: Number of each row's session.
        basis: What is worked out of the rows for all widths.
    """

    year: int
    calendar: Calendar
    last_closed: date
    rows: DailyColumns
    session_no: SessionNos
    basis: Basis

    @classmethod
    def of(cls, year: int, rows: DailyColumns, calendar: Calendar, newest: date) -> CalendarPiece:
        """Prepare rows of a year."""
        return cls(
            year,
            calendar,
            newest,
            rows,
            calendar.session_nos(rows.day),
            Basis.of(rows),
        )

    def fold(self, width: int, later: LaterParts) -> tuple[Bars, LaterParts]:
        """Fold the rows into bars of one width."""
        return fold_calendar_year(
            self.rows,
            self.session_no,
            self.basis,
            later,
            windows=CalendarYear.of(self.calendar, width, self.year),
            calendar=self.calendar,
            last_closed=self.last_closed,
        )


@dataclass(frozen=True, slots=True, eq=False)
class ListingPiece:
    """Rows whose windows are counted from each symbol's listing.

    Attributes:
        rows: The rows.
        basis: What is worked out of the rows for all widths.
        rows_before: Each symbol's rows before the year.
    """

    rows: DailyColumns
    basis: Basis
    rows_before: Ints

    @classmethod
    def of(cls, rows: DailyColumns, counts: pl.DataFrame | None) -> ListingPiece:
        """Prepare rows of a year.

        Args:
            rows: Sorted by (symbol, date).
            counts: ``symbol`` and ``rows_before`` of every symbol of the year; None where
                there are no rows.
        """
        if counts is None:
            return cls(rows, Basis.of(rows), np.empty(0, np.int64))
        import polars as pl  # noqa: PLC0415 - only the listing anchor needs it

        own = pl.DataFrame({"symbol": pl.Series(rows.symbols.to_pylist(), dtype=pl.String)})
        own = own.join(counts, on="symbol", how="left", maintain_order="left").fill_null(0)
        return cls(rows, Basis.of(rows), own["rows_before"].to_numpy())

    def fold(self, width: int, later: LaterParts) -> tuple[Bars, LaterParts]:
        """Fold the rows into bars of one width."""
        return fold_listing_year(
            self.rows, self.basis, later, width=width, rows_before=self.rows_before
        )
