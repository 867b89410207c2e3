"""The command ``ohlcv run``: the daily pipeline on this machine."""

from __future__ import annotations

import click

from batch.consolidator.command import consolidate_as_set
from batch.core.errors import Interrupted, SettingsError
from batch.resampler.command import resample_as_set
from batch.runtime.environment import environment
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.run import job_run
from batch.runtime.run_report import RunOutcome, summary_by_table
from batch.runtime.settings import ConsolidatorSettings, ResamplerSettings
from batch.storage.store import open_store
from fetchers.fetch import fetch_in_run
from fetchers.request import FetchRequest
from fetchers.settings import FetchSettings


class RunSettings(FetchSettings, ConsolidatorSettings, ResamplerSettings):
    """What the whole day reads."""


@click.command(name="run")
@click.option("--no-reference", is_flag=True, help="Fetch bars only.")
@settings_options(RunSettings)
@output_options
def command(settings: RunSettings, output: Output, no_reference: bool) -> None:
    """Run the whole day: fetch, consolidate, resample. The lake may be on S3.

    Fetches bars and reference data at the same time. Consolidates and resamples what
    arrived even if something could not be fetched; the run then ends non-zero. A second
    run on the same day does only what is left.

    \b
    Examples:
      ohlcv run
      ohlcv run --lake s3://bucket/market --requests-per-minute 0
      ohlcv run --interval 5d --no-reference
    """
    store = open_store(settings.lake)
    with job_run("run", store, settings, output) as run:
        request = FetchRequest(reference=not no_reference)
        fetched = fetch_in_run(run, store, settings, environment(), request)
        for err in fetched.errors:
            if isinstance(err, SettingsError | Interrupted) or not store.exists():
                raise err
        daily = consolidate_as_set(
            settings, store, progress=run.progress, stop_requested=run.stop_requested
        )
        bars = resample_as_set(
            settings, store, progress=run.progress, stop_requested=run.stop_requested
        )
        run.outcome = RunOutcome(
            {**fetched.counts, "newest_session": bars.newest},
            published=[*daily.published, *bars.published],
            problems=[*fetched.problems, *daily.problems],
        )
        output.result({"lake": store.uri, **run.outcome.to_json()})
        for part in fetched.parts:
            output.say(part.summary)
        if tables := summary_by_table([*daily.published, *bars.published]):
            output.table(["table", "years written", "rows", "size"], tables)
        else:
            output.say("every table is up to date")
        output.say(f"newest session {bars.newest or 'none'} in {store.uri}")
        fetched.require_success(strict=settings.strict)
        run.require_no_problems()
