"""Rows of sessions that had not closed when they were received count for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.audit.status import read_status
from batch.audit.vacuum import plan_vacuum
from batch.audit.verify import verify
from batch.consolidator.job import consolidate
from batch.core import schema
from batch.core.frames import to_arrow
from batch.core.layout import Anchor, Delivery
from batch.core.sessions import Calendar, load_calendar
from batch.lake import Lake
from batch.lake.landing import digest_rows
from batch.resampler.job import resample
from batch.runtime.progress import Silent
from batch.storage.local import LocalStore
from batch.storage.parquet import table_bytes
from batch.storage.store import ObjectStore
from fetchers.request import SessionRange
from tests.fetchers.support import new_york, vendor
from tests.support.bars import bar, frame, land_rows, received_after
from tests.support.examples import fewer_examples
from tests.support.lakes import (
    History,
    Receipt,
    assert_bars,
    assert_lake,
    histories,
    new_lake,
    silver_bytes,
    versions,
    widths_to_try,
)

BOTH = tuple(Anchor)
NEWEST = date(2025, 1, 16)
"""The first session of a window of 5, so that the window is open."""

FUTURE = date(2030, 1, 2)
NOT_CLOSED = "session not closed when received"


class Heard(Silent):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def smuggle(store: ObjectStore, receipt: Receipt) -> list[Delivery]:
    """Write deliveries past the rules, as versions before these rules landed them."""
    landed = []
    for session, rows in groupby(sorted(receipt.rows, key=by_key), key=lambda row: row["date"]):
        part = frame(rows)
        delivery = Delivery(session, receipt.received_at, f"{receipt.source}-{digest_rows(part)}")
        store.write(delivery.arrival_key, b"")
        store.write(delivery.key, table_bytes(to_arrow(part, schema.DELIVERY)))
        landed.append(delivery)
    return landed


def by_key(row: dict[str, object]) -> tuple[object, bytes]:
    return row["date"], str(row["symbol"]).encode()


@contextmanager
def an_earlier_version() -> Iterator[None]:
    """Let the jobs count every delivery, as they did before these rules."""
    with ExitStack() as patched:
        patched.enter_context(patch("batch.lake.inputs.received_before_close", return_value=False))
        for module in ("job", "plan", "publish"):
            version = f"batch.consolidator.{module}.RESULTS_VERSION"
            patched.enter_context(patch(version, "2"))
        yield


def fill(store: ObjectStore, calendar: Calendar) -> None:
    for session in calendar.sessions_between(date(2024, 12, 16), NEWEST):
        rows = [bar("A", session), bar("B", session)]
        land_rows(store, rows, calendar, received_at=received_after(session))


def make(store: ObjectStore, calendar: Calendar, **options: object) -> None:
    consolidate(store, calendar=calendar, **options)  # type: ignore[arg-type]
    resample(store, intervals=[3, 5], calendar=calendar)
    resample(store, intervals=[5], anchor=Anchor.LISTING, calendar=calendar)


@pytest.mark.parametrize(
    ("session", "closes"),
    [
        (date(2025, 1, 16), datetime(2025, 1, 16, 21, tzinfo=UTC)),
        (date(2025, 7, 16), datetime(2025, 7, 16, 20, tzinfo=UTC)),
        (date(2024, 11, 29), datetime(2024, 11, 29, 18, tzinfo=UTC)),
    ],
    ids=["winter", "summer", "early close"],
)
def test_a_row_counts_from_the_close_of_its_session_on(
    lake: LocalStore, calendar: Calendar, session: date, closes: datetime
) -> None:
    before = closes - timedelta(seconds=1)

    early = land_rows(lake, [bar("A", session)], calendar, received_at=before)
    then = land_rows(lake, [bar("A", session)], calendar, received_at=closes)

    assert (early.accepted_rows, early.reasons) == (0, {NOT_CLOSED: 1})
    assert (then.accepted_rows, then.reasons) == (1, {})


def test_a_row_of_the_future_leaves_open_bars_open(
    any_lake: ObjectStore, calendar: Calendar
) -> None:
    fill(any_lake, calendar)
    evening = received_after(NEWEST)

    landed = land_rows(any_lake, [bar("A", FUTURE)], calendar, received_at=evening, source="odd")
    make(any_lake, calendar)

    rejected = Lake(any_lake).rejected()
    assert landed.reasons == {NOT_CLOSED: 1}
    assert rejected["reason"].to_list() == [NOT_CLOSED]
    bars = Lake(any_lake).bars("5d", complete=False, start=NEWEST)
    assert bars["complete"].to_list() == [False, False]
    assert Lake(any_lake).newest_session() == NEWEST


@pytest.mark.slow
@fewer_examples(1 / 5)
@given(history=histories(dirty=False), width=widths_to_try, data=st.data())
def test_a_lake_with_such_deliveries_is_mended_to_the_bytes_of_one_without(
    history: History, width: int, data: st.DataObject
) -> None:
    sessions = sorted({row["date"] for receipt in history.receipts for row in receipt.rows})
    ahead = st.sampled_from([*sessions, date(2025, 12, 31), FUTURE])
    smuggled = []
    for no, session in enumerate(data.draw(st.lists(ahead, min_size=1, max_size=3, unique=True))):
        close = load_calendar().close_of(session)
        early = close - data.draw(st.sampled_from([timedelta(seconds=1), timedelta(days=400)]))
        smuggled.append(Receipt(early, "early", (bar("A", session, 50.0 + no), bar("E", session))))
    with new_lake() as lake, new_lake() as without:
        lake.receive(*history.receipts)
        lake.split(*history.splits)
        without.receive(*history.receipts)
        without.split(*history.splits)
        without.run([width], BOTH)
        deliveries = [one for receipt in smuggled for one in smuggle(lake.store, receipt)]
        with an_earlier_version():
            lake.run([width], BOTH)

        found = verify(lake.store)
        lake.run([width], BOTH)
        mended = verify(lake.store)

        named = {one.found for one in found.differences if one.column == "delivery"}
        assert named == {one.key for one in deliveries}
        assert (mended.count, mended.differences) == (0, [])
        assert silver_bytes(lake.store) == silver_bytes(without.store)
        assert {one.key for one in deliveries} <= versions(lake.store, "bronze/").keys()
        assert not versions(lake.store, "_state/arrivals/")
        assert_lake(lake, lake.expected())
        for anchor in BOTH:
            assert_bars(lake, lake.expected(), width, anchor)


@pytest.fixture
def smuggled(any_lake: ObjectStore, calendar: Calendar) -> list[Delivery]:
    """Deliveries that an earlier version counted: of the future, and of an old year at noon."""
    fill(any_lake, calendar)
    old = date(2024, 12, 18)
    receipts = [
        Receipt(received_after(NEWEST), "early", (bar("A", FUTURE, 99.0), bar("C", FUTURE))),
        Receipt(
            datetime(2024, 12, 18, 17, tzinfo=UTC), "noon", (bar("A", old, 9.0), bar("D", old))
        ),
    ]
    deliveries = [one for receipt in receipts for one in smuggle(any_lake, receipt)]
    with an_earlier_version():
        make(any_lake, calendar)
    assert Lake(any_lake).newest_session() == FUTURE
    return deliveries


@pytest.mark.slow
def test_verify_names_the_published_rows_and_bars(
    smuggled: list[Delivery], any_lake: ObjectStore, calendar: Calendar
) -> None:
    outcome = verify(any_lake, calendar=calendar)

    found = {(one.table, one.symbol, one.day, one.column) for one in outcome.differences}
    assert {("1d", "", "2030-01-02", "delivery"), ("1d", "", "2024-12-18", "delivery")} <= found
    assert {("1d", "A", "2030-01-02", "row"), ("1d", "D", "2024-12-18", "row")} <= found
    assert ("restatements", "A", "2024-12-18", "close") in found
    assert ("5d", "B", "2025-01-16", "complete") in found


def test_consolidation_says_once_what_it_left_out_and_ends_well(
    smuggled: list[Delivery], any_lake: ObjectStore, calendar: Calendar
) -> None:
    heard = Heard()

    outcome = consolidate(any_lake, calendar=calendar, progress=heard)
    again = consolidate(any_lake, calendar=calendar)

    (warning,) = heard.warnings
    assert "2 deliveries received before the close" in warning
    assert min(smuggled).key in warning
    assert outcome.problems == again.problems == ()
    assert outcome.removed == (2030,)
    assert again.published == ()


def test_bars_as_of_leave_them_out_before_the_lake_is_mended(
    smuggled: list[Delivery], any_lake: ObjectStore
) -> None:
    lake = Lake(any_lake)

    daily = lake.bars("1d", as_of=received_after(NEWEST))
    bars = lake.bars("5d", complete=False, start=NEWEST, as_of=received_after(NEWEST))

    assert daily["symbol"].unique().sort().to_list() == ["A", "B"]
    assert daily["date"].max() == NEWEST
    assert bars["complete"].to_list() == [False, False]


@pytest.mark.slow
def test_a_consolidation_as_of_leaves_them_out(
    smuggled: list[Delivery], any_lake: ObjectStore, calendar: Calendar
) -> None:
    make(any_lake, calendar, as_of=received_after(NEWEST))

    assert Lake(any_lake).newest_session() == NEWEST
    assert verify(any_lake, calendar=calendar).differences == []


def test_a_vacuum_leaves_them_where_they_are(
    smuggled: list[Delivery], any_lake: ObjectStore
) -> None:
    plan = plan_vacuum(any_lake, now=datetime(2025, 2, 1, tzinfo=UTC), forget_corrections=True)

    reasons = {plan.passed_over[one.key] for one in smuggled}
    assert reasons == {"was received before its session closed"}


def test_status_does_not_take_their_sessions_for_sessions(
    smuggled: list[Delivery], any_lake: ObjectStore, calendar: Calendar
) -> None:
    now = received_after(NEWEST, 4)

    before = read_status(any_lake, now=now, calendar=calendar)
    make(any_lake, calendar)
    after = read_status(any_lake, now=received_after(NEWEST), calendar=calendar)

    assert before.newest == NEWEST
    assert before.behind == (date(2025, 1, 17),)
    assert before.missing == ()
    assert any(
        one.startswith("ahead: 1 session that had not closed, 2030-01-02")
        for one in before.problems
    )
    assert after.problems == ()


def test_a_session_received_too_early_is_fetched(lake: LocalStore, calendar: Calendar) -> None:
    friday = date(2025, 1, 17)
    with vendor(calendar, new_york(friday, 17)) as polygon:
        rows = tuple(polygon.stub.market.rows(friday, polygon.clock()).to_dicts())
        smuggle(lake, Receipt(new_york(friday, 12), "polygon", rows))

        outcome = polygon.fetch(lake, SessionRange(friday, friday))

    assert outcome.new_sessions == [friday]
    consolidate(lake, calendar=calendar)
    assert Lake(lake).newest_session() == friday
