"""What the containers' entry points say to bad input, and how they end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

from batch.core.errors import DataRefused, ExitCode, LakeMissing, StoreUnavailable
from batch.runtime.command import run_main
from tests.oracle import library_sessions
from tests.support.bars import bar
from tests.support.command_line import run_python
from tests.support.lakes import Filled, Receipt, new_lake, silver_bytes

CONSOLIDATOR = ("-m", "batch.consolidator")
RESAMPLER = ("-m", "batch.resampler")


@pytest.fixture
def lake() -> Iterator[Filled]:
    """One session in each of four years, not consolidated yet."""
    with new_lake() as made:
        for year in range(2019, 2023):
            day = next(day for day in library_sessions() if day.year == year)
            evening = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
            made.receive(Receipt(evening, "a", (bar("A", day), bar("B", day))))
        yield made


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((*CONSOLIDATOR, "--lakes", "x"), "No such option"),
        ((*CONSOLIDATOR, "--workers", "many"), "many"),
        ((*CONSOLIDATOR, "--workers", "0"), "--workers: "),
        ((*CONSOLIDATOR, "--as-of", "yesterday"), "'yesterday' is not an instant"),
        ((*CONSOLIDATOR, "--as-of", "2022-01-03T10:00"), "has no time zone"),
        ((*CONSOLIDATOR, "--as-of", "2022-13-03"), "'2022-13-03' is not an instant"),
        ((*CONSOLIDATOR, "extra"), "extra"),
        ((*CONSOLIDATOR, "--lake", "/no/such/lake"), "no lake at /no/such/lake"),
        ((*CONSOLIDATOR, "--lake", "ftp://host/lake"), "expected a folder or s3://"),
        ((*RESAMPLER, "--interval", "0"), "--interval: "),
        (
            (*RESAMPLER, "--interval", "-3"),
            "expected a whole number of at least 1, got -3",
        ),
        (
            (*RESAMPLER, "--interval", "10001"),
            "a whole number up to 10000, got 10001",
        ),
        ((*RESAMPLER, "--interval", "five"), "'five'"),
        ((*RESAMPLER, "--interval", "2.5"), "'2.5'"),
        ((*RESAMPLER, "--anchor", "moon"), "--anchor: expected calendar or listing, got 'moon'"),
        ((*RESAMPLER, "--memory-limit", "plenty"), "--memory-limit"),
        ((*RESAMPLER, "--lake", "/no/such/lake"), "no lake at /no/such/lake"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = import_module(f"{arguments[1]}.command").command

    code = run_main(command, list(arguments[2:]), name=arguments[1])

    said = capsys.readouterr()
    last = said.err.splitlines()[-1]
    assert code == 2
    assert told in last
    assert last.lower().startswith("error: ")
    assert "Traceback" not in said.err
    assert said.out == ""


def test_every_wrong_setting_is_told_at_once_with_its_name() -> None:
    done = run_python(
        *RESAMPLER,
        "--workers",
        "0",
        OHLCV_INTERVALS="5, 0",
        OHLCV_ANCHOR="moon",
        OHLCV_MEMORY_LIMIT="plenty",
        OHLCV_MAX_REFUSED_SHARE="2",
        OHLCV_FULL="perhaps",
    )

    assert done.code == 2
    for name in (
        "--workers",
        "OHLCV_INTERVALS",
        "OHLCV_ANCHOR",
        "OHLCV_MEMORY_LIMIT",
        "OHLCV_MAX_REFUSED_SHARE",
        "OHLCV_FULL",
    ):
        assert f"{name}: " in done.err
    assert "Traceback" not in done.err


def test_a_wrong_instant_is_told_together_with_the_other_settings() -> None:
    done = run_python(*CONSOLIDATOR, OHLCV_AS_OF="yesterday", OHLCV_WORKERS="0")

    assert done.code == 2
    assert "OHLCV_AS_OF: " in done.err
    assert "OHLCV_WORKERS: " in done.err


@pytest.mark.parametrize("entry", [CONSOLIDATOR, RESAMPLER])
def test_a_folder_that_holds_something_else_is_no_lake_and_gets_no_report(
    tmp_path: Path, entry: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photo.png").write_bytes(b"")
    command = import_module(f"{entry[1]}.command").command

    codes = [run_main(command, ["--lake", str(tmp_path)], name=entry[1]) for _ in range(2)]

    assert codes == [2, 2]
    assert f"no lake at {tmp_path}: what is there has none of _state/" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize("entry", [CONSOLIDATOR, RESAMPLER])
def test_a_lake_that_is_a_file_is_one_line_and_exit_code_2(
    tmp_path: Path, entry: tuple[str, str]
) -> None:
    (tmp_path / "lake").write_text("mine")

    done = run_python(*entry, "--lake", tmp_path / "lake")

    assert done.code == 2
    assert done.err.splitlines()[-1].startswith(f"error: lake {tmp_path}/lake: is a file")
    assert (tmp_path / "lake").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")
def test_files_that_may_not_be_read_are_one_line_and_exit_code_2(lake: Filled) -> None:
    from batch.core.errors import StoreDenied
    from tests.test_store_local import NOBODY, as_nobody

    root = Path(lake.store.uri)
    root.parent.chmod(0o755)
    for path in (root, *root.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    unreadable = sorted((root / "bronze/daily").rglob("*.parquet"))[0]
    unreadable.chmod(0o000)

    with as_nobody(), pytest.raises(StoreDenied, match=unreadable.name) as raised:
        lake.run()

    assert raised.value.exit_code == 2
    assert list(lake.store.list("silver/1d/")) == []


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (LakeMissing("no lake"), ExitCode.USAGE),
        (DataRefused("too many"), ExitCode.DATA_REFUSED),
        (StoreUnavailable("slow down"), ExitCode.RETRY),
        (ValueError("never thought of"), ExitCode.BUG),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_debug_shows_the_traceback_and_changes_no_exit_code(
    raised: Exception, code: ExitCode, debug: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @click.option("--debug", is_flag=True)
    def command(debug: bool) -> None:
        raise raised

    ended = run_main(command, ["--debug"] if debug else [], name="ohlcv")

    told = capsys.readouterr().err
    assert ended == code
    assert ("Traceback (most recent call last)" in told) is debug
    assert "error: " in told.splitlines()[-1]
    assert str(raised) in told.splitlines()[-1]


def test_options_come_before_the_environment_and_that_before_defaults(lake: Filled) -> None:
    run_python(*CONSOLIDATOR, OHLCV_LAKE=lake.store.uri)
    by_environment = run_python(
        *RESAMPLER, "--json", OHLCV_LAKE=lake.store.uri, OHLCV_INTERVALS="2 7"
    )
    by_option = run_python(
        *RESAMPLER,
        "--json",
        "--interval",
        "4",
        "--anchor",
        "listing",
        OHLCV_LAKE=lake.store.uri,
        OHLCV_INTERVALS="2 7",
    )

    def tables(text: str) -> set[str]:
        return {part["table"] for part in json.loads(text)["published"]}

    assert tables(by_environment.out) == {"2d", "7d"}
    assert tables(by_option.out) == {"4d_listing"}


def test_a_resampler_before_any_consolidation_says_what_to_run(lake: Filled) -> None:
    done = run_python(*RESAMPLER, "--lake", lake.store.uri)

    assert done.code == 0
    assert "consolidate" in done.err


STOPPED_AT_OPENING = """
import os, runpy, signal, sys

