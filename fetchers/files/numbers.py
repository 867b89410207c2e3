"""How a file writes numbers: its decimal mark, decided from its values or refused. Pure.

One mark holds for the whole file, and these values decide it, in this order:

- ``10,5`` and ``1.234,56`` have a decimal comma, ``10.5`` and ``1,234.56`` a decimal point;
  ``1,234`` may have either. Blanks and apostrophes between thousands leave no doubt.
- ``1234`` in the column of a ``1.234``: this column does not separate thousands.
- Bars that cannot be true with one mark, and can with the other one.

What they leave open is refused, and so is a file with values of both marks. One exception is a
slip: a single row with the other mark beside many that decide. None of its numbers is read, so
that the row is refused; were there two, others could be like them and be read wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import polars as pl

from fetchers.files.reading import BY_EVIDENCE, DECIMAL_MARKS, Reading
from fetchers.files.refusals import Code, FileRefused

_BETWEEN: Final = " '\u00a0\u2009\u202f\u2019"
"""What separates thousands without being a decimal mark: blanks of any width and apostrophes."""


def _pattern(thousands: str, decimal: str) -> str:
    groups = rf"[1-9]\d{{0,2}}(?:\{thousands}\d{{3}})+|[1-9]\d{{0,2}}(?:[{_BETWEEN}]\d{{3}})+"
    return rf"^[+-]?\$?(?:\d+|{groups})?(?:\{decimal}\d*)?(?:[eE][+-]?\d+)?$"


_PATTERNS: Final = {".": _pattern(",", "."), ",": _pattern(".", ",")}
"""What a number looks like by its decimal mark; the other mark separates thousands."""

_OPEN: Final = r"^[+-]?\$?[1-9]\d{0,2}[.,]\d{3}$"
"""What has a meaning with either mark: ``1,234``."""

_OTHER: Final = {".": ",", ",": "."}
_USUAL_ROWS: Final = 64
_UNUSUAL: Final = [",", "$", *_BETWEEN]

_SLIP_AMONG: Final = 20
"""How many rows must decide a mark, at least, for a single row with the other one to be a slip."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """How a file's numbers are written."""

    mark: str

    def of(self, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
        """Return rows with the numbers in some columns written with a decimal point.

        A value that is not written as the others becomes null, and so do all of a row with the
        other mark. Columns that are not text stay.
        """
        texts = _texts(rows, names)
        if not texts or (self.mark == "." and _are_usual(rows, texts)):
            return rows
        text = pl.col(texts).str.strip_chars()
        fits = text.str.contains(_PATTERNS[self.mark])
        plain = text.str.replace_all(rf"[{_BETWEEN}${_OTHER[self.mark]}]", "").str.replace(
            self.mark, ".", literal=True
        )
        has_mark = text.str.contains(rf"\d[.,{_BETWEEN}]|[.,]\d")
        is_other = pl.any_horizontal(
            _is_only(_text(name), _OTHER[self.mark]) for name in texts
        ).fill_null(value=False)
        return rows.with_columns(
            pl.when(fits & ~is_other).then(plain).when(~has_mark & ~is_other).then(text)
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """Rows that have a value of some kind: how many, the first value and its line."""

    rows: int = 0
    first: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.first!r}" if self.line is None else f"{self.first!r} on line {self.line}"

    def with_more(self, others: _Seen) -> _Seen:
        first = self if self.rows else others
        return _Seen(self.rows + others.rows, first.first, first.line)


class NumbersEvidence:
    """What the numbers of a file show of how they are written, gathered part by part.

    Args:
        names: Columns of numbers.
        volume: The one of volumes: whole numbers, in which ``1.234`` is seldom a fraction.
        misfits: Tells which rows, with decimal points, cannot be true.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        volume: str | None = None,
        misfits: Callable[[pl.DataFrame], pl.Series] | None = None,
    ) -> None:
        self._names = tuple(names)
        self._volume = volume
        self._misfits = misfits
        self._sure = dict.fromkeys(DECIMAL_MARKS, _Seen())
        self._open = _Seen()
        self._open_volumes = dict.fromkeys(DECIMAL_MARKS, _Seen())
        self._has_sure_volumes = False
        self._open_prices = dict.fromkeys(DECIMAL_MARKS, _Seen())
        self._has_sure_prices = False
        self._wrong = dict.fromkeys(DECIMAL_MARKS, 0)
        self._beside_whole: set[str] = set()

    def add(self, rows: pl.DataFrame, lines: pl.Series | None = None) -> None:
        """Take note of the rows of a part."""
        texts = _texts(rows, self._names)
        if not texts:
            return
        if _are_usual(rows, texts) and not self._have_marks(rows):
            head = _seen(rows.head(_USUAL_ROWS), texts, lines, partial(_is_only, mark="."))
            if head.rows:
                self._sure["."] = self._sure["."].with_more(head)
                self._add_volumes(rows.head(_USUAL_ROWS), None)
                self._has_sure_prices = True
                return
        for mark in DECIMAL_MARKS:
            found = _seen(rows, texts, lines, partial(_is_only, mark=mark))
            self._sure[mark] = self._sure[mark].with_more(found)
        prices = [name for name in texts if name != self._volume]
        for mark in DECIMAL_MARKS:
            is_sure = _seen(rows, prices, lines, partial(_is_only, mark=mark)).rows > 0
            self._has_sure_prices |= is_sure
            is_open = partial(_contains, pattern=_OPEN.replace(".,", mark))
            found = _seen(rows, prices, lines, is_open)
            self._open_prices[mark] = self._open_prices[mark].with_more(found)
        found = _seen(rows, texts, lines, _is_open)
        if not found.rows:
            return
        self._open = self._open.with_more(found)
        self._beside_whole |= _marks_beside_whole_numbers(rows, texts)
        self._add_volumes(rows, lines)
        if self._misfits:
            open_rows = rows.filter(pl.any_horizontal(_is_open(_text(name)) for name in texts))
            for mark in DECIMAL_MARKS:
                wrong = self._misfits(Numbers(mark).of(open_rows, texts))
                self._wrong[mark] += int(wrong.sum())

    def decide(self, *, label: str, reading: Reading = BY_EVIDENCE) -> Numbers:
        """Return how all numbers of the file are written.

        Raises:
            FileRefused: Values contradict one another or the source's settings, or none decides.
        """
        given, sure = reading.decimal_mark, self._sure
        for mark in DECIMAL_MARKS:
            is_slip = sure[_OTHER[mark]].rows == 1 and sure[mark].rows >= _SLIP_AMONG
            if is_slip and given in (None, mark):
                return Numbers(mark)
        if given and sure[_OTHER[given]].rows:
            against = sure[_OTHER[given]]
            raise FileRefused(
                Code.AMBIGUOUS_DECIMALS,
                label,
                f"{against} has not the decimal mark {given!r} of its source's settings",
                "correct decimal_mark of the source",
                line=against.line,
            )
        if given:
            return Numbers(given)
        if sure["."].rows and sure[","].rows:
            raise FileRefused(
                Code.AMBIGUOUS_DECIMALS,
                label,
                f"its numbers have both decimal marks: {sure['.']} and {sure[',']}",
                "write all of them with one",
                line=max(sure.values(), key=lambda one: one.line or 0).line,
            )
        open_ = self._open
        known = next((mark for mark in DECIMAL_MARKS if sure[mark].rows), None)
        if known:  # but volumes may be written otherwise than prices, and the other way round
            open_ = _Seen() if self._has_sure_volumes else self._open_volumes[known]
            if not self._has_sure_prices and self._open_prices[_OTHER[known]].rows:
                open_ = self._open_prices[_OTHER[known]]
        if not open_.rows:
            return Numbers(known or ".")
        marks = {one for one in DECIMAL_MARKS if self._wrong[_OTHER[one]] and not self._wrong[one]}
        marks |= self._beside_whole
        if len(marks) == 1 and known is None:
            return Numbers(marks.pop())
        raise FileRefused(
            Code.AMBIGUOUS_DECIMALS,
            label,
            f"{open_} can be read with a decimal comma and with a decimal point, and no other"
            " value decides",
            "write the numbers without separators between thousands, with two decimals or none,"
            " or set decimal_mark for its source",
            line=open_.line,
        )

    def _have_marks(self, rows: pl.DataFrame) -> bool:
        if self._volume is None or rows.schema[self._volume] != pl.String:
            return False
        return bool(rows[self._volume].str.contains(".", literal=True).any())

    def _add_volumes(self, rows: pl.DataFrame, lines: pl.Series | None) -> None:
        if self._volume is None or rows.schema[self._volume] != pl.String:
            return
        sure = _text(self._volume).str.contains(r"^\d{4}|^0?[.,]\d|[.,](\d{1,2}|\d{4,})$")
        self._has_sure_volumes |= bool(rows.select(sure.any()).item())
        for mark in DECIMAL_MARKS:
            is_open = partial(_contains, pattern=_OPEN.replace(".,", mark))
            found = _seen(rows, [self._volume], lines, is_open)
            self._open_volumes[mark] = self._open_volumes[mark].with_more(found)


def with_decimal_points(
    rows: pl.DataFrame,
    names: Sequence[str],
    *,
    label: str,
    reading: Reading = BY_EVIDENCE,
    lines: pl.Series | None = None,
) -> pl.DataFrame:
    """Return all rows of a file as :class:`Numbers` does.

    Raises:
        FileRefused: Values contradict one another, or none decides.
    """
    evidence = NumbersEvidence(names)
    evidence.add(rows, lines)
    return evidence.decide(label=label, reading=reading).of(rows, names)


def _texts(rows: pl.DataFrame, names: Sequence[str]) -> list[str]:
    return [name for name in names if rows.schema[name] == pl.String]


def _text(name: str) -> pl.Expr:
    return pl.col(name).str.strip_chars()


def _are_usual(rows: pl.DataFrame, texts: Sequence[str]) -> bool:
    """Tell whether all numbers are written as programs write them, for all that can be seen."""
    unusual = rows.select(pl.col(texts).str.contains_any(_UNUSUAL).any())
    return not any(unusual.row(0))


def _contains(text: pl.Expr, pattern: str) -> pl.Expr:
    return text.str.contains(pattern)


def _is_open(text: pl.Expr) -> pl.Expr:
    return text.str.contains(_OPEN)


def _is_only(text: pl.Expr, mark: str) -> pl.Expr:
    """Tell whether a text is a number with one decimal mark and not with the other."""
    return text.str.contains(_PATTERNS[mark]) & ~text.str.contains(_PATTERNS[_OTHER[mark]])


def _seen(
    rows: pl.DataFrame,
    names: Sequence[str],
    lines: pl.Series | None,
    is_such: Callable[[pl.Expr], pl.Expr],
) -> _Seen:
    """Return what is seen of the rows in which a value of some columns is such."""
    such = rows.lazy().select(
        is_such(_text(name)).fill_null(value=False).alias(name) for name in names
    )
    found = such.collect()
    in_row = found.select(pl.any_horizontal(pl.all())).to_series()
    count = int(in_row.sum())
    if not count:
        return _Seen()
    at = int(in_row.arg_max() or 0)
    name = next(name for name in names if found[name][at])
    return _Seen(count, rows[name][at].strip(), lines[at] if lines is not None else None)


def _marks_beside_whole_numbers(rows: pl.DataFrame, names: Sequence[str]) -> set[str]:
    marks: set[str] = set()
    for name in names:
        text = rows[name].str.strip_chars()
        if text.str.contains(r"^[+-]?[1-9]\d{3,}$").any():
            marks |= {
                mark
                for mark in DECIMAL_MARKS
                if text.str.contains(rf"^[+-]?\d+\{mark}\d{{3}}$").any()
            }
    return marks
