"""Daily bars as parallel arrays: what merging and resampling compute on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from batch.core import schema
from batch.kernel.arrow import arrow_of, arrow_text, numpy_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]

NO_TRADES = -1
"""Stands for a null count of trades; counts are never negative."""


@dataclass(frozen=True, slots=True, eq=False)
class DailyColumns:
    """Daily bars, one element per (symbol, date) in every array.

    ``symbols`` are Arrow text, distinct and ascending by UTF-8 bytes; ``code`` is the position
    of each row's symbol among them. ``day`` counts from 1970-01-01. For null stand NaN in
    ``vwap`` and :data:`NO_TRADES` in ``trades``.
    """

    symbols: Any
    code: Codes
    day: npt.NDArray[np.int32]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    vwap: Floats
    trades: Ints
    split_ratio: Floats

    def __len__(self) -> int:
        return len(self.code)

    def take(self, rows: npt.NDArray[Any] | slice) -> DailyColumns:
        """Return some rows, in the order given; the list of symbols stays."""
        return replace(self, **{name: getattr(self, name)[rows] for name in ROW_ARRAYS})

    def first_rows(self) -> npt.NDArray[np.intp]:
        """Return the position of each symbol's first row; rows sorted by symbol."""
        if not len(self):
            return np.empty(0, np.intp)
        return np.append(0, np.flatnonzero(self.code[1:] != self.code[:-1]) + 1)

    def row_nos(self) -> Ints:
        """Number each symbol's rows from 0; rows sorted by symbol, of which each has one."""
        return np.arange(len(self), dtype=np.int64) - self.first_rows()[self.code]

    def with_own_symbols(self) -> DailyColumns:
        """Drop the symbols that have no row; rows sorted by symbol."""
        if not len(self):
            return DailyColumns.empty()
        used = self.code[self.first_rows()]
        if len(used) == len(self.symbols):
            return self
        place = np.empty(len(self.symbols), dtype=np.int32)
        place[used] = np.arange(len(used), dtype=np.int32)
        return replace(self, symbols=self.symbols.take(arrow_of(used)), code=place[self.code])

    @classmethod
    def empty(cls) -> DailyColumns:
        """Return no rows."""
        return cls.from_table(pa.Table.from_batches([], schema.DAILY))

    @classmethod
    def from_table(cls, table: Any) -> DailyColumns:
        """Read the columns of a delivery or of a daily partition, in any row order.

        ``split_ratio`` is 1.0 where the table has no such column.
        """
        symbols, code = encode_symbols(table.column("symbol"))
        floats = [name for name in ROW_ARRAYS if name in table.column_names and name != "trades"]
        values = {name: numpy_of(table.column(name), np.nan) for name in floats}
        values.setdefault("split_ratio", np.ones(table.num_rows))
        return cls(
            symbols=symbols,
            code=code,
            day=numpy_of(table.column("date")),
            trades=numpy_of(table.column("trades"), NO_TRADES),
            **values,
        )

    def to_batch(self) -> Any:
        """Return the rows as a record batch of :data:`batch.core.schema.DAILY`."""
        return pa.record_batch(
            [
                pa.DictionaryArray.from_arrays(arrow_of(self.code), self.symbols),
                arrow_of(self.day, pa.date32()),
                *(arrow_of(getattr(self, name)) for name in (*schema.PRICES, "volume")),
                arrow_of(self.vwap, valid=~np.isnan(self.vwap)),
                arrow_of(self.trades, valid=self.trades >= 0),
                arrow_of(self.split_ratio),
            ],
            names=schema.DAILY.names,
        )


ROW_ARRAYS = tuple(field.name for field in fields(DailyColumns) if field.name != "symbols")


def encode_symbols(column: Any) -> tuple[Any, Codes]:
    """Return a text column as its sorted distinct values and each row's place among them."""
    if isinstance(column, pa.ChunkedArray):
        chunks = column.unify_dictionaries().chunks
        column = pa.concat_arrays(chunks) if chunks else arrow_text([])
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    values = column.dictionary.cast(pa.string())
    order = numpy_of(pc.array_sort_indices(values))
    codes = numpy_of(column.indices).astype(np.int32, copy=False)
    if np.array_equal(order, np.arange(len(order))):
        return values, codes
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return values.take(arrow_of(order)), rank[codes]


def union_symbols(parts: list[Any]) -> tuple[Any, list[Codes]]:
    """Return the sorted union of lists of symbols, and the places of each list's in it."""
    if not parts:
        return arrow_text([]), []
    union = pc.unique(pa.chunked_array(parts, type=pa.string()))
    union = union.take(pc.array_sort_indices(union))
    places = [numpy_of(pc.index_in(part, value_set=union)) for part in parts]
    return union, places


def concat_columns(parts: list[DailyColumns]) -> DailyColumns:
    """Put tables one under the other, over the union of their symbols."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return DailyColumns.empty()
    symbols, places = union_symbols([part.symbols for part in parts])
    code = np.concatenate([place[part.code] for part, place in zip(parts, places, strict=True)])
    rows = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ROW_ARRAYS}
    return DailyColumns(symbols=symbols, **rows | {"code": code})


def whole_symbols(tables: Iterable[Any]) -> Iterator[DailyColumns]:
    """Cut a daily partition into stretches that never cut a symbol in two.

    A symbol that lies across two tables is a stretch of its own, so that no others are copied.
    The tables are the partition's parts, sorted by (symbol, date); none of them is empty.
    """
    held: list[DailyColumns] = []  # rows of one symbol, of which the next table may have more
    for table in tables:
        rows = DailyColumns.from_table(table)
        first = int(np.searchsorted(rows.code, rows.code[0], side="right"))
        last = int(np.searchsorted(rows.code, rows.code[-1]))
        if held and held[-1].symbols[0] != rows.symbols[int(rows.code[0])]:
            yield concat_columns(held)
            held = []
        if not held:
            first = 0
        elif last:  # the held symbol ends in this table
            yield concat_columns([*held, rows.take(slice(0, first)).with_own_symbols()])
            held = []
        if first < last:
            yield rows.take(slice(first, last)).with_own_symbols()
        held.append(rows.take(slice(last, None)).with_own_symbols())
    if held:
        yield concat_columns(held)


def stable_order(code: Codes) -> npt.NDArray[np.int64]:
    """Return the stable ordering by small non-negative integers, in linear time."""
    # NumPy sorts 16-bit integers by radix; wider codes take a second pass.
    order = np.argsort(code.astype(np.uint16), kind="stable")
    if len(code) and int(code.max()) > np.iinfo(np.uint16).max:
        high = (code >> 16).astype(np.uint16)
        order = order[np.argsort(high[order], kind="stable")]
    return order


def order_by_key(key: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return rows in ascending order of key, and of each whether it is the newest of its key.

    The rows of one key lie in the order in which they were received, and stay in it.
    """
    order = np.argsort(key, kind="stable")
    in_order = key[order]
    newest = np.ones(len(key), np.bool_)
    newest[:-1] = in_order[1:] != in_order[:-1]
    return order, newest
