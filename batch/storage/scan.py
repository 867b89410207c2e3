"""Lazy frames over the Parquet objects of a store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl
import pyarrow as pa

from batch.core.errors import (
    DataRefused,
    DeliveryUnreadable,
    ObjectMissing,
    StoreDenied,
    StoreUnavailable,
)
from batch.core.frames import empty_frame, polars_schema
from batch.storage.objects import ObjectStore
from batch.storage.parquet import read_table


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
        StoreDenied: The store refused access.
        StoreUnavailable: The store did not answer, or not whole.
    """
    try:
        yield
    except FileNotFoundError as err:
        raise ObjectMissing(f"{label}: {err}; a job may be replacing it, read again") from err
    except PermissionError as err:
        raise StoreDenied(
            f"{label}: access refused ({_first_line(err)}); check the permissions or credentials"
        ) from err
    except (pl.exceptions.ComputeError, pl.exceptions.SchemaError, pa.ArrowInvalid) as err:
        raise DataRefused(
            f"{label}: {_first_line(err)}; check the lake with `ohlcv verify`"
        ) from err
    except OSError as err:
        raise StoreUnavailable(
            f"{label}: the store does not answer ({_first_line(err)}); run it again"
        ) from err


def require_whole(store: ObjectStore, keys: Sequence[str], table_schema: Any) -> None:
    """Read objects to their end, to find what another engine only says in words of its own.

    Raises:
        DataRefused: An object is not a whole Parquet file of its schema; the message names it.
        StoreUnavailable: The store does not answer, or a job has removed an object meanwhile.
    """
    for key in keys:
        try:
            with store.local_copy(key) as path:
                read_table(path, table_schema.names, label=store.location(key))
        except DeliveryUnreadable as err:
            raise DataRefused(f"{err}; check the lake with `ohlcv verify`") from err
        except ObjectMissing as err:
            raise StoreUnavailable(f"{err}; a job may be replacing it, run it again") from err


def _first_line(err: BaseException) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]
