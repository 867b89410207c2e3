"""The command ``ohlcv sql``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import click

from batch.console.command import lake_option, output_options
from batch.console.output import Output


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
    from batch.core.settings import Settings  # noqa: PLC0415
    from batch.lake.read import Lake  # noqa: PLC0415

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
    for line in _aligned(found.columns, found.head(rows).rows()):
        output.say(line)
    if found.height > rows:
        output.say(f"{rows:,} of {found.height:,} rows; --rows, --csv or --json print more")


def _aligned(columns: list[str], rows: list[tuple[Any, ...]]) -> Iterator[str]:
    """Return lines of columns that are never folded, numbers to the right, as psql does."""
    cells = [columns, *([_cell(value) for value in row] for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    to_the_right = [
        all(row[place] is None or isinstance(row[place], int | float) for row in rows)
        for place in range(len(columns))
    ]
    for number, line in enumerate(cells):
        yield "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, to_the_right, strict=True)
        ).rstrip()
        if number == 0:
            yield "  ".join("-" * width for width in widths)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
