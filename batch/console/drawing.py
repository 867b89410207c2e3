"""Bars of progress on a terminal: how far, how fast, how long still."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from batch.console.output import duration_text, rate_text


class _Count(ProgressColumn):
    """Units done, and of how many while there are more to come."""

    def render(self, task: Task) -> Text:
        total, done = int(task.total or 0), int(task.completed)
        unit = str(task.fields["unit"])
        text = f"{done:,} {unit}" if done >= total else f"{done:,} of {total:,} {unit}"
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
