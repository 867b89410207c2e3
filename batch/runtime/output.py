"""What a command says: results on stdout, progress and logs on stderr."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import click

from batch.runtime.formats import count_text, duration_text, rate_text, wrapped
from batch.runtime.progress import Progress

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
    _live: list[RichProgress] = field(default_factory=list, repr=False, compare=False)

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
        self._settle()
        if self.as_json:
            click.echo(json.dumps(content, default=str, indent=2))

    def say(self, text: str, *, hanging: int | None = None) -> None:
        """Print a line for a reader.

        Args:
            text: Printed as it is, so that commands in it can be copied.
            hanging: Break the line between words on a terminal that is too narrow, and
                indent what follows by so many columns.
        """
        self._settle()
        if self.as_json or self.quiet:
            return
        if hanging is not None and sys.stdout.isatty():
            text = wrapped(text, hanging)
        click.echo(text)

    def _settle(self) -> None:
        """Leave a live drawing as it stands, so that what follows stands below it."""
        for drawing in self._live:
            if drawing.live.is_started:
                drawing.stop()
                click.echo(err=True)

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None
    ) -> None:
        """Print rows under headings within the terminal's width, 80 columns elsewhere.

        Numbers, sizes and durations stand to the right; long text folds. Colours appear on
        a terminal alone, and not where ``NO_COLOR`` is set.
        """
        if self.as_json or self.quiet:
            return
        self._settle()
        from rich import box  # noqa: PLC0415 - only where something is drawn
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415

        drawn = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
        for place, name in enumerate(columns):
            justify: Literal["left", "right"] = (
                "right" if _measures([row[place] for row in rows]) else "left"
            )
            drawn.add_column(name, justify=justify, overflow="fold")
        for row in rows:
            drawn.add_row(*(_cell(value) for value in row))
        console = Console(
            file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 80
        )
        with console.capture() as captured:
            console.print(drawn)
        lines = [line.rstrip() for line in captured.get().splitlines()]
        click.echo("\n".join(lines[1:] if not lines[0] else lines))

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """Give something that draws on a terminal and logs elsewhere."""
        if self.quiet or self.as_json or not sys.stderr.isatty():
            yield LoggedProgress()
            return
        from batch.runtime.drawing import logs_above, steps_drawing  # noqa: PLC0415 - brings rich

        drawing = steps_drawing()  # the first step starts it
        self._live.append(drawing)
        try:
            with logs_above(drawing, LOGGER):
                yield DrawnProgress(drawing)
        finally:
            self._settle()
            self._live.remove(drawing)


class LoggedProgress:
    """Tells of long work in log lines, one every ten seconds at most."""

    def __init__(self) -> None:
        self._step, self._unit = "", ""
        self._total = self._done = 0
        self._begun_at = self._told_at = time.monotonic()

    def begin(self, step: str, total: int, unit: str) -> None:
        """Start a step."""
        self._step, self._unit, self._total, self._done = step, unit, total, 0
        self._begun_at = self._told_at = time.monotonic()
        LOGGER.info("%s: %s", step, count_text(total, unit))

    def advance(self, count: int = 1) -> None:
        """Count units, and tell now and then."""
        self._done += count
        now = time.monotonic()
        if now - self._told_at >= _LOG_EVERY_S:
            self._told_at = now
            rate = self._done / (now - self._begun_at)
            left_s = max(self._total - self._done, 0) / rate if rate else 0.0
            LOGGER.info(
                "%s: %s of %s %s, %s/s, %s left",
                self._step,
                f"{self._done:,}",
                f"{self._total:,}",
                self._unit,
                rate_text(rate),
                duration_text(left_s),
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


_MEASURE = re.compile(r"[-+]?[\d,.]+( ?(B|kB|MB|GB|TB|s|min|h|%))?")


def _measures(values: Sequence[Any]) -> bool:
    """Tell whether a column holds nothing but numbers and texts such as ``12.8 MB``."""
    there = [value for value in values if value is not None and value != ""]
    return bool(there) and all(
        isinstance(value, int | float)
        if not isinstance(value, str | bool)
        else isinstance(value, str) and _MEASURE.fullmatch(value) is not None
        for value in there
    )
