"""A partition is a pure function of its inputs: every way to them ends in the same bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.core.layout import Anchor
from batch.core.sessions import load_calendar
from batch.lake.landing import land
from tests.oracle import Split, library_sessions
from tests.support.bars import bar, frame
from tests.support.examples import fewer_examples
from tests.support.lakes import (
    Filled,
    History,
    Receipt,
    assert_bars,
    assert_lake,
    histories,
    new_lake,
    rows_of,
    silver_bytes,
    versions,
    widths_to_try,
)

BOTH = tuple(Anchor)


@contextmanager
def sizes(*, piece_rows: int, row_group_rows: int, merge_bytes: int) -> Iterator[None]:
    """Make the code work in small chunks, so that few rows cross many borders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("batch.resampler.job.PIECE_ROWS", piece_rows)
        patch.setattr("batch.storage.parquet.ROW_GROUP_ROWS", row_group_rows)
        patch.setattr("batch.consolidator.deliveries.MERGE_BYTES", merge_bytes)
        yield


def built_at_once(history: History, widths: list[int]) -> dict[str, bytes]:
    with new_lake() as lake:
        lake.receive(*history.receipts)
        lake.split(*history.splits)
        lake.run(widths, BOTH)
        return silver_bytes(lake.store)


@pytest.mark.slow
@fewer_examples(1 / 2)
@given(
    history=histories(),
    width=widths_to_try,
    order=st.randoms(use_true_random=False),
    repeats=st.integers(0, 2),
)
def test_any_order_step_by_step_equals_all_at_once_equals_full(
    history: History, width: int, order: object, repeats: int
) -> None:
    steps: list[Receipt | Split] = [*history.receipts, *history.splits]
    steps += steps[:repeats]
    order.shuffle(steps)  # type: ignore[attr-defined]
    at_once = built_at_once(history, [width, 5])
    with new_lake() as lake:
        for step in steps:
            if isinstance(step, Split):
                lake.split(step)
            else:
                lake.receive(step)
            lake.run([width, 5], BOTH)
        step_by_step = silver_bytes(lake.store)

        lake.run([width, 5], BOTH, full=True)

        assert step_by_step == at_once
        assert silver_bytes(lake.store) == at_once


@pytest.mark.slow
@fewer_examples(2 / 3)
@given(
    history=histories(dirty=False),
    width=widths_to_try,
    piece_rows=st.integers(1, 5),
    row_group_rows=st.integers(1, 4),
    workers=st.sampled_from((1, 5)),
)
def test_chunk_sizes_and_workers_leave_no_trace(
    history: History, width: int, piece_rows: int, row_group_rows: int, workers: int
) -> None:
    with (
        sizes(piece_rows=10**6, row_group_rows=row_group_rows, merge_bytes=10**9),
        new_lake() as lake,
    ):
        lake.receive(*history.receipts)
        lake.split(*history.splits)
        lake.run([width, 3], BOTH)
        expected = lake.expected()
        large = silver_bytes(lake.store)

    with (
        sizes(piece_rows=piece_rows, row_group_rows=row_group_rows, merge_bytes=1),
        new_lake() as lake,
    ):
        lake.receive(*history.receipts)
        lake.split(*history.splits)
        lake.run([width, 3], BOTH, workers=workers)

        assert silver_bytes(lake.store) == large
        assert_lake(lake, expected)
        for anchor in BOTH:
            assert_bars(lake, expected, width, anchor)


def evening(day: date, days: int = 0) -> datetime:
    return datetime.combine(day, time(22), tzinfo=UTC) + timedelta(days=days)


@pytest.fixture
def three_years() -> Iterator[Filled]:
    """A lake of every third session of 2021 to 2023, consolidated and resampled."""
    days = [day for day in library_sessions() if 2021 <= day.year <= 2023][::3]
    rows = tuple(bar(name, day, 9.0 + no) for name in ("A", "B") for no, day in enumerate(days))
    with new_lake() as lake:
        lake.receive(Receipt(evening(days[-1]), "old", rows))
        lake.run([5, 34], BOTH)
        yield lake


def changed_silver(lake: Filled, before: dict[str, str]) -> set[str]:
    after = versions(lake.store, "silver/")
    return {
        key.removeprefix("silver/").removesuffix("/data.parquet")
        for key in before.keys() | after.keys()
        if before.get(key) != after.get(key)
    }


@pytest.mark.slow
def test_a_second_run_leaves_every_object_alone(three_years: Filled) -> None:
    before = versions(three_years.store)

    three_years.run([5, 34], BOTH)

    assert versions(three_years.store) == before


