"""Two jobs at once, one terminal."""

from __future__ import annotations

from io import StringIO

from rich.console import Console
from rich.progress import Progress

from batch.runtime.output import DrawnProgress, LoggedProgress, beside
from batch.runtime.progress import Silent


def test_two_jobs_move_bars_of_their_own_on_one_terminal() -> None:
    drawing = Progress(console=Console(file=StringIO()))
    first = DrawnProgress(drawing)
    second = beside(first)

    first.begin("bars", 10, "sessions")
    second.begin("reference", 5, "parts")
    first.advance(4)
    second.advance(2)

    assert {task.description: task.completed for task in drawing.tasks} == {
        "bars": 4,
        "reference": 2,
    }


def test_log_lines_of_two_jobs_do_not_share_a_step() -> None:
    first = LoggedProgress()

    assert beside(first) is not first


def test_where_nobody_watches_nobody_watches_the_second_job_either() -> None:
    silent = Silent()

    assert beside(silent) is silent
