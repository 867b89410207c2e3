"""What is dropped becomes deliveries, once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from batch.consolidator.job import consolidate
from batch.core import schema
from batch.core.errors import SettingsError
from batch.core.layout import BRONZE, DIVIDENDS, STAGED, TICKERS, UPLOAD_RULES, Delivery
from batch.core.sessions import load_calendar
from batch.lake.reference import add_splits, read_reference, read_splits
from batch.storage.local import LocalStore
from batch.storage.s3 import S3Store
from batch.storage.store import ObjectStore
from fetchers.files.refusals import Code
from fetchers.uploads.bucket import BucketDrop
from fetchers.uploads.drop import Upload
from fetchers.uploads.receipts import Example, State, claim, read_receipt, release
from fetchers.uploads.settle import Settled, settle
from fetchers.uploads.sweep import sweep
from tests.support.bars import bar
from tests.support.imports import take_files
from tests.support.lakes import rows_of, versions
from tests.support.uploads import MadeDrop, csv_of, round_of

DAY, NEXT = date(2025, 1, 14), date(2025, 1, 15)
AT = datetime(2025, 1, 16, 14, tzinfo=UTC)


def deliveries(lake: ObjectStore) -> list[Delivery]:
    return [one for item in lake.list(BRONZE) if (one := Delivery.parse(item.key))]


def test_a_dropped_file_lands_as_an_import_of_it_does(
    any_lake: ObjectStore, drop: MadeDrop
) -> None:
    content = csv_of(bar("A", DAY), bar("B", DAY), bar("A", NEXT), bar("A", NEXT, volume=-1))
    upload = drop.put("vendor/bars.csv", content, AT)
    other = LocalStore(drop.folder / "other")
    (drop.folder / "bars.csv").write_bytes(content)

    any_lake.write(UPLOAD_RULES, b"[sources.vendor]\nmax_refused_share = 0.5\n")
    settled = round_of(any_lake, drop, [upload], AT)
    take_files(
        other,
        drop.folder / "bars.csv",
        load_calendar(),
        source="vendor",
        received_at=AT,
        now=AT,
        max_refused_share=1,
    )

    (receipt,) = settled.landed
    assert receipt.state is State.LANDED
    assert (receipt.rows, receipt.refused_rows, receipt.deliveries) == (3, 1, 2)
    landed = [item.key for item in any_lake.list("bronze/")]
    assert landed == [item.key for item in other.list("bronze/")]
    assert all(any_lake.read(key) == other.read(key) for key in landed)
    assert list(any_lake.list(STAGED)) == []


def test_a_copy_and_a_touched_file_are_nothing_new(lake: LocalStore, drop: MadeDrop) -> None:
    content = csv_of(bar("A", DAY), bar("A", NEXT))
    first = drop.put("vendor/bars.csv", content, AT)
    touched = drop.put("vendor/bars.csv", content, AT + timedelta(hours=1))
    copy = drop.put("vendor/copy of bars.csv", content, AT + timedelta(hours=2))

    together = round_of(lake, drop, [first, touched], AT)
    later = round_of(lake, drop, [copy], AT + timedelta(hours=2))

    again = settle(lake, drop, calendar=load_calendar(), now=AT)

    assert again == Settled()
    assert [one.id for one in together.landed] == [first.id]
    assert [one.id for one in together.nothing_new] == [touched.id]
    assert [one.state for one in later.nothing_new] == [State.NOTHING_NEW]
    assert len(deliveries(lake)) == 2


def test_what_comes_back_after_another_value_lands_again(lake: LocalStore, drop: MadeDrop) -> None:
    contents = [csv_of(bar("A", DAY, close)) for close in (10.0, 11.0, 10.0)]
    for hour, content in enumerate(contents):
        upload = drop.put("vendor/A.csv", content, AT + timedelta(hours=hour))
        round_of(lake, drop, [upload], AT)

    assert len(deliveries(lake)) == 3


def test_an_upload_is_inspected_and_landed_once(lake: LocalStore, drop: MadeDrop) -> None:
    upload = drop.put("vendor/A.csv", csv_of(bar("A", DAY)), AT)
    round_of(lake, drop, [upload, upload], AT)
    settled = versions(lake)

    again = round_of(lake, drop, [upload], AT + timedelta(days=1))

    assert versions(lake) == settled
    assert not again.landed
    kept = read_receipt(lake, upload.id)
    assert kept
    assert (kept.receipt.state, kept.receipt.attempts) == (State.LANDED, 1)


def publish(lake: ObjectStore) -> None:
    consolidate(lake, calendar=load_calendar())


@pytest.mark.slow
def test_a_hundred_files_at_once_land_gathered_in_one_consolidation(
    lake: LocalStore, drop: MadeDrop
) -> None:
    uploads = [
        drop.put(
            f"vendor/S{number}.csv",
            csv_of(*(bar(f"S{number}", day, 10.0 + number) for day in (DAY, NEXT))),
            AT + timedelta(milliseconds=number),
        )
        for number in range(100)
    ]

    settled = round_of(lake, drop, uploads, AT)
    done = consolidate(lake, calendar=load_calendar())

    assert [one.deliveries for one in settled.landed] == [2] * 100
    assert [one.received_at for one in deliveries(lake)] == [uploads[-1].uploaded_at] * 2
    assert done.deliveries_read == 2
    assert sum(part.rows for part in done.published if part.table == "1d") == 200
    assert not list(lake.list(STAGED))


def test_a_late_file_that_belongs_inside_gathered_ones_overrides_what_is_before_it_alone(
    lake: LocalStore, drop: MadeDrop
) -> None:
    def put(symbols: str, second: int, close: float) -> Upload:
        rows = (bar(symbol, DAY, close) for symbol in symbols)
        return drop.put(f"vendor/{symbols}.csv", csv_of(*rows), AT + timedelta(seconds=second))

    first, late, last = put("A", 0, 10.0), put("AB", 1, 11.0), put("B", 2, 12.0)

    round_of(lake, drop, [first, last], AT)
    round_of(lake, drop, [late], AT)
    publish(lake)

    closes = {row["symbol"]: row["close"] for row in rows_of(lake, "1d")}
    assert closes == {"A": 11.0, "B": 12.0}


def test_a_repeated_file_lands_once_an_older_one_that_differs_has_come(
    lake: LocalStore, drop: MadeDrop
) -> None:
    def put(close: float, hour: int) -> Upload:
        at = AT + timedelta(hours=hour)
        return drop.put("vendor/A.csv", csv_of(bar("A", DAY, close)), at)

    first, late, repeated = put(10.0, 0), put(11.0, 1), put(10.0, 2)
    assert round_of(lake, drop, [first, repeated], AT).nothing_new[0].id == repeated.id

    settled = round_of(lake, drop, [late], AT)
    publish(lake)

    assert {one.id for one in settled.landed} == {late.id, repeated.id}
    assert rows_of(lake, "1d")[0]["close"] == 10.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "to", "expected"),
    [
        (1, 11.0, State.LANDED),  # 1 of 100 is 1 %, not more
        (2, 11.0, State.HELD),
        (2, 10.05, State.LANDED),  # by 0.5 %, not more
        (2, 10.0501, State.HELD),
        (2, 9.9499, State.HELD),
        (2, 5.0, State.LANDED),  # on the basis of a split that is on record
    ],
)
def test_the_guard_holds_what_changes_more_than_it_may(
    changed: int, to: float, expected: State, lake: LocalStore, drop: MadeDrop
) -> None:
    names = [f"S{number}" for number in range(100)]
    splits = pl.DataFrame(
        {
            "symbol": names[:2],
            "date": [date(2025, 1, 16)] * 2,
            "split_from": [1.0, 1.0],
            "split_to": [2.0, 2.0],
        }
    )
    add_splits(lake, splits, label="test")
    bars = [bar(name, DAY) for name in names]
    round_of(lake, drop, [drop.put("v/all.csv", csv_of(*bars), AT - timedelta(days=1))], AT)
    publish(lake)
    volume = 200.0 if to == 5.0 else 100.0
    bars[:changed] = [bar(name, DAY, to, volume=volume) for name in names[:changed]]

    round_of(lake, drop, [upload := drop.put("v/all.csv", csv_of(*bars), AT)], AT)

    kept = read_receipt(lake, upload.id)
    assert kept
    assert kept.receipt.state is expected
    if expected is State.HELD:
        assert kept.receipt.finding
        assert kept.receipt.finding.code is Code.RESTATES_TOO_MUCH
        assert kept.receipt.examples == tuple(
            Example(name, DAY, 10.0, to) for name in names[:changed]
        )


def test_what_a_later_file_has_said_already_is_not_held(lake: LocalStore, drop: MadeDrop) -> None:
    late = drop.put("v/A.csv", csv_of(bar("A", DAY, 99.0)), AT - timedelta(hours=1))
    round_of(lake, drop, [drop.put("v/A.csv", csv_of(bar("A", DAY)), AT)], AT)
    publish(lake)

    settled = round_of(lake, drop, [late], AT)

    assert [one.id for one in settled.landed] == [late.id]


@pytest.mark.parametrize(("unknown", "is_held"), [(1, False), (5, False), (6, True)])
def test_the_guard_holds_a_file_with_many_symbols_that_the_lake_does_not_know(
    unknown: int, is_held: bool, lake: LocalStore, drop: MadeDrop
) -> None:
    known = [bar(f"S{number}", DAY) for number in range(100)]
    round_of(lake, drop, [drop.put("v/all.csv", csv_of(*known), AT - timedelta(days=1))], AT)
    publish(lake)
    others = [bar(f"OLD{number}", NEXT) for number in range(unknown)]
    rows = [bar(f"S{number}", NEXT) for number in range(100 - unknown)] + others

    settled = round_of(lake, drop, [drop.put("v/all.csv", csv_of(*rows), AT)], AT)

    assert [one.finding.code for one in settled.held if one.finding] == (
        [Code.RESTATES_TOO_MUCH] if is_held else []
    )
    released = [release(lake, one.id, now=AT) for one in settled.held]
    assert len(round_of(lake, drop, [], AT).landed) == len(released)


def test_splits_dividends_and_tickers_land_in_their_tables_and_an_older_file_undoes_nothing(
    lake: LocalStore, drop: MadeDrop
) -> None:
    def put(name: str, text: str, hour: int) -> Upload:
        return drop.put(f"v/{name}.csv", text.encode(), AT + timedelta(hours=hour))

    splits = "ticker,execution_date,split_from,split_to\nA,2025-01-14,1,{}\n{}"
    late = put("splits", splits.format(3, "B,2025-01-14,1,5\n"), 0)
    newer = put("splits", splits.format(2, ""), 1)
    dividends = put("dividends", "ticker,ex_dividend_date,cash_amount\nA,2025-01-14,0.5\n", 2)
    tickers = put("tickers", "ticker,name,type\nA,A Company,CS\n", 3)
    copy = put("copy of splits", splits.format(2, ""), 4)

    first = round_of(lake, drop, [newer, dividends, tickers, copy], AT)
    second = round_of(lake, drop, [late], AT)

    assert [one.id for one in first.landed] == [newer.id, dividends.id, tickers.id]
    assert [one.id for one in first.nothing_new] == [copy.id]
    assert [one.id for one in second.landed] == [late.id]
    assert read_splits(lake).select("symbol", "ratio").rows() == [("A", 2.0), ("B", 5.0)]
    assert read_reference(lake, DIVIDENDS, schema.DIVIDENDS)["cash_amount"].to_list() == [0.5]
    assert read_reference(lake, TICKERS, schema.TICKERS)["name"].to_list() == ["A Company"]


def test_a_stretch_of_sessions_at_a_time_lands_what_all_at_once_does(
    lake: LocalStore, drop: MadeDrop, tmp_path: Path
) -> None:
    days = load_calendar().sessions_between(date(2020, 1, 1), date(2020, 3, 1))
    rows = [bar(symbol, day) for day in days for symbol in "ABC"]
    upload = drop.put("v/all.csv", csv_of(*rows, bar("A", DAY, volume=-1.0)), AT)
    other = LocalStore(tmp_path / "other")

    round_of(other, drop, [upload], AT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fetchers.uploads.settle.ROWS_AT_ONCE", 20)
        round_of(lake, drop, [upload], AT)

    landed = {item.key: lake.read(item.key) for item in lake.list("bronze/")}
    assert landed == {item.key: other.read(item.key) for item in other.list("bronze/")}
    assert len(landed) == len(days) + 1


def test_the_sweep_finds_what_was_lost_and_what_does_not_end(
    lake: LocalStore, drop: MadeDrop
) -> None:
    lost, taken, dead = (
        drop.put(f"v/{name}.csv", csv_of(bar(name, DAY)), AT) for name in ("L", "T", "D")
    )
    round_of(lake, drop, [taken], AT)
    claim(lake, dead, now=AT)

    soon, later = (sweep(lake, drop, now=AT + timedelta(hours=hours)) for hours in (0.5, 6.5))

    assert [one.id for one in soon.missed] == [lost.id]
    assert {one.id for one in later.missed} == {lost.id, dead.id}
    assert [one.id for one in soon.overdue] == []
    assert [one.id for one in later.overdue] == [dead.id]


@pytest.mark.slow
def test_every_version_in_a_bucket_is_an_upload_and_a_bucket_without_versions_is_refused(
    s3_lake: ObjectStore,
) -> None:
    assert isinstance(s3_lake, S3Store)
    client, bucket = s3_lake.client, s3_lake.bucket
    drop = BucketDrop.named(bucket)
    with pytest.raises(SettingsError, match="put-bucket-versioning"):
        list(drop.list())
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    contents = [csv_of(bar("A", DAY, close)) for close in (10.0, 11.0, 10.0)]
    for content in contents:
        client.put_object(Bucket=bucket, Key="uploads/v/A b&c.csv", Body=content)
    for key in ("uploads/v/", "uploads/v/x.part", "uploads/.x.csv", "elsewhere/x.csv"):
        client.put_object(Bucket=bucket, Key=key, Body=b"" if key.endswith("/") else b"1")
    client.put_object(Bucket=bucket, Key="uploads/page.csv", Body=b"<html>")
    client.delete_object(Bucket=bucket, Key="uploads/v/A b&c.csv")

    uploads = sorted(drop.list(), key=lambda one: one.uploaded_at)
    now = max(one.uploaded_at for one in uploads)
    settled = round_of(s3_lake, drop, uploads, now)

    names = sorted((one.source, one.key) for one in uploads)
    assert names == [("drop", "uploads/page.csv"), *[("v", "uploads/v/A b&c.csv")] * 3]
    assert [one.deliveries for one in settled.landed] == [1, 1, 1]
    (refused,) = settled.quarantined
    day = f"{refused.upload.uploaded_at:%Y-%m-%d}"
    assert s3_lake.read(f"quarantine/{day}/{refused.id}/object") == b"<html>"
    publish(s3_lake)
    assert rows_of(s3_lake, "1d")[0]["close"] == 10.0
