"""Any number of processes that share a job leave the same bytes as one."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import SettingsError, SharedWorkStalled
from batch.core.layout import Anchor
from batch.core.sessions import Calendar
from batch.lake.landing import land
from batch.lake.manifest import load_daily_manifest
from batch.lake.reference import add_splits
from batch.resampler.job import resample
from batch.runtime.settings import ConsolidatorSettings, ResamplerSettings
from batch.runtime.shards import Shard
from batch.storage.local import LocalStore
from simulation.exchange import ExchangeSpec, SyntheticExchange
from tests.support.bars import land_rows, received_after

pytestmark = pytest.mark.slow

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
def landed(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> Path:
    root = tmp_path_factory.mktemp("landed") / "lake"
    fill(LocalStore(root), calendar)
    return root


@pytest.fixture
def store(landed: Path, tmp_path: Path) -> LocalStore:
    """A lake with deliveries that wait to be consolidated."""
    return LocalStore(shutil.copytree(landed, tmp_path / "lake"))


@pytest.fixture(scope="module")
def whole(landed: Path, tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> LocalStore:
    store = LocalStore(shutil.copytree(landed, tmp_path_factory.mktemp("whole") / "lake"))
    consolidate(store, calendar=calendar)
    resample(store, intervals=[3, 34], calendar=calendar)
    resample(store, intervals=[5], anchor=Anchor.LISTING, calendar=calendar)
    return store


@pytest.mark.parametrize("count", [2, 3, 7])
def test_any_number_of_shards_leaves_the_bytes_of_one(
    whole: LocalStore, store: LocalStore, calendar: Calendar, count: int
) -> None:
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


def test_shards_share_what_a_split_learned_late_changes(tmp_path: Path, calendar: Calendar) -> None:
    store = LocalStore(tmp_path / "lake")
    fill(store, calendar)
    later = calendar.sessions_between(date(2016, 2, 1), date(2016, 2, 5))
    exchange = SyntheticExchange(SPEC, calendar)
    again = [row for session in exchange.sessions[::40] for row in exchange_rows(exchange, session)]
    land_rows(store, again, calendar, received_at=received_after(later[0]))
    consolidate(store, calendar=calendar)
    before = silver(store)
    symbols = sorted({row["symbol"] for row in again})
    splits = {"symbol": symbols, "date": [later[1]] * len(symbols)}
    ratios = {"split_from": [1.0] * len(symbols), "split_to": [2.0] * len(symbols)}
    add_splits(store, pl.DataFrame({**splits, **ratios}), label="late")

    with ThreadPoolExecutor(3) as pool:
        shards = [Shard(index, 3) for index in range(3)]
        list(pool.map(lambda one: consolidate(store, shard=one, calendar=calendar), shards))

    made = silver(store)
    assert {key for key, content in made.items() if before.get(key) != content} >= {
        f"silver/1d/year={year}/data.parquet" for year in (2013, 2014, 2015)
    }
    assert sum(record.held_back for record in load_daily_manifest(store).partitions.values()) > 50
    consolidate(store, full=True, calendar=calendar)
    assert silver(store) == made


def exchange_rows(exchange: SyntheticExchange, session: date) -> list[dict[str, Any]]:
    """Return the rows of a session on the basis of a split of two for one."""
    rows = exchange.session_rows(session).to_dicts()
    return [{**row, "volume": row["volume"] * 2} for row in rows if row["volume"]]


def test_a_shard_that_waits_too_long_names_the_one_it_waits_for(
    store: LocalStore, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
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
