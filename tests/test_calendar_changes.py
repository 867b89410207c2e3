"""An exchange calendar that changes: published windows never move unasked, open ones may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import CalendarMoved, ExitCode
from batch.core.layout import Anchor
from batch.core.sessions import EPOCH, Calendar, day_of
from batch.resampler.job import resample
from tests.oracle import library_sessions
from tests.support.bars import bar
from tests.support.lakes import (
    Filled,
    Receipt,
    assert_same_rows,
    new_lake,
    rows_of,
    silver_bytes,
    versions,
)

DAYS = [day for day in library_sessions() if date(2021, 11, 1) <= day <= date(2022, 2, 1)]
MISSED = DAYS[20]
AHEAD = next(day for day in library_sessions() if day > DAYS[-1])


def without(calendar: Calendar, closed: date) -> Calendar:
    """Return the calendar with one session taken out, as an unplanned closure would."""
    keep = calendar.days != day_of(closed)
    before_epoch = int((calendar.days[keep] < day_of(EPOCH)).sum())
    return Calendar(calendar.name, calendar.days[keep], -before_epoch, calendar.closes_s[keep])


@pytest.fixture
def lake(calendar: Calendar) -> Iterator[Filled]:
    """Three months around a year end; one session has no rows at all."""
    with new_lake() as made:
        rows = tuple(bar("A", day, 5.0 + no) for no, day in enumerate(DAYS) if day != MISSED)
        made.receive(Receipt(datetime(2022, 2, 2, tzinfo=UTC), "a", rows))
        made.run([3, 5], Anchor)
        yield made


def test_a_closure_in_the_past_is_refused_until_a_full_rebuild(
    lake: Filled, calendar: Calendar
) -> None:
    before = silver_bytes(lake.store)
    changed = without(calendar, MISSED)

    for attempt in (
        lambda: consolidate(lake.store, calendar=changed),
        lambda: resample(lake.store, intervals=[5], calendar=changed),
        lambda: resample(lake.store, intervals=[5], anchor=Anchor.LISTING, calendar=changed),
    ):
        with pytest.raises(CalendarMoved, match="--full") as raised:
            attempt()
        assert raised.value.exit_code == ExitCode.DATA_REFUSED
    assert silver_bytes(lake.store) == before

    consolidate(lake.store, calendar=changed, full=True)
    resample(lake.store, intervals=[5], calendar=changed, full=True)

    sessions = tuple(day for day in library_sessions() if day != MISSED)
    expected = replace(lake.expected(), sessions=sessions)
    assert_same_rows(rows_of(lake.store, "5d"), expected.bars(5), ("symbol", "start"))
    assert rows_of(lake.store, "5d") != []
    consolidate(lake.store, calendar=changed)
    resample(lake.store, intervals=[5], calendar=changed)


def test_a_session_that_the_calendar_gains_in_the_past_is_refused_too(calendar: Calendar) -> None:
    narrow = without(calendar, MISSED)
    with new_lake() as lake:
        rows = tuple(bar("A", day) for day in DAYS if day != MISSED)
        lake.receive(Receipt(datetime(2022, 2, 2, tzinfo=UTC), "a", rows))
        consolidate(lake.store, calendar=narrow)
        resample(lake.store, intervals=[3], calendar=narrow)

        with pytest.raises(CalendarMoved):
            consolidate(lake.store, calendar=calendar)
        with pytest.raises(CalendarMoved):
            resample(lake.store, intervals=[3], calendar=calendar)


def test_a_closure_announced_ahead_moves_open_windows_only(
    lake: Filled, calendar: Calendar
) -> None:
    resample(lake.store, intervals=[34], calendar=calendar)
    before = rows_of(lake.store, "34d")
    untouched = versions(lake.store, "silver/1d/")
    changed = without(calendar, AHEAD)

    consolidate(lake.store, calendar=changed)
    resample(lake.store, intervals=[34], calendar=changed)

    after = rows_of(lake.store, "34d")
    assert versions(lake.store, "silver/1d/") == untouched
    assert [row for row in after if row["complete"]] == [row for row in before if row["complete"]]
    (was_open,) = [row for row in before if not row["complete"]]
    (is_open,) = [row for row in after if not row["complete"]]
    assert is_open["end"] > was_open["end"]
    assert {**is_open, "end": None} == {**was_open, "end": None}


def test_a_delivery_for_a_day_that_turned_out_closed_is_reported(
    lake: Filled, calendar: Calendar
) -> None:
    day = DAYS[10]

    outcome = consolidate(lake.store, calendar=without(calendar, day), full=True)

    assert len(outcome.problems) == 1
    assert f"date={day}" in outcome.problems[0]
    assert "is not a session" in outcome.problems[0]


def test_a_rebuild_of_one_interval_leaves_the_others_to_their_own(
    lake: Filled, calendar: Calendar
) -> None:
    changed = without(calendar, MISSED)
    consolidate(lake.store, calendar=changed, full=True)
    resample(lake.store, intervals=[5], calendar=changed, full=True)

    with pytest.raises(CalendarMoved, match="3d"):
        resample(lake.store, intervals=[3, 5], calendar=changed)
