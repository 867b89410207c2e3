"""Between Arrow and Polars: the schemas of :mod:`batch.core.schema` as Polars sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl


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
    return table if table_schema is None else table.cast(table_schema)
