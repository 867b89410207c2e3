"""Bars of progress on a terminal: how far, how fast, how long still."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from batch.runtime.formats import count_text, duration_text, rate_text


class _Count(ProgressColumn):
    """Units done, and of how many while there are more to come."""

    def render(self, task: Task) -> Text:
        total, done = int(task.total or 0), int(task.completed)
        unit = str(task.fields["unit"])
        text = count_text(done, unit) if done >= total else f"{done:,} of {total:,} {unit}"
        return Text(text, justify="left")


class _Pace(ProgressColumn):
    """Rate and time left while it runs; how long it took afterwards."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        if task.finished:
            return Text(f"in {duration_text(task.finished_time or 0.0)}", style="dim")
        if not task.speed or task.time_remaining is None:
            return Text(duration_text(task.elapsed or 0.0), style="dim")
        return Text(f"{rate_text(task.speed)}/s, {duration_text(task.time_remaining)} left")


def steps_drawing() -> Progress:
    """Return a drawing with one line per step, on stderr, within 80 columns."""
    return Progress(
        TextColumn("{task.description:<13}"),
        BarColumn(bar_width=14),
        _Count(),
        _Pace(),
        console=Console(stderr=True),
        speed_estimate_period=10,
        redirect_stdout=False,
        redirect_stderr=False,
    )


class _AboveTheBars(logging.Handler):
    """Prints records above the bars, which would be torn by lines written between them."""

    def __init__(self, drawing: Progress) -> None:
        super().__init__()
        self._console = drawing.console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record without its instant, for somebody who watches."""
        self._console.print(
            f"{record.levelname.lower()}: {record.getMessage()}",
            style="yellow" if record.levelno >= logging.WARNING else None,
            highlight=False,
            markup=False,
        )


@contextmanager
def logs_above(drawing: Progress, logger: logging.Logger) -> Iterator[None]:
    """Let a logger print above a drawing while it is there."""
    before = logger.handlers[:]
    logger.handlers[:] = [_AboveTheBars(drawing)]
    try:
        yield
    finally:
        logger.handlers[:] = before
