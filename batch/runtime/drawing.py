"""Progress bars on a terminal: how far, how fast, how long still."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Drawing
from rich.text import Text

from batch.runtime.formats import count_text, duration_text, rate_text
from batch.runtime.progress import Progress


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


class DrawnProgress(Progress):
    """Draws a bar per step on a terminal."""

    def __init__(self, drawing: Drawing) -> None:
        self._drawing = drawing
        self._task: TaskID | None = None

    def begin(self, step: str, total: int, unit: str) -> None:
        """Start a bar."""
        if not self._drawing.live.is_started:  # the first step, or a result was printed since
            for task in self._drawing.task_ids:
                self._drawing.remove_task(task)
            self._drawing.start()
        self._task = self._drawing.add_task(step, total=total, unit=unit)

    def advance(self, count: int = 1) -> None:
        """Move the bar."""
        if self._task is not None:
            self._drawing.advance(self._task, count)

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._drawing.console.print(text, highlight=False, markup=False)

    def warn(self, text: str) -> None:
        """Print a warning above the bars."""
        line = f"warning: {text}"
        self._drawing.console.print(line, style="yellow", highlight=False, markup=False)

    def parallel(self) -> DrawnProgress:
        """Return one that draws bars of its own on the same terminal."""
        return DrawnProgress(self._drawing)


def steps_drawing() -> Drawing:
    """Return a drawing with one line per step, on stderr, within 80 columns."""
    return Drawing(
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
    """Prints log records above the bars, which lines between them would tear."""

    def __init__(self, drawing: Drawing) -> None:
        super().__init__()
        self._console = drawing.console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record without its instant."""
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        style = "yellow" if record.levelno >= logging.WARNING else None
        self._console.print(text, style=style, highlight=False, markup=False)


@contextmanager
def logs_above(drawing: Drawing, logger: logging.Logger) -> Iterator[None]:
    """Let a logger print above a drawing while it is there."""
    before = logger.handlers[:]
    logger.handlers[:] = [_AboveTheBars(drawing)]
    try:
        yield
    finally:
        logger.handlers[:] = before
