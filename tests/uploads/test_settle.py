"""What is dropped becomes deliveries, once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from batch.core.layout import BRONZE, STAGED, UPLOAD_RULES, Delivery
from batch.core.sessions import load_calendar
from batch.runtime.progress import Silent, never
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from fetchers.files.imports import import_files
from fetchers.files.reader import find_files
from fetchers.uploads.receipts import State, read_receipt
from tests.support.bars import bar
from tests.support.lakes import versions
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
    import_files(
        other,
        find_files(str(drop.folder / "bars.csv")),
        calendar=load_calendar(),
        source="vendor",
        received_at=AT,
        now=AT,
        max_refused_share=1,
        workers=1,
        progress=Silent(),
        stop_requested=never,
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
