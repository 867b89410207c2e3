"""What each year of consolidation hands to the next, as kept beside the manifests."""

from __future__ import annotations

import hashlib

import polars as pl

from batch.core import schema
from batch.core.errors import CommitConflict, DeliveryUnreadable, ObjectMissing, StateDamaged
from batch.core.frames import to_arrow, to_polars
from batch.core.layout import carry_key
from batch.storage.parquet import read_table, table_bytes
from batch.storage.store import ObjectStore


def carry_digest(state: pl.DataFrame) -> str:
    """Digest of a state; empty text for the one before the first year."""
    if state.is_empty():
        return ""
    return hashlib.sha256(state.write_csv().encode()).hexdigest()[:16]


def write_carry(store: ObjectStore, year: int, state: pl.DataFrame) -> None:
    """Keep what a year hands on: columns of :data:`batch.core.schema.CARRY`."""
    table = to_arrow(state, schema.CARRY)
    store.write(carry_key(year, carry_digest(state)), table_bytes(table))


def read_carry(store: ObjectStore, year: int, digest: str) -> pl.DataFrame:
    """Read what a year handed on, sorted by symbol.

    Raises:
        CommitConflict: It is gone: another job has published the year again.
        StateDamaged: It is damaged.
    """
    key = carry_key(year, digest)
    advice = f"{store.uri}/{key}: damaged; rebuild with `ohlcv consolidate --full`"
    try:
        table = read_table(store.read(key), schema.CARRY.names, named=key)
    except ObjectMissing as err:
        raise CommitConflict(f"{store.uri}/{key}: another job has replaced it; run again") from err
    except DeliveryUnreadable as err:
        raise StateDamaged(advice, key) from err
    state = to_polars(table, schema.CARRY)
    if carry_digest(state) != digest:
        raise StateDamaged(advice, key)
    return state
