"""pandas: the daily bars read once into a frame, then one groupby for each interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core import schema
from benchmarks.contenders.common import BARS, ROW_GROUP_ROWS, Task, read_task, sessions
from benchmarks.contenders.polars_group_by import PRICES


def main() -> None:
    """Fold the daily bars of a lake."""
    task = read_task()
    days, number_of_day = sessions().days, sessions().number_of_day
    table = pa.concat_tables(
        [pq.ParquetFile(path, read_dictionary=["symbol"]).read() for path in task.daily]
    ).unify_dictionaries()
    day = table.column("date").cast(pa.int32()).to_numpy()
    daily = table.drop_columns(["date"]).to_pandas()
    daily["symbol"] = daily["symbol"].cat.reorder_categories(
        sorted(daily["symbol"].cat.categories, key=str.encode), ordered=True
    )
    daily["no"] = number_of_day[day]
    daily = daily.sort_values(["symbol", "no"], kind="stable", ignore_index=True)
    daily["code"] = daily["symbol"].cat.codes.astype(np.int64)
    for width in task.intervals:
        bars = fold(daily, width)
        first_no = bars["w"].to_numpy() * width
        bars["start"] = days[first_no].astype("datetime64[D]")
        bars["end"] = days[first_no + width - 1].astype("datetime64[D]")
        bars["complete"] = first_no + width - 1 <= int(daily["no"].max())
        bars["symbol"] = daily["symbol"].cat.categories.to_numpy()[bars["code"]]
        write_years(task, bars, width)


def fold(daily: pd.DataFrame, width: int) -> pd.DataFrame:
    """Return one row per symbol and window, sorted by both."""
    rows = daily.assign(w=daily["no"] // width)
    key = [rows["code"], rows["w"]]
    if (rows["split_ratio"] != 1.0).any():
        rows = scaled(rows)
    idle = rows["volume"] == 0
    rows["paid"] = rows["vwap"] * rows["volume"]
    rows["untold_vwap"] = rows["vwap"].isna() & ~idle
    rows["untold_trades"] = rows["trades"].isna() & ~idle
    bars = rows.groupby(key, sort=True, observed=True).agg(
        open=("open", "first"),
        high=("high", "max"),
        low=("low", "min"),
        close=("close", "last"),
        volume=("volume", "sum"),
        paid=("paid", "sum"),
        trades=("trades", "sum"),
        known=("trades", "count"),
        untold_vwap=("untold_vwap", "any"),
        untold_trades=("untold_trades", "any"),
        sessions=("no", "size"),
        split_ratio=("split_ratio", "prod"),
    )
    told = (bars["volume"] > 0) & ~bars["untold_vwap"]
    bars["vwap"] = (bars["paid"] / bars["volume"]).where(told)
    bars["trades"] = bars["trades"].where((bars["known"] > 0) & ~bars["untold_trades"])
    return bars.reset_index()


def scaled(rows: pd.DataFrame) -> pd.DataFrame:
    """Bring the rows before a split to the scale of their window's last row."""
    window = rows["code"] * 1_000_000 + rows["w"]
    touched = window.isin(window[rows["split_ratio"] != 1.0])
    part = rows.loc[touched, "split_ratio"]
    upto = part.groupby(window[touched]).cumprod()
    factor = part.groupby(window[touched]).transform("prod") / upto
    for name in PRICES:
        rows.loc[touched, name] = rows.loc[touched, name] / factor
    rows.loc[touched, "volume"] = rows.loc[touched, "volume"] * factor
    return rows


def write_years(task: Task, bars: pd.DataFrame, width: int) -> None:
    """Write bars, a file for each year that has any."""
    years = bars["start"].dt.year.to_numpy()
    for year in task.years():
        part = bars.loc[years == year, BARS]
        if len(part):
            table: Any = pa.Table.from_pandas(part, schema=schema.BARS, preserve_index=False)
            pq.write_table(
                table,
                task.path(width, year),
                compression="zstd",
                compression_level=1,
                row_group_size=ROW_GROUP_ROWS,
                use_dictionary=["symbol", "start", "end", "sessions", "split_ratio"],
            )


if __name__ == "__main__":
    main()
