"""A stretch of a year's daily rows, ready to be folded into bars of any width."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Protocol

from batch.core.bars import (
    Bars,
    CalendarYear,
    Traded,
    fold_calendar_windows,
    fold_listing_windows,
)
from batch.core.columns import DailyColumns, Ints
from batch.core.sessions import Calendar, SessionNos

if TYPE_CHECKING:
    import polars as pl


class Piece(Protocol):
    """Daily rows of some symbols in one year, with what the windows that start in it need."""

    def fold(self, width: int) -> Bars:
        """Return the bars of one width that start in the year, sorted by (symbol, start)."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CalendarPiece:
    """Rows whose windows the exchange calendar numbers.

    Attributes:
        year: Which year.
        calendar: Must reach to the end of the year's last windows.
        last_closed: Number of the newest consolidated session.
        rows: Rows of the year and later ones, sorted by (symbol, date).
        session_no: Number of each row's session.
        traded: What the rows contribute to sums.
    """

    year: int
    calendar: Calendar
    last_closed: int
    rows: DailyColumns
    session_no: SessionNos
    traded: Traded

    @classmethod
    def of(cls, year: int, rows: DailyColumns, calendar: Calendar, newest: date) -> CalendarPiece:
        """Prepare the rows of a year, and later ones of their symbols."""
        return cls(
            year,
            calendar,
            calendar.session_no(newest),
            rows,
            calendar.session_nos(rows.day),
            Traded.of(rows),
        )

    def fold(self, width: int) -> Bars:
        """Return the bars of one width that start in the year."""
        return fold_calendar_windows(
            self.rows,
            self.session_no,
            CalendarYear.of(self.calendar, width, self.year),
            calendar=self.calendar,
            last_closed=self.last_closed,
            traded=self.traded,
        )


@dataclass(frozen=True, slots=True, eq=False)
class ListingPiece:
    """Rows whose windows are counted from each symbol's listing.

    Attributes:
        rows: Rows of the year and later ones, sorted by (symbol, date).
        traded: What the rows contribute to sums.
        rows_before: Each symbol's rows before the year.
        own_rows: Each symbol's rows in the year.
    """

    rows: DailyColumns
    traded: Traded
    rows_before: Ints
    own_rows: Ints

    @classmethod
    def of(cls, rows: DailyColumns, counts: pl.DataFrame) -> ListingPiece:
        """Prepare the rows of a year, and later ones of their symbols.

        Args:
            rows: Sorted by (symbol, date).
            counts: ``symbol``, ``rows_before`` and ``rows`` of every symbol of the year.
        """
        import polars as pl  # noqa: PLC0415 - only the listing anchor needs it

        own = pl.DataFrame({"symbol": pl.Series(rows.symbols.to_pylist(), dtype=pl.String)})
        own = own.join(counts, on="symbol", how="left", maintain_order="left").fill_null(0)
        return cls(rows, Traded.of(rows), own["rows_before"].to_numpy(), own["rows"].to_numpy())

    def fold(self, width: int) -> Bars:
        """Return the bars of one width that start in the year."""
        return fold_listing_windows(
            self.rows,
            width,
            rows_before=self.rows_before,
            own_rows=self.own_rows,
            traded=self.traded,
        )
