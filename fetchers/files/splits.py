"""Splits in a file."""

from __future__ import annotations

import polars as pl

from batch.core.errors import DeliveryUnreadable
from fetchers.files.reader import SourceFile, read_table


def read_splits_file(file: SourceFile) -> pl.DataFrame:
    """Read the splits of a file; what cannot be read becomes null.

    Columns: ``symbol`` or ``ticker``; ``date`` or ``execution_date``; ``split_from`` and
    ``split_to``, or ``ratio`` (shares after one share before).

    Returns:
        ``symbol``, ``date``, ``split_from``, ``split_to``, in the order of the file.

    Raises:
        DeliveryUnreadable: It cannot be read, or lacks a column.
    """
    table = read_table(file)
    theirs = {name.lower(): name for name in table.columns}

    def column(*names: str) -> pl.Expr | None:
        return next((pl.col(theirs[name]) for name in names if name in theirs), None)

    symbol = column("symbol", "ticker")
    executed = column("date", "execution_date", "ex_date")
    before, after = column("split_from"), column("split_to")
    if before is None or after is None:
        before, after = pl.lit(1.0), column("ratio", "split_ratio")
    if symbol is None or executed is None or after is None:
        raise DeliveryUnreadable(
            f"{file.uri}: columns {', '.join(table.columns)}; expected ticker, execution_date,"
            " split_from, split_to"
        )
    return table.select(
        symbol=symbol.cast(pl.String).str.strip_chars(),
        date=executed.cast(pl.String).str.slice(0, 10).str.to_date(strict=False),
        split_from=before.cast(pl.Float64, strict=False),
        split_to=after.cast(pl.Float64, strict=False),
    )
