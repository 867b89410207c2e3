"""Tables in plain text, as psql shows them: headings over a rule, numbers to the right."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from textwrap import wrap

_GAP = "  "
_NARROWEST = 12
"""Characters below which a column of texts is not folded."""

_DIGITS = 10
_DATES = re.compile(r"\d{4}-\d\d-\d\d( \d\d:\d\d(:\d\d)?)?")
_MEASURE = re.compile(r"[-+]?[\d,.]+( ?(B|kB|MB|GB|TB|s|min|h|%))?")

Rows = Sequence[Sequence[object]]


@dataclass(frozen=True, slots=True)
class _Column:
    """The texts of a column, its name first."""

    texts: list[str]
    width: int
    is_measure: bool

    @property
    def narrowest(self) -> int:
        """Width below which it is not folded; of numbers and dates only the heading is."""
        name, *values = self.texts
        if self.is_measure or all(_DATES.fullmatch(text) for text in values if text):
            return max(map(len, [*values, *name.split()]))
        return min(_NARROWEST, self.width)

    def aligned(self, text: str) -> str:
        return text.rjust(self.width) if self.is_measure else text.ljust(self.width)


def folded_table(names: Sequence[str], rows: Rows, width: int) -> Iterator[str]:
    """Return the lines of a table whose longest texts are folded so that it fits a width.

    Numbers and dates stay whole. Numbers are grouped by thousands and have two decimals.
    """
    columns = _columns(names, rows, _for_readers)
    while (over := _width_of(columns) - width) > 0:
        foldable = [column for column in columns if column.width > column.narrowest]
        if not foldable:
            break
        widest = max(foldable, key=lambda column: column.width)
        narrower = replace(widest, width=max(widest.width - over, widest.narrowest))
        columns[columns.index(widest)] = narrower
    for at, texts in enumerate(zip(*(column.texts for column in columns), strict=True)):
        folded = [
            wrap(text, column.width, break_on_hyphens=False) or [""]
            for column, text in zip(columns, texts, strict=True)
        ]
        for line in zip_longest(*folded, fillvalue=""):
            yield _line(columns, line)
        if at == 0:
            yield _GAP.join("-" * column.width for column in columns)


def split_table(names: Sequence[str], rows: Rows, width: int | None) -> Iterator[str]:
    """Return the lines of a table; columns that do not fit a width follow below the others.

    The first column leads every block. Numbers are shown as they are, in ten digits.
    """
    first, *others = _columns(names, rows, _as_stored)
    blocks = [[first]]
    for column in others:
        widened = [*blocks[-1], column]
        if width is not None and len(widened) > 2 and _width_of(widened) > width:
            blocks.append([first])
        blocks[-1].append(column)
    for at, shown in enumerate(blocks):
        if at > 0:
            yield ""
        yield _line(shown, [column.texts[0] for column in shown])
        yield _GAP.join("-" * column.width for column in shown)
        for texts in zip(*(column.texts[1:] for column in shown), strict=True):
            yield _line(shown, texts)


def _columns(names: Sequence[str], rows: Rows, text_of: Callable[[object], str]) -> list[_Column]:
    columns = []
    for place, name in enumerate(names):
        values = [row[place] for row in rows]
        texts = [name, *map(text_of, values)]
        columns.append(_Column(texts, max(map(len, texts)), _are_measures(values)))
    return columns


def _are_measures(values: Sequence[object]) -> bool:
    """Return whether values are nothing but numbers and texts such as ``12.8 MB``."""
    known = [value for value in values if value is not None and value != ""]
    return bool(known) and all(
        isinstance(value, int | float)
        or (isinstance(value, str) and _MEASURE.fullmatch(value) is not None)
        for value in known
    )


def _line(columns: Sequence[_Column], texts: Sequence[str]) -> str:
    aligned = (column.aligned(text) for column, text in zip(columns, texts, strict=True))
    return _GAP.join(aligned).rstrip()


def _width_of(columns: Sequence[_Column]) -> int:
    return sum(column.width + len(_GAP) for column in columns) - len(_GAP)


def _for_readers(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.2f}" if isinstance(value, float) else "" if value is None else str(value)


def _as_stored(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(float(f"{value:.{_DIGITS}g}"))
    return "" if value is None else str(value)
