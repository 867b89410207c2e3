"""The lakes that the measurements run on, made once through the code that users run."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from batch.core.sessions import load_calendar
from batch.lake.landing import land
from batch.lake.reference import add_splits
from batch.storage.local import LocalStore
from benchmarks.measure import ContenderFailed, Measured, job_command, measure
from simulation.exchange import ExchangeSpec, SyntheticExchange

DATA = Path(__file__).parent / "data"

FULL_INTERVALS = (3, 5, 8, 13, 21, 34)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A lake of the synthetic exchange, one delivery per session and nothing to correct.

    Attributes:
        name: Folder under ``benchmarks/data``.
        symbols: Seats of the exchange; about 95 % are listed at any time.
        first: First date.
        last: Last date.
    """

    name: str
    symbols: int
    first: date
    last: date

    @property
    def lake(self) -> Path:
        """Where the lake is: bronze, splits and consolidated daily bars."""
        return DATA / self.name

    @property
    def spec(self) -> ExchangeSpec:
        """The exchange that it is made from."""
        return ExchangeSpec(symbols=self.symbols, first=self.first, last=self.last)


QUICK = Dataset("quick", 4_000, date(2016, 1, 4), date(2019, 12, 31))
TEN_YEARS = Dataset("ten-years", 8_300, date(2010, 1, 4), date(2019, 12, 31))
TWENTY_FIVE_YEARS = Dataset("twenty-five-years", 8_300, date(1995, 1, 3), date(2019, 12, 31))


def ensure(dataset: Dataset) -> Path:
    """Return a lake's folder; land its deliveries if that was not done yet, and consolidate."""
    done = dataset.lake / "_benchmark.json"
    wanted = {**asdict(dataset.spec), "first": str(dataset.first), "last": str(dataset.last)}
    if not (done.exists() and json.loads(done.read_text()) == wanted):
        shutil.rmtree(dataset.lake, ignore_errors=True)
        started = time.monotonic()
        rows = _fill(dataset)
        tell(f"{dataset.name}: {rows:,} rows landed in {time.monotonic() - started:.0f} s")
        done.write_text(json.dumps(wanted))
    try:
        consolidated(dataset.lake)
    except ContenderFailed as err:
        tell(f"{dataset.name}: consolidated by another version, made again ({err})")
        for folder in ("_state", "silver"):
            shutil.rmtree(dataset.lake / folder)
        consolidated(dataset.lake)
    return dataset.lake


def consolidated(lake: Path) -> Measured:
    """Consolidate a lake in a process of its own."""
    return measure(job_command("consolidate", lake))


def copy_of(lake: Path, name: str, *, leave_out: Iterable[str] = ()) -> Path:
    """Make a lake that shares its files with another one; jobs replace files, never edit them.

    Args:
        lake: What to copy.
        name: Folder of the copy under ``benchmarks/data``; an old one is removed.
        leave_out: Folders, relative to the lake, that the copy should not have.
    """
    copy = DATA / name
    shutil.rmtree(copy, ignore_errors=True)
    left_out = {lake / folder for folder in leave_out}

    def passed_over(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder) / name in left_out]

    shutil.copytree(lake, copy, copy_function=os.link, ignore=passed_over)
    return copy


def years_of(lake: Path, name: str, first: date, last: date) -> Path:
    """Make a lake from the deliveries of another one between two dates, consolidated."""
    copy = DATA / name
    shutil.rmtree(copy, ignore_errors=True)
    for folder in sorted((lake / "bronze/daily").iterdir()):
        if first <= date.fromisoformat(folder.name.removeprefix("date=")) <= last:
            shutil.copytree(folder, copy / "bronze/daily" / folder.name, copy_function=os.link)
    shutil.copytree(lake / "reference", copy / "reference", copy_function=os.link)
    consolidated(copy)
    return copy


def land_sessions(lake: Path, exchange: SyntheticExchange, sessions: Iterable[date]) -> int:
    """Land sessions as a vendor without corrections would; returns the number of rows."""
    calendar = load_calendar()
    store = LocalStore(lake)
    rows = 0
    for session in sessions:
        landed = land(
            store,
            exchange.session_rows(session),
            received_at=calendar.close_of(session) + timedelta(hours=1),
            source="synthetic",
            calendar=calendar,
        )
        rows += landed.accepted_rows
    return rows


def land_splits(lake: Path, exchange: SyntheticExchange) -> None:
    """Put the exchange's splits into the reference table."""
    splits: pl.DataFrame = exchange.splits()
    add_splits(LocalStore(lake), splits, label="the synthetic exchange")


def delivery_files(dataset: Dataset, count: int) -> list[Path]:
    """Return a vendor's files of the first sessions of a dataset, as compressed CSV."""
    folder = DATA / f"{dataset.name}-files"
    exchange = SyntheticExchange(dataset.spec, load_calendar())
    files = []
    for session in exchange.sessions[:count]:
        path = folder / f"{session}.csv.gz"
        files.append(path)
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            text = exchange.session_rows(session).drop("vwap", "trades").write_csv()
            path.write_bytes(gzip.compress(text.encode(), 6))
    return files


def daily_rows(lake: Path) -> int:
    """Count the consolidated daily bars of a lake."""
    return int(pl.scan_parquet(lake / "silver/1d/*/*.parquet").select(pl.len()).collect().item())


def tell(text: str) -> None:
    """Tell on stderr what is going on."""
    print(text, file=sys.stderr, flush=True)


def _fill(dataset: Dataset) -> int:
    exchange = SyntheticExchange(dataset.spec, load_calendar())
    rows = land_sessions(dataset.lake, exchange, exchange.sessions)
    land_splits(dataset.lake, exchange)
    return rows
