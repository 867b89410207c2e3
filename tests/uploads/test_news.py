"""What people learn of uploads: each outcome once, in one message, with what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from batch.core.errors import DataRefused
from batch.core.sessions import load_calendar
from batch.storage.local import LocalStore
from fetchers.handlers.uploads import UploadEvent, _another_try, _event_of
from fetchers.uploads.drop import Upload
from fetchers.uploads.inspect import inspect
from fetchers.uploads.news import begin_news, finish_news, keep_settled, settled_in
from fetchers.uploads.receipts import Receipt, State, send_back
from fetchers.uploads.report import Message, message_of
from fetchers.uploads.settle import finish, settle
from tests.support.bars import bar
from tests.support.uploads import MadeDrop, ReadHere, csv_of

DAY = date(2025, 1, 14)
AT = datetime(2025, 1, 16, 14, tzinfo=UTC)
PAGE = b"<!DOCTYPE html><html><body>Too many requests</body></html>"
VAGUE = b"symbol,date,open,high,low,close,volume\nA,03/04/2024,1.5,2.5,1.5,2.5,100\n"


def run(
    lake: LocalStore, drop: MadeDrop, name: str, *uploads: Upload, now: datetime = AT
) -> list[Receipt]:
    """Inspect some uploads and update the lake; returns what is reported."""
    calendar = load_calendar()
    for one in uploads:
        inspect(lake, drop, one, calendar=calendar, now=now, jail=ReadHere())
    begin_news(lake, name)
    keep_settled(lake, name, settle(lake, drop, calendar=calendar, now=now))
    finish(lake, settled_in(lake, name), now=now)
    return finish_news(lake, name)


def states(receipts: list[Receipt]) -> dict[str, State]:
    return {one.upload.key: one.state for one in receipts}


def test_each_outcome_is_reported_once(lake: LocalStore, drop: MadeDrop) -> None:
    good = drop.put("acme/good.csv", csv_of(bar("A", DAY)), AT)
    page = drop.put("acme/page.csv", PAGE, AT)
    vague = drop.put("acme/vague.csv", VAGUE, AT)

    first = run(lake, drop, "first", good, page, vague)
    again = finish_news(lake, "first")
    later = run(lake, drop, "later", drop.put("acme/more.csv", csv_of(bar("B", DAY)), AT))
    send_back(lake, vague.id, now=AT + timedelta(hours=1))
    still_held = run(lake, drop, "still", vague, now=AT + timedelta(hours=2))

    assert states(first) == {
        "acme/good.csv": State.LANDED,
        "acme/page.csv": State.QUARANTINED,
        "acme/vague.csv": State.HELD,
    }
    assert states(again) == states(first)
    assert states(later) == {"acme/more.csv": State.LANDED}
    assert states(still_held) == {"acme/vague.csv": State.HELD}


def test_a_run_that_dies_before_its_message_loses_nothing_of_it(
    lake: LocalStore, drop: MadeDrop
) -> None:
    page = drop.put("acme/page.csv", PAGE, AT)
    inspect(lake, drop, page, calendar=load_calendar(), now=AT, jail=ReadHere())
    begin_news(lake, "dies")
    settle(lake, drop, calendar=load_calendar(), now=AT)

    found = run(lake, drop, "next")

    assert states(found) == {"acme/page.csv": State.QUARANTINED}
    with pytest.raises(DataRefused, match="expected what dies settled, found next"):
        settled_in(lake, "dies")


def test_the_message_names_files_reasons_remedies_and_commands(
    lake: LocalStore, drop: MadeDrop
) -> None:
    good = drop.put("acme/good.csv", csv_of(bar("A", DAY)), AT)
    page = drop.put("acme/näme\nof a page.csv", PAGE, AT)
    vague = drop.put("acme/vague.csv", VAGUE, AT)

    receipts = run(lake, drop, "one", good, page, vague)
    message = message_of(receipts, pipeline="condvest", lake="s3://b/lake")

    assert message is not None
    assert message.subject == "condvest uploads: 1 landed, 1 held, 1 quarantined"
    lines = message.text.splitlines()
    assert f"  acme/good.csv ({good.id[:12]}): 1 row, sessions {DAY} to {DAY}" in lines
    assert f"    ohlcv uploads retry {vague.id[:12]} --lake s3://b/lake" in lines
    assert any(line.startswith("    html: a web page") for line in lines)
    assert any("näme of a page.csv" in line for line in lines)


def test_a_message_of_many_files_is_short_enough(lake: LocalStore, drop: MadeDrop) -> None:
    (one,) = run(lake, drop, "one", drop.put("acme/page.csv", PAGE, AT))
    uploads = [replace(one.upload, key=f"acme/{'x' * 900}{number}") for number in range(3000)]
    many = [replace(one, upload=upload) for upload in uploads]

    message = message_of(many, pipeline="a" * 20, lake="s3://b/lake")

    assert isinstance(message, Message)
    assert len(message.text.encode()) < 256 * 1024
    assert len(message.subject) < 100
    assert "and 2,950 more: ohlcv uploads --lake s3://b/lake" in message.text


def test_the_sweep_makes_an_event_like_that_of_s3(lake: LocalStore, drop: MadeDrop) -> None:
    upload = replace(drop.put("uploads/acme/a.csv", PAGE, AT), root="bucket", source="acme")

    event = _event_of(upload, "")
    made = event["detail"]["object"]
    read = UploadEvent(
        bucket=event["detail"]["bucket"]["name"],
        key=made["key"],
        version=made["version-id"],
        size_bytes=made["size"],
        uploaded_at=event["time"],
    )

    assert read.upload == upload
    assert "again" not in event


def test_another_try_has_a_name_of_its_own(lake: LocalStore, drop: MadeDrop) -> None:
    (held,) = run(lake, drop, "one", drop.put("acme/vague.csv", VAGUE, AT))
    sent_back = replace(held, updated_at=held.claimed_at + timedelta(minutes=1))
    died = replace(held, updated_at=held.claimed_at)
    hour, day = timedelta(hours=1), timedelta(days=1)

    def tries(receipt: Receipt | None) -> set[str]:
        later = AT + timedelta(hours=3)
        return {_another_try(held.upload, receipt, now) for now in (later, later + hour)}

    assert _another_try(held.upload, None, AT) == ""
    assert tries(None) == tries(died) == {"20250116"}
    assert tries(sent_back) == {"25011617", "25011618"}
    assert _another_try(held.upload, died, AT + day) == "20250117"
