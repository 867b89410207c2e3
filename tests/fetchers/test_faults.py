"""Everything that the vendor can do wrong, and the lake afterwards."""

from __future__ import annotations

import logging
import re
import time
import traceback
from datetime import date

import polars as pl
import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import DataRefused, ExitCode
from batch.core.layout import ARRIVALS, incomplete_key
from batch.core.sessions import Calendar
from batch.storage.local import LocalStore
from fetchers.errors import VendorDenied, VendorUnavailable
from fetchers.incomplete import (
    INCOMPLETE_PER_RUN,
    MOST_REQUESTS,
    IncompleteNote,
    read_note,
)
from fetchers.request import SessionRange
from fetchers.results import Fetched
from simulation.vendor_server import Fault, FaultKind
from tests.fetchers.support import (
    FRIDAY,
    KEY,
    Vendor,
    deliveries,
    new_york,
    read_silver,
    sessions_in,
    vendor,
)

pytestmark = pytest.mark.slow

TRAILING = [
    "2025-01-10", "2025-01-13", "2025-01-14", "2025-01-15", "2025-01-16", "2025-01-17",
]  # fmt: skip


def history(polygon: Vendor, lake: LocalStore, last: date = date(2025, 1, 16)) -> None:
    """Fill the lake with the sessions of two months."""
    polygon.fetch(lake, SessionRange(date(2024, 11, 18), last), downloads=4)


PASSING = [
    pytest.param(Fault(FaultKind.TOO_MANY, times=2), id="429 without Retry-After"),
    pytest.param(Fault(FaultKind.RETRY_AFTER, times=1, seconds=1), id="429 with Retry-After"),
    pytest.param(Fault(FaultKind.SERVER_ERROR, times=3), id="502"),
    pytest.param(Fault(FaultKind.HTML, times=2), id="HTML with status 200"),
    pytest.param(Fault(FaultKind.CUT_OFF, times=2), id="body cut off"),
    pytest.param(Fault(FaultKind.CUT_JSON, times=2), id="half a document, announced as whole"),
    pytest.param(Fault(FaultKind.HANG_UP, times=2), id="connection closed without an answer"),
    pytest.param(Fault(FaultKind.SLOW, times=1, seconds=0.6), id="no answer in time"),
]


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_leaves_no_trace_in_the_lake(
    lake: LocalStore, calendar: Calendar, fault: Fault
) -> None:
    with vendor(calendar, new_york(FRIDAY, 16, 21), timeout_s=0.3, symbols=20) as polygon:
        polygon.stub.faults.append(fault)
        outcome = polygon.fetch(lake, SessionRange(date(2025, 1, 16), FRIDAY))
        truth = polygon.stub.market.rows(FRIDAY, polygon.clock())

    consolidate(lake, calendar=calendar)

    assert fault.times == 0
    assert sessions_in(lake) == ["2025-01-16", "2025-01-17"]
    assert len(deliveries(lake)) == 2
    assert (outcome.incomplete, outcome.problems, outcome.left) == ([], [], [])
    got = read_silver(lake, "1d", 2025).with_columns(pl.col("symbol").cast(pl.String))
    assert got.filter(date=FRIDAY).drop("split_ratio").equals(truth)


def test_retry_after_is_honoured(polygon: Vendor, lake: LocalStore) -> None:
    polygon.stub.faults.append(Fault(FaultKind.RETRY_AFTER, times=1, seconds=1))
    started = time.monotonic()

    polygon.fetch(lake, SessionRange(FRIDAY, FRIDAY))

    assert time.monotonic() - started >= 1.0


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (FaultKind.TOO_MANY, "status 429"),
        (FaultKind.SERVER_ERROR, "status 502"),
        (FaultKind.HTML, "text/html that are not JSON"),
        (FaultKind.CUT_OFF, "IncompleteRead"),
        (FaultKind.CUT_JSON, "not JSON"),
        (FaultKind.HANG_UP, "ProtocolError"),
        (FaultKind.SLOW, "ReadTimeoutError"),
    ],
)
def test_a_lasting_fault_keeps_what_came_before_and_nothing_half(
    lake: LocalStore, calendar: Calendar, kind: FaultKind, message: str
) -> None:
    asked = SessionRange(date(2025, 1, 15), FRIDAY)
    # A busy machine may answer late: only the fault that is about waiting has a short timeout.
    timeout_s = 2.0 if kind is FaultKind.SLOW else 30.0
    with vendor(
        calendar, new_york(FRIDAY, 16, 21), timeout_s=timeout_s, budget_s=0.5, symbols=20
    ) as polygon:
        polygon.stub.market.rows(date(2025, 1, 15), polygon.clock())  # the first rows take longer
        polygon.stub.faults.append(Fault(kind, on="/stocks/2025-01-16", seconds=4.0))
        outcome = polygon.try_fetch(lake, asked)
        left = [str(session) for session in outcome.left]
        after_failure = sessions_in(lake)
        polygon.stub.faults.clear()
        polygon.fetch(lake, asked)

    assert isinstance(outcome.error, VendorUnavailable)
    assert re.search(message, str(outcome.error))
    assert outcome.error.exit_code == ExitCode.RETRY
    assert after_failure == ["2025-01-15"]
    assert left == ["2025-01-16", "2025-01-17"]
    assert list(lake.list("_state/incomplete/")) == []
    assert sessions_in(lake) == ["2025-01-15", "2025-01-16", "2025-01-17"]


