"""``python -m fetchers``: one daily fetch, where no Lambda runs it; all settings from OHLCV_*."""

from __future__ import annotations

import sys

import click

from batch.runtime.command import job_run, lake_option, output_options, run_main
from batch.runtime.environment import environment
from batch.runtime.output import Output


@click.command(name="fetch")
@lake_option
@output_options
def command(output: Output, lake: str | None) -> None:
    """Fetch the sessions that the lake lacks, the last few again, and reference data."""
    from batch.storage.store import open_store  # noqa: PLC0415 - help stays quick
    from fetchers.recorded import fetch_recorded  # noqa: PLC0415
    from fetchers.settings import FetchSettings  # noqa: PLC0415

    settings = FetchSettings.read(lake=lake)
    store = open_store(settings.lake)
    with job_run("fetch", store, settings, output) as run:
        fetched = fetch_recorded(run, store, settings, environment())
        output.result({"lake": store.uri, **fetched.counts, "problems": fetched.problems})
        fetched.require_success(strict=settings.strict)
        run.require_no_problems()


if __name__ == "__main__":
    sys.exit(run_main(command, name="fetch"))
