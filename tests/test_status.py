"""The state of a lake, judged at a given instant."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from batch.audit.status import read_status
from batch.consolidator.job import consolidate
from batch.core.errors import DataRefused
from batch.core.layout import Anchor
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.lake.reference import add_splits
from batch.resampler.job import resample
from batch.runtime.command import run_main
from batch.runtime.progress import Silent
from batch.runtime.run_report import RunReport
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from orchestration.cli.main import cli
from orchestration.cli.status import command
from reporting.lake_facts import gather_facts
from tests.support.bars import bar, land_rows, received_after

FIRST, NEWEST = date(2025, 1, 2), date(2025, 1, 31)
EVENING = datetime(2025, 1, 31, 23, 0, tzinfo=UTC)
"""Two hours after the close of the newest session."""


def fill(store: ObjectStore, calendar: Calendar, leave_out: frozenset[date] = frozenset()) -> None:
    for session in calendar.sessions_between(FIRST, NEWEST):
        if session not in leave_out:
            rows = [bar("A", session), bar("B", session, -1.0)]
            land_rows(store, rows, calendar, received_at=received_after(session))
    consolidate(store, calendar=calendar)
    resample(store, intervals=[3, 5], calendar=calendar)


def test_a_fresh_lake_without_gaps_is_well(any_lake: ObjectStore, calendar: Calendar) -> None:
    fill(any_lake, calendar)

    status = read_status(any_lake, now=EVENING, calendar=calendar)

    assert (status.oldest, status.newest) == (FIRST, NEWEST)
    assert status.expected == date(2025, 1, 30)
    assert status.problems == status.missing == status.behind == status.late == ()
    assert status.refused == {"price not above zero": 20}
    assert {one.table: one.rows for one in status.tables} == {"1d": 20, "3d": 8, "5d": 5}
    assert all(one.size_bytes > 0 for one in status.tables)


def test_it_is_stale_once_the_delay_after_the_next_close_has_passed(
    lake: LocalStore, calendar: Calendar
) -> None:
    fill(lake, calendar)
    monday_close = calendar.close_of(date(2025, 2, 3))
    delay = timedelta(hours=4)

    just_before = read_status(lake, now=monday_close + delay - timedelta(seconds=1), delay=delay)
    then = read_status(lake, now=monday_close + delay, delay=delay)

    assert just_before.problems == ()
    assert then.behind == (date(2025, 2, 3),)
    assert then.problems[0].startswith("stale: the newest session is 2025-01-31, 2025-02-03")


def test_some_age_may_be_allowed(lake: LocalStore, calendar: Calendar) -> None:
    fill(lake, calendar)
    now = datetime(2025, 2, 5, 12, tzinfo=UTC)

    assert read_status(lake, now=now, max_age_sessions=2).problems == ()
    assert read_status(lake, now=now, max_age_sessions=1).problems != ()


def test_a_session_without_bars_is_a_gap_and_a_closed_day_is_not(
    lake: LocalStore, calendar: Calendar
) -> None:
    """9 January 2025 was a day of mourning: the exchange was closed."""
    fill(lake, calendar, frozenset({date(2025, 1, 15)}))

    status = read_status(lake, now=EVENING)

    assert status.missing == (date(2025, 1, 15),)
    assert status.problems[0].startswith("gapped: 1 session without")
    assert read_status(lake, now=EVENING, since=date(2025, 1, 16)).problems == ()


def test_a_late_session_is_reported_but_is_not_a_problem(
    lake: LocalStore, calendar: Calendar
) -> None:
    fill(lake, calendar, frozenset({date(2025, 1, 15)}))
    late = [bar("A", date(2025, 1, 15))]
    land_rows(lake, late, calendar, received_at=datetime(2025, 1, 17, 21, tzinfo=UTC))
    consolidate(lake, calendar=calendar)
    resample(lake, intervals=[3, 5], calendar=calendar)

    status = read_status(lake, now=EVENING)

    assert [(one.session, one.hours) for one in status.late] == [(date(2025, 1, 15), 48.0)]
    assert status.problems == ()


def test_corrections_and_waiting_deliveries_are_counted(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    fill(any_lake, calendar)
    corrected = [bar("A", NEWEST, 11.0)]
    land_rows(any_lake, corrected, calendar, received_at=received_after(NEWEST, days=1))

    waiting = read_status(any_lake, now=EVENING, calendar=calendar)
    consolidate(any_lake, calendar=calendar)
    done = read_status(any_lake, now=EVENING, calendar=calendar)

    assert len(waiting.waiting) == 1
    assert waiting.restatements == 0
    assert done.waiting == ()
    assert done.restated == dict.fromkeys(("close", "high", "low", "open", "vwap"), 1)
    assert done.restatements == 5


def test_bars_older_than_their_daily_bars_are_a_problem(
    lake: LocalStore, calendar: Calendar
) -> None:
    fill(lake, calendar)
    monday = date(2025, 2, 3)
    land_rows(lake, [bar("A", monday)], calendar, received_at=received_after(monday))
    consolidate(lake, calendar=calendar)
    resample(lake, intervals=[3], calendar=calendar)

    status = read_status(lake, now=received_after(monday))

    assert status.outdated == ("5d",)
    assert status.problems == ("outdated: 5d made from older daily bars; run `ohlcv resample`",)


def test_the_last_runs_are_listed_with_their_durations(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    started = datetime(2025, 1, 31, 21, 30, tzinfo=UTC)
    for number in range(12):
        run_started = started + timedelta(minutes=number)
        ended = run_started + timedelta(seconds=number)
        report = RunReport("consolidate", f"run{number}", run_started, {}, ended, 0)
        report.keep(any_lake)
    RunReport("resample", "last", started + timedelta(hours=1), {}, None, 75, "stopped").keep(
        any_lake
    )

    runs = read_status(any_lake, now=EVENING, calendar=calendar).runs

    assert len(runs) == 10
    assert (runs[0].job, runs[0].exit_code, runs[0].error) == ("resample", 75, "stopped")
    assert (runs[1].job, runs[1].duration_s, runs[1].exit_code) == ("consolidate", 11.0, 0)


def test_a_lake_that_shows_the_past_is_a_problem(lake: LocalStore, calendar: Calendar) -> None:
    fill(lake, calendar)
    consolidate(lake, as_of=EVENING, calendar=calendar)
    resample(lake, intervals=[3, 5], calendar=calendar)

    past = read_status(lake, now=EVENING)
    consolidate(lake, calendar=calendar)
    present = read_status(lake, now=EVENING)

    assert past.as_of == EVENING
    assert past.problems[0].startswith("in the past")
    assert present.problems == ()


def test_an_empty_lake_is_a_problem_that_names_the_session_expected(lake: LocalStore) -> None:
    lake.write("_state/note", b"")

    status = read_status(lake, now=EVENING)

    (problem,) = status.problems
    assert problem.startswith("empty: no session has been consolidated, 2025-01-30 was expected;")


def test_the_command_ends_with_3_when_stale_and_prints_json(
    lake: LocalStore, calendar: Calendar
) -> None:
    fill(lake, calendar)

    ran = CliRunner().invoke(command, ["--lake", lake.uri, "--json"])
    code = run_main(cli, ["status", "--lake", lake.uri, "--quiet"], name="ohlcv")

    found = json.loads(ran.stdout)
    assert code == 3
    assert found["newest"] == "2025-01-31"
    assert found["problems"][0].startswith("stale")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", found["at"])


def test_the_command_ends_with_0_when_well(
    lake: LocalStore, calendar: Calendar, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(lake, calendar)

    code = run_main(
        cli, ["status", "--lake", lake.uri, "--max-age-sessions", "100000"], name="ohlcv"
    )

    out = capsys.readouterr().out
    assert code == 0
    assert "healthy: up to date, no gaps" in out
    assert max(map(len, out.splitlines()[1:])) <= 80


def test_a_missing_lake_is_a_usage_error(tmp_path: Path) -> None:
    assert run_main(cli, ["status", "--lake", str(tmp_path / "none")], name="ohlcv") == 2


OTHER_COLUMNS = BytesIO()
pl.DataFrame({"x": [1]}).write_parquet(OTHER_COLUMNS)
JUNK = {"gone": None, "text": b"symbol,date\n", "empty": b"", "other": OTHER_COLUMNS.getvalue()}


def harm(store: ObjectStore, keys: Iterable[str], content: bytes | None) -> None:
    for key in keys:
        if content is None:
            store.delete([key])
        else:
            store.write(key, content)


def small_lake(store: ObjectStore, calendar: Calendar) -> None:
    """Fill a lake whose newest year has daily bars, a restatement and bars of 5 sessions."""
    for session in calendar.sessions_between(date(2024, 12, 30), date(2025, 1, 3)):
        rows = [bar("A", session), bar("B", session)]
        land_rows(store, rows, calendar, received_at=received_after(session))
    corrected = [bar("A", date(2025, 1, 2), volume=101.0)]
    land_rows(store, corrected, calendar, received_at=received_after(date(2025, 1, 3)), source="c")
    split = {"symbol": ["A"], "date": [date(2025, 1, 2)], "split_from": [1.0], "split_to": [2.0]}
    add_splits(store, pl.DataFrame(split), label="test")
    mend(store, calendar)


def mend(store: ObjectStore, calendar: Calendar) -> None:
    consolidate(store, calendar=calendar)
    resample(store, intervals=[5], calendar=calendar)
    resample(store, intervals=[3], anchor=Anchor.LISTING, calendar=calendar)


SMALL_EVENING = datetime(2025, 1, 3, 23, tzinfo=UTC)
MENDS = {
    "silver/1d/year=2025/data.parquet": "run `ohlcv consolidate`",
    "silver/restatements/year=2025/data.parquet": "run `ohlcv consolidate`",
    "silver/5d/year=2024/data.parquet": "run `ohlcv resample --interval 5`",
    "silver/3d_listing/year=2024/data.parquet": (
        "run `ohlcv resample --interval 3 --anchor listing`"
    ),
}
QUERIES = {
    "silver/1d/year=2025/data.parquet": "select max(close) from bars_1d",
    "silver/restatements/year=2025/data.parquet": "select max(new) from RESTATEMENTS",
    "silver/5d/year=2024/data.parquet": 'select max(close) from "bars_5d"',
    "silver/3d_listing/year=2024/data.parquet": "select max(close) from bars_3d_listing",
}


@pytest.mark.parametrize(
    ("root", "kind"),
    [*(("lake", kind) for kind in JUNK), ("s3_lake", "gone"), ("s3_lake", "other")],
)
def test_missing_and_foreign_partitions_are_named_with_the_command_that_mends_them(
    request: pytest.FixtureRequest, calendar: Calendar, root: str, kind: str
) -> None:
    any_lake: ObjectStore = request.getfixturevalue(root)
    small_lake(any_lake, calendar)
    well = read_status(any_lake, now=SMALL_EVENING, calendar=calendar)
    harm(any_lake, MENDS, JUNK[kind])

    status = read_status(any_lake, now=SMALL_EVENING, calendar=calendar)
    refused = {}
    for key, query in QUERIES.items():
        with pytest.raises(DataRefused) as raised:
            Lake(any_lake).sql(query)
        refused[key] = str(raised.value)
    mend(any_lake, calendar)
    mended = read_status(any_lake, now=SMALL_EVENING, calendar=calendar)

    assert well.problems == mended.problems == ()
    wrong = "missing" if kind == "gone" else "not a table of this lake"
    assert {one.key: (one.wrong, one.remedy) for one in status.wrong} == {
        key: (wrong, remedy) for key, remedy in MENDS.items()
    }
    for key, remedy in MENDS.items():
        assert any(key in problem and remedy in problem for problem in status.problems)
        assert key in refused[key]


def test_a_whole_interval_that_is_gone_is_missing_for_every_reader(
    any_lake: ObjectStore, calendar: Calendar, tmp_path: Path
) -> None:
    small_lake(any_lake, calendar)
    harm(any_lake, [item.key for item in any_lake.list("silver/5d/")], None)
    reads = [
        lambda: Lake(any_lake).sql("select count(*) from bars_5d"),
        lambda: Lake(any_lake).bars("5d"),
        lambda: gather_facts(Lake(any_lake), now=SMALL_EVENING, progress=Silent()),
    ]

    status = read_status(any_lake, now=SMALL_EVENING, calendar=calendar)

    assert [one.key for one in status.wrong] == ["silver/5d/year=2024/data.parquet"]
    for read in reads:
        with pytest.raises(DataRefused, match=r"silver/5d/year=2024.*resample --interval 5"):
            read()


@pytest.mark.parametrize("kind", JUNK)
def test_damaged_state_and_reference_tables_are_named(
    lake: LocalStore, calendar: Calendar, kind: str
) -> None:
    small_lake(lake, calendar)
    keys = ["_state/1d.json.gz", "_state/5d.json.gz", "reference/splits/data.parquet"]
    found = {}
    for key in keys:
        before = lake.read(key)
        harm(lake, [key], JUNK[kind])
        status = read_status(lake, now=SMALL_EVENING, calendar=calendar)
        found[key] = status.wrong
        assert status.problems
        lake.write(key, before)

    if kind == "gone":
        daily, bars, (splits,) = found.values()
        tables = {"1d", "restatements"}
        assert {one.key.split("/")[1] for one in daily} == tables
        assert {(one.key, one.wrong) for one in bars} == {
            ("silver/5d/year=2024/data.parquet", "not in the manifest")
        }
        assert (splits.key, splits.wrong) == (keys[2], "missing")
    else:
        assert [[(one.key, one.wrong) for one in wrong] for wrong in found.values()] == [
            [(key, "damaged")] for key in keys
        ]


def test_files_of_others_among_the_tables_are_named(lake: LocalStore, calendar: Calendar) -> None:
    small_lake(lake, calendar)
    foreign = ["silver/1d/year=2025/copy.parquet", "silver/notes/year=2025/data.parquet"]
    for key in [*foreign, "silver/1d/.DS_Store", "silver/1d/_SUCCESS"]:
        lake.write(key, b"")

    status = read_status(lake, now=SMALL_EVENING, calendar=calendar)

    assert sorted((one.key, one.wrong) for one in status.wrong) == [
        (key, "foreign") for key in foreign
    ]


def test_a_copied_lake_is_well_and_a_file_being_published_is_no_problem(
    lake: LocalStore, calendar: Calendar, tmp_path: Path
) -> None:
    small_lake(lake, calendar)
    copy = LocalStore(
        Path(shutil.copytree(lake.root, tmp_path / "c", copy_function=shutil.copyfile))
    )
    key = "silver/1d/year=2025/data.parquet"

    copied = read_status(copy, now=SMALL_EVENING, calendar=calendar)
    copy.write(key, copy.read("silver/1d/year=2024/data.parquet"))
    later = read_status(copy, now=SMALL_EVENING, calendar=calendar)
    written_at = copy.head(key)
    assert written_at
    assert written_at.modified_at
    at_once = read_status(copy, now=written_at.modified_at, max_age_sessions=10**6)

    assert copied.problems == ()
    assert [(one.key, one.wrong) for one in later.wrong] == [(key, "not what was published")]
    assert at_once.wrong == ()


def test_the_command_prints_what_is_wrong_as_json(lake: LocalStore, calendar: Calendar) -> None:
    small_lake(lake, calendar)
    key = "silver/5d/year=2024/data.parquet"
    harm(lake, [key], b"junk")
    arguments = ["--lake", lake.uri, "--json", "--max-age-sessions", "100000"]

    ran = CliRunner().invoke(command, arguments)
    code = run_main(cli, ["status", "--quiet", *arguments], name="ohlcv")

    assert code == 3
    assert json.loads(ran.stdout)["wrong"] == [
        {"key": key, "wrong": "not a table of this lake", "remedy": MENDS[key]}
    ]
