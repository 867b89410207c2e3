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
from batch.core.layout import SILVER
from batch.core.schema import REJECTED
from batch.storage.objects import ObjectStore
from batch.storage.parquet import read_table


def scan_objects(
    store: ObjectStore, keys: Sequence[str], table_schema: Any, **options: Any
) -> pl.LazyFrame:
    """Return the rows of some objects of one Arrow schema, in the order of the keys.

    The options are more arguments of ``pl.scan_parquet``. Of refused rows, older objects lack
    a column: it is null.
    """
    if not keys:
        return empty_frame(table_schema).lazy()
    return pl.scan_parquet(
        [store.location(key) for key in keys],
        hive_partitioning=False,
        glob=False,
        schema=polars_schema(table_schema),
        missing_columns="insert" if table_schema is REJECTED else "raise",
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


REBUILD = (
    "see what else differs with `ohlcv verify`, then rebuild it with"
    " `ohlcv consolidate --full` and `ohlcv resample --full`"
)
"""What to do about a damaged file under silver."""

_REPLACE = "replace it with a good copy, or remove it"

_UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, pa.ArrowException)


@contextmanager
def reading(store: ObjectStore, prefix: str, table_schema: Any) -> Iterator[None]:
    """Turn the errors of a Parquet reader into those of the lake.

    What is read are objects of one schema below a prefix. Where that fails, they are read one
    by one to name the one that is damaged.

    Raises:
        ObjectMissing: An object is gone.
        DataRefused: An object is not a whole Parquet file of its schema.
        StoreDenied: The store refused access.
        StoreUnavailable: The store did not answer, or not whole.
    """
    label = f"{store.uri}/{prefix}"
    try:
        yield
    except FileNotFoundError as err:
        raise ObjectMissing(
            f"{label}: {err}; a job may be replacing it, read again; if it stays missing, {REBUILD}"
        ) from err
    except PermissionError as err:
        raise StoreDenied(
            f"{label}: access refused ({_first_line(err)}); check the permissions or credentials"
        ) from err
    except _UNREADABLE as err:
        _require_readable(store, prefix, table_schema)
        raise DataRefused(f"{label}: {_first_line(err)}; {advice(prefix)}") from err
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
            raise DataRefused(f"{err}; {advice(key)}") from err
        except ObjectMissing as err:
            raise StoreUnavailable(f"{err}; a job may be replacing it, run it again") from err


def _require_readable(store: ObjectStore, prefix: str, table_schema: Any) -> None:
    """Read the Parquet objects below a prefix one by one.

    Raises:
        DataRefused: Names the first one that is not a whole Parquet file of the schema.
    """
    for item in store.list(prefix):
        if not item.key.endswith(".parquet"):
            continue
        try:
            scan_objects(store, [item.key], table_schema).collect()
        except FileNotFoundError:
            continue  # replaced since the listing
        except _UNREADABLE as err:
            raise DataRefused(
                f"{store.uri}/{item.key}: {_first_line(err)}; {advice(prefix)}"
            ) from err


def advice(prefix: str) -> str:
    """Return what to do about a damaged file below a prefix, or about one of a key."""
    return REBUILD if prefix.startswith(SILVER) else _REPLACE


def _first_line(err: BaseException) -> str:
    return (str(err).splitlines() or [type(err).__name__])[0]
