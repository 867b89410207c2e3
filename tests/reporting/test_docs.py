"""What docs/charts.md says of the pages and pictures is what the code has."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batch.core.layout import INTERVALS
from reporting.chart import NEWEST_BARS
from reporting.moves import BIG_MOVE, NEAR_SESSIONS
from tests.reporting.conftest import Ohlcv

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "charts.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_what_the_demonstration_suggests_works(elsewhere: Path, ohlcv: Ohlcv) -> None:
    since = (datetime.now(UTC) - timedelta(days=45)).date()

    made = ohlcv("demo", "--lake", "lake", "--symbols", "5", "--first", str(since))

    suggested = [shlex.split(line)[1:] for line in made.out.splitlines() if "--lake lake" in line]
    assert [words[0] for words in suggested] == ["status", "chart", "report", "sql"]
    assert [(words, ohlcv(*words).code) for words in suggested] == [
        (words, 0) for words in suggested
    ]
    assert {path.suffix for path in elsewhere.iterdir()} == {"", ".html"}


def test_the_page_states_the_numbers_of_the_code() -> None:
    assert f"the newest {NEWEST_BARS} bars" in PAGE
    assert f"at least {BIG_MOVE:g} times" in PAGE
    assert f"within {NEAR_SESSIONS} sessions" in PAGE


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_shows_all_six_intervals_and_loads_nothing(theme: str) -> None:
    picture = (ROOT / "docs" / "images" / f"six-intervals-{theme}.svg").read_text()

    titles = re.findall(r'class="panel-title">([^<]+)<', picture)
    assert titles == [f"{width} sessions" for width in INTERVALS]
    assert picture.count("://") == 1  # the namespace of SVG
