"""The command ``chart``: candles of one symbol as a page, an image or a drawing."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.console.command import lake_option, output_options
from batch.console.output import Output, size_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from batch.lake.read import Lake
    from orchestration.pages.chart import Chart

NEWEST_BARS = 150
FORMATS = ("html", "svg", "png")


@click.command(
    name="chart",
    epilog="""\b
Examples:
  ohlcv chart AAPL                          all six intervals, newest bars
  ohlcv chart AAPL --interval 5d --log      one interval, large
  ohlcv chart NFLX -i 1d -i 21d --raw       two intervals, prices as traded
  ohlcv chart AAPL --start 2020-01-01 --output aapl.png""",
)
@click.argument("symbol")
@click.option(
    "-i",
    "--interval",
    "intervals",
    multiple=True,
    metavar="ND",
    help="Sessions per bar, such as 5d; 1d for daily bars. May be repeated.",
)
@click.option(
    "--all",
    "all_six",
    is_flag=True,
    help="3, 5, 8, 13, 21 and 34 sessions side by side: the default.",
)
@click.option(
    "--adjusted/--raw",
    default=True,
    help="Prices adjusted for splits (the default), or as traded.",
)
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%d"]),
    metavar="DATE",
    help=f"First date, inclusive.  [default: the newest {NEWEST_BARS} of the narrowest bars]",
)
@click.option("--end", type=click.DateTime(["%Y-%m-%d"]), metavar="DATE", help="Last, inclusive.")
@click.option("--log", is_flag=True, help="Logarithmic prices: equal ratios are equally high.")
@click.option(
    "--theme",
    type=click.Choice(["auto", "light", "dark"]),
    default="auto",
    help="Colours; auto follows the reader's system (in HTML; light elsewhere).",
)
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Where to: .html, .svg or .png.  [default: SYMBOL-INTERVAL.html here]",
)
@lake_option
@output_options
def command(
    output: Output,
    lake: str | None,
    symbol: str,
    intervals: tuple[str, ...],
    all_six: bool,
    adjusted: bool,
    start: datetime | None,
    end: datetime | None,
    log: bool,
    theme: str,
    path: Path | None,
) -> None:
    """Draw the candles and volume of SYMBOL.

    The bar whose window is still open is hatched and says how many of its sessions it
    has; splits are marked. An HTML page is one file that needs no network, shows each
    bar under the pointer, and follows the reader's light or dark setting.
    """
    from batch.core.errors import SettingsError  # noqa: PLC0415 - help stays quick
    from batch.core.layout import INTERVALS  # noqa: PLC0415
    from batch.core.settings import Settings  # noqa: PLC0415
    from batch.lake.read import Lake  # noqa: PLC0415

    if all_six and intervals:
        raise SettingsError("--all and --interval: give one of the two")
    widths = sorted({_width(text) for text in intervals}) or [*INTERVALS]
    path = path or Path(_file_name(symbol, widths))
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise SettingsError(f"--output {path}: expected a name ending in .html, .svg or .png")
    settings = Settings.read(lake=lake)
    chart = load_chart(
        Lake.open(settings.lake),
        symbol,
        widths,
        start=start.date() if start else None,
        end=end.date() if end else None,
        adjusted=adjusted,
        log=log,
    )
    content = _render(chart, kind, theme)
    try:
        path.write_bytes(content)
    except OSError as err:
        raise SettingsError(f"--output {path}: {err.strerror or err}") from err
    bars = {f"{series.width}d": len(series) for series in chart.series}
    output.result(
        {
            "output": str(path),
            "bytes": len(content),
            "symbol": symbol,
            "adjusted": adjusted,
            "newest_session": chart.newest,
            "bars": bars,
        }
    )
    drawn = ", ".join(f"{count} of {name}" for name, count in bars.items())
    output.say(f"{path}  {size_text(len(content))}  bars: {drawn}")


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
    import polars as pl  # noqa: PLC0415 - help stays quick

    from batch.core.errors import SettingsError  # noqa: PLC0415
    from batch.core.sessions import EPOCH, load_calendar  # noqa: PLC0415
    from orchestration.pages.candles import series_of, split_marks  # noqa: PLC0415
    from orchestration.pages.chart import Chart  # noqa: PLC0415

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


def _render(chart: Chart, kind: str, theme: str) -> bytes:
    if kind == "html":
        return chart.html(theme).encode()
    svg = chart.svg("dark" if theme == "dark" else "light")
    if kind == "svg":
        return svg.encode()
    from orchestration.pages.png import to_png  # noqa: PLC0415 - an extra

    return to_png(svg)


def _width(text: str) -> int:
    from batch.core.errors import SettingsError  # noqa: PLC0415 - help stays quick
    from batch.core.windows import require_width  # noqa: PLC0415

    digits = text.removesuffix("d")
    if not (digits.isascii() and digits.isdigit()):
        raise SettingsError(f"--interval {text!r}: expected sessions per bar, such as 5d")
    return require_width(int(digits))


def _file_name(symbol: str, widths: Sequence[int]) -> str:
    safe = "".join(c if c.isalnum() or c in "._-" else "_" for c in symbol)
    return f"{safe}-{'-'.join(f'{width}d' for width in widths)}.html"
