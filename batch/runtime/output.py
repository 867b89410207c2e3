"""What a command prints: results on stdout, progress and logs on stderr."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

import click

from batch.runtime.aws_logs import JsonLines, batch_job
from batch.runtime.formats import wrapped
from batch.runtime.progress import LOGGER, LoggedProgress, Progress
from batch.runtime.tables import Rows, folded_table
from batch.version import JSON_VERSION

if TYPE_CHECKING:
    from rich.progress import Progress as Drawing

_COLUMNS_ELSEWHERE = 80


@dataclass(frozen=True, slots=True)
class Output:
    """How a command was asked to print.

    Attributes:
        as_json: Results as one JSON document instead of tables.
        quiet: No progress and no notes; warnings and errors remain.
        debug: Tracebacks and debugging lines.
        json_logs: Log lines as JSON objects.
    """

    as_json: bool = False
    quiet: bool = False
    debug: bool = False
    json_logs: bool = False
    _live: list[Drawing] = field(default_factory=list, repr=False, compare=False)

    def set_up_logs(self, command: str) -> None:
        """Send log lines to stderr, in UTC.

        Lines in JSON name the command; in an AWS Batch job, where all are, its id as well.
        """
        level = logging.DEBUG if self.debug else logging.WARNING if self.quiet else logging.INFO
        job = batch_job()
        formatter = logging.Formatter(
            "%(asctime)sZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        if job or self.json_logs:
            formatter = JsonLines({"command": command, **job})
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(formatter)
        LOGGER.handlers[:] = [handler]
        LOGGER.setLevel(level)
        LOGGER.propagate = False

    def result(self, content: Mapping[str, object]) -> None:
        """Print the result as JSON, where JSON was requested: the fields of docs/json.md."""
        self._settle()
        if self.as_json:
            versioned = {"version": JSON_VERSION, **content}
            click.echo(json.dumps(versioned, default=_json_text, indent=2))

    def say(self, text: str, *, hanging: int | None = None) -> None:
        """Print a line for a reader as it is, so that commands in it can be copied.

        With ``hanging``, a line that a terminal is too narrow for is broken between words, and
        what follows is indented by so many columns.
        """
        self._settle()
        if self.as_json or self.quiet:
            return
        if batch_job():
            for line in text.splitlines():
                LOGGER.info(line)
            return
        if hanging is not None and sys.stdout.isatty():
            text = wrapped(text, hanging)
        click.echo(text)

    def table(self, columns: Sequence[str], rows: Rows) -> None:
        """Print rows under headings within the terminal's width, 80 columns elsewhere."""
        width = terminal_width() or _COLUMNS_ELSEWHERE
        self.say("\n".join(folded_table(columns, rows, width)) + "\n")

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Yield a progress that draws bars on a terminal and logs lines elsewhere."""
        if self.quiet or self.as_json or self.json_logs or not sys.stderr.isatty():
            yield LoggedProgress()
            return
        from batch.runtime.drawing import DrawnProgress, logs_above, steps_drawing  # noqa: PLC0415 - rich, on a terminal alone

        drawing = steps_drawing()  # the first step starts it
        self._live.append(drawing)
        try:
            with logs_above(drawing, LOGGER):
                yield DrawnProgress(drawing)
        finally:
            self._settle()
            self._live.remove(drawing)

    def _settle(self) -> None:
        """Leave a live drawing as it stands, so that what follows stands below it."""
        for drawing in self._live:
            if drawing.live.is_started:
                drawing.stop()
                click.echo(err=True)


def _json_text(value: object) -> str:
    """Return a value that JSON has no type for: dates and instants in ISO 8601, UTC as ``Z``."""
    if isinstance(value, datetime):
        return value.isoformat().removesuffix("+00:00") + "Z" * (value.utcoffset() == timedelta())
    return value.isoformat() if isinstance(value, date) else str(value)


def terminal_width() -> int | None:
    """Return the columns of the terminal; None where stdout is not one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
