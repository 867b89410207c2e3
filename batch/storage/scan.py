"""Lazy frames over the Parquet objects of a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa

from batch.core.errors import DataRefused, ObjectMissing, StoreUnavailable
from batch.core.frames import empty_frame, polars_schema
from batch.storage.objects import ObjectStore


def scan_objects(
    store: ObjectStore, keys: Sequence[str], table_schema: Any, **options: Any
) -> pl.LazyFrame:
    """Return the rows of some objects of one Arrow schema, in the order of the keys.

    The options are more arguments of ``pl.scan_parquet``.
    """
    if not keys:
        return empty_frame(table_schema).lazy()
    return pl.scan_parquet(
        [store.location(key) for key in keys],
        hive_partitioning=False,
        glob=False,
        schema=polars_schema(table_schema),
        **store.polars_options(),
        **options,
    )


def of_symbols(rows: pl.LazyFrame, symbols: Sequence[str] | None) -> pl.LazyFrame:
    """Keep the rows of some symbols, all where None.

    The bounds beside the list let Polars skip row groups by their statistics.
    """
    if symbols is None:
        return rows
    if len(symbols) == 1:
        return rows.filter(pl.col("symbol") == symbols[0])
    if not symbols:
        return rows.filter(pl.lit(value=False))
    symbol = pl.col("symbol")
    return rows.filter(
        (symbol >= min(symbols)) & (symbol <= max(symbols)), symbol.is_in(list(symbols))
    )


@contextmanager
def reading(label: str) -> Iterator[None]:
    """Turn the errors of a Parquet reader into those of the lake.

    Raises:
        ObjectMissing: An object is gone.
        DataRefused: An object is not a whole Parquet file of its schema.
        StoreUnavailable: The store did not answer.
    """
    try:
        yield
    except FileNotFoundError as err:
        raise ObjectMissing(f"{label}: {err}; a job may be replacing it, read again") from err
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError, pa.ArrowInvalid) as err:
        raise DataRefused(
            f"{label}: {_first_line(err)}; check the lake with `ohlcv verify`"
        ) from err
    except OSError as err:
        raise StoreUnavailable(f"{label}: {_first_line(err)}; read again") from err


def _first_line(err: BaseException) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]
