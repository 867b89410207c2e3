"""Two jobs at once, one terminal."""

from __future__ import annotations

from io import StringIO

from rich.console import Console
from rich.progress import Progress

from batch.runtime.drawing import DrawnProgress
from batch.runtime.progress import LoggedProgress, Silent


def test_two_jobs_move_bars_of_their_own_on_one_terminal() -> None:
    drawing = Progress(console=Console(file=StringIO()))
    first = DrawnProgress(drawing)
    second = first.parallel()

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

    assert first.parallel() is not first


def test_where_nobody_watches_nobody_watches_the_second_job_either() -> None:
    silent = Silent()

    assert silent.parallel() is silent
