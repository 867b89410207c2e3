"""Backfilling from flat files on an S3 of their own."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from uuid import uuid4

import boto3
import polars as pl
import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import Interrupted, SettingsError
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.runtime.progress import Silent, StopRequested, never
from batch.storage.local import LocalStore
from batch.storage.s3 import S3Store
from batch.storage.store import ObjectStore
from fetchers.context import FetchContext
from fetchers.errors import KeyMissing, VendorDenied
from fetchers.fetch import fetch
from fetchers.flat_files import read_session
from fetchers.request import FetchRequest, SessionRange
from fetchers.results import Fetched
from fetchers.settings import FetchSettings
from simulation.vendor_market import SyntheticMarket
from tests.fetchers.support import NEW_YORK, Clock, deliveries, new_york, sessions_in

KEYS = {"POLYGON_S3_ACCESS_KEY_ID": "flat", "POLYGON_S3_SECRET_ACCESS_KEY": "flat-secret"}
FIRST, LAST = date(2024, 12, 20), date(2025, 1, 15)
NOW = new_york(date(2025, 1, 16), 12)


def flat_file(rows: pl.DataFrame, session: date) -> bytes:
    """Write rows as the vendor's flat file."""
    midnight = datetime.combine(session, datetime.min.time(), tzinfo=NEW_YORK)
    content = rows.select(
        pl.col("symbol").alias("ticker"),
        pl.col("volume").cast(pl.Int64),
        "open",
        "close",
        "high",
        "low",
        pl.lit(int(midnight.timestamp()) * 1_000_000_000).alias("window_start"),
        pl.col("trades").alias("transactions"),
    ).write_csv()
    return gzip.compress(content.encode())


class FlatBucket:
    """A vendor's bucket that is filled from the synthetic exchange."""

    def __init__(self, endpoint: str, calendar: Calendar) -> None:
        self.bucket = f"flat-{uuid4().hex[:10]}"
        self.calendar = calendar
        self.settings = FetchSettings(
            flat_files_url=endpoint, flat_files_bucket=self.bucket, downloads=4
        )
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id="x",
            aws_secret_access_key="x",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket=self.bucket)
        self.market = SyntheticMarket(
            symbols=30, first=date(2024, 11, 1), seed=5, calendar=calendar
        )
        for session in calendar.sessions_between(FIRST, LAST):
            self.put(session, flat_file(self.market.rows(session, NOW), session))

    def put(self, session: date, content: bytes) -> None:
        key = f"{self.settings.flat_files_prefix}/{session:%Y/%m}/{session}.csv.gz"
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content)

    def fill(
        self,
        store: ObjectStore,
        *,
        keys: Mapping[str, str] = KEYS,
        wanted: SessionRange | None = SessionRange(FIRST, date(2025, 1, 16)),  # noqa: B008
        stop_requested: StopRequested = never,
        now: datetime = NOW,
    ) -> Fetched:
        """Fetch, and raise what ended it early."""
        context = FetchContext(
            store, self.settings, self.calendar, Silent(), stop_requested, Clock(now)
        )
        fetched = fetch(context, keys, FetchRequest(wanted, flat_files=True))
        fetched.require_success(strict=False)
        return fetched


@pytest.fixture
def flat(s3_endpoint: str, calendar: Calendar) -> FlatBucket:
    return FlatBucket(s3_endpoint, calendar)


@pytest.mark.slow
def test_a_range_of_flat_files_becomes_deliveries(
    flat: FlatBucket, any_lake: ObjectStore, calendar: Calendar
) -> None:
    fetched = flat.fill(any_lake)

    assert fetched.bars is not None
    wanted = calendar.sessions_between(FIRST, LAST)
    assert fetched.bars.new_sessions == wanted
    assert fetched.problems == []
    assert sessions_in(any_lake) == [str(session) for session in wanted]
    (delivery,) = [found for found in deliveries(any_lake) if found.session == LAST]
    with any_lake.local_copy(delivery.key) as path:
        kept = pl.read_parquet(path)
    truth = flat.market.rows(LAST, NOW)
    assert delivery.sender == "polygon-flat"
    assert kept.select("symbol", "open", "high", "low", "close", "trades").equals(
        truth.select("symbol", "open", "high", "low", "close", "trades")
    )
    assert kept["vwap"].null_count() == kept.height


