"""Polars: the daily bars read once into a frame, then one group_by for each interval."""

from __future__ import annotations

import numpy as np
import polars as pl

from benchmarks.contenders.common import BARS, ROW_GROUP_ROWS, Task, read_task, sessions

PRICES = ("open", "high", "low", "close", "vwap")


def main() -> None:
    """Fold the daily bars of a lake."""
    task = read_task()
    days = sessions().days
    numbers = pl.Series(sessions().number_of_day)
    daily = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in task.daily])
    daily = daily.with_columns(
        pl.col("symbol").cast(pl.Categorical),
        no=numbers.gather(daily["date"].to_physical()),
    ).drop("date")
    splits = daily.filter(pl.col("split_ratio") != 1.0).select("symbol", "no", "split_ratio")
    last_no = int(daily["no"].max())  # type: ignore[arg-type]
    for width in task.intervals:
        bars = fold(daily, splits, width)
        first_no = bars["w"].to_numpy() * width
        bars = bars.with_columns(
            pl.Series("start", days[first_no]).cast(pl.Date),
            pl.Series("end", days[first_no + width - 1]).cast(pl.Date),
            pl.Series("complete", first_no + width - 1 <= last_no),
        )
        write_years(task, bars.select(BARS).sort("symbol", "start"), width)


def fold(daily: pl.DataFrame, splits: pl.DataFrame, width: int) -> pl.DataFrame:
    """Return one row per symbol and window."""
    window = pl.col("no") // width
    factor = pl.col("factor").fill_null(1.0)
    ratios = splits.group_by("symbol", w=window).agg(pl.col("split_ratio").product())
    missing = pl.col("volume") > 0
    traded = pl.col("volume").sum()
    return (
        daily.lazy()
        .join(factors(splits, width).lazy(), on=["symbol", "no"], how="left", maintain_order="left")
        .with_columns(
            *(pl.col(name) / factor for name in PRICES),
            volume=pl.col("volume") * factor,
            w=window,
        )
        .group_by("symbol", "w")
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            traded.alias("volume"),
            vwap=pl.when((traded > 0) & ~(pl.col("vwap").is_null() & missing).any()).then(
                (pl.col("vwap") * pl.col("volume")).sum() / traded
            ),
            trades=pl.when(
                ~(pl.col("trades").is_null() & missing).any() & (pl.col("trades").count() > 0)
            ).then(pl.col("trades").sum()),
            sessions=pl.len().cast(pl.Int32),
        )
        .join(ratios.lazy(), on=["symbol", "w"], how="left")
        .with_columns(pl.col("split_ratio").fill_null(1.0))
        .collect()
    )


def factors(splits: pl.DataFrame, width: int) -> pl.DataFrame:
    """Return the scale of every session that a later split of its window changes."""
    first = pl.col("no") // width * width
    return (
        splits.with_columns(no=pl.int_ranges(first, pl.col("no"), dtype=pl.Int32))
        .explode("no", empty_as_null=True)
        .drop_nulls("no")
        .group_by("symbol", "no")
        .agg(factor=pl.col("split_ratio").product())
    )


def write_years(task: Task, bars: pl.DataFrame, width: int) -> None:
    """Write bars, a file for each year that has any."""
    years = bars["start"].dt.year()
    for year in task.years():
        part = bars.filter(years == year)
        if part.height:
            part.with_columns(pl.col("symbol").cast(pl.String)).write_parquet(
                task.path(width, year),
                compression="zstd",
                compression_level=1,
                row_group_size=ROW_GROUP_ROWS,
            )


if __name__ == "__main__":
    np.seterr(all="raise")
    main()
