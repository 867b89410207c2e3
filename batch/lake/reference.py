"""Reference tables: splits, tickers, dividends."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import polars as pl

from batch.core import schema
from batch.core.errors import CommitConflict, DataRefused, ObjectMissing
from batch.core.frames import conform, empty_frame, to_arrow, to_polars
from batch.core.layout import DIVIDENDS, SPLITS
from batch.core.rules import LEAST_RATIO, MOST_RATIO
from batch.lake.manifest import fingerprint
from batch.storage.parquet import read_table, require_schema, table_bytes
from batch.storage.store import Expect, Expectation, ObjectStore

_DIVIDEND_KEY = ["symbol", "date", "dividend_type", "cash_amount", "currency"]

_TRIES = 10


def read_splits(store: ObjectStore) -> pl.DataFrame:
    """Read the splits, sorted by (symbol, date); none where the lake has no such table.

    Raises:
        DataRefused: The table is not readable, or a ratio is out of range.
    """
    splits = read_reference(store, SPLITS, schema.SPLITS)
    _require_ratios(splits, label=f"{store.uri}/{SPLITS}")
    return splits.sort("symbol", "date")


def splits_known_at(splits: pl.DataFrame, as_of: datetime | None) -> pl.DataFrame:
    """Return the splits known at an aware instant, all where it is None.

    A split is known from the day on which it is executed, that day being UTC's: the same
    instant written in another time zone knows the same splits. Of two rows of one (symbol,
    date) the last counts. Returns ``symbol``, ``date`` and ``ratio``, sorted by the first two.
    """
    if as_of is not None:
        splits = splits.filter(pl.col("date") <= as_of.astimezone(UTC).date())
    return _last_of_each(splits).sort("symbol", "date").select("symbol", "date", "ratio")


def _last_of_each(splits: pl.DataFrame) -> pl.DataFrame:
    return splits.unique(["symbol", "date"], keep="last", maintain_order=True)


def _require_ratios(splits: pl.DataFrame, *, label: str) -> None:
    ratio = pl.col("ratio")
    wrong = splits.filter(
        pl.any_horizontal(pl.col("symbol", "date", "ratio").is_null())
        | ~ratio.is_between(LEAST_RATIO, MOST_RATIO)
    )
    if wrong.height:
        first = wrong.row(0, named=True)
        raise DataRefused(
            f"{label}: splits without symbol, date or a ratio from {LEAST_RATIO} to"
            f" {MOST_RATIO:g}: {wrong.height}, the first: {first}"
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
    label = f"{store.uri}/{key}"
    table = require_schema(
        read_table(content, table_schema.names, label=label), table_schema, label=label
    )
    return to_polars(table, table_schema)


class Rewritten(NamedTuple):
    """A reference table before and after it was rewritten."""

    before: pl.DataFrame
    after: pl.DataFrame

    @property
    def changed(self) -> pl.DataFrame:
        """Rows of ``after`` that ``before`` lacks, in any column."""
        names = self.after.columns
        return self.after.join(self.before, on=names, how="anti", nulls_equal=True)


def rewrite_reference(
    store: ObjectStore,
    key: str,
    table_schema: Any,
    rewrite: Callable[[pl.DataFrame], pl.DataFrame],
) -> Rewritten:
    """Replace a reference table by what a pure function makes of it.

    Nothing is written where the table is equal to that already. It is written on the condition
    that it is still the one that was read; where another process wrote in the meantime the
    function is called again.

    Raises:
        CommitConflict: Others kept writing at the same time.
    """
    for _ in range(_TRIES):
        seen = store.head(key)
        before = read_reference(store, key, table_schema)
        after = rewrite(before).select(table_schema.names)
        if seen and after.equals(before):
            return Rewritten(before, before)
        expect: Expectation = seen.version if seen else Expect.NOTHING
        try:
            store.write(key, table_bytes(to_arrow(after, table_schema)), expect=expect)
        except CommitConflict:
            continue
        return Rewritten(before, after)
    raise CommitConflict(f"{store.uri}/{key}: others kept writing it; run the command again")


def add_splits(store: ObjectStore, splits: pl.DataFrame, *, label: str) -> int:
    """Add splits to the reference table; one of the same symbol and date is replaced.

    ``splits`` has ``symbol``, ``date``, ``split_from`` and ``split_to``; ``label`` says in errors
    where they come from. Returns how many splits are new or changed.

    Raises:
        DataRefused: A ratio cannot be true; nothing was written.
        CommitConflict: Others kept writing at the same time.
    """
    ratio = pl.col("split_to") / pl.col("split_from")
    added = _last_of_each(conform(splits.with_columns(ratio=ratio), schema.SPLITS))
    _require_ratios(added, label=label)

    def merge(known: pl.DataFrame) -> pl.DataFrame:
        _require_ratios(known, label=f"{store.uri}/{SPLITS}")
        return _last_of_each(pl.concat([known, added])).sort("symbol", "date")

    return rewrite_reference(store, SPLITS, schema.SPLITS, merge).changed.height


def add_dividends(store: ObjectStore, dividends: pl.DataFrame) -> int:
    """Add dividends to the reference table; one that is there already is replaced.

    ``dividends`` has the columns of :data:`batch.core.schema.DIVIDENDS`. Returns how many are
    new or changed.

    Raises:
        CommitConflict: Others kept writing at the same time.
    """
    added = conform(dividends, schema.DIVIDENDS)

    def merge(known: pl.DataFrame) -> pl.DataFrame:
        return last_dividends([known, added])

    return rewrite_reference(store, DIVIDENDS, schema.DIVIDENDS, merge).changed.height


def last_dividends(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Join tables of dividends, sorted; of rows that tell of the same one the last counts."""
    joined = pl.concat(parts).unique(_DIVIDEND_KEY, keep="last", maintain_order=True)
    return joined.sort(_DIVIDEND_KEY)


def splits_digest(splits: pl.DataFrame) -> str:
    """Digest of a slice of the splits: only what changes a ratio, and so no other column."""
    dates = [str(executed) for executed in splits["date"]]
    return fingerprint(splits["symbol"].to_list(), dates, splits["ratio"].to_list())
