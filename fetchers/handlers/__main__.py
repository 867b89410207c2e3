"""``python -m fetchers.handlers EVENT``: inspects one upload, where AWS Batch runs it."""

from __future__ import annotations

import json
import sys

import click

from batch.core.errors import SettingsError
from batch.runtime.command import run_main
from batch.runtime.output import Output
from fetchers.handlers.shell import read_event
from fetchers.handlers.uploads import UploadEvent, inspect_event


@click.command(name="inspect-upload")
@click.argument("event")
def command(event: str) -> None:
    """Inspect the upload of an EVENT in JSON: bucket, key, version, size_bytes, uploaded_at."""
    output = Output()
    output.set_up_logs("inspect-upload")
    try:
        asked = json.loads(event)
    except ValueError as err:
        raise SettingsError(f"the event is not JSON: {err}") from err
    inspect_event(read_event(UploadEvent, asked))


if __name__ == "__main__":
    sys.exit(run_main(command, name="python -m fetchers.handlers"))
