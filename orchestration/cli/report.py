"""The command ``report``: one page of the lake's state."""

from __future__ import annotations

from pathlib import Path

import click

from batch.runtime.command import lake_option, output_options
from batch.runtime.formats import size_text
from batch.runtime.output import Output


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
@lake_option
@output_options
def command(output: Output, lake: str | None, path: Path, theme: str) -> None:
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
    from datetime import UTC, datetime  # noqa: PLC0415 - help stays quick

    from batch.core.errors import SettingsError  # noqa: PLC0415
    from batch.lake.read import Lake  # noqa: PLC0415
    from batch.runtime.settings import Settings  # noqa: PLC0415
    from reporting.lake_facts import gather_facts  # noqa: PLC0415
    from reporting.lake_page import report_page  # noqa: PLC0415

    opened = Lake.open(Settings.read(lake=lake).lake)
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