@pytest.mark.slow
def test_receiving_the_same_again_changes_nothing(three_years: Filled) -> None:
    before = versions(three_years.store)
    three_years.receive(*(Receipt(one.received_at, "old", one.rows) for one in three_years.sent))

    three_years.run([5, 34], BOTH)

    assert versions(three_years.store) == before


@pytest.mark.slow
def test_a_new_session_touches_the_newest_year_and_its_windows_only(three_years: Filled) -> None:
    newest = date(2024, 1, 2)  # falls into windows that opened in 2023
    before = versions(three_years.store, "silver/")
    three_years.receive(Receipt(evening(newest), "new", (bar("A", newest), bar("B", newest))))

    three_years.run([5, 34])

    assert changed_silver(three_years, before) == {
        "1d/year=2024",
        "5d/year=2023",
        "34d/year=2023",
    }


@pytest.mark.slow
def test_a_correction_touches_its_own_year_and_windows_only(three_years: Filled) -> None:
    day = next(one.session for one in three_years.sent if one.session.year == 2022)
    inside = library_sessions()[library_sessions().index(day) + 60]
    day = next(one.session for one in three_years.sent if one.session >= inside)
    before = versions(three_years.store, "silver/")
    three_years.receive(Receipt(evening(date(2023, 12, 31)), "fix", (bar("A", day, 77.0),)))

    three_years.run([5, 34])

    assert changed_silver(three_years, before) == {
        "1d/year=2022",
        "restatements/year=2022",
        "5d/year=2022",
        "34d/year=2022",
    }


def test_a_split_touches_the_year_of_its_row_and_no_other(three_years: Filled) -> None:
    day = next(one.session for one in three_years.sent if one.session >= date(2022, 6, 1))
    before = versions(three_years.store, "silver/")
    three_years.split(Split("A", day - timedelta(days=1), 2.0), Split("ELSE", day, 3.0))

    three_years.run([5, 34])

    assert changed_silver(three_years, before) == {"1d/year=2022", "5d/year=2022", "34d/year=2022"}


@pytest.mark.slow
def test_a_delivery_that_confirms_what_is_known_rewrites_no_bars(three_years: Filled) -> None:
    one = three_years.sent[40]
    before = versions(three_years.store, "silver/")
    three_years.receive(Receipt(evening(date(2023, 12, 31)), "again", one.rows))

    three_years.run([5, 34], BOTH)

    tables = {key.split("/")[0] for key in changed_silver(three_years, before)}
    assert tables <= {"1d"}


@pytest.mark.slow
def test_a_late_first_year_reaches_the_listing_windows_of_all_years(three_years: Filled) -> None:
    day = date(2019, 3, 1)
    three_years.receive(Receipt(evening(day, 5), "late", (bar("A", day), bar("Z", day))))

    three_years.run([5, 34], BOTH)

    expected = three_years.expected()
    assert_lake(three_years, expected)
    for anchor in BOTH:
        assert_bars(three_years, expected, 5, anchor)
        assert_bars(three_years, expected, 34, anchor)


def test_what_was_received_at_one_instant_has_one_order_on_every_way() -> None:
    day = library_sessions()[13000]
    tied = [Receipt(evening(day), "a", (bar("A", day, float(no)),)) for no in range(1, 6)]
    lakes = []
    for receipts in (tied, tied[::-1]):
        with new_lake() as lake:
            for receipt in receipts:
                lake.receive(receipt)
                lake.run()
            assert_lake(lake, lake.expected())
            lakes.append(silver_bytes(lake.store))

    assert lakes[0] == lakes[1]


def test_recorded_arrivals_order_what_was_received_at_one_instant_on_every_way() -> None:
    day = library_sessions()[13000]
    lakes = []
    for order in permutations(range(3)):
        with new_lake() as lake:
            for place in order:
                land(
                    lake.store,
                    frame([bar("A", day, 3.0 - place)]),
                    received_at=evening(day),
                    source="a",
                    calendar=load_calendar(),
                    arrived_at=evening(day) + timedelta(days=place),
                )
                lake.run()
            (row,) = rows_of(lake.store, "1d")
            assert row["close"] == 1.0
            lakes.append(silver_bytes(lake.store))

    assert all(made == lakes[0] for made in lakes)


@pytest.mark.slow
def test_widths_made_apart_equal_widths_made_together(three_years: Filled) -> None:
    with new_lake() as lake:
        lake.receive(
            *(replace(Receipt(one.received_at, "old", one.rows)) for one in three_years.sent)
        )
        for width in (34, 5):
            lake.run([width], BOTH)

        assert silver_bytes(lake.store) == silver_bytes(three_years.store)
