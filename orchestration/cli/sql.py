"""The command ``ohlcv sql``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import click

from batch.runtime.command import lake_option, output_options
from batch.runtime.output import Output

_GAP = 2
_DIGITS = 10
"""Digits of a number in a table; --csv and --json print all of them."""


@click.command(name="sql")
@click.argument("query")
@lake_option
@click.option("--csv", "as_csv", is_flag=True, help="Print every row as CSV.")
@click.option(
    "--rows",
    type=click.IntRange(1),
    metavar="N",
    default=50,
    show_default=True,
    help="Rows of the table to print.",
)
@output_options
def command(output: Output, query: str, as_csv: bool, rows: int, **options: Any) -> None:
    """Run a DuckDB query over the lake.

    There is a view of every table: bars_1d, bars_3d ... bars_34d, restatements, and the
    tables splits, tickers and dividends. Open bars are in the views: ask for WHERE
    complete. --csv and --json print every row. A query of - is read from standard input.

    \b
    Examples:
      ohlcv sql "select * from bars_5d where symbol = 'AAPL' and complete"
      ohlcv sql "select date, count(*) from bars_1d group by 1 order by 1" --csv
    """
    from batch.core.errors import SettingsError  # noqa: PLC0415 - help stays quick
    from batch.lake.read import Lake  # noqa: PLC0415
    from batch.runtime.settings import Settings  # noqa: PLC0415

    if as_csv and output.as_json:
        raise SettingsError("--csv and --json: give one of them")
    settings = Settings.read(**options)
    text = sys.stdin.read() if query == "-" else query
    found = Lake.open(settings.lake).sql(text)
    if as_csv:
        click.echo(found.write_csv(), nl=False)
        return
    output.result({"columns": found.columns, "rows": found.rows()})
    if not found.columns:
        return
    cells = _Cells.of(found.columns, found.head(rows).rows())
    for block in cells.blocks(_width()):
        for line in cells.lines(block):
            output.say(line)
    if not found.height:
        output.say("no rows")
    if found.height > rows:
        output.say(f"{rows:,} of {found.height:,} rows; --rows, --csv or --json print more")


def _width() -> int | None:
    """Return the columns of the terminal; None where the lines go somewhere else."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


@dataclass(frozen=True, slots=True)
class _Cells:
    """A table as text, columns never folded, numbers to the right, as psql shows it.

    Attributes:
        columns: Each column's lines, its name first, all of one width.
    """

    columns: list[list[str]]

    @classmethod
    def of(cls, names: list[str], rows: list[tuple[Any, ...]]) -> _Cells:
        columns = []
        for place, name in enumerate(names):
            values = [row[place] for row in rows]
            texts = [name, *map(_cell, values)]
            width = max(map(len, texts))
            right = all(value is None or isinstance(value, int | float) for value in values)
            texts = [text.rjust(width) if right else text.ljust(width) for text in texts]
            columns.append([texts[0], "-" * width, *texts[1:]])
        return cls(columns)

    def blocks(self, width: int | None) -> Iterator[list[list[str]]]:
        """Return columns that fit side by side; the first one leads every block."""
        if not self.columns:
            return
        first, *others = self.columns
        block, taken = [first], len(first[0])
        for column in others:
            needs = _GAP + len(column[0])
            if width is not None and taken + needs > width and len(block) > 1:
                yield block
                block, taken = [first], len(first[0])
            block.append(column)
            taken += needs
        yield block

    def lines(self, block: list[list[str]]) -> Iterator[str]:
        """Return the lines of a block, after an empty one where it is not the first."""
        if len(self.columns) > 1 and block[1] is not self.columns[1]:
            yield ""
        for line in zip(*block, strict=True):
            yield (" " * _GAP).join(line).rstrip()


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(float(f"{value:.{_DIGITS}g}"))
    return "" if value is None else str(value)
