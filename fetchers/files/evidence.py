"""What the pieces of a large file say together of how its dates and numbers are written. Pure."""

from __future__ import annotations

from typing import Final

import polars as pl

from fetchers.files.columns import Columns, not_daily
from fetchers.files.dates import read_dates
from fetchers.files.reading import Reading
from fetchers.files.refusals import Code, FileRefused

_FIRST_ROWS: Final = 64
_MOST_STAMPS: Final = 200_000
_MOST_ROWS_OF_A_DATE: Final = 1_000_000
"""A hundred times what US exchanges list."""


class Evidence:
    """A few rows of a table that decide as all of them do.

    Among them is a number of each shape that a column has: digits count, not which they are. Of
    the dates, one stamp of each is kept with its number of rows.
    """

    def __init__(self, columns: Columns, *, label: str) -> None:
        self._columns = columns
        self._label = label
        self._rows = pl.DataFrame()
        self._stamps = pl.DataFrame()

    def add(self, raw: pl.DataFrame) -> None:
        """Add a piece.

        Raises:
            FileRefused: It has more different dates than there can be sessions.
        """
        if raw.is_empty():
            return
        of_piece = _one_of_each_shape(raw, self._columns.numbers)
        self._rows = _one_of_each_shape(pl.concat([self._rows, of_piece]), self._columns.numbers)
        name = self._columns.taken["date"]
        stamps = raw.select(key=_key(raw, name), stamp=pl.col(name), rows=pl.lit(1, pl.Int64))
        self._stamps = _counted(pl.concat([self._stamps, _counted(stamps)]))
        if max(self._stamps.height, self._rows.height) > _MOST_STAMPS:
            raise FileRefused(
                Code.NOT_A_TABLE,
                self._label,
                f"its column {name!r} has more than {_MOST_STAMPS:,} different dates",
                "expected a row per symbol and session",
            )

    @property
    def rows(self) -> pl.DataFrame:
        """Rows with numbers of every shape."""
        return self._rows

    @property
    def stamps(self) -> pl.Series:
        """Stamps of every date."""
        return self._stamps["stamp"]

    def rows_of_dates(self, reading: Reading) -> pl.DataFrame:
        """Return ``date``, ascending, and about how many ``rows`` it has.

        Raises:
            FileRefused: One has more than there can be symbols.
        """
        dates = read_dates(self.stamps, label=self._label, reading=reading)
        found = (
            self._stamps.select(date=dates, rows=pl.col("rows"))
            .drop_nulls()
            .group_by("date")
            .agg(pl.col("rows").sum())
            .sort("date")
        )
        most = found.filter(pl.col("rows") > _MOST_ROWS_OF_A_DATE)
        if most.height:
            raise not_daily("{} has {:,} rows".format(*most.row(0)), self._label)
        return found


def _one_of_each_shape(raw: pl.DataFrame, numbers: list[str]) -> pl.DataFrame:
    """Return the first rows, and the first with each shape of each column of text."""
    places = [pl.int_range(min(_FIRST_ROWS, raw.height), eager=True, dtype=pl.UInt32)]
    for text in (raw[name] for name in numbers if raw.schema[name] == pl.String):
        is_plain = text.cast(pl.Float64, strict=False).is_not_null()  # at most a decimal point
        shape = text.str.len_bytes() * 1024 + text.str.find(".", literal=True).fill_null(1023)
        shape = shape * 2 + text.str.starts_with("0").cast(pl.UInt32)
        places.append(shape.zip_with(is_plain, pl.Series([None], dtype=pl.UInt32)).arg_unique())
        others = (~is_plain & text.is_not_null()).arg_true()
        shapes = text.gather(others).str.strip_chars().str.replace_all(r"\B\d", "9")
        places.append(others.gather(shapes.str.replace_all("[1-9]", "9").arg_unique()))
    return raw[pl.concat(places).unique().sort()]


def _key(raw: pl.DataFrame, name: str) -> pl.Expr:
    """Return what stamps of one date have in common: its digits, or the first ones of an epoch."""
    if raw.schema[name].is_temporal():
        return pl.col(name).dt.date().cast(pl.String)
    text = pl.col(name).cast(pl.String).str.strip_chars()
    is_epoch = text.str.contains(r"^\d{9,}$")
    epoch = pl.concat_str(text.str.len_bytes(), text.str.head(5), separator=":")
    return pl.when(is_epoch).then(epoch).otherwise(text.str.head(10))


def _counted(stamps: pl.DataFrame) -> pl.DataFrame:
    return stamps.group_by("key", maintain_order=True).agg(
        pl.col("stamp").first(), pl.col("rows").sum()
    )
