"""What is shown of a lake on S3 is what is shown of the same lake in a folder."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from batch.core.errors import ExitCode
from batch.core.sessions import Calendar
from batch.lake.read import Lake
from batch.runtime.progress import Silent
from batch.storage.store import ObjectStore, open_store
from reporting.lake_facts import gather_facts
from reporting.lake_page import report_page
from tests.oracle import Split
from tests.reporting.conftest import Ohlcv
from tests.support.bars import bar
from tests.support.faulty_s3 import faulty_s3
from tests.support.lakes import Filled, Receipt

NOW = datetime(2025, 3, 20, 22, 0, tzinfo=UTC)


@pytest.fixture
def both(demo_lake: Lake, s3_lake: ObjectStore) -> tuple[Lake, Lake]:
    """The synthetic lake in its folder, and a copy of it on S3."""
    for item in demo_lake.store.list(""):
        s3_lake.write(item.key, demo_lake.store.read(item.key))
    return demo_lake, Lake(s3_lake)


@pytest.mark.slow
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


@pytest.mark.parametrize(
    "command",
    [
        ["quality"],
        ["report", "--output", "report.html"],
        ["chart", "A", "-i", "1d", "--output", "chart.html"],
        ["status"],
        ["sql", "select max(close) from bars_1d"],
        ["sql", "select * from splits"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_lake_that_asks_to_slow_down_is_not_a_bug_and_not_a_wrong_query(
    s3_lake: ObjectStore,
    command: list[str],
    calendar: Calendar,
    elsewhere: Path,
    ohlcv: Ohlcv,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    day = calendar.session_at(13000)
    filled = Filled(s3_lake)
    filled.receive(Receipt(NOW, "a", (bar("A", day), bar("B", day, -1.0))))
    filled.split(Split("A", day, 2.0))
    filled.run()
    monkeypatch.setattr("batch.storage.s3.ATTEMPTS", 2)
    with faulty_s3() as side:
        monkeypatch.setenv("AWS_ENDPOINT_URL", side.url)
        side.slow = True

        done = ohlcv(*command, "--lake", s3_lake.uri)

    assert done.code == ExitCode.RETRY, done.err
    assert s3_lake.uri in done.err
    assert "again" in done.err
    assert "bug" not in done.err
    assert len(side.refused) > 1, "a request was not sent again"


def test_readers_wait_until_a_lake_answers_again(
    s3_lake: ObjectStore, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    day = calendar.session_at(13000)
    filled = Filled(s3_lake)
    filled.receive(Receipt(NOW, "a", (bar("A", day),)))
    filled.run()
    with faulty_s3() as side:
        monkeypatch.setenv("AWS_ENDPOINT_URL", side.url)
        lake = Lake(open_store(s3_lake.uri))
        answers = []
        for read in (lambda: lake.bars("1d"), lambda: lake.sql("select * from bars_1d")):
            side.slow, side.most = True, len(side.refused) + 1
            answers.append(read())

    assert answers[0].height == 1
    assert answers[0].equals(answers[1])
    assert len(side.refused) == 2
