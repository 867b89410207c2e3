"""How a file writes numbers: its decimal mark, decided from its values or refused. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import polars as pl

from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.refusals import Code, FileRefused


def _pattern(thousands: str, decimal: str) -> str:
    whole = rf"\d+|[1-9]\d{{0,2}}(\{thousands}\d{{3}})+"
    return rf"^[+-]?({whole})?(\{decimal}\d*)?([eE][+-]?\d+)?$"


_PATTERNS: Final = {".": _pattern(",", "."), ",": _pattern(".", ",")}
"""What a number looks like by its decimal mark; the other mark separates thousands."""

_OTHER: Final = {".": ",", ",": "."}
_USUAL_ROWS: Final = 64


def with_decimal_points(
    rows: pl.DataFrame,
    names: Sequence[str],
    *,
    label: str,
    reading: Reading = BY_EVIDENCE,
    misfits: Callable[[pl.DataFrame], int] = lambda _: 0,
) -> pl.DataFrame:
    """Return a file's rows with the numbers in some columns written with a decimal point.

    One mark holds for the whole file. ``10,5`` and ``1.234,56`` have a decimal comma, ``10.5``
    and ``1,234.56`` a decimal point; ``1,234`` alone may have either. Where no value decides,
    these do: a column that has ``1234`` too does not separate thousands; and ``misfits``, which
    counts the rows that cannot be true, is above zero with one mark and zero with the other.
    A value that is not written as the others becomes null. Columns that are not text stay.

    Raises:
        FileRefused: Values contradict one another, or none decides.
    """
    texts = [name for name in names if rows.schema[name] == pl.String]
    if not texts:
        return rows
    has_comma = rows.select(pl.col(texts).str.contains(",", literal=True).any())
    is_usual = reading.decimal_mark != "," and not any(has_comma.row(0))
    if is_usual and _votes(rows.head(_USUAL_ROWS), texts)["."]:
        return rows
    mark = decimal_mark_of(rows, texts, label=label, reading=reading, misfits=misfits)
    return _read(rows, texts, mark)


def decimal_mark_of(
    rows: pl.DataFrame,
    texts: Sequence[str],
    *,
    label: str,
    reading: Reading = BY_EVIDENCE,
    misfits: Callable[[pl.DataFrame], int] = lambda _: 0,
) -> str:
    """Decide the decimal mark of some columns of text as :func:`with_decimal_points` does.

    Raises:
        FileRefused: Values contradict one another, or none decides.
    """
    votes = _votes(rows, texts)
    first = {mark: next(iter(votes[mark]), None) for mark in votes}
    given = reading.decimal_mark
    against = first[_OTHER[given]] if given else None
    if against:
        raise FileRefused(
            Code.AMBIGUOUS_DECIMALS,
            label,
            f"{against!r} has not the decimal mark {given!r}, which its source's settings say",
            "correct decimal_mark in the settings of the source",
        )
    if given:
        return given
    if votes["."] and votes[","]:
        raise FileRefused(
            Code.AMBIGUOUS_DECIMALS,
            label,
            f"its numbers have both decimal marks: {first['.']!r} and {first[',']!r}",
            "write all of them with one",
        )
    open_ = [] if votes["."] or votes[","] else _undecided(rows, texts)
    if not open_:
        return "," if votes[","] else "."
    readings = {mark: _read(rows, texts, mark) for mark in _PATTERNS}
    wrong = {mark: misfits(reading) for mark, reading in readings.items()}
    marks = {mark for mark in wrong if not wrong[mark] and wrong[_OTHER[mark]]}
    marks |= _marks_beside_whole_numbers(rows, texts)
    if len(marks) == 1:
        return marks.pop()
    raise FileRefused(
        Code.AMBIGUOUS_DECIMALS,
        label,
        f"{open_[0]!r} can be read with a decimal comma and with a decimal point, and no other"
        " value decides",
        "write the numbers without separators between thousands, with two decimals or none",
    )


def _votes(rows: pl.DataFrame, names: Sequence[str]) -> dict[str, list[str]]:
    """Return for each mark a value that has a meaning with this mark only, if there is one."""
    found: dict[str, list[str]] = {".": [], ",": []}
    for name in names:
        text = pl.col(name).str.strip_chars()
        for mark in found:
            only = text.str.contains(_PATTERNS[mark]) & ~text.str.contains(_PATTERNS[_OTHER[mark]])
            found[mark] += rows.lazy().select(text.filter(only).head(1)).collect()[name].to_list()
    return found


def _undecided(rows: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """Return a value with a mark that may separate decimals or thousands, if there is one."""
    found: list[str] = []
    for name in names:
        text = pl.col(name).str.strip_chars()
        both = text.str.contains(r"^[+-]?[1-9]\d{0,2}[.,]\d{3}$")
        found += rows.select(text.filter(both).head(1))[name].to_list()
    return found


def _marks_beside_whole_numbers(rows: pl.DataFrame, names: Sequence[str]) -> set[str]:
    marks: set[str] = set()
    for name in names:
        text = rows[name].str.strip_chars()
        if text.str.contains(r"^[+-]?[1-9]\d{3,}$").any():
            marks |= {
                mark for mark in _PATTERNS if text.str.contains(rf"^[+-]?\d+\{mark}\d{{3}}$").any()
            }
    return marks


def _read(rows: pl.DataFrame, names: Sequence[str], mark: str) -> pl.DataFrame:
    text = pl.col(names).str.strip_chars()
    plain = text.str.replace_all(_OTHER[mark], "", literal=True).str.replace(
        mark, ".", literal=True
    )
    fits = text.str.contains(_PATTERNS[mark])
    has_mark = text.str.contains(r"\d[.,]|[.,]\d")
    return rows.with_columns(pl.when(fits).then(plain).when(~has_mark).then(text))
