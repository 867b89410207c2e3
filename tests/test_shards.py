"""Any number of processes that share a job leave the same bytes as one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import SettingsError, SharedWorkStalled
from batch.core.layout import Anchor
from batch.core.sessions import Calendar
from batch.lake.landing import land
from batch.lake.reference import add_splits
from batch.resampler.job import resample
from batch.runtime.settings import ConsolidatorSettings, ResamplerSettings
from batch.runtime.shards import Shard
from batch.storage.local import LocalStore
from simulation.exchange import ExchangeSpec, SyntheticExchange

SPEC = ExchangeSpec(symbols=15, first=date(2013, 11, 1), last=date(2017, 2, 15))


def fill(store: LocalStore, calendar: Calendar) -> None:
    exchange = SyntheticExchange(SPEC, calendar)
    for session in exchange.sessions[::4]:
        land(
            store,
            exchange.session_rows(session),
            received_at=calendar.close_of(session),
            source="test",
            calendar=calendar,
        )
    add_splits(store, exchange.splits(), label="test")


def silver(store: LocalStore) -> dict[str, bytes]:
    return {item.key: store.read(item.key) for item in store.list("silver/")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> LocalStore:
    store = LocalStore(tmp_path_factory.mktemp("whole") / "lake")
    fill(store, calendar)
    consolidate(store, calendar=calendar)
    resample(store, intervals=[3, 34], calendar=calendar)
    resample(store, intervals=[5], anchor=Anchor.LISTING, calendar=calendar)
    return store


@pytest.mark.parametrize("count", [2, 3, 7])
def test_any_number_of_shards_leaves_the_bytes_of_one(
    whole: LocalStore, tmp_path: Path, calendar: Calendar, count: int
) -> None:
    store = LocalStore(tmp_path / "lake")
    fill(store, calendar)
    shards = [Shard(index, count) for index in range(count)]

    with ThreadPoolExecutor(count) as pool:
        daily = list(
            pool.map(lambda shard: consolidate(store, shard=shard, calendar=calendar), shards)
        )
        list(
            pool.map(
                lambda shard: resample(store, intervals=[3, 34], shard=shard, calendar=calendar),
                shards,
            )
        )
        list(
            pool.map(
                lambda shard: resample(
                    store, intervals=[5], anchor=Anchor.LISTING, shard=shard, calendar=calendar
                ),
                shards,
            )
        )

    assert silver(store) == silver(whole)
    assert sum(len(outcome.published) for outcome in daily) == 5
    assert list(store.list("_state/arrivals/")) == []
    alone = consolidate(store, calendar=calendar)
    bars = resample(store, intervals=[3, 34], calendar=calendar)
    assert (alone.published, bars.published) == ((), ())


def test_shards_share_a_full_rebuild(whole: LocalStore, calendar: Calendar) -> None:
    before = silver(whole)

    with ThreadPoolExecutor(3) as pool:
        outcomes = list(
            pool.map(
                lambda index: consolidate(
                    whole, full=True, shard=Shard(index, 3), calendar=calendar
                ),
                range(3),
            )
        )

    assert sorted(part.year for done in outcomes for part in done.published) == [*range(2013, 2018)]
    assert silver(whole) == before


def test_a_shard_that_waits_too_long_names_the_one_it_waits_for(
    tmp_path: Path, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path / "lake")
    fill(store, calendar)
    monkeypatch.setattr("batch.consolidator.job.STALLED_AFTER_S", 0.01)

    with pytest.raises(SharedWorkStalled, match="year 2013 is the work of shard 1 of 2"):
        consolidate(store, shard=Shard(0, 2), calendar=calendar)


def test_the_array_index_of_aws_batch_chooses_the_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BATCH_JOB_ARRAY_INDEX", "3")

    assert ResamplerSettings.read(shards=4).this_shard == Shard(3, 4)
    assert ResamplerSettings.read().this_shard == Shard(0, 1)
    assert ConsolidatorSettings.read(shards=4, shard=1).this_shard == Shard(1, 4)
    with pytest.raises(SettingsError, match="OHLCV_SHARD: 3 given, must be below OHLCV_SHARDS"):
        ResamplerSettings.read(shards=2)


def test_as_of_is_the_work_of_one_process(whole: LocalStore, calendar: Calendar) -> None:
    with pytest.raises(SettingsError, match="without --shards"):
        consolidate(whole, as_of=calendar.close_of(SPEC.last), shard=Shard(0, 2), calendar=calendar)


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_every_year_has_one_owner(count: int) -> None:
    years = range(1999, 2026)
    shards = [Shard(index, count) for index in range(count)]

    assert sorted(year for part in shards for year in part.stretch(years)) == [*years]
    assert [sum(part.owns(year) for part in shards) for year in years] == [1] * len(years)
