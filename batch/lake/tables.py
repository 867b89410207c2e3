"""Reading the silver tables of a lake, partition by partition."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import date

import polars as pl

from batch.core.errors import SettingsError
from batch.core.layout import partition_key, table_prefix
from batch.lake.partitions import TablePartitions, list_tables, table_schema
from batch.lake.recorded import remake, require_recorded
from batch.storage.scan import reading, scan_objects
from batch.storage.store import ObjectStore


def table_years(store: ObjectStore, table: str) -> list[int]:
    """Return the years of which a table has a partition, ascending.

    Raises:
        DataRefused: One that is on record is gone.
    """
    there = TablePartitions.list(store, table)
    require_recorded(store, there)
    return sorted(there.objects)


def require_years(store: ObjectStore, table: str) -> list[int]:
    """Return what :func:`table_years` does of a table that was made.

    Raises:
        SettingsError: It was not; the message says how to make it.
        DataRefused: A partition that is on record is gone.
    """
    years = table_years(store, table)
    if not years:
        made = ", ".join(list_tables(store)) or "none"
        raise SettingsError(
            f"{store.uri}: there is no table {table} (there are: {made});"
            f" make it with `{remake(table)}`"
        )
    return years


def scan_table(
    store: ObjectStore,
    table: str,
    years: Sequence[int],
    first: date | None = None,
    last: date | None = None,
) -> pl.LazyFrame:
    """Scan the partitions of some years that can hold rows between two dates, both inclusive."""
    keys = [
        partition_key(table, year)
        for year in years
        if (first is None or year >= first.year) and (last is None or year <= last.year)
    ]
    return scan_objects(store, keys, table_schema(table))


def reading_table(store: ObjectStore, table: str) -> AbstractContextManager[None]:
    """Turn the errors of collecting a scan of a table into those of the lake."""
    return reading(store, table_prefix(table), table_schema(table))