def test_a_session_counts_once_its_file_is_due_the_next_morning(
    flat: FlatBucket, lake: LocalStore
) -> None:
    flat.fill(lake, now=new_york(LAST, 18))

    assert sessions_in(lake)[-1] == "2025-01-14"


def test_filling_again_reads_only_what_is_missing(flat: FlatBucket, lake: LocalStore) -> None:
    flat.fill(lake)
    before = list(lake.list(""))

    again = flat.fill(lake)

    assert again.bars is not None
    assert again.bars.planned == ()
    assert list(lake.list("")) == before


def test_a_corrected_flat_file_that_is_fetched_again_wins(
    flat: FlatBucket, lake: LocalStore
) -> None:
    one = SessionRange(LAST, LAST, again=True)
    for volume in (4.0, 3.0, 2.0, 1.0):
        flat.put(LAST, flat_file(flat.market.rows(LAST, NOW).with_columns(volume=volume), LAST))
        flat.fill(lake, wanted=one, now=NOW + timedelta(hours=5 - volume))

    consolidate(lake, calendar=flat.calendar)

    assert Lake(lake).bars("1d")["volume"].unique().to_list() == [1.0]


@pytest.mark.slow
def test_a_stopped_backfill_is_continued(flat: FlatBucket, lake: LocalStore) -> None:
    with pytest.raises(Interrupted):
        flat.fill(lake, stop_requested=lambda: len(deliveries(lake)) >= 5)
    some = len(deliveries(lake))

    flat.fill(lake)

    wanted = flat.calendar.sessions_between(FIRST, LAST)
    assert 5 <= some < len(wanted)
    assert len(deliveries(lake)) == len(wanted)


@pytest.mark.slow
def test_a_damaged_file_is_named_and_the_others_go_on(flat: FlatBucket, lake: LocalStore) -> None:
    bad = date(2025, 1, 6)
    flat.put(bad, flat_file(flat.market.rows(bad, NOW), bad)[:200])

    fetched = flat.fill(lake)

    assert len(fetched.problems) == 1
    assert "2025-01-06.csv.gz: damaged or cut off" in fetched.problems[0]
    assert "2025-01-06" not in sessions_in(lake)
    assert "2025-01-07" in sessions_in(lake)


def test_a_file_of_another_day_is_refused(flat: FlatBucket, lake: LocalStore) -> None:
    bad = date(2025, 1, 6)
    flat.put(bad, flat_file(flat.market.rows(date(2025, 1, 3), NOW), date(2025, 1, 3)))

    fetched = flat.fill(lake)

    assert "expected bars of 2025-01-06 alone" in fetched.problems[0]
    assert "2025-01-06" not in sessions_in(lake)


@pytest.mark.slow
def test_a_missing_file_is_noted_as_incomplete(flat: FlatBucket, lake: LocalStore) -> None:
    flat.client.delete_object(
        Bucket=flat.bucket,
        Key=f"{flat.settings.flat_files_prefix}/2025/01/2025-01-06.csv.gz",
    )

    fetched = flat.fill(lake)

    assert fetched.bars is not None
    assert [note.summary for note in fetched.bars.incomplete] == [
        "2025-01-06 is incomplete: no file"
    ]


def test_without_keys_or_a_range_nothing_is_requested(flat: FlatBucket, lake: LocalStore) -> None:
    with pytest.raises(KeyMissing, match="POLYGON_S3_ACCESS_KEY_ID"):
        flat.fill(lake, keys={})
    with pytest.raises(SettingsError, match="--flat-files fills a range"):
        flat.fill(lake, wanted=None)


def test_refused_keys_fail_at_once_and_are_not_shown(
    flat: FlatBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError

    store = S3Store.at_endpoint(
        flat.settings.flat_files_url,
        flat.bucket,
        "",
        access_key_id="flat",
        secret_key="flat-secret",
    )

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadObject")

    monkeypatch.setattr(store.client, "head_object", refuse)

    with pytest.raises(VendorDenied, match="check the S3 keys") as failure:
        read_session(store, FIRST)

    assert "flat-secret" not in str(failure.value)
