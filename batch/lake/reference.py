"""Reference tables: splits, tickers, dividends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import polars as pl

from batch.core import schema
from batch.core.errors import CommitConflict, DataRefused, ObjectMissing
from batch.core.frames import conform, empty_frame, to_arrow, to_polars
from batch.core.layout import SPLITS
from batch.storage.parquet import read_table, table_bytes
from batch.storage.store import Expect, Expectation, ObjectStore

_TRIES = 10


def read_splits(store: ObjectStore) -> pl.DataFrame:
    """Read the splits, sorted by (symbol, date); none where the lake has no such table.

    Raises:
        DataRefused: The table is not readable, or a ratio is not above zero.
    """
    splits = read_reference(store, SPLITS, schema.SPLITS)
    require_ratios(splits, label=f"{store.uri}/{SPLITS}")
    return splits.sort("symbol", "date")


def splits_known_at(splits: pl.DataFrame, as_of: datetime | None) -> pl.DataFrame:
    """Return the splits known at an instant, all where it is None.

    A split is known from the day on which it is executed, that day being UTC's: the same
    instant written in another time zone knows the same splits.

    Args:
        splits: Columns of :data:`batch.core.schema.SPLITS`; where a (symbol, date) occurs
            twice the last one counts.
        as_of: An aware instant.

    Returns:
        ``symbol``, ``date`` and ``ratio``, one row per (symbol, date), sorted by both.
    """
    if as_of is not None:
        splits = splits.filter(pl.col("date") <= as_of.astimezone(UTC).date())
    return (
        splits.unique(["symbol", "date"], keep="last", maintain_order=True)
        .sort("symbol", "date")
        .select("symbol", "date", "ratio")
    )


def require_ratios(splits: pl.DataFrame, *, label: str) -> None:
    """Refuse splits without a symbol or date, or whose ratio cannot be true.

    Raises:
        DataRefused: Names the first one.
    """
    ratio = pl.col("ratio")
    wrong = splits.filter(
        pl.any_horizontal(pl.col("symbol", "date", "ratio").is_null())
        | ~ratio.is_finite()
        | (ratio <= 0)
    )
    if wrong.height:
        first = wrong.row(0, named=True)
        raise DataRefused(
            f"{label}: {wrong.height} splits without symbol, date or a ratio above zero,"
            f" the first: {first}"
        )


def read_reference(store: ObjectStore, key: str, table_schema: Any) -> pl.DataFrame:
    """Read a reference table; no rows where the lake has none.

    Raises:
        DataRefused: It is not readable, or lacks a column.
    """
    try:
        content = store.read(key)
    except ObjectMissing:
        return empty_frame(table_schema)
    table = read_table(content, table_schema.names, label=f"{store.uri}/{key}")
    return to_polars(table, table_schema)


def rewrite_reference(
    store: ObjectStore,
    key: str,
    table_schema: Any,
    rewrite: Callable[[pl.DataFrame], pl.DataFrame],
) -> pl.DataFrame:
    """Replace a reference table by what a pure function makes of it.

    Nothing is written where that is what is there. The function is called again where
    somebody else wrote in the meantime.

    Returns:
        The table as it is now.

    Raises:
        CommitConflict: Others kept writing at the same time.
    """
    return _rewrite(store, key, table_schema, rewrite)[1]


def add_splits(store: ObjectStore, splits: pl.DataFrame, *, label: str) -> int:
    """Add splits to the reference table; one of the same symbol and date is replaced.

    Args:
        store: Where the lake is.
        splits: ``symbol``, ``date``, ``split_from``, ``split_to``.
        label: Where they come from, for errors.

    Returns:
        How many splits are new or changed.

    Raises:
        DataRefused: A ratio cannot be true; nothing was written.
        CommitConflict: Others kept writing at the same time.
    """
    ratio = pl.col("split_to") / pl.col("split_from")
    added = conform(splits.with_columns(ratio=ratio), schema.SPLITS)
    require_ratios(added, label=label)

    def merge(there: pl.DataFrame) -> pl.DataFrame:
        require_ratios(there, label=f"{store.uri}/{SPLITS}")
        merged = pl.concat([there, added]).unique(
            ["symbol", "date"], keep="last", maintain_order=True
        )
        return merged.sort("symbol", "date")

    before, after = _rewrite(store, SPLITS, schema.SPLITS, merge)
    return after.join(before, on=schema.SPLITS.names, how="anti").height


def _rewrite(
    store: ObjectStore,
    key: str,
    table_schema: Any,
    rewrite: Callable[[pl.DataFrame], pl.DataFrame],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rewrite a table on the condition that it is still the one that was read.

    Returns:
        The table before and after.
    """
    for _ in range(_TRIES):
        seen = store.head(key)
        there = read_reference(store, key, table_schema)
        made = rewrite(there).select(table_schema.names)
        if seen and made.equals(there):
            return there, there
        expect: Expectation = seen.version if seen else Expect.NOTHING
        try:
            store.write(key, table_bytes(to_arrow(made, table_schema)), expect=expect)
        except CommitConflict:
            continue
        return there, made
    raise CommitConflict(f"{store.uri}/{key}: others kept writing it; run the command again")
