"""The command ``chart``: candles of some symbols as a page, an image or a drawing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import click

from batch.core.errors import SettingsError
from batch.core.layout import INTERVALS
from batch.lake.arguments import interval_name, read_intervals
from batch.lake.read import Lake
from batch.runtime.formats import size_text
from batch.runtime.options import date_option, output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.settings import Settings
from orchestration.cli.completion import completing_intervals, completing_symbols
from orchestration.cli.pages import file_option, theme_option, write_page
from reporting.chart import NEWEST_BARS, load_chart
from reporting.png import to_png

_NAMED = 5


@click.command(name="chart")
@click.argument(
    "symbols",
    nargs=-1,
    required=True,
    metavar="SYMBOL...",
    shell_complete=completing_symbols,
)
@click.option(
    "-i",
    "--interval",
    "intervals",
    multiple=True,
    metavar="ND",
    shell_complete=completing_intervals,
    help="Sessions per bar, such as 5d; 1d for daily bars, 1w for weeks, 1mo for months."
    " May be repeated.",
)
@click.option(
    "--all",
    "all_six",
    is_flag=True,
    help="3, 5, 8, 13, 21 and 34 sessions side by side: the default for one symbol.",
)
@click.option(
    "--adjusted/--raw",
    default=True,
    show_default=False,
    help="Prices adjusted for splits (the default), or as traded.",
)
@date_option(
    "--start",
    f"First date, inclusive.  [default: the newest {NEWEST_BARS} of the narrowest bars]",
)
@date_option("--end", "Last date, inclusive.")
@click.option(
    "--log", is_flag=True, help="Logarithmic price axis: equal ratios have equal heights."
)
@theme_option
@file_option(
    "File to write: .html, .svg or .png.  [default: SYMBOL.html here, SYMBOL-raw.html with --raw]"
)
@settings_options(Settings)
@output_options
def command(
    settings: Settings,
    output: Output,
    symbols: tuple[str, ...],
    intervals: tuple[str, ...],
    all_six: bool,
    adjusted: bool,
    start: date | None,
    end: date | None,
    log: bool,
    theme: str,
    path: Path | None,
) -> None:
    """Draw the candles and volume of each SYMBOL.

    One symbol has its six intervals side by side; several have daily bars one below the
    other, over the same sessions, where no interval is given.

    A bar whose window is still open is hatched and labelled with the sessions it has so
    far; splits are marked. An HTML page is one file that needs no network, shows the bar
    under the pointer, and follows the reader's light or dark setting.

    \b
    Examples:
      ohlcv chart AAPL                          all six intervals, newest bars
      ohlcv chart AAPL --interval 5d --log      one interval, large
      ohlcv chart NFLX -i 1d -i 21d --raw       two intervals, prices as traded
      ohlcv chart AAPL -i 1w                    weeks
      ohlcv chart AAPL MSFT NFLX                daily bars over the same dates
      ohlcv chart AAPL --start 2020-01-01 --output aapl.png
    """
    if all_six and intervals:
        raise SettingsError("--all and --interval: give one of the two")
    chosen = read_intervals(intervals, "--interval")
    symbols = tuple(dict.fromkeys(symbols))
    if path is None:
        path = _default_path(symbols, [interval_name(interval) for interval in chosen], adjusted)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("html", "svg", "png"):
        raise SettingsError(f"--output {path}: expected a name ending in .html, .svg or .png")
    lake = Lake.open(settings.lake)
    chart = load_chart(
        lake,
        symbols,
        chosen or (INTERVALS if all_six or len(symbols) == 1 else (1,)),
        start=start,
        end=end,
        adjusted=adjusted,
        log=log,
    )
    if kind == "html":
        content = chart.html(theme).encode()
    else:
        svg = chart.svg(theme)
        content = svg.encode() if kind == "svg" else to_png(svg)
    write_page(path, content)
    bars = Counter[str]()
    for series in chart.series:
        bars[interval_name(series.interval)] += len(series)
    output.result(
        {
            "output": str(path),
            "bytes": len(content),
            "symbols": chart.symbols,
            "adjusted": adjusted,
            "newest_session": chart.newest,
            "bars": bars,
        }
    )
    output.say(f"{path}  {size_text(len(content))}")
    output.say("bars: " + ", ".join(f"{count:,} of {name}" for name, count in bars.items()))


def _default_path(symbols: Sequence[str], intervals: Sequence[str], adjusted: bool) -> Path:
    """Name the page after what it shows, the first symbols of many."""
    names = [re.sub(r"[^\w.-]", "_", symbol) for symbol in symbols[:_NAMED]]
    names += [f"and-{len(symbols) - _NAMED}-more"] if len(symbols) > _NAMED else []
    return Path("-".join([*names, *intervals, *([] if adjusted else ["raw"])]) + ".html")
