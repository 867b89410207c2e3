"""The command ``ohlcv vacuum``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from batch.audit.vacuum import VacuumPlan, apply_vacuum, plan_vacuum
from batch.core.layout import BRONZE
from batch.lake.read import Lake
from batch.runtime.formats import count_text, size_text
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.run import job_run
from batch.runtime.run_report import RunOutcome
from batch.runtime.settings import WorkerSettings

_SHOWN = 10


@click.command(name="vacuum")
@click.option("--yes", is_flag=True, help="Remove them; without this option nothing is removed.")
@click.option(
    "--keep-days",
    type=click.FloatRange(0),
    default=0.0,
    show_default=False,
    metavar="DAYS",
    help="Keep what was received in the last DAYS days.",
)
@click.option(
    "--forget-corrections",
    is_flag=True,
    help="Also remove deliveries that restatements compare with; a rebuild of their year"
    " then loses those restatements.",
)
@settings_options(WorkerSettings)
@output_options
def command(
    settings: WorkerSettings, output: Output, yes: bool, keep_days: float, forget_corrections: bool
) -> None:
    """Remove deliveries that a newer one fully supersedes; a dry run unless --yes.

    A delivery goes only where one newer delivery of its session, already consolidated, has
    every symbol of it, so the daily bars stay as they are. Reports what is lost: bars as
    they were known before the newer one arrived. The names of removed deliveries are kept,
    so that the same rows are recognised when they arrive again. Also removes announcements
    and scratch files that killed jobs left, and reports of runs older than 90 days, except
    the last 100. The run's report lists what was removed.

    \b
    Examples:
      ohlcv vacuum
      ohlcv vacuum --keep-days 30 --yes
    """
    store = Lake.open(settings.lake).store

    def plan() -> VacuumPlan:
        return plan_vacuum(
            store,
            now=datetime.now(UTC),
            keep=timedelta(days=keep_days),
            forget_corrections=forget_corrections,
            workers=settings.workers,
        )

    if yes:
        with job_run("vacuum", store, settings, output) as run:
            found = plan()
            run.outcome = RunOutcome(_summary(found))
            apply_vacuum(store, found, workers=settings.workers)
    else:
        found = plan()
    output.result({"lake": store.uri, "removed": yes, **_summary(found)})
    _show(output, found)
    output.say(
        "removed; the run's report lists them" if yes else "nothing was removed; --yes removes them"
    )


def _summary(plan: VacuumPlan) -> dict[str, object]:
    return {
        "deliveries": plan.deliveries,
        "superseded": [
            {
                "delivery": one.delivery.key,
                "bytes": one.size_bytes,
                "by": one.by.key,
                "restated_values": one.restated_values,
            }
            for one in plan.superseded
        ],
        "kept_for_restatements": [one.delivery.key for one in plan.kept_for_restatements],
        "passed_over": dict(plan.passed_over),
        "orphaned": list(plan.orphaned),
        "scratch": list(plan.scratch),
        "reports": list(plan.reports),
        "bytes": plan.size_bytes,
    }


def _show(output: Output, plan: VacuumPlan) -> None:
    others = (plan.kept_for_restatements, plan.orphaned, plan.scratch, plan.reports)
    left = [len(one) for one in others]
    output.table(
        [
            *("deliveries", "superseded", "size", "kept for restatements"),
            *("orphaned", "scratch", "runs"),
        ],
        [(plan.deliveries, len(plan.superseded), size_text(plan.size_bytes), *left)],
    )
    if plan.superseded:
        output.say(f"superseded under {BRONZE}")
    for one in plan.superseded[:_SHOWN]:
        restated = (
            f", {count_text(one.restated_values, 'restated values')}" if one.restated_values else ""
        )
        place = one.delivery.key.removeprefix(BRONZE)
        output.say(f"  {place}\n    superseded by {one.by.name}{restated}")
    if len(plan.superseded) > _SHOWN:
        output.say(f"and {len(plan.superseded) - _SHOWN:,} more; --json lists all")
    if plan.superseded:
        latest = max(one.by.received_at for one in plan.superseded)
        output.say(
            f"without them, bars as of an instant before {latest:%Y-%m-%d %H:%M} UTC may lack"
            " what only they held then",
            hanging=2,
        )
    for key, why in list(plan.passed_over.items())[:_SHOWN]:
        output.say(f"left alone: {key}: {why}", hanging=2)
