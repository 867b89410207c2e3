"""Values on the basis of another split do not win as corrections."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from batch.audit.quality import check_lake
from batch.audit.status import read_status
from batch.audit.vacuum import apply_vacuum, plan_vacuum
from batch.audit.verify import verify
from batch.core.errors import DataRefused
from batch.core.frames import to_arrow
from batch.core.layout import INPUTS
from batch.core.sessions import load_calendar
from batch.kernel.columns import DailyColumns
from batch.kernel.corrections import CONTRADICTORY, OTHER_BASIS, REASONS, Settled, settle
from batch.lake import Lake
from batch.lake.manifest import load_daily_manifest
from batch.runtime.progress import Silent
from batch.storage.store import ObjectStore
from reporting.lake_facts import gather_facts
from reporting.lake_page import report_page
from tests import oracle
from tests.oracle import PRICES, Row, Sent, Split
from tests.support.bars import bar, frame
from tests.support.lakes import (
    Filled,
    History,
    Receipt,
    assert_lake,
    histories,
    new_lake,
    rows_of,
    silver_bytes,
    versions,
)

DAY = date(2025, 1, 14)
EXECUTED = date(2025, 1, 16)
EVE = datetime(2025, 1, 15, 23, tzinfo=UTC)
"""After the close of the session before the split."""


def first(**values: Any) -> Receipt:
    row = bar("A", DAY, 70.0, volume=1000.0, **values)
    return Receipt(datetime(2025, 1, 14, 22, tzinfo=UTC), "first", (row,))


def again(received_at: datetime = EVE, **values: Any) -> Receipt:
    row = {**bar("A", DAY, 70.0, volume=1000.0), **values}
    return Receipt(received_at, "again", (row,))


def only_bar(lake: Filled) -> Row:
    (row,) = rows_of(lake.store, "1d")
    return row


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ratio", "known", "received", "wins"),
    [
        (7.0, 1000.0, 7000.0, False),
        (7.0, 1000.0, 7140.0, False),
        (7.0, 1000.0, 7141.0, True),
        (7.0, 1000.0, 6860.0, False),
        (7.0, 1000.0, 6859.0, True),
        (7.0, 100.0, 601.0, False),
        (7.0, 100.0, 599.0, True),
        (7.0, 20.0, 79.0, True),
        (7.0, 20.0, 81.0, False),
        (7.0, 1000.0, 1001.0, True),
        (0.1, 4500.0, 400.0, False),
        (0.1, 900.0, 0.0, False),
        (0.1, 1_000_000.0, 100_000.0, False),
        (0.1, 1_000_000.0, 900_000.0, True),
        (7.0, 0.0, 50.0, True),
        (1.0, 1000.0, 1000.5, True),
    ],
)
def test_a_volume_near_the_known_one_on_the_basis_of_a_split_does_not_win(
    ratio: float, known: float, received: float, wins: bool
) -> None:
    with new_lake() as lake:
        lake.receive(Receipt(EVE - timedelta(days=1), "first", (bar("A", DAY, volume=known),)))
        lake.receive(Receipt(EVE, "again", (bar("A", DAY, volume=received),)))
        lake.split(Split("A", EXECUTED, ratio))
        lake.run()
        (restated,) = rows_of(lake.store, "restatements")

        assert only_bar(lake)["volume"] == (received if wins else known)
        assert (restated["old"], restated["new"]) == (known, received)
        assert restated["reason"] == (None if wins else "other split basis")
        assert_lake(lake, lake.expected())
        assert verify(lake.store, calendar=load_calendar()).differences == []


@pytest.mark.parametrize(
    ("received_at", "executed", "wins"),
    [
        (datetime(2025, 1, 15, 20, 59, 59, tzinfo=UTC), EXECUTED, True),  # 15:59:59 in New York
        (datetime(2025, 1, 15, 21, 0, tzinfo=UTC), EXECUTED, False),  # at the close
        (datetime(2025, 1, 16, 1, 30, tzinfo=UTC), EXECUTED, False),  # 20:30 in New York
        (datetime(2025, 1, 16, 1, 30, tzinfo=UTC), date(2025, 1, 17), True),
        (datetime(2025, 1, 16, 12, 0, tzinfo=UTC), EXECUTED, False),  # before the open
        (datetime(2025, 1, 17, 23, 0, tzinfo=UTC), date(2025, 1, 21), False),  # a long weekend
        (datetime(2025, 1, 18, 12, 0, tzinfo=UTC), date(2025, 1, 19), False),  # on a Sunday
        (datetime(2026, 1, 15, 12, 0, tzinfo=UTC), EXECUTED, False),
        (datetime(2026, 1, 15, 12, 0, tzinfo=UTC), DAY, True),  # the session has it already
    ],
)
def test_splits_count_up_to_the_first_session_that_had_not_closed_at_the_receipt(
    received_at: datetime, executed: date, wins: bool
) -> None:
    with new_lake() as lake:
        lake.receive(first(), again(received_at, volume=7000.0))
        lake.split(Split("A", executed, 7.0))
        lake.run()

        assert (only_bar(lake)["volume"] == 7000.0) is wins
        assert_lake(lake, lake.expected())


def test_an_early_close_is_a_close() -> None:
    wednesday, monday = date(2024, 11, 27), date(2024, 12, 2)
    received_at = datetime(2024, 11, 29, 18, 30, tzinfo=UTC)  # half an hour after the early close
    with new_lake() as lake:
        for at, volume in ((received_at - timedelta(days=1), 1000.0), (received_at, 7000.0)):
            lake.receive(Receipt(at, "a", (bar("A", wednesday, volume=volume),)))
        lake.split(Split("A", monday, 7.0))
        lake.run()

        assert only_bar(lake)["volume"] == 1000.0


def test_several_splits_count_together_and_only_those_of_the_symbol() -> None:
    with new_lake() as lake:
        lake.receive(first(), again(volume=6000.0))
        lake.split(Split("A", DAY + timedelta(days=1), 2.0), Split("A", EXECUTED, 3.0))
        lake.split(Split("B", EXECUTED, 5.0))
        lake.run()

        assert only_bar(lake)["volume"] == 1000.0


def on_basis(ratio: float, **values: Any) -> dict[str, Any]:
    return {**dict.fromkeys((*PRICES, "vwap"), 70.0 / ratio), **values}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "kept", "reasons"),
    [
        (on_basis(7.0), on_basis(1.0), {OTHER_BASIS}),
        (on_basis(7.0, trades=11), on_basis(1.0, trades=11), {OTHER_BASIS, None}),
        (on_basis(7.0, vwap=None), on_basis(1.0, vwap=None), {OTHER_BASIS, None}),
        (on_basis(1.0, close=70.2, high=70.5), on_basis(1.0, close=70.2, high=70.5), {None}),
        # Its low is a correction on the new basis, and the others stay on the old one.
        (on_basis(7.0, low=9.0), on_basis(1.0, low=9.0), {OTHER_BASIS, None}),
        # So is its high, which would then lie below all other prices.
        (on_basis(7.0, high=11.0), on_basis(1.0), {OTHER_BASIS, CONTRADICTORY}),
        (on_basis(7.0, high=11.0, vwap=10.5), on_basis(1.0), {OTHER_BASIS, CONTRADICTORY}),
        (on_basis(7.0, high=11.0, vwap=None), on_basis(1.0), {OTHER_BASIS, CONTRADICTORY}),
    ],
)
def test_prices_on_another_basis_do_not_win_and_never_leave_a_bar_that_cannot_be(
    values: dict[str, Any], kept: dict[str, Any], reasons: set[str | None]
) -> None:
    with new_lake() as lake:
        lake.receive(first(), again(**values))
        lake.split(Split("A", EXECUTED, 7.0))
        lake.run()
        made = only_bar(lake)

        assert {name: made[name] for name in kept} == kept
        assert {row["reason"] for row in rows_of(lake.store, "restatements")} == reasons
        assert_lake(lake, lake.expected())
        assert verify(lake.store, calendar=load_calendar()).differences == []


def test_a_later_correction_on_the_basis_of_the_session_wins_again() -> None:
    with new_lake() as lake:
        lake.receive(
            first(),
            again(volume=7000.0),
            again(EVE + timedelta(days=3), volume=1200.0),
            again(EVE + timedelta(days=4), volume=8400.0),
        )
        lake.split(Split("A", EXECUTED, 7.0))
        lake.run()
        restated = rows_of(lake.store, "restatements")

        assert only_bar(lake)["volume"] == 1200.0
        assert [(row["old"], row["new"], row["reason"]) for row in restated] == [
            (1000.0, 7000.0, OTHER_BASIS),
            (1000.0, 1200.0, None),
            (1200.0, 8400.0, OTHER_BASIS),
        ]
        (record,) = load_daily_manifest(lake.store).partitions.values()
        assert (record.restatements, record.held_back) == (3, 2)


@pytest.mark.parametrize("executed", [EXECUTED, date(2027, 3, 1)])
def test_a_split_learned_late_brings_back_what_stood_before(executed: date) -> None:
    received_at = datetime.combine(executed, EVE.time(), tzinfo=UTC)
    split = Split("A", executed, 7.0)
    other = Receipt(received_at, "other", (bar("A", date(2025, 1, 17), 10.0),))
    with new_lake() as lake:
        lake.receive(first(), again(received_at, volume=7000.0), other)
        lake.run()
        assert rows_of(lake.store, "1d")[0]["volume"] == 7000.0
        lake.split(split, Split("B", executed, 2.0))

        lake.run()

        assert rows_of(lake.store, "1d")[0]["volume"] == 1000.0
        late = silver_bytes(lake.store)
        settled = versions(lake.store)
        lake.run()
        assert versions(lake.store) == settled
        lake.run(full=True)
        assert silver_bytes(lake.store) == late
    with new_lake() as lake:
        lake.split(split, Split("B", executed, 2.0))
        for receipt in (other, again(received_at, volume=7000.0), first()):
            lake.receive(receipt)
            lake.run()
        assert silver_bytes(lake.store) == late


@pytest.mark.parametrize("is_known", [True, False])
def test_a_split_learned_late_reads_the_sessions_that_it_may_change_and_no_others(
    is_known: bool,
) -> None:
    """Where the lake no longer knows what the split adds to, it reads the whole year."""
    days = oracle.library_sessions()[13_800:13_810]
    with new_lake() as lake:
        for day, tomorrow in pairwise(days):
            for received_on, volume in ((day, 1000.0), (tomorrow, 7000.0)):
                evening = datetime.combine(received_on, EVE.time(), tzinfo=UTC)
                lake.receive(Receipt(evening, "a", (bar("A", day, volume=volume),)))
        lake.split(Split("B", days[4], 3.0))
        lake.run()
        if not is_known:
            (item,) = lake.store.list(INPUTS)
            kept = json.loads(gzip.decompress(lake.store.read(item.key)))
            content = json.dumps({"deliveries": kept["deliveries"]})
            lake.store.write(item.key, gzip.compress(content.encode()))
        lake.split(Split("A", days[5], 7.0))

        outcome = lake.run()

        # The last two sessions before the split are those sent again from its eve on.
        assert outcome.deliveries_read == (4 if is_known else 18)
        volumes = [row["volume"] for row in rows_of(lake.store, "1d")]
        assert volumes == [7000.0] * 3 + [1000.0] * 2 + [7000.0] * 4
        made = silver_bytes(lake.store)
        lake.run(full=True)
        assert silver_bytes(lake.store) == made


def test_a_split_after_every_receipt_leaves_the_year_alone() -> None:
    with new_lake() as lake:
        lake.receive(first(), again(volume=7000.0))
        lake.run()
        before = silver_bytes(lake.store)
        lake.split(Split("A", EXECUTED + timedelta(days=1), 7.0))

        outcome = lake.run()

        assert silver_bytes(lake.store) == before
        assert outcome.deliveries_read == 0


def test_later_splits_leave_a_year_alone_whose_sessions_came_once() -> None:
    with new_lake() as lake:
        lake.receive(first())
        lake.run()
        before = versions(lake.store, "silver/")
        lake.split(Split("A", date(2026, 1, 5), 7.0))

        outcome = lake.run()

        assert versions(lake.store, "silver/") == before
        assert outcome.deliveries_read == 0


@pytest.mark.parametrize(
    ("hours", "volumes"), [(-1, [1100.0]), (0, [1100.0, 100.0]), (50, [1050.0, 100.0])]
)
def test_what_was_known_at_an_instant_is_what_a_run_made_then(
    any_lake: ObjectStore, hours: int, volumes: list[float]
) -> None:
    lake = Filled(any_lake)
    lake.receive(
        first(),
        again(EVE - timedelta(hours=20), volume=1100.0),
        again(volume=7700.0),
        again(EVE + timedelta(hours=25), volume=7701.0),
        again(EVE + timedelta(hours=50), volume=1050.0),
        again(EVE + timedelta(hours=60), volume=1060.0),
        Receipt(EVE, "b", (bar("B", DAY, 5.0),)),
    )
    lake.split(Split("A", EXECUTED, 7.0))
    lake.run()
    as_of = EVE + timedelta(hours=hours)

    known = Lake(any_lake).bars("1d", as_of=as_of)

    lake.run(as_of=as_of)
    assert known["volume"].to_list() == volumes
    assert Lake(any_lake).bars("1d").equals(known)
    assert_lake(lake, lake.expected(as_of))


def test_as_of_reads_no_partition_made_before_a_split_was_learned() -> None:
    with new_lake() as lake:
        lake.receive(first(), again(volume=7000.0))
        lake.run()
        lake.split(Split("A", EXECUTED, 7.0))

        known = Lake(lake.store).bars("1d", as_of=EVE + timedelta(days=30))

        assert known["volume"].to_list() == [1000.0]


def test_vacuum_keeps_a_delivery_against_which_a_newer_value_lost(any_lake: ObjectStore) -> None:
    lake = Filled(any_lake)
    lake.receive(first(), again(volume=7000.0))
    lake.split(Split("A", EXECUTED, 7.0))
    lake.run()
    before = silver_bytes(any_lake)

    plan = plan_vacuum(any_lake, now=EVE + timedelta(days=9), forget_corrections=True)
    apply_vacuum(any_lake, plan)
    lake.run(full=True)

    assert plan.superseded == ()
    assert silver_bytes(any_lake) == before


def test_vacuum_keeps_a_delivery_without_which_a_newer_value_would_lose() -> None:
    with new_lake() as lake:
        # 7700 is too far from 7 x 1000 not to win, and 7000 is not on another basis than that.
        lake.receive(first(), again(volume=7700.0), again(EVE + timedelta(days=1), volume=7000.0))
        alone = Receipt(first().received_at, "first", (*first().rows, bar("ALONE", DAY)))
        lake.receive(alone)
        lake.split(Split("A", EXECUTED, 7.0))
        lake.run()
        bars = rows_of(lake.store, "1d")

        plan = plan_vacuum(lake.store, now=EVE + timedelta(days=9), forget_corrections=True)
        apply_vacuum(lake.store, plan)
        lake.run(full=True)

        assert rows_of(lake.store, "1d") == bars
        assert [one.delivery.received_at for one in plan.superseded] == [first().received_at]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "change", "found"),
    [
        ("1d", {"volume": 7000.0}, ("1d", "volume", 1000.0, 7000.0)),
        (
            "restatements",
            {"reason": None},
            ("restatements", "volume", f"1000.0 to 7000.0: {OTHER_BASIS}", "1000.0 to 7000.0"),
        ),
    ],
)
def test_verify_finds_a_value_that_should_not_have_won(
    table: str, change: dict[str, Any], found: tuple[Any, ...]
) -> None:
    with new_lake() as lake:
        lake.receive(first(), again(volume=7000.0))
        lake.split(Split("A", EXECUTED, 7.0))
        lake.run()
        assert verify(lake.store, calendar=load_calendar()).differences == []
        key = f"silver/{table}/year=2025/data.parquet"
        path = lake.store.location(key)
        rows = pl.read_parquet(path)
        changed = rows.with_columns(
            pl.lit(value, rows.schema[name]).alias(name) for name, value in change.items()
        )
        changed.write_parquet(path)

        outcome = verify(lake.store, calendar=load_calendar())

        assert found in {(d.table, d.column, d.expected, d.found) for d in outcome.differences}


@given(
    closes=st.lists(st.sampled_from((70.0, 70.25, 10.0, 10.04, 10.125)), min_size=1, max_size=5),
    data=st.data(),
    ratio=st.sampled_from((7.0, 1 / 7, 1.002, 1.0)),
)
def test_what_stands_is_what_the_rule_says_and_keeps_the_rules_of_rows(
    closes: list[float], data: st.DataObject, ratio: float
) -> None:
    values = st.sampled_from((0.0, 0.04, 0.5, 3.0, 60.0))
    rows: list[Row] = []
    for close in closes:
        open_ = data.draw(st.sampled_from((close, close + 0.25, *closes)))
        high = max(open_, close) + data.draw(values)
        low = min(open_, close) / (1 + data.draw(values))
        vwap = data.draw(st.sampled_from((None, close, 10.0, 70.0)))
        volume = data.draw(st.sampled_from((0.0, 90.0, 1000.0, 7000.0, 7150.0, 142.0)))
        row = bar("A", DAY, close, open=open_, high=high, low=low, vwap=vwap, volume=volume)
        rows.append(row)
    received = DailyColumns.from_table(to_arrow(frame(rows)))
    follows = np.arange(len(rows)) > 0
    splits = [Split("A", EXECUTED, ratio)]

    settled = settle(received, follows, np.full(len(rows), ratio))

    sent = [Sent(EVE + timedelta(days=no), "a", DAY, (row,)) for no, row in enumerate(rows)]
    for upto in range(1, len(rows) + 1):
        expected = oracle.Lake.of(sent[:upto], splits)
        (wanted,) = expected.daily.values()
        row = {name: getattr(settled.standing, name)[upto - 1] for name in (*PRICES, "volume")}
        assert row == {name: wanted[name] for name in row}
        assert row["low"] <= min(row["open"], row["close"])
        assert row["high"] >= max(row["open"], row["close"])
        for restated in expected.restatements:
            if restated["received_at"] == sent[upto - 1].received_at:
                codes = settled.reasons.get(restated["field"])
                code = 0 if codes is None else codes[upto - 1]
                assert REASONS[code] == restated["reason"]


def test_values_held_back_are_counted_apart_from_corrections(any_lake: ObjectStore) -> None:
    lake = Filled(any_lake)
    lake.receive(first(), again(volume=7000.0, close=70.5, high=70.5))
    lake.split(Split("A", EXECUTED, 7.0))
    lake.run()

    status = read_status(any_lake, now=EVE)
    findings = check_lake(Lake(any_lake), names=["held_back"]).findings
    facts = gather_facts(Lake(any_lake), now=EVE, progress=Silent())

    assert status.restated == {"close": 1, "high": 1}
    assert status.held_back == {OTHER_BASIS: 1}
    assert (status.restatements, status.held_back_values) == (2, 1)
    assert findings.select("symbol", "date", "value").rows() == [("A", DAY, 7000.0)]
    assert findings["told"].to_list() == [
        "volume 7,000 received 2025-01-15, 1,000 stays: other split basis"
    ]
    assert (facts.restated_values, facts.held_back_values) == (2, 1)
    assert "1 value of later deliveries not published" in report_page(facts)


def test_a_lake_made_before_the_rule_is_made_again_from_its_deliveries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with new_lake() as lake:
        lake.receive(first(), again(volume=7000.0))
        lake.split(Split("A", EXECUTED, 7.0))
        with monkeypatch.context() as earlier:
            earlier.setattr("batch.lake.bases.settle", lambda rows, *_: Settled(rows, {}))
            for module in ("consolidator.plan", "consolidator.publish", "audit.status"):
                earlier.setattr(f"batch.{module}.RESULTS_VERSION", "2")
            lake.run()
        assert only_bar(lake)["volume"] == 7000.0
        known = Lake(lake.store).bars("1d", as_of=EVE + timedelta(days=30))

        lake.run()

        assert known["volume"].to_list() == [1000.0]
        assert only_bar(lake)["volume"] == 1000.0
        assert_lake(lake, lake.expected())


def test_restatements_of_an_earlier_version_are_named_until_they_are_made_again(
    any_lake: ObjectStore,
) -> None:
    lake = Filled(any_lake)
    lake.receive(first(), again(volume=1200.0))
    with pytest.MonkeyPatch.context() as earlier:
        for module in ("consolidator.plan", "consolidator.publish"):
            earlier.setattr(f"batch.{module}.RESULTS_VERSION", "2")
        lake.run()
    key = "silver/restatements/year=2025/data.parquet"
    content = BytesIO()
    pl.read_parquet(BytesIO(any_lake.read(key))).drop("reason").write_parquet(content)
    any_lake.write(key, content.getvalue())

    status = read_status(any_lake, now=EVE)
    found = verify(any_lake, calendar=load_calendar()).differences
    with pytest.raises(DataRefused, match="ohlcv consolidate --full"):
        Lake(any_lake).restatements()
    lake.run()

    assert any("another version" in problem for problem in status.problems)
    assert (status.restated, status.restatements) == ({}, 1)
    assert "reason" in str([one.found for one in found if one.table == "restatements"])
    assert verify(any_lake, calendar=load_calendar()).differences == []
    assert Lake(any_lake).restatements()["reason"].to_list() == [None]


@pytest.mark.slow
def test_histories_have_values_on_other_bases() -> None:
    seen: Counter[str] = Counter()

    @settings(max_examples=150, phases=[Phase.generate], database=None)
    @given(histories())
    def count(history: History) -> None:
        sent = [
            Sent(one.received_at, one.source, day, tuple(r for r in one.rows if r["date"] == day))
            for one in history.receipts
            for day in sorted({row["date"] for row in one.rows if row["date"]})
        ]
        for row in oracle.Lake.of(sent, history.splits).restatements:
            if row["reason"]:
                seen[row["reason"]] += 1
                seen[row["field"]] += 1
                seen["reverse" if row["new"] and row["new"] < row["old"] else "forward"] += 1
                seen["years later"] += row["received_at"].year > row["date"].year

    count()

    wanted = {OTHER_BASIS, CONTRADICTORY, *PRICES, "volume", "vwap", "reverse", "forward"}
    assert {name for name in wanted | {"years later"} if not seen[name]} == set(), seen
