"""Between Arrow and Polars: the schemas of :mod:`batch.core.schema` as Polars sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa


def polars_schema(table_schema: Any, columns: Sequence[str] | None = None) -> pl.Schema:
    """Return an Arrow schema, or some of its columns, as Polars column names and types."""
    kinds = pl.Schema(table_schema)
    return kinds if columns is None else pl.Schema({name: kinds[name] for name in columns})


def empty_frame(table_schema: Any) -> pl.DataFrame:
    """Return a frame without rows."""
    return pl.DataFrame(schema=pl.Schema(table_schema))


def to_polars(arrow: Any, table_schema: Any) -> pl.DataFrame:
    """Return an Arrow table or record batch as a frame of a schema, text for dictionary indices."""
    return conform(pl.DataFrame(arrow), table_schema)


def conform(frame: pl.DataFrame, table_schema: Any) -> pl.DataFrame:
    """Return the columns of a schema, cast to its types."""
    return frame.select(pl.col(name).cast(kind) for name, kind in pl.Schema(table_schema).items())


def to_arrow(frame: pl.DataFrame, table_schema: Any = None) -> Any:
    """Return a frame as an Arrow table, cast to a schema where one is given.

    Text comes as plain strings, not as string views, which other libraries read slower or not.
    """
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    if table_schema is None:
        return table
    columns = [_with_short_offsets(column) for column in table.columns]
    fits = (
        column.type == field.type and (field.nullable or not column.null_count)
        for column, field in zip(columns, table_schema, strict=False)
    )
    if table.column_names == table_schema.names and all(fits):
        return pa.Table.from_arrays(columns, schema=table_schema.remove_metadata())
    return table.cast(table_schema)


_MOST_TEXT_BYTES: Final = 2**31 - 1


def _with_short_offsets(column: Any) -> Any:
    """Return text with offsets of four bytes; casting it would import the whole compute package."""
    if column.type != pa.large_string() or column.num_chunks != 1:
        return column
    text = column.chunk(0)
    valid, offsets, characters = text.buffers()
    long = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
    if text.offset or long[-1] > _MOST_TEXT_BYTES:
        return column
    short = pa.py_buffer(long.astype(np.int32))
    return pa.StringArray.from_buffers(len(text), short, characters, valid, text.null_count)
