"""What a command says: results on stdout, progress and logs on stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from batch.core.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

LOGGER = logging.getLogger("ohlcv")
_LOG_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Output:
    """How a command was asked to speak.

    Attributes:
        as_json: Results as one JSON document instead of tables.
        quiet: No progress and no notes; warnings and errors remain.
        debug: Tracebacks and debugging lines.
    """

    as_json: bool = False
    quiet: bool = False
    debug: bool = False

    def set_up_logs(self) -> None:
        """Send log lines to stderr, in UTC."""
        level = logging.DEBUG if self.debug else logging.WARNING if self.quiet else logging.INFO
        formatter = logging.Formatter(
            "%(asctime)sZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(formatter)
        LOGGER.handlers[:] = [handler]
        LOGGER.setLevel(level)
        LOGGER.propagate = False

    def result(self, content: Mapping[str, Any]) -> None:
        """Print the result as JSON, if that was asked for."""
        if self.as_json:
            click.echo(json.dumps(content, default=str, indent=2))

    def say(self, text: str) -> None:
        """Print a line for a reader."""
        if not self.as_json and not self.quiet:
            click.echo(text)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None
    ) -> None:
        """Print rows under headings, numbers to the right, within the terminal's width."""
        if self.as_json or self.quiet:
            return
        from rich import box  # noqa: PLC0415 - only where something is drawn
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        for place, name in enumerate(columns):
            numeric = all(isinstance(row[place], int | float) for row in rows) and bool(rows)
            drawn.add_column(name, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            drawn.add_row(*(_cell(value) for value in row))
        Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 80).print(
            drawn
        )

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Give something that draws on a terminal and logs elsewhere."""
        if self.quiet or self.as_json or not sys.stderr.isatty():
            yield LoggedProgress()
            return
        from rich.console import Console  # noqa: PLC0415
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress  # noqa: PLC0415

        drawing = RichProgress(
            TextColumn("{task.description:<16}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        with drawing:
            yield DrawnProgress(drawing)


class LoggedProgress:
    """Tells of long work in log lines, one every ten seconds at most."""

    def __init__(self) -> None:
        self._step, self._unit = "", ""
        self._total = self._done = 0
        self._told_at = time.monotonic()

    def begin(self, step: str, total: int, unit: str) -> None:
        """Start a step."""
        self._step, self._unit, self._total, self._done = step, unit, total, 0
        self._told_at = time.monotonic()
        LOGGER.info("%s: %s %s", step, f"{total:,}", unit)

    def advance(self, count: int = 1) -> None:
        """Count units, and tell now and then."""
        self._done += count
        now = time.monotonic()
        if now - self._told_at >= _LOG_EVERY_S:
            self._told_at = now
            LOGGER.info(
                "%s: %s of %s %s", self._step, f"{self._done:,}", f"{self._total:,}", self._unit
            )

    def note(self, text: str) -> None:
        """Log a line."""
        LOGGER.info(text)

    def warn(self, text: str) -> None:
        """Log a warning."""
        LOGGER.warning(text)


class DrawnProgress:
    """Draws a bar per step on a terminal."""

    def __init__(self, drawing: RichProgress) -> None:
        self._drawing = drawing
        self._task: TaskID | None = None

    def beside(self) -> DrawnProgress:
        """Return another one that draws on the same terminal."""
        return DrawnProgress(self._drawing)

    def begin(self, step: str, total: int, unit: str) -> None:
        """Start a bar."""
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
        self._drawing.console.print(
            f"warning: {text}", style="yellow", highlight=False, markup=False
        )


def beside(progress: Progress) -> Progress:
    """Return a progress for a second job that runs at the same time as the first.

    It draws bars of its own on the same terminal, or logs lines of its own.
    """
    if isinstance(progress, DrawnProgress):
        return progress.beside()
    return LoggedProgress() if isinstance(progress, LoggedProgress) else progress


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return "" if value is None else str(value)


def size_text(size_bytes: float) -> str:
    """Return a size in the unit that suits it, such as ``12.8 MB``."""
    for unit in ("B", "kB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"
