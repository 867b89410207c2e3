"""The Lambda functions: events in, small JSON out, errors raised, time watched."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest

from batch.core.errors import DataRefused, SettingsError
from batch.core.sessions import Calendar
from batch.storage.store import ObjectStore, open_store
from fetchers.errors import KeyMissing, VendorDenied
from fetchers.handlers.daily_bars import SessionEvent
from fetchers.handlers.daily_bars import handler as daily_bars
from fetchers.handlers.reference import handler as reference
from fetchers.handlers.shell import DeadlineNear, read_event
from simulation.vendor_server import Fault, FaultKind
from tests.fetchers.support import KEY, Vendor, sessions_in, vendor
from tests.support.documents import REPOSITORY, blocks_of

EVENTS = Path(__file__).parents[1] / "events"


class Context:
    """A Lambda context whose time runs out after some seconds."""

    aws_request_id = "8f5e2c1a-request"

    def __init__(self, seconds: float = 840.0) -> None:
        self._ends = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._ends - time.monotonic()) * 1000))


class ShortContext(Context):
    """A Lambda context whose time runs out after some questions."""

    def __init__(self, questions: int) -> None:
        self._left = questions

    def get_remaining_time_in_millis(self) -> int:
        self._left -= 1
        return 840_000 if self._left > 0 else 1_000


def event(name: str) -> Any:
    return json.loads((EVENTS / f"{name}.json").read_text())


@pytest.fixture
def today(calendar: Calendar) -> date:
    """The newest session that is due by the real clock, which the handlers use."""
    return calendar.newest_closed(datetime.now(UTC) - timedelta(minutes=5))


@pytest.fixture
def on_lambda(
    calendar: Calendar, s3_lake: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Vendor]:
    """A vendor by the real clock, a lake on S3, the key in Secrets Manager."""
    first = datetime.now(UTC).date() - timedelta(days=120)
    name = f"vendor/{s3_lake.uri.split('/')[2]}"
    boto3.client("secretsmanager").create_secret(Name=name, SecretString=KEY)
    with vendor(calendar, datetime.now(UTC), first=first, symbols=30) as running:
        monkeypatch.setenv("OHLCV_LAKE", s3_lake.uri)
        monkeypatch.setenv("OHLCV_POLYGON_BASE_URL", running.base_url)
        monkeypatch.setenv("OHLCV_POLYGON_REQUESTS_PER_MINUTE", "0")
        monkeypatch.setenv("OHLCV_POLYGON_RETRY_S", "2")
        monkeypatch.setenv("OHLCV_POLYGON_SECRET", name)
        yield running


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def reports(store: ObjectStore) -> list[dict[str, Any]]:
    return [json.loads(store.read(item.key)) for item in store.list("_runs/")]


def test_the_daily_run_lands_what_is_missing(
    on_lambda: Vendor, s3_lake: ObjectStore, today: date, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = daily_bars(event("daily_bars_scheduled"), Context())

    page = (REPOSITORY / "docs" / "fetching.md").read_text()
    (shown,) = [block.content for block in blocks_of(page) if block.language == "json"]
    assert re.findall(r'"(\w+)":', shown) == list(answer)
    assert answer["new_sessions"] == answer["sessions"] == sessions_in(s3_lake)
    assert answer["new_sessions"][-1] == str(today) == answer["newest_due"]
    assert len(answer["keys"]) == answer["keys_written"] == 6
    assert answer["rows"] > 100
    assert len(json.dumps(answer)) < 32_000
    said = lines(capsys)
    assert {line["request_id"] for line in said} == {"8f5e2c1a-request"}
    assert {line["function"] for line in said} == {"fetch-daily-bars"}
    assert any("6 new" in line["message"] for line in said)
    assert reports(s3_lake)[0]["exit_code"] == 0


def test_a_second_run_has_no_new_sessions(on_lambda: Vendor, s3_lake: ObjectStore) -> None:
    daily_bars({}, Context())

    answer = daily_bars({}, Context())

    assert answer["new_sessions"] == []
    assert answer["unchanged_sessions"] == 6
    assert answer["keys_written"] == 0


def test_one_session_can_be_requested(on_lambda: Vendor, s3_lake: ObjectStore, today: date) -> None:
    answer = daily_bars({"session": str(today)}, Context())

    assert answer["sessions"] == [str(today)] == sessions_in(s3_lake)


def test_a_range_can_be_requested(
    on_lambda: Vendor, s3_lake: ObjectStore, today: date, calendar: Calendar
) -> None:
    first = calendar.sessions_between(today - timedelta(days=30), today)[0]

    answer = daily_bars({"from": str(first), "to": str(today)}, Context())

    assert answer["sessions"] == [str(s) for s in calendar.sessions_between(first, today)]


def test_a_day_without_a_session_is_no_failure(on_lambda: Vendor, s3_lake: ObjectStore) -> None:
    answer = daily_bars({"session": "2025-01-09"}, Context())

    assert (answer["sessions"], answer["new_sessions"], answer["rows"]) == ([], [], 0)


@pytest.mark.slow
def test_near_the_deadline_it_stops_keeps_what_came_and_names_the_rest(
    on_lambda: Vendor, s3_lake: ObjectStore, calendar: Calendar, today: date
) -> None:
    first = calendar.sessions_between(today - timedelta(days=100), today)[0]
    asked = {"from": str(first), "to": str(today)}

    with pytest.raises(DeadlineNear, match=r"sessions, .* left; \d+ arrived and are kept"):
        daily_bars(asked, ShortContext(60))
    some = sessions_in(s3_lake)
    answer = daily_bars(asked, Context())

    wanted = [str(session) for session in calendar.sessions_between(first, today)]
    assert 0 < len(some) < len(wanted)
    assert answer["sessions"] == wanted[len(some) :]
    assert sessions_in(s3_lake) == wanted
    assert reports(s3_lake)[0]["exit_code"] == 75


def test_a_failure_is_raised_and_never_answered(
    on_lambda: Vendor, s3_lake: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    on_lambda.stub.faults.append(Fault(FaultKind.FORBIDDEN))

    with pytest.raises(VendorDenied, match="check that the key is right"):
        daily_bars({}, Context())
    with pytest.raises(VendorDenied):
        reference({}, Context())

    assert KEY not in capsys.readouterr().out
    assert KEY not in json.dumps(reports(s3_lake))


def test_strict_raises_on_an_incomplete_session(
    on_lambda: Vendor, s3_lake: ObjectStore, today: date
) -> None:
    on_lambda.stub.faults.append(Fault(FaultKind.DELAYED, on=str(today)))

    with pytest.raises(DataRefused, match="is incomplete: the vendor says that it is delayed"):
        daily_bars({"strict": True}, Context())
    answer = daily_bars({"strict": False}, Context())

    assert answer["incomplete"] == [f"{today} is incomplete: the vendor says that it is delayed"]
    assert sessions_in(s3_lake)[-1] == str(today)


def test_reference_data_arrives(on_lambda: Vendor, s3_lake: ObjectStore) -> None:
    answer = reference(event("reference_details"), Context())

    assert answer["tickers"] > 25
    assert answer["rows"] == answer["tickers"] + answer["splits"] + answer["dividends"]
    assert answer["details"] > 25
    stored = {item.key for item in s3_lake.list("reference/")}
    assert "reference/tickers/data.parquet" in stored


def test_details_that_the_time_does_not_allow_are_no_failure(
    on_lambda: Vendor, s3_lake: ObjectStore
) -> None:
    class UntilTwoDetails(Context):
        def get_remaining_time_in_millis(self) -> int:
            details = [one for one in on_lambda.stub.asked if "/tickers/" in one]
            return 1_000 if len(details) >= 2 else 840_000

    answer = reference({"details": 100}, UntilTwoDetails())

    assert 2 <= answer["details"] < answer["tickers"]


@pytest.mark.parametrize("name", [path.stem for path in sorted(EVENTS.glob("daily_bars_*.json"))])
def test_the_sample_events_are_read(name: str) -> None:
    assert isinstance(read_event(SessionEvent, event(name)), SessionEvent)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"sesion": "2025-01-17"}, "sesion: there is no such field; did you mean session"),
        ({"colour": 1}, "colour: there is no such field; expected one of session, from, to, again"),
        (
            {"session": "tomorrow"},
            "session: expected a date such as 2025-01-17, found 'tomorrow'",
        ),
        ({"again": "maybe"}, "again: expected true or false, found 'maybe'"),
        ({"from": "2025-01-01"}, "'from' and 'to' go together"),
        ({"session": "2025-01-01", "from": "2025-01-01", "to": "2025-01-02"}, "not both"),
        ([1], r"event: expected an object such as {}, found \[1\]"),
    ],
)
def test_an_event_that_is_not_usable_is_refused_by_field(content: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        daily_bars(content, Context())


def test_without_a_key_it_says_so(
    on_lambda: Vendor, s3_lake: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OHLCV_POLYGON_SECRET")

    with pytest.raises(KeyMissing, match="OHLCV_POLYGON_SECRET"):
        daily_bars({}, Context())

    assert on_lambda.stub.asked == []


@pytest.mark.parametrize("name", ["daily_bars", "reference"])
def test_importing_a_handler_imports_nothing_that_takes_long(name: str) -> None:
    code = (
        f"import fetchers.handlers.{name} as module, sys; assert module.handler;"
        "print({'polars', 'boto3', 'pandas', 'pyarrow', 'polygon', 'duckdb'} & {*sys.modules})"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "set()"


def test_the_lake_of_a_handler_is_read_from_its_settings(
    on_lambda: Vendor, s3_lake: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OHLCV_LAKE", str(tmp_path / "elsewhere"))

    daily_bars({}, Context())

    assert len(sessions_in(open_store(str(tmp_path / "elsewhere")))) == 6
    assert sessions_in(s3_lake) == []


def metrics_of(said: list[dict[str, Any]]) -> dict[str, float]:
    """Return the metrics that CloudWatch takes from a log, by the format's specification."""
    (line,) = [line for line in said if "_aws" in line]
    assert abs(line["_aws"]["Timestamp"] / 1000 - time.time()) < 3600
    (declared,) = line["_aws"]["CloudWatchMetrics"]
    assert declared["Namespace"] == "OHLCV"
    assert [line[name] for (name,) in declared["Dimensions"]] == ["condvest"]
    return {metric["Name"]: float(line[metric["Name"]]) for metric in declared["Metrics"]}


def test_a_deployed_function_leaves_metrics_of_the_data_in_its_log(
    on_lambda: Vendor,
    today: date,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OHLCV_PIPELINE", "condvest")
    on_lambda.stub.faults.append(Fault(FaultKind.EMPTY, on=f"/stocks/{today}"))

    answer = daily_bars({}, Context())
    found = metrics_of(lines(capsys))

    assert found["rows"] == answer["rows"] > 0
    assert found["refused_share"] == 0.0
    assert found["sessions_missing"] == 1.0
    assert found["sessions_incomplete"] == 1.0


def test_metrics_are_left_by_a_deployed_function_alone(
    on_lambda: Vendor, capsys: pytest.CaptureFixture[str]
) -> None:
    daily_bars({}, Context())

    assert not [line for line in lines(capsys) if "_aws" in line]
