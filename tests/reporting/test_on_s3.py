"""What is shown of a lake on S3 is what is shown of the same lake in a folder."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from batch.lake.read import Lake
from batch.runtime.progress import Silent
from batch.storage.store import ObjectStore
from reporting.lake_facts import gather_facts
from reporting.lake_page import report_page
from tests.reporting.conftest import Ohlcv

NOW = datetime(2025, 3, 20, 22, 0, tzinfo=UTC)


@pytest.fixture
def both(demo_lake: Lake, s3_lake: ObjectStore) -> tuple[Lake, Lake]:
    """The synthetic lake in its folder, and a copy of it on S3."""
    for item in demo_lake.store.list(""):
        s3_lake.write(item.key, demo_lake.store.read(item.key))
    return demo_lake, Lake(s3_lake)


def test_every_page_and_every_answer_is_the_same_from_s3_and_nothing_is_written(
    both: tuple[Lake, Lake], elsewhere: Path, ohlcv: Ohlcv
) -> None:
    symbol = both[0].bars("1d").filter(date=date(2025, 3, 14))["symbol"][0]
    commands = (
        ["status", "--json"],
        ["quality", "--json"],
        ["sql", "select symbol, max(high) as most from bars_5d group by 1 order by 1", "--csv"],
        ["chart", symbol, "-i", "5d", "-i", "34d", "--output", "chart.html"],
        ["report", "--output", "report.html"],
    )

    def answers_of(lake: Lake) -> dict[str, str]:
        answers = {}
        for command in commands:
            done = ohlcv(*command, "--lake", lake.store.uri)
            answers[command[0]] = f"{done.code} {done.out}"
        answers["drawing"] = (elsewhere / "chart.html").read_text()
        answers["page"] = report_page(gather_facts(lake, now=NOW, progress=Silent()))
        answers["status"] = re.sub(r'"at": ".*"', "", answers["status"])
        size = f"report.html  {(elsewhere / 'report.html').stat().st_size / 1000:.1f} kB"
        assert answers.pop("report") == f"0 {size}\n"
        return {name: text.replace(lake.store.uri, "LAKE") for name, text in answers.items()}

    before = {item.key: item.version for item in both[1].store.list("")}

    folder, s3 = (answers_of(lake) for lake in both)

    assert [name for name in folder if folder[name] != s3[name]] == []
    assert all("LAKE" in folder[name] for name in ("status", "quality", "page"))
    assert {item.key: item.version for item in both[1].store.list("")} == before
