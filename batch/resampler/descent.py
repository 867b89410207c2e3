"""One width's bars, made year by year from the newest down, pieces in the order of symbols."""

from __future__ import annotations

from batch.kernel.bars import Bars
from batch.kernel.years import LaterParts
from batch.resampler.pieces import Piece


class Descent:
    """Carries what later years hold of a year's last windows down to that year.

    Attributes:
        width: Sessions per bar.
        later: What the years that are done hold of windows that start before them.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.later = LaterParts.empty()
        self._passed_on: list[LaterParts] = []
        self._folded_upto: str | None = None

    def fold(self, piece: Piece) -> Bars:
        """Return the year's bars of a piece's symbols and of those before it without rows.

        Args:
            piece: Of later symbols than the pieces before; not empty.
        """
        return self._fold(piece, piece.rows.symbols[-1].as_py())

    def end_year(self, nothing: Piece) -> Bars:
        """Return the bars of the symbols behind the last piece, and turn to the year below.

        Args:
            nothing: A piece of the year without rows.
        """
        bars = self._fold(nothing, None)
        self.later = LaterParts.concat(self._passed_on)
        self._passed_on, self._folded_upto = [], None
        return bars

    def _fold(self, piece: Piece, upto: str | None) -> Bars:
        later = self.later.between(self._folded_upto, upto)
        bars, passed_on = piece.fold(self.width, later)
        self._folded_upto = upto
        if len(passed_on):
            self._passed_on.append(passed_on)
        return bars
