"""Charts of a lake's symbols: what to read for one, and what to say when there is nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from difflib import get_close_matches

import polars as pl

from batch.core.errors import SettingsError
from batch.core.sessions import EPOCH, load_calendar
from batch.lake.read import Lake
from reporting.candles import series_of, split_marks
from reporting.chart import Chart

NEWEST_BARS = 150
"""How many bars of the narrowest interval are drawn where no start is given."""


def load_chart(
    lake: Lake,
    symbol: str,
    widths: Sequence[int],
    *,
    start: date | None = None,
    end: date | None = None,
    adjusted: bool = True,
    log: bool = False,
) -> Chart:
    """Read the bars and splits of one symbol and lay them out as a chart.

    Args:
        lake: Where from.
        symbol: Exact and case-sensitive.
        widths: Sessions per bar, ascending.
        start: First date, inclusive; the newest bars where it is None.
        end: Last date, inclusive.
        adjusted: Bring prices to the shares of the newest bar.
        log: Whether equal ratios of price are equally high.

    Raises:
        SettingsError: The lake has no such symbol, interval or dates.
    """

    def read(width: int, first: date | None) -> pl.DataFrame:
        return lake.bars(f"{width}d", symbol, first, end, adjusted=adjusted, complete=False)

    narrowest = read(widths[0], start)
    if narrowest.is_empty():
        raise SettingsError(_nothing(lake, symbol, start, end))
    note = ""
    if start is None and narrowest.height > NEWEST_BARS:
        narrowest = narrowest.tail(NEWEST_BARS)
        start = narrowest["date" if widths[0] == 1 else "start"][0]
        note = f"newest {NEWEST_BARS} bars of {widths[0]}d"
    frames = {widths[0]: narrowest} | {width: read(width, start) for width in widths[1:]}
    frames = {width: bars for width, bars in frames.items() if bars.height}
    first = min(bars["date" if width == 1 else "start"][0] for width, bars in frames.items())
    calendar = load_calendar(min(first, EPOCH))
    newest = lake.newest_session()
    assert newest is not None  # noqa: S101 - there are bars
    return Chart(
        symbol=symbol,
        series=[series_of(bars, width, calendar) for width, bars in frames.items()],
        splits=split_marks(lake.splits().filter(pl.col("symbol") == symbol), calendar),
        calendar=calendar,
        newest=min(newest, end) if end else newest,
        adjusted=adjusted,
        log=log,
        note=note,
    )


def _nothing(lake: Lake, symbol: str, start: date | None, end: date | None) -> str:
    """Say why there are no bars, and what might have been meant."""
    known = lake.symbols()
    if symbol in known:
        asked = f"from {start or 'the first session'} to {end or 'the newest'}"
        return f"{symbol} has no whole bars {asked} in {lake.store.uri}: ask for more dates"
    by_capitals = {name.upper(): name for name in known}
    near = get_close_matches(symbol.upper(), by_capitals, n=3, cutoff=0.5)
    hint = f"; near it: {', '.join(by_capitals[name] for name in near)}" if near else ""
    return (
        f"{lake.store.uri} has no symbol {symbol!r}: symbols are case-sensitive, and it has"
        f" {len(known):,} of them{hint}"
    )
