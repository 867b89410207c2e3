"""What each year of consolidation hands to the next, as kept beside the manifests."""

from __future__ import annotations

import hashlib

import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused, DeliveryUnreadable, ObjectMissing
from batch.core.layout import carry_key
from batch.lake.parquet import read_table, table_bytes
from batch.lake.store import ObjectStore


def carry_digest(state: pl.DataFrame) -> str:
    """Digest of a state; empty text for the one before the first year."""
    if state.is_empty():
        return ""
    return hashlib.sha256(state.write_csv().encode()).hexdigest()[:16]


def write_carry(store: ObjectStore, year: int, state: pl.DataFrame) -> None:
    """Keep what a year hands on: columns of :data:`batch.core.schema.CARRY`."""
    table = state.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema.CARRY)
    store.write(carry_key(year), table_bytes(table))


def read_carry(store: ObjectStore, year: int, digest: str) -> pl.DataFrame:
    """Read what a year handed on, sorted by symbol.

    Raises:
        DataRefused: It is not what the manifest says.
    """
    key = carry_key(year)
    advice = (
        f"{store.uri}/{key}: not what the manifest says; rebuild with `ohlcv consolidate --full`"
    )
    try:
        table = read_table(store.read(key), schema.CARRY.names, named=key)
    except (ObjectMissing, DeliveryUnreadable) as err:
        raise DataRefused(advice) from err
    state = pl.from_arrow(table)
    assert isinstance(state, pl.DataFrame)  # noqa: S101 - tells the type checker
    state = state.with_columns(pl.col("symbol").cast(pl.String))
    if carry_digest(state) != digest:
        raise DataRefused(advice)
    return state
