"""``ohlcv fetch``, ``ohlcv run`` and ``ohlcv vendor-stub`` as a user runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from batch.core.errors import ExitCode
from batch.core.sessions import Calendar
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from orchestration.cli.main import cli
from simulation.vendor_answers import Answer
from simulation.vendor_server import Fault, FaultKind
from tests.fetchers.support import FRIDAY, KEY, Vendor, read_silver, sessions_in, vendor
from tests.support.bars import bar, land_rows, received_after
from tests.support.command_line import MAIN, ROOT, warm_python


def ohlcv(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*warm_python(), "-c", MAIN, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@contextmanager
def vendor_stub(*arguments: str) -> Iterator[str]:
    """Run the command in a process of its own, and give its address."""
    with subprocess.Popen(
        [*warm_python(), "-c", MAIN, "vendor-stub", "--port", "0", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found
        try:
            yield found[0]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(10)


@pytest.fixture
def live(calendar: Calendar, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vendor]:
    """A vendor by the real clock, which the commands use, and the settings to reach it."""
    first = datetime.now(UTC).date() - timedelta(days=200)
    with vendor(calendar, datetime.now(UTC), first=first, symbols=30) as running:
        monkeypatch.setenv("OHLCV_POLYGON_BASE_URL", running.base_url)
        monkeypatch.setenv("OHLCV_POLYGON_REQUESTS_PER_MINUTE", "0")
        monkeypatch.setenv("OHLCV_POLYGON_RETRY_S", "2")
        monkeypatch.setenv("POLYGON_API_KEY", KEY)
        yield running


@pytest.fixture
def today(calendar: Calendar) -> date:
    return calendar.newest_closed(datetime.now(UTC) - timedelta(minutes=5))


def test_a_whole_day_needs_no_key_of_the_vendor(lake: LocalStore, today: date) -> None:
    with vendor_stub("--symbols", "40", "--years", "1") as base_url:
        ran = ohlcv(
            "run",
            "--lake",
            lake.uri,
            OHLCV_POLYGON_BASE_URL=base_url,
            OHLCV_POLYGON_REQUESTS_PER_MINUTE="0",
            POLYGON_API_KEY="any",
        )

    assert ran.returncode == 0, ran.stderr
    assert "sessions: 6 new" in ran.stdout
    assert f"newest session {today}" in ran.stdout
    for table in ("1d", "3d", "5d", "8d", "13d", "21d", "34d"):
        assert read_silver(lake, table, today.year).height > 0
    assert pl.read_parquet(lake.root / "reference/tickers/data.parquet").height > 30


def test_the_run_does_the_same_on_s3(live: Vendor, s3_lake: ObjectStore, today: date) -> None:
    first = ohlcv("run", "--lake", s3_lake.uri, "--json")
    second = ohlcv("run", "--lake", s3_lake.uri, "--json")

    assert first.returncode == second.returncode == 0, first.stderr
    told, again = json.loads(first.stdout), json.loads(second.stdout)
    assert told["newest_session"] == str(today)
    assert {part["table"] for part in told["published"]} == {
        "1d", "3d", "5d", "8d", "13d", "21d", "34d",
    }  # fmt: skip
    assert again["published"] == []
    assert again["unchanged_sessions"] == 6
    assert len(list(s3_lake.list("_runs/"))) == 2


def test_what_came_is_made_into_bars_even_where_something_could_not_be_fetched(
    live: Vendor, lake: LocalStore, today: date
) -> None:
    live.stub.faults.append(Fault(FaultKind.SERVER_ERROR, on="/v3/reference/tickers"))

    ran = ohlcv("run", "--lake", lake.uri)

    assert ran.returncode == ExitCode.RETRY
    assert "Polygon /v3/reference/tickers: status 502" in ran.stderr
    assert read_silver(lake, "5d", today.year).height > 0
    assert "newest session" in ran.stdout


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("127.0.0.1", "Failed to establish a new connection: [Errno 111] Connection refused"),
        ("no-such-host.invalid", "Failed to resolve 'no-such-host.invalid'"),
    ],
)
def test_a_run_that_cannot_reach_the_vendor_says_so_once_at_its_start_and_once_at_its_end(
    host: str,
    why: str,
    lake: LocalStore,
    calendar: Calendar,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("OHLCV_POLYGON_BASE_URL", f"http://{host}:{port}")
    monkeypatch.setenv("OHLCV_POLYGON_REQUESTS_PER_MINUTE", "0")
    monkeypatch.setenv("OHLCV_POLYGON_RETRY_S", "2")
    monkeypatch.setenv("POLYGON_API_KEY", KEY)
    session = calendar.sessions_between(FRIDAY, FRIDAY)[0]
    land_rows(lake, [bar("A", session)], calendar, received_at=received_after(session))

    code = run_main(cli, ["run", "--lake", lake.uri, "--json", "--interval", "3"], name="ohlcv")

    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if "cannot be reached" in line]
    problems = json.loads(out)["problems"]
    assert code == ExitCode.RETRY
    assert len(told) == 2
    assert all(f"Polygon cannot be reached at {host}:{port}: {why}" in line for line in told)
    assert "trying for 2 s" in told[0]
    said = json.loads(told[1])
    assert (said["version"], said["exit_code"]) == (1, 75)
    assert said["error"].endswith("tried for 2 s; check the network, run again later")
    assert "trying again" not in err
    assert problems == [said["error"]]
    assert read_silver(lake, "3d", session.year).height == 1


def test_a_refused_key_ends_the_run_before_it_makes_anything(
    live: Vendor, lake: LocalStore
) -> None:
    ran = ohlcv("run", "--lake", lake.uri, POLYGON_API_KEY="wrong-key-never-to-be-shown")

    assert ran.returncode == ExitCode.USAGE
    assert "check that the key is right" in ran.stderr
    assert "wrong-key-never-to-be-shown" not in ran.stdout + ran.stderr
    assert sessions_in(lake) == []


def test_the_key_is_in_no_output_report_or_traceback(live: Vendor, lake: LocalStore) -> None:
    ohlcv("fetch", "--lake", lake.uri)
    live.stub.faults.append(Fault(FaultKind.CUT_OFF))
    failed = ohlcv("fetch", "--lake", lake.uri, "--debug")

    assert failed.returncode != 0
    assert "Traceback" in failed.stderr
    assert KEY not in failed.stdout + failed.stderr
    stored = [lake.read(item.key) for item in lake.list("")]
    assert len([content for content in stored if b'"job": "fetch"' in content]) == 2
    assert not any(KEY.encode() in content for content in stored)


def test_without_a_key_the_message_says_how_to_get_one(lake: LocalStore) -> None:
    ran = ohlcv("fetch", "--lake", lake.uri, POLYGON_API_KEY="")

    assert ran.returncode == ExitCode.USAGE
    assert "no API key for Polygon: get a key at" in ran.stderr
    assert "`ohlcv demo`" in ran.stderr


def test_a_holiday_exits_0_and_says_so(live: Vendor, lake: LocalStore) -> None:
    ran = ohlcv("fetch", "--date", "2025-01-09", "--only", "bars", "--lake", lake.uri)

    assert ran.returncode == 0, ran.stderr
    assert "2025-01-09: no session of XNYS, the exchange is closed" in ran.stdout
    assert live.stub.asked == []


def test_strict_exits_3_and_keeps_what_came(live: Vendor, lake: LocalStore, today: date) -> None:
    live.stub.faults.append(Fault(FaultKind.DELAYED, on=str(today)))

    ran = ohlcv("fetch", "--only", "bars", "--strict", "--lake", lake.uri)

    assert ran.returncode == ExitCode.DATA_REFUSED
    assert "is incomplete: the vendor says that it is delayed" in ran.stderr
    assert sessions_in(lake)[-1] == str(today)


def test_a_range_is_filled_and_reported_as_json(
    live: Vendor, lake: LocalStore, calendar: Calendar, today: date
) -> None:
    sessions = calendar.sessions_between(today - timedelta(days=40), today)
    arguments = ["--from", str(sessions[0]), "--to", str(sessions[-1]), "--only", "bars"]

    ran = ohlcv("fetch", *arguments, "--lake", lake.uri, "--json")

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["new_sessions"] == [str(session) for session in sessions]


def test_a_backfill_that_is_stopped_exits_75_and_is_continued(
    live: Vendor, lake: LocalStore, calendar: Calendar, today: date
) -> None:
    sessions = calendar.sessions_between(today - timedelta(days=150), today)
    arguments = ["fetch", "--from", str(sessions[0]), "--only", "bars", "--lake", lake.uri]
    live.stub.faults.append(Fault(FaultKind.SLOW, seconds=0.1))
    with subprocess.Popen(
        [*warm_python(), "-c", MAIN, *arguments],
        cwd=ROOT,
        env=dict(os.environ),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while len(live.stub.asked) < 15 and process.poll() is None:
            pass_time()
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[1]
    some = sessions_in(lake)
    live.stub.faults.clear()

    again = ohlcv(*arguments)

    assert process.returncode == ExitCode.RETRY, told
    assert 0 < len(some) < len(sessions)
    assert again.returncode == 0, again.stderr
    assert sessions_in(lake) == [str(session) for session in sessions]


def pass_time() -> None:
    import time

    time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fetch", "--date", "2025-01-10", "--backfill", "2"], "--date and --backfill"),
        (["fetch", "--flat-files"], "--flat-files fills a range"),
        (["fetch", "--requests-per-minute", "-1"], "error: --requests-per-minute: "),
        (["run", "--details", "-1"], "error: --details: "),
        (["vendor-stub", "--fault", "boredom"], "fault 'boredom': expected KIND"),
        (["vendor-stub", "--symbols", "0"], "must be above zero"),
    ],
)
def test_wrong_options_exit_2_and_say_what_is_expected(arguments: list[str], told: str) -> None:
    ran = ohlcv(*arguments, POLYGON_API_KEY=KEY)

    assert ran.returncode == ExitCode.USAGE
    assert told in ran.stderr


def test_the_stand_in_limits_the_rate_and_the_client_keeps_to_it(
    lake: LocalStore, today: date
) -> None:
    with vendor_stub("--symbols", "20", "--requests-per-minute", "4", "--key", KEY) as base_url:
        ran = ohlcv(
            "fetch",
            "--only",
            "bars",
            "--lake",
            lake.uri,
            OHLCV_POLYGON_BASE_URL=base_url,
            OHLCV_POLYGON_REQUESTS_PER_MINUTE="4",
            OHLCV_TRAILING_SESSIONS="3",
            POLYGON_API_KEY=KEY,
        )

    assert ran.returncode == 0, ran.stderr
    assert "429" not in ran.stderr
    assert len(sessions_in(lake)) == 4


def test_a_key_that_the_vendor_repeats_is_on_no_terminal_and_in_no_report(
    live: Vendor, lake: LocalStore, today: date
) -> None:
    echo = Answer.of({"status": "x" * 190 + KEY, "error": KEY})
    live.stub.faults.append(Fault(FaultKind.ODD, on=f"/stocks/{today}", answer=echo))

    ran = ohlcv("fetch", "--only", "bars", "--lake", lake.uri)

    assert ran.returncode == ExitCode.DATA_REFUSED, ran.stdout + ran.stderr
    (report,) = (lake.read(item.key).decode() for item in lake.list("_runs/"))
    assert "status 'xxx" in ran.stderr
    assert "status 'xxx" in report
    for text in (ran.stdout, ran.stderr, report):
        assert KEY[:8] not in text
