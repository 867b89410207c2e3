"""Bringing in files: whose columns are what, when they were received, what is refused."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise, permutations
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pa_dataset
import pytest

from batch.audit.vacuum import plan_vacuum
from batch.consolidator.job import consolidate
from batch.core.errors import DeliveryUnreadable, SettingsError
from batch.core.layout import Delivery
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.lake.reference import read_splits
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from batch.storage.store import ObjectStore
from fetchers.files.columns import recognise_columns, symbol_of_name
from fetchers.files.imports import Import
from fetchers.files.names import days_in_name, instant_in_name
from fetchers.files.reader import find_files, read_file
from fetchers.files.reading import Reading
from orchestration.cli.main import cli
from tests.support.command_line import run_ohlcv
from tests.support.imports import take_files

POLYGON_FLAT_FILE = """ticker,volume,open,close,high,low,window_start,transactions
AAPL,4930,200.29,200.5,200.63,200.29,1744084800000000000,129
NAN,1.5,10,11,12,9,1744084800000000000,3
"""
YAHOO = """Date,Open,High,Low,Close,Adj Close,Volume
2025-04-08,10,12,9,11,10.5,1000
"""
STOOQ = """<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>
AAPL.US,D,20250408,000000,10,12,9,11,1000,0
"""
HOUSE = """symbol,date,open,high,low,close,volume,adj_close
TRUE,2025-04-08,10,12,9,11,1000,5.5
"""


def take(
    store: ObjectStore,
    place: Path,
    calendar: Calendar,
    received_at: datetime | None = None,
    now: datetime | None = None,
    *,
    accept_adjusted: bool = True,
) -> Import:
    return take_files(
        store,
        place,
        calendar,
        received_at=received_at,
        now=now,
        reading=Reading(accept_adjusted=accept_adjusted),
        workers=2,
    )


def bronze(store: LocalStore) -> pl.DataFrame:
    return pl.concat(
        [pl.read_parquet(store.root / item.key) for item in store.list("bronze/daily/")]
    )


@pytest.mark.parametrize(
    ("name", "text", "symbols"),
    [
        ("2025-04-08.csv.gz", POLYGON_FLAT_FILE, ["AAPL", "NAN"]),
        ("MSFT.csv", YAHOO, ["MSFT"]),
        ("aapl.us.txt", STOOQ, ["AAPL"]),
        ("2025-04-08.csv", HOUSE, ["TRUE"]),
    ],
)
def test_the_usual_vendors_columns_are_recognised(
    lake: LocalStore, tmp_path: Path, calendar: Calendar, name: str, text: str, symbols: list[str]
) -> None:
    content = text.encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    outcome = take(lake, path, calendar)

    rows = bronze(lake)
    assert outcome.problems == []
    assert rows["symbol"].to_list() == symbols
    assert rows["date"].unique().to_list() == [date(2025, 4, 8)]
    assert rows.row(-1, named=True)["high"] == 12.0


def test_the_summary_says_which_column_was_taken_for_what() -> None:
    columns = recognise_columns(["T", "o", "h", "l", "c", "v", "t", "vw", "n", "otc"], label="x")

    assert columns.summary == (
        "symbol from 'T', date from 't', open from 'o', high from 'h', low from 'l',"
        " close from 'c', volume from 'v', vwap from 'vw', trades from 'n'; not used: otc"
    )


def test_a_file_without_a_needed_column_says_which() -> None:
    with pytest.raises(DeliveryUnreadable, match="no column for low, volume among"):
        recognise_columns(["symbol", "date", "open", "high", "close"], label="x.csv")


@pytest.mark.parametrize(
    ("stem", "symbol"),
    [
        ("aapl_us_d", "AAPL"),
        ("brk-b.us", "BRK.B"),
        ("AAPL", "AAPL"),
        ("BRK-B", "BRK-B"),
        ("ABCw", "ABCw"),
        ("ABCpA", "ABCpA"),
        ("part-0", None),
        ("prices", None),
        ("Prices", None),
        ("AAPL (1)", None),
    ],
)
def test_a_file_of_one_symbol_is_named_after_it(stem: str, symbol: str | None) -> None:
    assert symbol_of_name(stem) == symbol


@pytest.mark.parametrize(
    ("stamp", "session"),
    [
        ("2025-04-08", date(2025, 4, 8)),
        ("20250408", date(2025, 4, 8)),
        ("04/18/2024", date(2024, 4, 18)),
        ("18/04/2024", date(2024, 4, 18)),
        ("08.04.2025", date(2025, 4, 8)),
        ("2025-04-08 00:00:00", date(2025, 4, 8)),
        ("2025-04-08T00:00:00Z", date(2025, 4, 8)),
        ("2025-04-08T04:00:00Z", date(2025, 4, 8)),
        ("2025-04-08 20:00:00+00:00", date(2025, 4, 8)),
        ("2025-04-08T00:00:00+02:00", date(2025, 4, 8)),
        ("2025-04-08 16:00:00", date(2025, 4, 8)),
        ("2025-04-08 16:00:00 EST", None),
        ("2025-04-08x", None),
        ("2025040816", None),
        ("202504081600", None),
        ("20250408160000", None),
        ("17440848001", None),
        ("638797248000000000", None),
        ("133886016000000000", None),
        ("1744084800", date(2025, 4, 8)),
        ("1744084800000", date(2025, 4, 8)),
        ("1744142400000000000", date(2025, 4, 8)),
        ("next week", None),
    ],
)
def test_dates_are_read_in_every_usual_form(
    tmp_path: Path, stamp: str, session: date | None
) -> None:
    path = tmp_path / "file.csv"
    path.write_text(f"symbol,date,open,high,low,close,volume\nA,{stamp},1,1,1,1,1\n")

    (file,) = find_files(str(path))

    assert read_file(file).rows["date"].to_list() == [session]


@pytest.mark.parametrize(
    ("name", "instant"),
    [
        ("2015-07-16.csv.gz", datetime(2015, 7, 16, 23, 59, 59, tzinfo=UTC)),
        ("day_20150716.csv", datetime(2015, 7, 16, 23, 59, 59, tzinfo=UTC)),
        ("20150716T210500Z-x.parquet", datetime(2015, 7, 16, 21, 5, tzinfo=UTC)),
        (
            "20250109T210500000001Z-polygon-0a1b2c3d4e5f.parquet",
            datetime(2025, 1, 9, 21, 5, 0, 1, tzinfo=UTC),
        ),
        ("2015-07-16 21-05-00.csv", datetime(2015, 7, 16, 21, 5, tzinfo=UTC)),
        ("2015-13-16.csv", None),
        ("AAPL_2020-01-02_2025-01-15.csv", datetime(2025, 1, 15, 23, 59, 59, tzinfo=UTC)),
        ("AAPL_20200102_20250115.csv", datetime(2025, 1, 15, 23, 59, 59, tzinfo=UTC)),
        ("2025-01-15-20250116T021500Z.csv", datetime(2025, 1, 16, 2, 15, tzinfo=UTC)),
        ("AAPL.csv", None),
        ("part-0123456789.csv", None),
        ("a20150716bee0a47d1b5f23e0d9f890b-0.parquet", None),
        ("part-00000-20150716-ee0a-47d1-b5f2-3e0d9f890b31-c000.snappy.parquet", None),
    ],
)
def test_a_file_was_received_at_the_date_in_its_name(name: str, instant: datetime | None) -> None:
    assert instant_in_name(name) == instant


@pytest.mark.parametrize(
    "name",
    [
        "a20150716bee0a47d1b5f23e0d9f890b-0.parquet",
        "part-00000-20150716-ee0a-47d1-b5f2-3e0d9f890b31-c000.snappy.parquet",
    ],
)
def test_digits_of_a_random_name_say_nothing_of_the_dates_in_a_file(name: str) -> None:
    assert days_in_name(name) == frozenset()
    assert days_in_name(f"2015-07-16-{name}") == {date(2015, 7, 16)}


def test_received_is_the_option_else_the_name_else_the_modification_time(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    dated, plain = tmp_path / "2025-04-09.csv", tmp_path / "plain.csv"
    for path in (dated, plain):
        path.write_text(HOUSE)
    os.utime(plain, (1_744_200_000, 1_744_200_000))
    option = datetime(2025, 5, 1, tzinfo=UTC)

    take(lake, dated, calendar)
    take(lake, plain, calendar)
    take(lake, plain, calendar, option)

    stamps = sorted(item.key.rpartition("/")[2][:16] for item in lake.list("bronze/daily/"))
    assert stamps == ["20250409T1200000", "20250409T2359590", "20250501T0000000"]


def test_a_file_that_came_before_its_session_closed_is_a_problem_that_says_why(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    path = tmp_path / "2025-04-08_103000.csv"
    path.write_text(HOUSE)

    outcome = take(lake, path, calendar)
    with_option = take(lake, path, calendar, datetime(2025, 4, 8, 20, tzinfo=UTC))

    (problem,) = outcome.problems
    assert "session not closed when received: 1" in problem
    assert "counts as received at 2025-04-08 10:30 UTC" in problem
    assert with_option.problems == []


def test_a_bad_file_is_a_problem_and_the_others_go_on(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.csv").write_bytes(b"")
    (folder / "b.csv.gz").write_bytes(gzip.compress(HOUSE.encode())[:-12])
    (folder / "c.parquet").write_bytes(b"PAR1 and nothing else")
    (folder / "d.csv").write_text("one,two\n1,2\n")
    (folder / "e.csv.gz").write_bytes(gzip.compress(b""))
    (folder / "good.csv").write_text(HOUSE)

    outcome = take(lake, folder, calendar)

    assert [text.rpartition("/")[2].partition(":")[0] for text in outcome.problems] == [
        "a.csv",
        "b.csv.gz",
        "c.parquet",
        "d.csv",
        "e.csv.gz",
    ]
    assert bronze(lake)["symbol"].to_list() == ["TRUE"]


def test_refused_rows_are_kept_with_their_reasons(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    path = tmp_path / "2025-04-08.csv"
    path.write_text(
        "symbol,date,open,high,low,close,volume\n"
        "GOOD,2025-04-08,10,12,9,11,1000\n"
        "ZERO,2025-04-08,0,12,0,11,1000\n"
        "WORD,2025-04-08,ten,12,9,11,1000\n"
        "HOLI,2025-04-18,10,12,9,11,1000\n"
        ",2025-04-08,10,12,9,11,1000\n"
        "TWICE,2025-04-08,10,12,9,11,1000\n"
        "TWICE,2025-04-08,10,12,9,11,2000\n"
        "SAME,2025-04-08,10,12,9,11,1000\n"
        "SAME,2025-04-08,10,12,9,11,1000\n"
        "UPSIDE,2025-04-08,10,9,12,11,-5\n"
    )

    outcome = take(lake, path, calendar)

    rejected = pl.concat(
        [pl.read_parquet(lake.root / item.key) for item in lake.list("bronze/rejected/")]
    )
    reasons = dict(rejected.select("symbol", "reason").rows())
    assert bronze(lake)["symbol"].to_list() == ["GOOD", "SAME"]
    assert reasons == {
        "ZERO": "price not above zero",
        "WORD": "price null or NaN",
        "HOLI": "not a session of the exchange",
        None: "no symbol",
        "TWICE": "symbol and date twice with different values",
        "UPSIDE": "high below open, low or close; low above open, high or close; volume negative",
    }
    assert "7 of 9 rows refused" in outcome.problems[0]


def test_files_from_before_1970_are_judged_by_the_calendar_of_then(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    path = tmp_path / "1970-01-02.csv"
    days = ("1952-03-02", "1952-03-03", "1970-01-02")  # a Sunday, a Monday, a Friday
    path.write_text(
        "symbol,date,open,high,low,close,volume\n" + "".join(f"A,{day},1,1,1,1,1\n" for day in days)
    )

    outcome = take(lake, path, calendar)

    assert bronze(lake)["date"].to_list() == [date(1952, 3, 3), date(1970, 1, 2)]
    assert dict(outcome.reasons) == {"not a session of the exchange": 1}


def test_importing_again_writes_nothing(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    path = tmp_path / "2025-04-08.csv"
    path.write_text(HOUSE)
    take(lake, path, calendar)
    before = list(lake.list("bronze/"))

    again = take(lake, path, calendar)

    assert (again.deliveries, again.written) == (1, 0)
    assert list(lake.list("bronze/")) == before


def day_file(path: Path, close: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"symbol,date,open,high,low,close,volume\nA,2025-03-14,{close},{close},{close},{close},1\n"
    )
    return path


def closes(store: LocalStore) -> list[float]:
    daily = Lake(store).bars("1d")
    return daily["close"].to_list()


@pytest.mark.parametrize("order", [*permutations([10.0, 11.0, 12.0])])
def test_a_corrected_file_of_the_same_name_replaces_the_values_of_the_older_one(
    lake: LocalStore, tmp_path: Path, calendar: Calendar, order: tuple[float, ...]
) -> None:
    for days, close in enumerate(order):
        path = day_file(tmp_path / "2025-03-14.csv", close)
        take(lake, path, calendar, now=datetime(2025, 3, 15 + days, tzinfo=UTC))
        consolidate(lake, calendar=calendar)
    at_once = {item.key: lake.read(item.key) for item in lake.list("silver/")}

    consolidate(lake, full=True, calendar=calendar)

    changes = Lake(lake).restatements().filter(field="close").select("old", "new").rows()
    assert closes(lake) == [order[-1]]
    assert sorted(changes) == sorted(pairwise(order))
    assert {item.key: lake.read(item.key) for item in lake.list("silver/")} == at_once


@pytest.mark.parametrize("close", [11.0, 12.0, 13.0, 14.0])
def test_of_files_of_one_date_imported_together_the_one_written_last_wins(
    lake: LocalStore, tmp_path: Path, calendar: Calendar, close: float
) -> None:
    corrected = day_file(tmp_path / "files" / "corrected" / "2025-03-14.csv", close)
    first = day_file(tmp_path / "files" / "first" / "2025-03-14.csv", 10.0)
    os.utime(first, (1_742_000_000, 1_742_000_000))
    os.utime(corrected, (1_742_200_000, 1_742_200_000))
    day_file(tmp_path / "files" / "2025-03-20.csv", 20.0)

    take(lake, tmp_path / "files", calendar)
    consolidate(lake, calendar=calendar)

    known = Lake(lake).bars("1d", as_of=datetime(2025, 3, 18, tzinfo=UTC))
    changes = Lake(lake).restatements().filter(field="close").select("old", "new").rows()
    assert known["close"].to_list() == [close]
    assert changes == [(10.0, close), (close, 20.0)]


@pytest.mark.parametrize("close", [11.0, 12.0, 13.0, 14.0])
def test_versions_of_a_bar_in_symbol_folders_keep_their_order_whatever_they_are_dated(
    lake: LocalStore, tmp_path: Path, calendar: Calendar, close: float
) -> None:
    old_file(tmp_path / "old", "A", "data.parquet", {"2025-03-14": 10.0}, 1_742_000_000)
    old_file(tmp_path / "old", "A", "corrected.parquet", {"2025-03-14": close}, 1_742_200_000)

    take(lake, tmp_path / "old", calendar, datetime(2025, 3, 20, tzinfo=UTC))
    consolidate(lake, calendar=calendar)

    assert closes(lake) == [close]


def test_an_older_file_imported_again_after_its_correction_changes_nothing(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    older = day_file(tmp_path / "older" / "2025-03-14.csv", 10.0)
    take(lake, older, calendar)
    take(lake, day_file(tmp_path / "newer" / "2025-03-14.csv", 11.0), calendar)
    before = list(lake.list("bronze/"))

    again = take(lake, older, calendar)
    consolidate(lake, calendar=calendar)

    assert (again.deliveries, again.written) == (1, 0)
    assert list(lake.list("bronze/")) == before
    assert closes(lake) == [11.0]


def test_a_lake_whose_deliveries_lack_their_arrival_takes_corrections_and_no_repetition(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    path = day_file(tmp_path / "2025-03-14.csv", 10.0)
    take(lake, path, calendar)
    (landed,) = lake.list("bronze/daily/")
    delivery = Delivery.parse(landed.key)
    assert delivery is not None
    (lake.root / landed.key).rename(lake.root / delivery.as_sent.key)

    again = take(lake, path, calendar)
    take(lake, day_file(path, 9.0), calendar)
    consolidate(lake, calendar=calendar)

    assert again.written == 0
    assert closes(lake) == [9.0]


def test_a_delivery_that_arrived_twice_counts_as_it_arrived_first(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    path = day_file(tmp_path / "2025-03-14.csv", 10.0)
    take(lake, path, calendar, now=datetime(2025, 3, 15, tzinfo=UTC))
    take(lake, day_file(path, 11.0), calendar, now=datetime(2025, 3, 16, tzinfo=UTC))
    consolidate(lake, calendar=calendar)
    first = min(filter(None, (Delivery.parse(item.key) for item in lake.list("bronze/daily/"))))
    # As two imports at the same time leave it: neither sees what the other one lands.
    repeat = replace(first, arrived_at=datetime(2025, 3, 17, tzinfo=UTC))
    lake.write(repeat.arrival_key, b"")
    lake.write(repeat.key, lake.read(first.key))

    outcome = consolidate(lake, full=True, calendar=calendar)

    assert outcome.problems == ()
    assert closes(lake) == [11.0]
    assert list(lake.list("_state/arrivals/")) == []
    removed = plan_vacuum(lake, now=datetime(2025, 4, 1, tzinfo=UTC)).superseded
    assert [(one.delivery, one.by) for one in removed] == [(repeat, first)]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("2099-03-14.csv", "is in the future"),
        ("1969-12-31.csv", "expected 1970-01-01 or later"),
        ("0999-03-14.csv", "expected 1970-01-01 or later"),
    ],
)
def test_a_file_dated_when_it_cannot_have_been_received_is_a_problem(
    lake: LocalStore, tmp_path: Path, calendar: Calendar, name: str, why: str
) -> None:
    outcome = take(lake, day_file(tmp_path / name, 10.0), calendar)

    assert name in outcome.problems[0]
    assert why in outcome.problems[0]
    assert list(lake.list("")) == []


def test_a_file_dated_today_is_accepted_before_the_day_is_over(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    path = day_file(tmp_path / "2025-03-14.csv", 10.0)

    outcome = take(lake, path, calendar, now=datetime(2025, 3, 14, 21, tzinfo=UTC))

    assert (outcome.problems, outcome.written) == ([], 1)


@pytest.mark.parametrize("instant", ["2099-01-01", "1969-12-31T23:59Z", "0999-01-01"])
def test_an_option_that_cannot_be_when_files_were_received_is_a_usage_error(
    tmp_path: Path, instant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = day_file(tmp_path / "2025-03-14.csv", 10.0)
    lake = str(tmp_path / "lake")

    code = run_main(
        cli, ["import", str(path), "--lake", lake, "--received-at", instant], name="ohlcv"
    )

    assert code == 2
    assert f"--received-at {instant}: received at" in capsys.readouterr().err
    assert not (tmp_path / "lake").exists()


def old_file(folder: Path, symbol: str, name: str, closes: dict[str, float], at: int) -> None:
    path = folder / f"symbol={symbol}" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "symbol": symbol,
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": 100,
            "timestamp": datetime.fromisoformat(day),
            "interval": "1d",
        }
        for day, close in closes.items()
    ]
    pl.DataFrame(rows).write_parquet(path)
    os.utime(path, (at, at))


def test_a_lake_of_symbol_folders_keeps_every_version_of_a_bar(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    old = tmp_path / "old"
    old_file(old, "A", "data.parquet", {"2025-04-08": 1.0, "2025-04-09": 2.0}, 1_744_234_200)
    old_file(old, "A", "date=2025-04-09.parquet", {"2025-04-09": 2.5}, 1_744_000_000)
    old_file(old, "B", "data.parquet", {"2025-04-09": 7.0}, 1_744_234_200)

    outcome = take(lake, old, calendar)

    versions: dict[str, list[dict[str, float]]] = {}
    for item in lake.list("bronze/daily/"):
        closes = dict(pl.read_parquet(lake.root / item.key).select("symbol", "close").rows())
        versions.setdefault(item.key.split("/")[2], []).append(closes)
    assert outcome.problems == []
    assert versions == {
        "date=2025-04-08": [{"A": 1.0}],
        "date=2025-04-09": [{"A": 2.0, "B": 7.0}, {"A": 2.5}],
    }


Writer = Callable[[pd.DataFrame, Path], None]


def with_pandas(bars: pd.DataFrame, folder: Path) -> None:
    bars.to_parquet(folder, partition_cols=["symbol"])


def with_pandas_by_symbol_and_date(bars: pd.DataFrame, folder: Path) -> None:
    bars.to_parquet(folder, partition_cols=["symbol", "date"])


def with_pandas_by_timestamp_and_symbol(bars: pd.DataFrame, folder: Path) -> None:
    bars.assign(date=pd.to_datetime(bars["date"])).to_parquet(
        folder, partition_cols=["date", "symbol"]
    )


def with_pyarrow(bars: pd.DataFrame, folder: Path) -> None:
    by_symbol = pa_dataset.partitioning(pa.schema([("symbol", pa.string())]), flavor="hive")
    table = pa.Table.from_pandas(bars)
    pa_dataset.write_dataset(table, folder, format="parquet", partitioning=by_symbol)


def with_polars(bars: pd.DataFrame, folder: Path) -> None:
    pl.from_pandas(bars).write_parquet(folder, partition_by=["symbol"], mkdir=True)


WRITERS = [
    with_pandas,
    with_pandas_by_symbol_and_date,
    with_pandas_by_timestamp_and_symbol,
    with_pyarrow,
    with_polars,
]


def hive_bars(*symbols: str | None) -> pd.DataFrame:
    count = range(1, len(symbols) + 1)
    values = {name: [float(n) for n in count] for name in ("open", "high", "low", "close")}
    days = [date(2025, 3, 14)] * len(symbols)
    return pd.DataFrame({"symbol": symbols, "date": days, **values, "volume": 100.0})


@pytest.mark.parametrize("write", WRITERS)
def test_symbols_and_dates_that_only_the_folders_have_are_taken_from_them(
    lake: LocalStore, tmp_path: Path, calendar: Calendar, write: Writer
) -> None:
    write(hive_bars("AAPL", "BRK/B", "NA", "50%", "A B", None), tmp_path / "old")

    outcome = take(lake, tmp_path / "old", calendar)

    expected = {"AAPL": 1.0, "BRK/B": 2.0, "NA": 3.0}
    refused = Lake(lake).rejected()["symbol"]
    assert dict(bronze(lake).select("symbol", "close").rows()) == expected
    assert bronze(lake)["date"].unique().to_list() == [date(2025, 3, 14)]
    assert len(list(lake.list("bronze/daily/"))) == 1
    assert set(refused) == {"50%", "A B", None}
    assert dict(outcome.reasons) == {
        "no symbol": 1,
        "symbol not as US exchanges write it": 2,
    }


@pytest.mark.parametrize("write", WRITERS[:4])
@pytest.mark.parametrize("named", ["folder", "file", "from inside"])
def test_a_symbol_folder_or_a_file_in_it_may_be_named_by_itself(
    lake: LocalStore,
    tmp_path: Path,
    calendar: Calendar,
    monkeypatch: pytest.MonkeyPatch,
    write: Writer,
    named: str,
) -> None:
    write(hive_bars("AAPL", "BRK/B"), tmp_path / "old")
    file = next(tmp_path.glob("old/**/symbol=BRK%2FB/**/*.parquet"))
    folder = next(parent for parent in file.parents if parent.name.startswith("symbol="))
    if named == "from inside":
        monkeypatch.chdir(folder)
    place = {"folder": folder, "file": file, "from inside": Path()}[named]

    outcome = take(lake, place, calendar)

    assert outcome.problems == []
    assert bronze(lake).select("symbol", "date", "close").rows() == [
        ("BRK/B", date(2025, 3, 14), 2.0)
    ]


def test_a_file_whose_symbol_contradicts_its_folder_is_refused_by_name(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    old_file(tmp_path / "old", "A", "data.parquet", {"2025-04-08": 1.0}, 1_744_100_000)
    (tmp_path / "old" / "symbol=A").rename(tmp_path / "old" / "symbol=B")

    outcome = take(lake, tmp_path / "old", calendar)

    assert "symbol=B/data.parquet: its folder stands for symbol B" in outcome.problems[0]
    assert list(lake.list("")) == []


def test_files_on_s3_are_imported_as_those_on_disk(
    s3_lake: ObjectStore, lake: LocalStore, calendar: Calendar
) -> None:
    s3_lake.write("incoming/2025-04-08.csv", HOUSE.encode())

    outcome = take_files(lake, f"{s3_lake.uri}/incoming/", calendar)

    assert (outcome.problems, outcome.accepted_rows) == ([], 1)


def test_splits_are_added_once_and_can_be_corrected(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    path = tmp_path / "splits.csv"
    path.write_text("ticker,execution_date,split_from,split_to\nA,2025-04-08,1,7\n")
    counts = [take(lake, path, calendar).reference["splits"] for _ in range(2)]
    path.write_text("symbol,date,ratio\nA,2025-04-08,4\n")

    corrected = take(lake, path, calendar)

    assert (counts, corrected.reference) == ([1, 0], {"splits": 1})
    assert read_splits(lake).row(0) == ("A", date(2025, 4, 8), 1.0, 4.0, 4.0)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (
            "Ticker;Ex-Dividend Date;Cash Amount;Currency Name\nA;2025-04-08;0,25;USD\n",
            [("A", date(2025, 4, 8), 0.25, "USD", None)],
        ),
        (
            "symbol,ex_date,amount,pay_date\nA,20250408,0.25,04/30/2025\nA,20250708,0.26,\n",
            [
                ("A", date(2025, 4, 8), 0.25, None, date(2025, 4, 30)),
                ("A", date(2025, 7, 8), 0.26, None, None),
            ],
        ),
    ],
)
def test_dividends_are_recognised_by_their_columns(
    lake: LocalStore, tmp_path: Path, calendar: Calendar, text: str, rows: list[tuple[object, ...]]
) -> None:
    path = tmp_path / "paid.csv"
    path.write_text(text)

    outcomes = [take(lake, path, calendar) for _ in range(2)]

    stored = Lake(lake).dividends().select("symbol", "date", "cash_amount", "currency", "pay_date")
    assert [outcome.problems for outcome in outcomes] == [[], []]
    assert [outcome.reference["dividends"] for outcome in outcomes] == [len(rows), 0]
    assert stored.rows() == rows
    assert Lake(lake).tables() == []


def test_a_yfinance_series_of_one_symbol_is_named_after_it(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    at = pd.DatetimeIndex(["2024-08-12", "2020-08-31"], tz="America/New_York", name="Date")
    pd.Series([0.25, 0.2], at, name="Dividends").to_csv(tmp_path / "AAPL.csv")
    pd.Series([4.0], at[1:], name="Stock Splits").to_csv(tmp_path / "NVDA.csv")

    outcome = take(lake, tmp_path, calendar)

    assert outcome.problems == []
    assert Lake(lake).dividends().select("symbol", "date", "cash_amount").rows() == [
        ("AAPL", date(2020, 8, 31), 0.2),
        ("AAPL", date(2024, 8, 12), 0.25),
    ]
    assert Lake(lake).splits().select("symbol", "date", "ratio").rows() == [
        ("NVDA", date(2020, 8, 31), 4.0)
    ]


def test_tickers_are_brought_up_to_what_a_file_knows_and_keep_the_rest(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    path = tmp_path / "tickers.csv"
    path.write_text("ticker,name,type,sic_code\nA,Agilent,CS,3826\nB,Barnes,CS,3490\n")
    first = take(lake, path, calendar, now=datetime(2025, 4, 8, tzinfo=UTC))
    path.write_text("symbol,name,active,delisted_utc\nB,Barnes Group,false,2025-04-09T04:00:00Z\n")

    second = take(lake, path, calendar, now=datetime(2025, 4, 10, tzinfo=UTC))

    table = Lake(lake).tickers()
    names = ("symbol", "valid_from", "valid_to", "name", "type", "active", "sic_code")
    assert (first.reference, second.reference) == ({"tickers": 2}, {"tickers": 1})
    assert table.select(names).rows() == [
        ("A", date(2025, 4, 8), None, "Agilent", "CS", True, "3826"),
        ("B", date(2025, 4, 8), date(2025, 4, 10), "Barnes", "CS", True, "3490"),
        ("B", date(2025, 4, 10), None, "Barnes Group", "CS", False, "3490"),
    ]
    assert table["delisted_date"].to_list() == [None, None, date(2025, 4, 9)]


def test_reference_rows_that_cannot_be_true_are_refused_with_reasons_and_the_others_kept(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    (tmp_path / "splits.csv").write_text(
        "ticker,execution_date,split_from,split_to\n"
        "A,2025-04-08,1,7\n,2025-04-08,1,2\nB,soon,1,2\nC,2025-04-08,0,2\nD,2025-04-08,1,\n"
    )
    (tmp_path / "dividends.csv").write_text("ticker,ex_date,amount\nA,2025-04-08,-1\n")
    (tmp_path / "tickers.csv").write_text("ticker,name\n,Nobody\nA,Agilent\n")

    outcome = take(lake, tmp_path, calendar)

    assert outcome.reasons == {
        "no symbol": 2,
        "no date": 1,
        "ratio missing, below 1e-09 or above 1e+09": 2,
        "amount not a number above zero": 1,
    }
    assert outcome.refused_rows == 6
    assert outcome.reference == {"splits": 1, "tickers": 1}
    assert [
        problem.partition(": ")[2].partition(" refused")[0] for problem in outcome.problems
    ] == [
        "1 of 1 rows of dividends",
        "4 of 5 rows of splits",
        "1 of 2 rows of tickers",
    ]
    assert "the first: {'ticker': None, 'execution_date': '2025-04-08'" in outcome.problems[1]


YFINANCE_DAYS = pd.DatetimeIndex(["2025-04-08", "2025-04-09"], name="Date")


def yfinance_frame(group_by: str, *, adjusted: bool) -> pd.DataFrame:
    """What ``yfinance.download(["AAPL", "MSFT"], group_by=...)`` returns; MSFT lists later."""
    fields = ["Close", "High", "Low", "Open", "Volume"]
    fields = fields if adjusted else ["Adj Close", *fields]
    values = {
        "Adj Close": 5.0,
        "Close": 11.0,
        "High": 12.0,
        "Low": 9.0,
        "Open": 10.0,
        "Volume": 100,
    }
    columns = {
        (field, symbol): [None if symbol == "MSFT" else values[field], values[field]]
        for field in fields
        for symbol in ("AAPL", "MSFT")
    }
    frame = pd.DataFrame(columns, index=YFINANCE_DAYS)
    frame.columns = frame.columns.set_names(["Price", "Ticker"])
    return frame if group_by == "column" else frame.swaplevel(axis="columns").sort_index(axis=1)


@pytest.mark.parametrize("adjusted", [True, False])
@pytest.mark.parametrize("group_by", ["column", "ticker"])
@pytest.mark.parametrize("headings", ["three", "two", "two unnamed", "tabs", "decimal commas"])
def test_yfinance_files_of_several_symbols_are_read(
    lake: LocalStore,
    tmp_path: Path,
    calendar: Calendar,
    group_by: str,
    headings: str,
    adjusted: bool,
) -> None:
    frame = yfinance_frame(group_by, adjusted=adjusted)
    path = tmp_path / "prices.csv"
    if headings == "two":
        frame.reset_index().to_csv(path, index=False)
    elif headings == "two unnamed":
        frame.rename_axis(index=None).to_csv(path)
    elif headings == "tabs":
        frame.to_csv(path, sep="\t")
    elif headings == "decimal commas":
        frame.to_csv(path, sep=";", decimal=",")
    else:
        frame.to_csv(path)

    outcome = take(lake, path, calendar)

    rows = bronze(lake).sort("symbol", "date").select("symbol", "date", "open", "close", "volume")
    day = [stamp.date() for stamp in YFINANCE_DAYS]
    assert (outcome.problems, outcome.refused_rows) == ([], 0)
    assert rows.rows() == [
        ("AAPL", day[0], 10.0, 11.0, 100.0),
        ("AAPL", day[1], 10.0, 11.0, 100.0),
        ("MSFT", day[1], 10.0, 11.0, 100.0),
    ]
    assert ("auto_adjust=False" in outcome.notes[0]) == adjusted


@pytest.mark.parametrize(
    ("name", "text", "is_adjusted"),
    [
        ("MSFT.csv", YAHOO, True),
        ("MSFT.csv", YAHOO.replace("Adj Close,Volume", "Volume,Dividends,Stock Splits"), True),
        ("day.txt", STOOQ, True),
        ("aapl.us.txt", "Date,Open,High,Low,Close,Volume\n2025-04-08,10,12,9,11,1000\n", True),
        ("AAPL.csv", "Date,Open,High,Low,Close,Volume\n2025-04-08,10,12,9,11,1000\n", False),
        ("2025-04-08.csv", HOUSE, False),
    ],
)
def test_files_of_vendors_that_adjust_their_prices_need_an_explicit_word(
    lake: LocalStore, tmp_path: Path, calendar: Calendar, name: str, text: str, is_adjusted: bool
) -> None:
    path = tmp_path / name
    path.write_text(text)

    refused = take(lake, path, calendar, accept_adjusted=False)
    accepted = take(lake, path, calendar, accept_adjusted=True)

    assert [one.code for one in refused.refused] == ["adjusted_prices"] * is_adjusted
    assert all("--accept-adjusted" in one.remedy for one in refused.refused)
    assert refused.accepted_rows == (not is_adjusted)
    assert (accepted.accepted_rows, accepted.problems) == (1, [])
    assert len(accepted.notes) == is_adjusted


def test_a_yfinance_file_of_one_symbol_with_headings_of_several_is_read(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    path = tmp_path / "prices.csv"
    yfinance_frame("column", adjusted=True).xs(
        "AAPL", axis=1, level="Ticker", drop_level=False
    ).to_csv(path)

    take(lake, path, calendar)

    assert path.read_text().startswith("Price,Close,High,Low,Open,Volume\nTicker,AAPL,")
    assert bronze(lake)["symbol"].to_list() == ["AAPL", "AAPL"]


@pytest.mark.parametrize(
    ("heading_and_row", "close", "volume"),
    [
        ("date;open;high;low;close;volume|2025-04-08;10,5;12,5;9;11,25;1000", 11.25, 1e3),
        ("\ufeffdate;open;high;low;close;volume|2025-04-08;10;12;9;11,25;1000", 11.25, 1e3),
        ("date;open;high;low;close;volume|08.04.2025;1.010,5;1.012;9;1.011,25;1.000", 1011.25, 1e3),
        ("date;open;high;low;close;volume|2025-04-08;10.5;12.5;9;11.25;1,000,000", 11.25, 1e6),
        ("date;open;high;low;close;volume|2025-04-08;10;12;9;11,125;1000", 11.125, 1e3),
        ("date\topen\thigh\tlow\tclose\tvolume|2025-04-08\t10\t12\t9\t11.25\t1000", 11.25, 1e3),
        ('date,open,high,low,close,volume|2025-04-08,"10,5","12,5",9,"11,25","1.000"', 11.25, 1e3),
        (
            'date,open,high,low,close,volume|2025-04-08,"1,010.5","1,012",9,"1,011","1,000"',
            1011,
            1e3,
        ),
        ('date,open,high,low,close,volume|2025-04-08,"1,010","1,012",9,"1,011","1,000"', 1011, 1e3),
    ],
)
def test_separators_and_decimal_commas_are_recognised(
    lake: LocalStore,
    tmp_path: Path,
    calendar: Calendar,
    heading_and_row: str,
    close: float,
    volume: float,
) -> None:
    path = tmp_path / "AAPL.csv"
    path.write_text(heading_and_row.replace("|", "\n") + "\n", encoding="utf-8")

    outcome = take(lake, path, calendar)

    rows = bronze(lake).select("symbol", "date", "close", "volume").rows()
    assert outcome.problems == []
    assert rows == [("AAPL", date(2025, 4, 8), close, volume)]


@pytest.mark.parametrize("name", ["prices.csv", "aapl.csv", "2025-04-08.csv", "AAPL daily.csv"])
def test_a_file_without_symbols_says_how_to_give_its_symbol(
    lake: LocalStore, tmp_path: Path, calendar: Calendar, name: str
) -> None:
    path = tmp_path / name
    path.write_text(YAHOO)

    outcome = take(lake, path, calendar)

    assert f"{name}: no column of symbols, and its name is not a symbol" in outcome.problems[0]
    assert "AAPL.csv, or put it into a folder such as symbol=AAPL" in outcome.problems[0]
    assert list(lake.list("")) == []


def filled_lake(root: Path, calendar: Calendar) -> LocalStore:
    """A lake with every kind of file that a lake makes."""
    store = LocalStore(root)
    source = root.parent / "source"
    day_file(source / "20250314T210000Z.csv", 10.0)
    (source / "20250314T220000Z.csv").write_text(
        "symbol,date,open,high,low,close,volume\n"
        "A,2025-03-14,11,11,11,11,1\nB,2025-03-14,0,1,1,1,1\n"
    )
    (source / "splits.csv").write_text(
        "ticker,execution_date,split_from,split_to\nA,2025-03-17,1,2\n"
    )
    take(store, source, calendar)
    consolidate(store, calendar=calendar)
    return store


def test_the_lake_itself_is_never_taken_for_deliveries(
    tmp_path: Path, calendar: Calendar, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled_lake(tmp_path / "lake", calendar)
    monkeypatch.chdir(tmp_path)

    found = sorted(file.name for file in find_files(".", lake=LocalStore(Path("lake"))))

    assert found == ["20250314T210000Z.csv", "20250314T220000Z.csv", "splits.csv"]
    assert any(item.key.endswith(".parquet") for item in store.list("_state/"))
    for place in ("lake", "lake/silver", "lake/bronze/daily", str(tmp_path / "lake" / "reference")):
        with pytest.raises(SettingsError, match="only files that this lake wrote itself"):
            find_files(place, lake=LocalStore(Path("lake")))


def test_a_folder_for_deliveries_inside_the_lake_is_imported(
    s3_lake: ObjectStore, lake: LocalStore, calendar: Calendar
) -> None:
    s3_lake.write("incoming/2025-04-08.csv", HOUSE.encode())
    s3_lake.write("bronze/daily/date=2025-04-08/other.parquet", b"")

    (found,) = find_files(s3_lake.uri, lake=s3_lake)

    assert found.name == "2025-04-08.csv"


def test_of_another_lake_its_deliveries_and_reference_tables_are_imported(
    lake: LocalStore, tmp_path: Path, calendar: Calendar
) -> None:
    other = filled_lake(tmp_path / "elsewhere" / "old", calendar)

    outcome = take(lake, other.root, calendar)
    consolidate(lake, calendar=calendar)

    received = [Delivery.parse(item.key) for item in lake.list("bronze/daily/")]
    assert outcome.problems == []
    assert outcome.reference == {"splits": 1}
    assert sorted(one.received_at.hour for one in received if one) == [21, 22]
    for read in (Lake.restatements, Lake.splits, lambda one: one.bars("1d")):
        ours, theirs = (read(Lake(store)) for store in (lake, other))
        assert ours.drop("source", strict=False).equals(theirs.drop("source", strict=False))


def test_a_place_without_files_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such file or folder"):
        find_files(str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="no file whose name ends in"):
        find_files(str(tmp_path))


def test_a_pipe_is_refused_by_name_and_never_waited_for(tmp_path: Path) -> None:
    folder, lake = tmp_path / "files", tmp_path / "lake"
    folder.mkdir()
    (folder / "2025-04-08.csv").write_text(HOUSE)
    os.mkfifo(folder / "2025-04-09.csv")

    done = run_ohlcv("import", folder, "--lake", lake, "--json")

    assert done.code == 3
    [problem] = json.loads(done.out)["problems"]
    assert f"{folder / '2025-04-09.csv'}: not a regular file" in problem
    assert json.loads(done.out)["accepted_rows"] == 1
    with pytest.raises(SettingsError, match=r"2025-04-09\.csv: a pipe"):
        find_files(str(folder / "2025-04-09.csv"))


def test_the_command_reports_as_json_and_ends_with_the_documented_code(tmp_path: Path) -> None:
    (tmp_path / "2025-04-08.csv").write_text(HOUSE)
    (tmp_path / "2025-04-09.csv").write_text("")
    lake = tmp_path / "lake"

    done = run_ohlcv("import", *tmp_path.glob("*.csv"), "--lake", lake, "--json")

    told = json.loads(done.out)
    assert done.code == 3
    assert (told["accepted_rows"], len(told["problems"])) == (1, 1)
    said = json.loads(done.err.splitlines()[-1])
    assert (said["version"], said["exit_code"]) == (1, 3)
    assert "2025-04-09.csv: empty; download it again" in said["error"]
    assert [(one["code"], one["line"]) for one in told["refused_files"]] == [("empty", None)]
