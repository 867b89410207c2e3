"""The command ``report``: one page of the lake's state."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from batch.core.errors import SettingsError
from batch.lake.read import Lake
from batch.runtime.formats import size_text
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.settings import Settings
from reporting.lake_facts import gather_facts
from reporting.lake_page import report_page


@click.command(name="report")
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("lake-report.html"),
    metavar="FILE",
    help="Where to.  [default: lake-report.html here]",
)
@click.option(
    "--theme",
    type=click.Choice(["auto", "light", "dark"]),
    default="auto",
    help="Colours; auto follows the reader's system. Print is always light.",
)
@settings_options(Settings)
@output_options
def command(settings: Settings, output: Output, path: Path, theme: str) -> None:
    """Make one HTML page of the lake's state, to read or to send.

    Coverage of every session, gaps, refused rows by reason, what later deliveries changed,
    the biggest moves that no split on record explains, sizes and run times. One file, no
    network; light, dark and print.

    \b
    Examples:
      ohlcv report
      ohlcv report --output monday.html --theme light
      ohlcv report --lake s3://bucket/market --output market.html
    """
    opened = Lake.open(settings.lake)
    with output.progress() as progress:
        facts = gather_facts(opened, now=datetime.now(UTC), progress=progress)
    content = report_page(facts, theme=theme).encode()
    try:
        path.write_bytes(content)
    except OSError as err:
        raise SettingsError(f"--output {path}: {err.strerror or err}") from err
    coverage = facts.coverage
    output.result(
        {
            "output": str(path),
            "bytes": len(content),
            "lake": facts.uri,
            "newest_session": coverage.sessions[-1].session if coverage.sessions else None,
            "sessions_behind": facts.behind,
            "empty_sessions": coverage.empty_sessions,
            "symbols": coverage.symbols,
            "daily_bars": coverage.rows,
            "refused_rows": facts.refused.rows,
            "restated_values": facts.restated.count,
            "unexplained_moves": facts.moves.count,
        }
    )
    output.say(f"{path}  {size_text(len(content))}")
