"""The command ``report``: one page of the lake's state."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from batch.lake.read import Lake
from batch.runtime.formats import size_text
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.settings import Settings
from orchestration.cli.pages import file_option, theme_option, write_page
from reporting.lake_facts import gather_facts
from reporting.lake_page import report_page


@click.command(name="report")
@theme_option
@file_option("File to write.  [default: lake-report.html here]", default="lake-report.html")
@settings_options(Settings)
@output_options
def command(settings: Settings, output: Output, path: Path, theme: str) -> None:
    """Write one HTML page about the lake, to read or to send.

    Coverage of every session, gaps, splits that may be missing from the record and other big
    moves, refused rows by reason, what later deliveries changed, sizes and run times. One file, no
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
    write_page(path, content)
    coverage = facts.coverage
    output.result(
        {
            "output": str(path),
            "bytes": len(content),
            "lake": facts.uri,
            "newest_session": coverage.newest,
            "sessions_behind": facts.behind,
            "empty_sessions": coverage.empty_sessions,
            "symbols": coverage.symbols,
            "daily_bars": coverage.rows,
            "refused_rows": facts.refused_rows,
            "restated_values": facts.restated_values,
            "held_back_values": facts.held_back_values,
            "moves_like_splits": facts.moves.like_splits_count,
            "other_moves": facts.moves.others_count,
        }
    )
    output.say(f"{path}  {size_text(len(content))}")
