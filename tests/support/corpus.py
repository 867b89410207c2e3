"""The real deliveries as a lake."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime, time
from pathlib import Path

import polars as pl

from batch.core.sessions import Calendar
from batch.lake.landing import land
from batch.lake.reference import add_splits
from batch.storage.store import ObjectStore


def corpus_files(corpus: Path, first: date, last: date) -> list[Path]:
    """Return the deliveries received from ``first`` to ``last``, the empty one left out."""
    files = sorted((corpus / "us-stocks-deliveries").glob("*.csv.gz"))
    return [
        path
        for path in files
        if first <= received_on(path) <= last and gzip.decompress(path.read_bytes()).strip()
    ]


def received_on(path: Path) -> date:
    """Return the day on which a file was received."""
    return date.fromisoformat(path.name[:10])


def received_at(path: Path) -> datetime:
    """Return an instant in the evening of that day."""
    return datetime.combine(received_on(path), time(23, 30), tzinfo=UTC)


def read_corpus(path: Path) -> pl.DataFrame:
    """Return a file's columns as they are, typed."""
    floats = ("open", "high", "low", "close", "volume", "adj_close")
    return pl.read_csv(
        gzip.decompress(path.read_bytes()),
        schema_overrides={"symbol": pl.String, **dict.fromkeys(floats, pl.Float64)},
    ).with_columns(pl.col("date").str.to_date())


def land_corpus(
    store: ObjectStore, corpus: Path, calendar: Calendar, first: date, last: date
) -> None:
    """Land the deliveries of some days, and all splits."""
    for path in corpus_files(corpus, first, last):
        rows = read_corpus(path).with_columns(
            vwap=pl.lit(None, pl.Float64), trades=pl.lit(None, pl.Int64)
        )
        land(store, rows, received_at=received_at(path), source="pystock", calendar=calendar)
    add_splits(store, corpus_splits(corpus), label="splits.csv")


def corpus_splits(corpus: Path) -> pl.DataFrame:
    """Return the real splits: ``symbol``, ``date``, ``split_from``, ``split_to``."""
    return pl.read_csv(corpus / "splits.csv", schema_overrides={"ticker": pl.String}).select(
        pl.col("ticker").alias("symbol"),
        pl.col("execution_date").str.to_date().alias("date"),
        "split_from",
        "split_to",
    )
