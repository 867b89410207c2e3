"""Bars of many symbols side by side: a row per date, a column per symbol. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import polars as pl

from batch.core.errors import DataRefused, SettingsError

_NO_FIELDS = ("symbol", "date", "start", "end")


def require_field(field: str, columns: Iterable[str]) -> None:
    """Refuse a field that bars with these columns do not have.

    Raises:
        SettingsError: It is none of them, or says which bar it is rather than what it was.
    """
    fields = [name for name in columns if name not in _NO_FIELDS]
    if field in fields:
        return
    near = get_close_matches(str(field), fields, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise SettingsError(f"field {field!r}: expected one of {', '.join(fields)}{meant}")


def widen(
    rows: pl.DataFrame, field: str, index: str, symbols: Sequence[str] | None
) -> pl.DataFrame:
    """Lay the values of one field out with a row per date and a column per symbol.

    ``DataFrame.pivot`` does the same and hashes every row for it: with rows in order a symbol
    is a slice, which goes to its dates as a whole.

    Args:
        rows: ``symbol``, ``index`` and ``field``, sorted by the first two, each pair once.
        field: The column with the values.
        index: The column with the dates; the first one of the result.
        symbols: The columns wanted, in their order; all that have rows, sorted, where None.

    Returns:
        A row for every date of any symbol, ascending; null where a symbol has no row.

    Raises:
        DataRefused: A symbol has the name of the column of dates.
    """
    dates = rows[index].unique().sort()
    places, values = dates.search_sorted(rows[index]), rows[field]
    columns: dict[str, pl.Series] = {}
    first = 0
    runs = rows["symbol"].rle().struct.unnest()
    for symbol, length in runs.select("value", "len").iter_rows():
        own = values.slice(first, length)
        if length < dates.len():
            nulls = pl.repeat(None, dates.len(), dtype=values.dtype, eager=True)
            own = nulls.scatter(places.slice(first, length), own)
        columns[symbol] = own.alias(symbol)
        first += length
    wanted = columns if symbols is None else dict.fromkeys(symbols)
    if index in wanted:
        raise DataRefused(
            f"symbol {index!r} has the name of the column of dates: leave it out of the panel"
        )
    absent = pl.repeat(None, dates.len(), dtype=values.dtype, eager=True)
    return pl.DataFrame([dates, *(columns.get(symbol, absent).alias(symbol) for symbol in wanted)])
