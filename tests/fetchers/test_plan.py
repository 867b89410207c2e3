"""Which sessions are fetched, by the calendar, bronze and the clock."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.errors import SettingsError
from batch.core.sessions import Calendar, load_calendar
from fetchers.plan import plan_daily, plan_range, read_session_range
from fetchers.request import SessionRange
from tests.fetchers.support import new_york

DELAY = timedelta(minutes=5)
NEWEST = date(2025, 1, 17)


def bronze(present: Iterable[date], incomplete: Iterable[date] = ()) -> dict[str, Any]:
    there = frozenset(present)
    return {
        "first": min(there, default=None),
        "present": there,
        "incomplete": frozenset(incomplete),
    }


@pytest.mark.parametrize(
    ("day", "hour", "minute", "due"),
    [
        pytest.param(date(2025, 1, 17), 16, 4, date(2025, 1, 16), id="16:04 is too early"),
        pytest.param(date(2025, 1, 17), 16, 5, date(2025, 1, 17), id="16:05 is due"),
        pytest.param(date(2025, 1, 17), 16, 21, date(2025, 1, 17), id="16:21"),
        pytest.param(date(2024, 11, 29), 13, 4, date(2024, 11, 27), id="early close, 13:04"),
        pytest.param(date(2024, 11, 29), 13, 6, date(2024, 11, 29), id="early close, 13:06"),
        pytest.param(date(2024, 12, 25), 20, 0, date(2024, 12, 24), id="Christmas"),
        pytest.param(date(2025, 1, 9), 18, 0, date(2025, 1, 8), id="the closure of 2025-01-09"),
        pytest.param(date(2025, 1, 18), 12, 0, date(2025, 1, 17), id="Saturday"),
        pytest.param(date(2025, 3, 7), 16, 6, date(2025, 3, 7), id="before summer time"),
        pytest.param(date(2025, 3, 10), 16, 4, date(2025, 3, 7), id="summer time, 16:04"),
        pytest.param(date(2025, 3, 10), 16, 6, date(2025, 3, 10), id="summer time, 16:06"),
        pytest.param(date(2024, 11, 4), 16, 4, date(2024, 11, 1), id="winter time, 16:04"),
        pytest.param(date(2024, 11, 4), 16, 6, date(2024, 11, 4), id="winter time, 16:06"),
    ],
)
def test_a_session_is_due_some_minutes_after_its_own_close(
    calendar: Calendar, day: date, hour: int, minute: int, due: date
) -> None:
    assert calendar.newest_closed(new_york(day, hour, minute) - DELAY) == due


def test_the_delay_is_settable(calendar: Calendar) -> None:
    at_1621 = new_york(NEWEST, 16, 21)

    assert calendar.newest_closed(at_1621 - timedelta(minutes=20)) == NEWEST
    assert calendar.newest_closed(at_1621 - timedelta(minutes=22)) == date(2025, 1, 16)


def test_an_empty_lake_begins_with_the_trailing_sessions(calendar: Calendar) -> None:
    plan = plan_daily(calendar, NEWEST, **bronze([]), trailing=5, lookback=30)

    assert plan.sessions == tuple(calendar.sessions_between(date(2025, 1, 10), NEWEST))
    assert plan.again == ()


def test_the_closure_of_2025_01_09_is_never_sought(calendar: Calendar) -> None:
    present = calendar.sessions_between(date(2024, 12, 2), date(2025, 1, 7))

    plan = plan_daily(calendar, date(2025, 1, 10), **bronze(present), trailing=0, lookback=30)

    assert plan.missing == (date(2025, 1, 8), date(2025, 1, 10))


def test_a_gap_inside_the_lookback_is_missing(calendar: Calendar) -> None:
    present = calendar.sessions_between(date(2024, 11, 1), date(2025, 1, 16))
    present.remove(date(2024, 12, 24))

    plan = plan_daily(calendar, NEWEST, **bronze(present), trailing=5, lookback=30)

    assert plan.missing == (date(2024, 12, 24), NEWEST)
    assert plan.again == tuple(calendar.sessions_between(date(2025, 1, 10), date(2025, 1, 16)))


def test_nothing_before_the_first_session_of_the_lake_is_missing(calendar: Calendar) -> None:
    present = calendar.sessions_between(date(2025, 1, 14), date(2025, 1, 16))

    plan = plan_daily(calendar, NEWEST, **bronze(present), trailing=5, lookback=30)

    assert plan.missing == (NEWEST,)
    assert plan.again == tuple(present)


def test_after_a_long_pause_everything_since_is_missing(calendar: Calendar) -> None:
    present = calendar.sessions_between(date(2024, 5, 1), date(2024, 6, 28))

    plan = plan_daily(calendar, NEWEST, **bronze(present), trailing=5, lookback=30)

    assert plan.missing == tuple(calendar.sessions_between(date(2024, 7, 1), NEWEST))


def test_incomplete_sessions_are_fetched_again(calendar: Calendar) -> None:
    present = calendar.sessions_between(date(2023, 1, 3), NEWEST)

    plan = plan_daily(calendar, NEWEST, **bronze(present, present[:3]), trailing=0, lookback=5)

    assert plan.again == (*present[:3], NEWEST)


def test_a_range_asks_for_what_is_missing_or_incomplete(calendar: Calendar) -> None:
    present = calendar.sessions_between(date(2025, 1, 2), date(2025, 1, 10))
    asked = SessionRange(date(2025, 1, 2), date(2025, 1, 31))

    plan = plan_range(calendar, NEWEST, asked, present=set(present), incomplete={date(2025, 1, 6)})

    assert plan.again == (date(2025, 1, 6),)
    assert plan.missing == tuple(calendar.sessions_between(date(2025, 1, 13), NEWEST))


@pytest.mark.parametrize(
    ("day", "message"),
    [
        (date(2024, 12, 25), "the exchange is closed"),
        (date(2025, 1, 9), "the exchange is closed"),
        (date(2025, 1, 21), "not due yet, the newest session that is closed long enough"),
    ],
)
def test_a_day_without_a_session_differs_from_one_to_come(
    calendar: Calendar, day: date, message: str
) -> None:
    wanted = SessionRange(day, day)

    plan = plan_range(calendar, NEWEST, wanted, present=set(), incomplete=set())

    assert plan.nothing is not None
    assert message in plan.nothing


CALENDAR = load_calendar()
SESSIONS = CALENDAR.sessions_between(date(2024, 9, 3), date(2025, 1, 17))


@given(
    present=st.sets(st.sampled_from(SESSIONS)),
    incomplete=st.sets(st.sampled_from(SESSIONS)),
    trailing=st.integers(0, 10),
    lookback=st.integers(1, 60),
    newest=st.sampled_from(SESSIONS[20:]),
)
def test_a_plan_never_leaves_a_gap_since_the_lake_was_last_filled(
    present: set[date], incomplete: set[date], trailing: int, lookback: int, newest: date
) -> None:
    seen = bronze(present, incomplete)

    plan = plan_daily(CALENDAR, newest, **seen, trailing=trailing, lookback=lookback)

    assert list(plan.sessions) == sorted(set(plan.sessions))
    assert all(session <= newest for session in plan.sessions)
    assert not set(plan.missing) & present
    done = present | set(plan.sessions)
    last_filled = max((session for session in present if session <= newest), default=None)
    if last_filled is not None:
        assert set(CALENDAR.sessions_between(last_filled, newest)) <= done
    assert newest in plan.sessions or min(present, default=newest) > newest


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("2025-01-10", "2025-01-01", None, None), "--date and --from"),
        ((None, None, "2025-01-01", None), "--to goes with --from"),
        (("10.01.2025", None, None, None), "not a date such as 2025-01-10"),
        ((None, "2025-02-01", "2025-01-01", None), "before it begins"),
        ((None, None, None, 0.0), "--backfill"),
        (("0001-01-01", None, None, None), "where the calendar begins"),
    ],
)
def test_contradicting_dates_are_refused(
    options: tuple[str | None, str | None, str | None, float | None], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        read_session_range(*options, now=datetime(2025, 1, 18, tzinfo=UTC))


def test_a_backfill_is_counted_in_years_from_today() -> None:
    now = datetime(2025, 1, 18, 2, 0, tzinfo=UTC)  # still the 17th in New York

    assert read_session_range(None, None, None, 2, now=now) == SessionRange(
        date(2023, 1, 18), NEWEST
    )
