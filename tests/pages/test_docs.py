"""Every command of docs/charts.md runs, and writes the file that the page says."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from batch.core.layout import INTERVALS
from batch.lake.read import Lake
from orchestration.charts import NEWEST_BARS
from orchestration.pages.facts import NEAR_SESSIONS, SUSPECT_FACTOR
from tests.pages.conftest import Ohlcv

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "charts.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^(ohlcv (?:chart|report)[^#\n]*?)(?: +# .*)?$", PAGE, re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_the_page_run(
    command: str, demo_lake: Lake, elsewhere: Path, ohlcv: Ohlcv
) -> None:
    known = demo_lake.bars("1d").filter(date=date(2025, 3, 14))["symbol"][0]
    arguments = [known if word == "NUD" else word for word in shlex.split(command)[1:]]

    done = ohlcv(*arguments, "--lake", demo_lake.store.uri)

    (written,) = elsewhere.iterdir()
    told = re.search(rf"{re.escape(command)} +# .*?(\S+\.html)$", PAGE, re.M)
    assert done.code == 0, done.err
    assert not told or written.name == told[1].replace("NUD", known)


def test_what_the_demonstration_suggests_works(elsewhere: Path, ohlcv: Ohlcv) -> None:
    since = (datetime.now(UTC) - timedelta(days=45)).date()

    made = ohlcv("demo", "--lake", "lake", "--symbols", "5", "--first", str(since))

    suggested = [shlex.split(line)[1:] for line in made.out.splitlines() if "--lake lake" in line]
    assert [words[0] for words in suggested] == ["status", "chart", "report", "sql"]
    assert [(words, ohlcv(*words).code) for words in suggested] == [
        (words, 0) for words in suggested
    ]
    assert {path.suffix for path in elsewhere.iterdir()} == {"", ".html"}


def test_the_python_of_the_page_runs(demo_lake: Lake) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    code = code.replace('"demo-lake"', repr(demo_lake.store.uri))
    scope: dict[str, str] = {}

    exec(code.replace('"NUD"', repr(demo_lake.symbols()[0])), scope)

    assert scope["page"].startswith("<!doctype html>")
    assert scope["image"].startswith("<svg ")


def test_the_page_tells_the_numbers_of_the_code() -> None:
    assert f"the newest {NEWEST_BARS} bars" in PAGE
    assert f"at least {SUSPECT_FACTOR:g} times" in PAGE
    assert f"within {NEAR_SESSIONS} sessions" in PAGE


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_shows_all_six_intervals_and_loads_nothing(theme: str) -> None:
    picture = (ROOT / "docs" / "images" / f"six-intervals-{theme}.svg").read_text()

    titles = re.findall(r'class="panel-title">([^<]+)<', picture)
    assert titles == [f"{width} sessions" for width in INTERVALS]
    assert picture.count("://") == 1  # the namespace of SVG
