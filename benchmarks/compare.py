"""Are two contenders' bars the same?"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from batch.core import schema

RELATIVE_TOLERANCE = 1e-9
"""Sums of floats taken in another order may differ by less than this share."""

EXACT = ("symbol", "start", "end", "trades", "sessions", "complete")
CLOSE = ("open", "high", "low", "close", "volume", "vwap", "split_ratio")


class BarsDiffer(Exception):
    """Two contenders did not produce the same bars."""


def require_same_bars(
    ours: Path, theirs: Path, *, table: str, their_table: str | None = None, splits: bool = True
) -> int:
    """Compare every value of a table; returns the number of bars compared.

    Args:
        ours: Root of our lake.
        theirs: Root below which the other contender wrote.
        table: Our table.
        their_table: Theirs, where it has another name.
        splits: Whether to compare the bars of windows with a split as well; without them,
            their ``split_ratio`` is anything but 1 in such a window.

    Raises:
        BarsDiffer: Shows the first bars that differ.
    """
    mine, other = _read(ours, table), _read(theirs, their_table or table)
    if mine.height != other.height:
        raise BarsDiffer(f"{theirs}: {table} has {other.height} bars, ours {mine.height}")
    if not splits:
        unsplit = other["split_ratio"] == 1.0
        mine, other = mine.filter(unsplit), other.filter(unsplit)
    for name in (*EXACT, *CLOSE):
        left, right = mine[name], other[name]
        wrong = left.ne_missing(right)
        if name in CLOSE:
            near = (left - right).abs() <= RELATIVE_TOLERANCE * left.abs()
            wrong &= ~near.fill_null(value=False)
        if wrong.any():
            raise BarsDiffer(
                f"{theirs}: {name} of {table} differs in {int(wrong.sum())} bars:\n"
                f"ours {mine.filter(wrong).head(2).rows()}\n"
                f"theirs {other.filter(wrong).head(2).rows()}"
            )
    return mine.height


def _read(root: Path, table: str) -> pl.DataFrame:
    """Read a table in the order of its files; a contender that did not sort fails here."""
    files = sorted((root / "silver" / table).glob("year=*/data.parquet"))
    types = {field.name: pl.Int64 if field.name == "trades" else None for field in schema.BARS}
    frames = [
        pl.read_parquet(path, hive_partitioning=False)
        .select(schema.BARS.names)
        .with_columns(pl.col(name).cast(kind) for name, kind in types.items() if kind is not None)
        .with_columns(pl.col("start", "end").cast(pl.Date))
        for path in files
    ]
    return pl.concat(frames)