def stop(event, arguments):
    if event == "open" and str(arguments[0]) == second:
        os.kill(os.getpid(), signal.SIGTERM)

second = sys.argv.pop(1)
sys.addaudithook(stop)
runpy.run_module("batch.consolidator", run_name="__main__", alter_sys=True)
"""
"""The consolidator, which is sent SIGTERM as it opens a file."""


def test_sigterm_in_the_middle_gives_75_and_the_next_run_finishes(lake: Filled) -> None:
    with new_lake() as undisturbed:
        undisturbed.receive(*(Receipt(one.received_at, "a", one.rows) for one in lake.sent))
        undisturbed.run([3])
        wanted = silver_bytes(undisturbed.store)
    second = sorted(Path(lake.store.uri, "bronze/daily").rglob("*.parquet"))[1]
    stopped = run_python("-c", STOPPED_AT_OPENING, second, "--lake", lake.store.uri)
    published = [item.key for item in lake.store.list("silver/1d/")]
    (report,) = lake.store.list("_runs/")

    lake.run([3])

    assert stopped.code == 75
    assert "SIGTERM: stopping after the current write" in stopped.err
    assert stopped.err.splitlines()[-1].startswith("error: stopped on request")
    assert "Traceback" not in stopped.err
    assert published[0] == "silver/1d/year=2019/data.parquet"
    assert len(published) < 4
    assert json.loads(lake.store.read(report.key))["exit_code"] == 75
    assert silver_bytes(lake.store) == wanted


def test_as_of_a_day_is_its_end_in_utc(lake: Filled) -> None:
    day = date(2021, 1, 4)
    done = run_python(*CONSOLIDATOR, "--lake", lake.store.uri, "--as-of", str(day), "--json")

    assert done.code == 0
    assert json.loads(done.out)["newest_session"] == str(day)


IN_BATCH = {"AWS_BATCH_JOB_ID": "6fe0f2b4-job", "AWS_BATCH_JOB_ATTEMPT": "1"}


def log_of(*arguments: str, **environment: str) -> tuple[int, list[dict[str, Any]]]:
    """Run an entry point as a Batch job; every line that it leaves must be JSON."""
    done = run_python(*arguments, **IN_BATCH, **environment)
    return done.code, [json.loads(line) for line in (done.out + done.err).splitlines()]


def test_every_line_of_a_batch_job_carries_its_id(lake: Filled) -> None:
    code, lines = log_of(*CONSOLIDATOR, OHLCV_LAKE=lake.store.uri)

    assert code == 0
    assert {(line["job_id"], line["attempt"]) for line in lines} == {("6fe0f2b4-job", "1")}
    assert "newest session 2022" in lines[-1]["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--shards", "0"), 2, "--shards"),
        (("--colour", "red"), 2, "No such option"),
        (("--lake", "/dev/null/lake"), 2, "no lake at /dev/null/lake"),
    ],
)
def test_a_batch_job_that_fails_says_so_in_one_line_with_its_id(
    arguments: tuple[str, ...], code: int, message: str
) -> None:
    ended, lines = log_of(*RESAMPLER, *arguments)

    assert ended == code
    (line,) = lines
    assert message in line["message"]
    assert (line["level"], line["job_id"], line["exit_code"]) == (
        "ERROR",
        "6fe0f2b4-job",
        code,
    )
