"""The command ``export``: bars as a file for other programs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import click
import polars as pl

from batch.core.errors import LakeWarning, RetryMayHelp, SettingsError
from batch.core.layout import DIVIDENDS, SPLITS, manifest_key
from batch.lake.arguments import Adjusted
from batch.lake.read import Lake
from batch.runtime.formats import count_text, size_text
from batch.runtime.options import date_option, output_options, settings_options
from batch.runtime.output import Output, terminal_width
from batch.runtime.progress import LOGGER, Progress, Silent
from batch.runtime.settings import Settings
from batch.storage.local import LocalStore
from batch.storage.store import open_store
from orchestration.cli.bar_files import Append, kind_of, standard_output
from orchestration.cli.completion import completing_intervals, completing_symbols
from orchestration.cli.files import replacing
from orchestration.cli.pages import file_option

_SYMBOLS_AT_A_TIME: Final = 200
"""Symbols whose bars are in memory together: a million daily bars in twenty years."""

_ADJUSTED: Final[dict[str, Adjusted]] = {"splits": True, "dividends": "dividends", "raw": False}


@click.command(name="export")
@click.option(
    "-i",
    "--interval",
    metavar="ND",
    default="1d",
    shell_complete=completing_intervals,
    help="Sessions per bar, such as 5d; 1d for daily bars, 1w for weeks, 1mo for months.",
)
@click.option(
    "-s",
    "--symbol",
    "symbols",
    multiple=True,
    shell_complete=completing_symbols,
    help="May be repeated.  [default: all]",
)
@date_option("--start", "First date, inclusive.  [default: the oldest]")
@date_option("--end", "Last date, inclusive.  [default: the newest]")
@click.option(
    "--adjusted",
    "prices",
    flag_value="splits",
    default="splits",
    show_default=False,
    help="Prices adjusted for splits: the default.",
)
@click.option("--raw", "prices", flag_value="raw", help="Prices as traded.")
@click.option(
    "--dividends",
    "prices",
    flag_value="dividends",
    help="Prices adjusted for splits and cash dividends.",
)
@file_option("File to write: .csv, .csv.gz or .parquet.  [default: CSV on standard output]")
@settings_options(Settings)
@output_options
def command(
    settings: Settings,
    output: Output,
    interval: str,
    symbols: tuple[str, ...],
    start: date | None,
    end: date | None,
    prices: str,
    path: Path | None,
) -> None:
    """Write bars to a file for other programs.

    Bars are sorted by symbol and date; open bars are left out. A file takes its place when
    all of it is written. Daily bars as traded (--raw) are what ohlcv import reads.

    \b
    Examples:
      ohlcv export --symbol AAPL --symbol NFLX -i 5d --output bars.csv
      ohlcv export --raw --start 2024-01-01 --output daily.parquet
      ohlcv export -s AAPL | head -n 3
    """
    if path is None and output.as_json:
        raise SettingsError("--json: give --output, as standard output has the bars")
    if path is not None:
        writing = kind_of(path)
        _require_outside(path, settings.lake)
    lake = Lake.open(settings.lake)
    asked = _Asked(lake, interval, start, end, _ADJUSTED[prices])
    every = lake.symbols()
    chosen = _require_known(lake, symbols, every) if symbols else every
    with ExitStack() as whole:
        if path is None:
            append = whole.enter_context(standard_output())
            on_terminal = terminal_width() is not None
            progress = Silent() if on_terminal else whole.enter_context(output.progress())
            _export(asked, chosen, append, progress)
            return
        progress = whole.enter_context(output.progress())
        part = whole.enter_context(replacing(path))
        rows = _export(asked, chosen, whole.enter_context(writing(part)), progress)
    size_bytes = path.stat().st_size
    output.result(
        {
            "output": str(path),
            "bytes": size_bytes,
            "interval": interval,
            "prices": prices,
            "symbols": len(chosen),
            "rows": rows,
        }
    )
    output.say(
        f"{path}  {size_text(size_bytes)}: {count_text(rows, 'bars')} of"
        f" {count_text(len(chosen), 'symbols')}"
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """Which bars to write; the fields after the first are arguments of :meth:`Lake.bars`."""

    lake: Lake
    interval: str
    start: date | None
    end: date | None
    adjusted: Adjusted

    def bars(self, symbols: Sequence[str] | None) -> pl.DataFrame:
        return self.lake.bars(self.interval, symbols, self.start, self.end, adjusted=self.adjusted)


def _require_outside(path: Path, root: str) -> None:
    """Refuse a file in the lake, which would be taken for one of the lake's own."""
    store = open_store(root)
    if isinstance(store, LocalStore) and path.resolve().is_relative_to(store.root.resolve()):
        raise SettingsError(f"--output {path}: is inside the lake {root}; choose another folder")


def _require_known(lake: Lake, symbols: Sequence[str], every: Sequence[str]) -> list[str]:
    """Return the symbols, each once and sorted.

    Raises:
        SettingsError: The lake does not know one of them.
    """
    chosen = sorted(set(symbols))
    if unknown := sorted({*chosen} - {*every}):
        lake.bars("1d", unknown)  # raises, with those that were probably meant
    return chosen


def _export(asked: _Asked, symbols: Sequence[str], append: Append, progress: Progress) -> int:
    """Write the bars of the symbols, some at a time, and return how many.

    Raises:
        SettingsError: There are none.
        RetryMayHelp: A job has published others meanwhile.
    """
    before, count = _published(asked.lake), 0
    progress.begin("export", len(symbols), "symbols")
    for first in range(0, len(symbols), _SYMBOLS_AT_A_TIME):
        some = symbols[first : first + _SYMBOLS_AT_A_TIME]
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always", LakeWarning)
            rows = asked.bars(some)
        if rows.height:  # otherwise they say that these symbols have no bars of the dates
            append(rows)
            for one in heard:
                LOGGER.warning(str(one.message))
        count += rows.height
        progress.advance(len(some))
    if _published(asked.lake) != before:
        raise RetryMayHelp(
            f"{asked.lake.store.uri}: a job has published bars while these were read, which may"
            " be of before and after; run it again"
        )
    if not count:
        raise SettingsError(_why_none(asked, symbols))
    return count


def _why_none(asked: _Asked, symbols: Sequence[str]) -> str:
    # So many as not to be worth naming, or none at all.
    some = symbols if 0 < len(symbols) <= _SYMBOLS_AT_A_TIME else None
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", LakeWarning)
        asked.bars(some)
    return str(heard[0].message)


def _published(lake: Lake) -> dict[str, str | None]:
    """Return the version of everything that the bars of a lake depend on."""
    keys = [*(manifest_key(table) for table in lake.tables()), SPLITS, DIVIDENDS]
    found = {key: lake.store.head(key) for key in keys}
    return {key: item.version if item else None for key, item in found.items()}