def test_a_retry_after_beyond_the_budget_ends_the_run_at_once(
    polygon: Vendor, lake: LocalStore
) -> None:
    polygon.stub.faults.append(Fault(FaultKind.RETRY_AFTER, seconds=3600))

    with pytest.raises(VendorUnavailable, match="status 429"):
        polygon.fetch(lake)

    assert len(polygon.stub.asked) == 1
    assert deliveries(lake) == []


@pytest.mark.parametrize("kind", [FaultKind.UNAUTHORIZED, FaultKind.FORBIDDEN])
def test_a_refused_key_fails_at_once_and_says_what_to_check(
    polygon: Vendor, lake: LocalStore, kind: FaultKind
) -> None:
    polygon.stub.faults.append(Fault(kind))

    with pytest.raises(VendorDenied, match="check that the key is right") as failure:
        polygon.fetch(lake)

    assert failure.value.exit_code == ExitCode.USAGE
    assert len(polygon.stub.asked) == 1
    assert deliveries(lake) == []


def test_a_wrong_key_is_refused_and_not_shown(
    lake: LocalStore, calendar: Calendar, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = "wrong-key-never-to-be-shown"
    logging.getLogger("ohlcv").propagate = True
    with (
        caplog.at_level(logging.DEBUG),
        vendor(calendar, new_york(FRIDAY, 16, 21), key=wrong) as polygon,
        pytest.raises(VendorDenied) as failure,
    ):
        polygon.fetch(lake)

    assert wrong not in caplog.text
    assert wrong not in "".join(traceback.format_exception(failure.value))
    assert "Unknown API Key" in str(failure.value)


DOUBTS = [
    pytest.param(FaultKind.DELAYED, "the vendor says that it is delayed", 1, id="DELAYED"),
    pytest.param(FaultKind.EMPTY, "no results", 0, id="empty"),
    pytest.param(FaultKind.NO_RESULTS, "no results", 0, id="without results"),
    pytest.param(FaultKind.MISCOUNTED, "are counted", 1, id="fewer results than counted"),
    pytest.param(FaultKind.FEWER, "less than 80% of the usual", 1, id="half of the usual rows"),
]


@pytest.mark.parametrize(("kind", "doubt", "kept"), DOUBTS)
def test_a_session_in_doubt_is_kept_noted_and_fetched_again_until_it_is_whole(
    polygon: Vendor, lake: LocalStore, calendar: Calendar, kind: FaultKind, doubt: str, kept: int
) -> None:
    history(polygon, lake)
    polygon.stub.faults.append(Fault(kind, on="/stocks/2025-01-17"))
    first = polygon.fetch(lake)
    note = read_note(lake, FRIDAY)
    kept_at_first = [found for found in deliveries(lake) if found.session == FRIDAY]
    polygon.stub.faults.clear()
    polygon.clock.now = new_york(date(2025, 2, 10), 16, 21)  # far outside the trailing sessions
    polygon.stub.asked.clear()

    second = polygon.fetch(lake)

    assert note is not None
    assert doubt in note.summary
    assert [found.session for found in first.incomplete] == [FRIDAY]
    assert doubt in polygon.progress.warnings[0]
    assert len(kept_at_first) == kept
    assert "2025-01-17" in polygon.sessions_asked
    assert second.incomplete == []
    assert read_note(lake, FRIDAY) is None
    consolidate(lake, calendar=calendar)
    truth = polygon.stub.market.rows(FRIDAY, polygon.clock())
    got = read_silver(lake, "1d", 2025).with_columns(pl.col("symbol").cast(pl.String))
    assert got.filter(date=FRIDAY).drop("split_ratio").equals(truth)


def test_a_session_of_which_the_vendor_never_has_more_is_not_fetched_for_ever(
    polygon: Vendor, lake: LocalStore
) -> None:
    missing = date(2024, 11, 20)
    history(polygon, lake)
    lake.delete(item.key for item in list(lake.list(f"bronze/daily/date={missing}/")))
    polygon.stub.faults.append(Fault(FaultKind.EMPTY, on=f"/stocks/{missing}"))
    polygon.fetch(lake, SessionRange(missing, missing))
    for _ in range(MOST_REQUESTS):
        polygon.stub.asked.clear()
        polygon.fetch(lake)
    asked = polygon.sessions_asked

    explicitly = polygon.fetch(lake, SessionRange(missing, missing))

    assert str(missing) not in asked
    assert str(FRIDAY) in asked
    assert explicitly.incomplete[0].asks == MOST_REQUESTS + 1
    assert read_note(lake, missing) == explicitly.incomplete[0]


def test_a_daily_run_fetches_only_the_newest_incomplete_sessions_again(
    polygon: Vendor, lake: LocalStore, calendar: Calendar
) -> None:
    history(polygon, lake)
    old = calendar.sessions_between(date(2024, 1, 2), date(2024, 3, 28))
    for session in old:
        IncompleteNote(session, ("no results",), 0, None, polygon.clock()).keep(lake)
    polygon.stub.asked.clear()

    polygon.fetch(lake)

    again = [session for session in polygon.sessions_asked if session < "2024-10"]
    assert sorted(again) == [str(session) for session in old[-INCOMPLETE_PER_RUN:]]


def test_waiting_for_the_pace_does_not_use_up_the_retry_budget(
    lake: LocalStore, calendar: Calendar
) -> None:
    with vendor(calendar, new_york(FRIDAY, 16, 21), budget_s=0.3, symbols=20) as polygon:
        polygon.client._rest.client.pacer.hold(0.6)
        polygon.stub.faults.append(Fault(FaultKind.SERVER_ERROR, times=1))

        outcome = polygon.fetch(lake, SessionRange(FRIDAY, FRIDAY))

    assert outcome.new_sessions == [FRIDAY]


def test_strict_makes_an_incomplete_session_an_error_and_keeps_it(
    polygon: Vendor, lake: LocalStore
) -> None:
    polygon.stub.faults.append(Fault(FaultKind.DELAYED, on="/stocks/2025-01-17"))

    outcome = polygon.fetch(lake)

    with pytest.raises(DataRefused, match="2025-01-17 is incomplete: the vendor says that it is"):
        Fetched(outcome).require_success(strict=True)
    assert sessions_in(lake) == TRAILING


def test_adjusted_prices_are_refused(polygon: Vendor, lake: LocalStore) -> None:
    adjusted = polygon.client._rest.get_grouped_daily_aggs
    polygon.client._rest.get_grouped_daily_aggs = lambda day, **rest: adjusted(
        day, **{**rest, "adjusted": True}
    )

    outcome = polygon.fetch(lake, SessionRange(FRIDAY, FRIDAY))

    assert "adjusted prices arrived although raw ones were requested" in outcome.problems[0]
    assert deliveries(lake) == []


def test_nothing_announced_is_left_over_after_consolidation(
    polygon: Vendor, lake: LocalStore, calendar: Calendar
) -> None:
    polygon.fetch(lake)

    consolidate(lake, calendar=calendar)

    assert list(lake.list(ARRIVALS)) == []


def test_a_note_of_a_day_that_turned_out_to_be_no_session_goes_away(
    polygon: Vendor, lake: LocalStore
) -> None:
    lake.write(incomplete_key(date(2025, 1, 9)), b"{}")

    polygon.fetch(lake)

    assert list(lake.list("_state/incomplete/")) == []


def test_the_key_is_in_no_request_line_and_nowhere_in_the_lake(
    polygon: Vendor, lake: LocalStore
) -> None:
    polygon.fetch(lake)

    assert not any(KEY in target for target in polygon.stub.asked)
    assert not any(KEY.encode() in lake.read(item.key) for item in lake.list(""))
