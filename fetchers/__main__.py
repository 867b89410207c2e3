"""``python -m fetchers``: the daily fetch where no Lambda function runs it."""

from __future__ import annotations

import sys

import click

from batch.runtime.command import run_main
from batch.runtime.environment import environment
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from fetchers.fetch import run_fetch
from fetchers.request import FetchRequest
from fetchers.settings import FetchSettings


@click.command(name="fetch")
@settings_options(FetchSettings)
@output_options
def command(settings: FetchSettings, output: Output) -> None:
    """Fetch the sessions that the lake lacks, the last few again, and reference data."""
    run_fetch(settings, environment(), FetchRequest(), output)


if __name__ == "__main__":
    sys.exit(run_main(command, name="fetch"))
