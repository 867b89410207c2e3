"""What a daily run asks of S3, counted at the client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from uuid import uuid4

import boto3
import botocore.client
import pytest

from batch.consolidator.job import consolidate
from batch.core.sessions import Calendar
from batch.lake.landing import land
from batch.resampler.job import resample
from batch.storage.store import ObjectStore, open_store
from simulation.exchange import ExchangeSpec, SyntheticExchange

NEWEST = date(2019, 9, 18)


@contextmanager
def counted_requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    counts: Counter[str] = Counter()
    send = botocore.client.BaseClient._make_api_call

    def counting(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        counts[operation] += 1
        return send(client, operation, arguments)

    with monkeypatch.context() as patch:
        patch.setattr(botocore.client.BaseClient, "_make_api_call", counting)
        yield counts


def lake_with_history(calendar: Calendar, years: int) -> tuple[ObjectStore, SyntheticExchange]:
    bucket = f"lake-{uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    store = open_store(f"s3://{bucket}/daily")
    first = date(NEWEST.year - years + 1, 1, 1)
    exchange = SyntheticExchange(ExchangeSpec(symbols=4, first=first, last=NEWEST), calendar)
    for session in exchange.sessions[::40]:
        land_one(store, exchange, session, calendar)
    consolidate(store, calendar=calendar)
    resample(store, calendar=calendar)
    return store, exchange


def land_one(
    store: ObjectStore, exchange: SyntheticExchange, session: date, calendar: Calendar
) -> None:
    land(
        store,
        exchange.session_rows(session),
        received_at=calendar.close_of(session),
        source="test",
        calendar=calendar,
    )


@pytest.mark.slow
def test_a_daily_run_asks_s3_the_same_whatever_the_history(
    s3_lake: ObjectStore, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    for years in (2, 9):
        store, exchange = lake_with_history(calendar, years)
        land_one(store, exchange, NEWEST, calendar)
        with counted_requests(monkeypatch) as counts:
            daily = consolidate(store, calendar=calendar)
            bars = resample(store, calendar=calendar)
        asked.append(counts)
        assert [part.year for part in daily.published] == [NEWEST.year]
        assert {part.year for part in bars.published} == {NEWEST.year}

    assert asked[0] == asked[1]
    assert asked[0].total() <= 70


def test_a_run_with_nothing_to_do_reads_no_partition(
    s3_lake: ObjectStore, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = lake_with_history(calendar, 3)

    with counted_requests(monkeypatch) as counts:
        consolidate(store, calendar=calendar)
        resample(store, calendar=calendar)

    assert counts.keys() <= {"ListObjectsV2", "HeadObject", "GetObject", "HeadBucket"}
    assert counts.total() <= 40
