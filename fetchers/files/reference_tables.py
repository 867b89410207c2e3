"""Rows of files into the reference tables of a lake."""

from __future__ import annotations

from datetime import date
from functools import partial

import polars as pl

from batch.core import schema
from batch.core.layout import DIVIDENDS, SPLITS, TICKERS
from batch.lake.reference import (
    add_dividends,
    add_splits,
    read_reference,
    rewrite_reference,
)
from batch.storage.store import ObjectStore
from fetchers.files.reference import Kind
from fetchers.tickers import apply_known, current_rows


def add_rows(store: ObjectStore, kind: Kind, rows: pl.DataFrame, today: date) -> int:
    """Add a file's rows to their reference table; count those that are new or changed.

    Raises:
        CommitConflict: Others kept writing at the same time.
    """
    if rows.is_empty():
        return 0
    match kind:
        case Kind.SPLITS:
            return add_splits(store, rows, label="splits")
        case Kind.DIVIDENDS:
            return add_dividends(store, rows)
        case Kind.TICKERS:
            rewrite = partial(apply_known, known=rows, today=today)
            table = rewrite_reference(store, TICKERS, schema.TICKERS, rewrite)
            return table.changed["symbol"].n_unique()


def news_of(store: ObjectStore, kind: Kind, rows: pl.DataFrame) -> int:
    """Count the rows that :func:`add_rows` would add or change."""
    match kind:
        case Kind.SPLITS:
            known = read_reference(store, SPLITS, schema.SPLITS)
        case Kind.DIVIDENDS:
            known = read_reference(store, DIVIDENDS, schema.DIVIDENDS)
        case Kind.TICKERS:
            known = current_rows(read_reference(store, TICKERS, schema.TICKERS))
    return rows.join(known, on=rows.columns, how="anti", nulls_equal=True).height
