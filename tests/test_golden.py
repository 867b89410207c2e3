"""The results for a fixed history do not change by accident."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path

import pytest

from tests.golden.generate import FOLDER, answers
from tests.oracle import library_sessions

NAMES = sorted(path.name for path in FOLDER.glob("*.csv"))


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    return answers()


def test_there_is_a_golden_file_for_every_answer(made: dict[str, str]) -> None:
    assert sorted(made) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_results_are_the_golden_ones(made: dict[str, str], name: str) -> None:
    golden = Path(FOLDER, name).read_text(encoding="utf-8")

    assert made[name] == golden, (
        f"tests/golden/{name} differs; if the change is meant, run"
        " `python -m tests.golden.generate`, read the difference and raise RESULTS_VERSION"
    )


def test_the_golden_windows_are_those_of_the_calendar_library() -> None:
    known = library_sessions()
    with Path(FOLDER, "windows.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    assert len(rows) == 6 * 21
    for row in rows:
        width, window = int(row["interval"]), int(row["window"])
        start, end = date.fromisoformat(row["start"]), date.fromisoformat(row["end"])
        assert known.index(start) == window * width
        assert known.index(end) == window * width + width - 1
        assert window == 0 or known[(window - 1) * width].year < start.year


def test_the_golden_session_numbers_are_those_of_the_calendar_library() -> None:
    known = library_sessions()
    with Path(FOLDER, "sessions.csv").open(encoding="utf-8") as file:
        rows = {
            date.fromisoformat(r["session"]): int(r["session_no"]) for r in csv.DictReader(file)
        }

    assert rows[date(1970, 1, 2)] == 0
    assert rows == {session: known.index(session) for session in rows}
    assert len(rows) == 2 * 61
