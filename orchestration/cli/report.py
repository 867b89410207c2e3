"""The command ``report``: one page of the lake's state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from batch.console.command import lake_option, output_options
from batch.console.output import Output, size_text

if TYPE_CHECKING:
    from datetime import datetime

    from batch.core.progress import Progress
    from batch.lake.read import Lake
    from batch.lake.store import ObjectStore
    from orchestration.pages.facts import LakeFacts, RunFact, TableSize

RUNS_READ = 60


@click.command(
    name="report",
    epilog="""\b
Examples:
  ohlcv report
  ohlcv report --output monday.html --theme light
  ohlcv report --lake s3://bucket/market --output market.html""",
)
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
    """
    from datetime import UTC, datetime  # noqa: PLC0415 - help stays quick

    from batch.core.errors import SettingsError  # noqa: PLC0415
    from batch.core.settings import Settings  # noqa: PLC0415
    from batch.lake.read import Lake  # noqa: PLC0415
    from orchestration.pages.report import report_page  # noqa: PLC0415

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


def gather_facts(lake: Lake, *, now: datetime, progress: Progress) -> LakeFacts:
    """Read what the report tells.

    Raises:
        DataRefused: A table or a run's report is damaged.
        StoreUnavailable: The store does not answer.
    """
    from batch.core.layout import ARRIVALS  # noqa: PLC0415 - help stays quick
    from batch.core.sessions import load_calendar  # noqa: PLC0415
    from orchestration.pages import facts  # noqa: PLC0415

    progress.begin("reading", 5, "parts")
    calendar = load_calendar()
    daily, splits = lake.lazy("1d"), lake.splits()
    coverage = facts.coverage_of(daily, calendar)
    progress.advance()
    moves = facts.moves_of(daily, splits, calendar)
    progress.advance()
    restated = facts.restated_of(lake.restatements())
    progress.advance()
    refused = facts.refused_of(lake.rejected())
    progress.advance()
    newest_closed = calendar.newest_closed(now)
    behind = 0
    if coverage.sessions:
        newest = calendar.session_no(coverage.sessions[-1].session)
        behind = max(calendar.session_no(newest_closed) - newest, 0)
    found = facts.LakeFacts(
        uri=lake.store.uri,
        made_at=now,
        newest_closed=newest_closed,
        behind=behind,
        coverage=coverage,
        moves=moves,
        splits=splits.height,
        restated=restated,
        refused=refused,
        tables=_tables(lake.store),
        runs=_runs(lake.store),
        waiting=sum(1 for _ in lake.store.list(ARRIVALS)),
    )
    progress.advance()
    return found


def _tables(store: ObjectStore) -> list[TableSize]:
    """List the silver tables, the narrowest interval first."""
    from batch.core.layout import DAILY_TABLE, RESTATEMENTS_TABLE  # noqa: PLC0415
    from batch.lake.manifest import load_bars_manifest, load_daily_manifest  # noqa: PLC0415
    from batch.lake.scan import list_tables  # noqa: PLC0415
    from orchestration.pages.facts import TableSize  # noqa: PLC0415

    daily = load_daily_manifest(store).partitions.values()
    sizes = []
    for table, parts in list_tables(store).items():
        if table == DAILY_TABLE:
            rows = sum(record.rows for record in daily)
        elif table == RESTATEMENTS_TABLE:
            rows = sum(record.restatements for record in daily)
        else:
            rows = sum(
                record.rows for record in load_bars_manifest(store, table).partitions.values()
            )
        sizes.append(
            TableSize(table, {year: part.size_bytes for year, part in parts.items()}, rows)
        )
    return sorted(sizes, key=lambda size: _order(size.table))


def _order(table: str) -> tuple[int, str]:
    digits = table.partition("d")[0]
    return (int(digits) if digits.isdigit() else 1_000_000, table)


def _runs(store: ObjectStore) -> list[RunFact]:
    """Read the newest reports of runs."""
    import json  # noqa: PLC0415

    from batch.core.errors import DataRefused  # noqa: PLC0415
    from batch.core.layout import RUNS  # noqa: PLC0415
    from orchestration.pages.facts import runs_of  # noqa: PLC0415

    keys = [item.key for item in store.list(RUNS) if item.key.endswith(".json")]
    reports = []
    for key in keys[-RUNS_READ:]:
        try:
            reports.append(json.loads(store.read(key)))
        except ValueError as err:
            raise DataRefused(f"{store.uri}/{key}: not a run's report ({err}); remove it") from err
    return runs_of(reports)
