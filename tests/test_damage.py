"""Files that are not what they should be: told by name, passed over, and cured when replaced."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from batch.consolidator.job import consolidate
from batch.core import schema
from batch.core.errors import DataRefused
from batch.core.frames import empty_frame
from batch.core.layout import Anchor
from batch.core.sessions import load_calendar
from batch.resampler.job import resample
from batch.storage.local import LocalStore
from tests.oracle import Split
from tests.support.bars import bar, frame
from tests.support.command_line import run_python
from tests.support.lakes import Filled, Receipt, new_lake, rows_of, silver_bytes, versions

BOTH = tuple(Anchor)
DAYS = (date(2021, 12, 30), date(2021, 12, 31), date(2022, 1, 3), date(2022, 1, 4))
BAD = "bronze/daily/date=2022-01-03/20220103T230000000000Z-bad-0123456789ab.parquet"


def parquet(rows: pl.DataFrame) -> bytes:
    sink = BytesIO()
    rows.write_parquet(sink)
    return sink.getvalue()


GOOD = frame([bar("A", DAYS[2], 50.0), bar("C", DAYS[2], 60.0)])
WRONG: dict[str, bytes] = {
    "empty": b"",
    "text": b"symbol,date,open\nA,2022-01-03,1\n",
    "zeros": bytes(5000),
    "truncated": parquet(GOOD)[:-20],
    "middle overwritten": parquet(GOOD)[:10] + b"\xff" * 200 + parquet(GOOD)[210:],
    "a column missing": parquet(GOOD.drop("volume")),
    "no columns of ours": parquet(pl.DataFrame({"x": [1]})),
    "prices as text": parquet(GOOD.with_columns(pl.col("open").cast(pl.String))),
    "dates as text": parquet(GOOD.with_columns(pl.col("date").cast(pl.String))),
    "dates as instants": parquet(GOOD.with_columns(pl.col("date").cast(pl.Datetime))),
    "symbols as numbers": parquet(GOOD.with_columns(symbol=pl.Series([1.5, 2.5]))),
    "trades as text": parquet(GOOD.with_columns(pl.col("trades").cast(pl.String))),
    "a list for a price": parquet(GOOD.with_columns(close=pl.Series([[1.0], [2.0]]))),
    "another session's rows": parquet(frame([bar("A", DAYS[1])])),
    "a symbol null": parquet(GOOD.with_columns(symbol=pl.Series(["A", None]))),
    "a symbol empty": parquet(frame([bar("", DAYS[2])])),
    "a date null": parquet(GOOD.with_columns(date=pl.Series([DAYS[2], None]))),
    "a symbol twice": parquet(frame([bar("A", DAYS[2]), bar("A", DAYS[2], 11.0)])),
    "out of order": parquet(frame([bar("C", DAYS[2]), bar("A", DAYS[2])])),
    "a price NaN": parquet(frame([bar("A", DAYS[2], open=float("nan"))])),
    "a price null": parquet(frame([bar("A", DAYS[2], low=None)])),
    "a price infinite": parquet(frame([bar("A", DAYS[2], high=float("inf"))])),
    "a price zero": parquet(frame([bar("A", DAYS[2], low=0.0)])),
    "a high too low": parquet(frame([bar("A", DAYS[2], high=1.0)])),
    "a volume negative": parquet(frame([bar("A", DAYS[2], volume=-1.0)])),
    "a volume null": parquet(frame([bar("A", DAYS[2], volume=None)])),
    "a vwap infinite": parquet(frame([bar("A", DAYS[2], vwap=float("inf"))])),
    "a vwap negative": parquet(frame([bar("A", DAYS[2], vwap=-1.0)])),
    "trades negative": parquet(frame([bar("A", DAYS[2], trades=-7)])),
}


def fill(lake: Filled) -> None:
    for no, day in enumerate(DAYS):
        evening = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
        lake.receive(Receipt(evening, "ok", (bar("A", day, 5.0 + no), bar("B", day, 7.0 + no))))


@pytest.fixture
def lake() -> Iterator[Filled]:
    """Four sessions over a year end, with a split, not consolidated yet."""
    with new_lake() as made:
        fill(made)
        made.split(Split("A", DAYS[3], 2.0))
        yield made


@pytest.fixture(scope="module")
def sound() -> dict[str, bytes]:
    """What silver holds of that lake when nothing is wrong."""
    with new_lake() as made:
        fill(made)
        made.split(Split("A", DAYS[3], 2.0))
        made.run([3, 5], BOTH)
        return silver_bytes(made.store)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRONG)
def test_a_bad_delivery_is_named_and_the_others_go_on_until_it_is_replaced(
    lake: Filled, sound: dict[str, bytes], kind: str
) -> None:
    lake.store.write(BAD, WRONG[kind])

    first = lake.run([3, 5], BOTH)
    second = lake.run([3, 5], BOTH)

    assert silver_bytes(lake.store) == sound
    for outcome in (first, second):
        assert len(outcome.problems) == 1
        assert BAD in outcome.problems[0]
        assert len(outcome.problems[0].splitlines()) == 1

    lake.store.write(BAD, parquet(GOOD))
    cured = lake.run([3, 5], BOTH)

    assert cured.problems == ()
    closes = {(row["symbol"], row["date"]): row["close"] for row in rows_of(lake.store, "1d")}
    assert closes["A", DAYS[2]] == 50.0
    assert closes["C", DAYS[2]] == 60.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "cast",
    [
        lambda rows: rows.with_columns(pl.col("volume", "open").cast(pl.Int64)),
        lambda rows: rows.with_columns(pl.col("trades").cast(pl.Float64)),
        lambda rows: rows.with_columns(pl.col("trades").cast(pl.Int32)),
        lambda rows: rows.with_columns(pl.col("close", "vwap").cast(pl.Float32)),
        lambda rows: rows.with_columns(pl.col("symbol").cast(pl.Categorical)),
        lambda rows: rows.with_columns(pl.lit("more").alias("note")).select(
            "note", *reversed(rows.columns)
        ),
    ],
)
def test_numbers_of_another_width_are_the_same_numbers(
    lake: Filled, cast: Callable[[pl.DataFrame], pl.DataFrame]
) -> None:
    with new_lake() as plain:
        fill(plain)
        plain.split(Split("A", DAYS[3], 2.0))
        plain.store.write(BAD, parquet(GOOD))
        plain.run()
        wanted = rows_of(plain.store, "1d")
    lake.store.write(BAD, parquet(cast(GOOD)))

    outcome = lake.run()

    assert outcome.problems == ()
    assert rows_of(lake.store, "1d") == wanted


def test_a_delivery_without_rows_changes_nothing(lake: Filled, sound: dict[str, bytes]) -> None:
    lake.store.write(BAD, parquet(empty_frame(schema.DELIVERY)))
    first_of_all = BAD.replace("2022-01-03", "2021-12-30").replace("20220103", "20211230")
    lake.store.write(first_of_all, parquet(empty_frame(schema.DELIVERY)))

    outcome = lake.run([3, 5], BOTH)

    assert outcome.problems == ()
    assert silver_bytes(lake.store) == sound


def test_a_lake_of_nothing_but_empty_deliveries_has_no_bars() -> None:
    with new_lake() as made:
        made.store.write(BAD, parquet(empty_frame(schema.DELIVERY)))

        outcome = made.run([3], BOTH)

        assert (outcome.problems, outcome.newest) == ((), None)
        assert silver_bytes(made.store) == {}


@pytest.mark.slow
def test_a_huge_delivery_is_read_like_any_other(lake: Filled) -> None:
    rows = frame([bar(f"H{number:06}", DAYS[2], 5.0) for number in range(150_000)])
    lake.store.write(BAD, parquet(rows))

    outcome = lake.run([3])

    assert outcome.problems == ()
    assert len(rows_of(lake.store, "1d")) == 150_000 + 8
    bars = [row for row in rows_of(lake.store, "3d") if row["symbol"].startswith("H")]
    assert len(bars) == 150_000


@pytest.mark.parametrize(
    "key",
    [
        "bronze/daily/date=2022-01-03/notes.parquet",
        "bronze/daily/date=2022-01-03/2022-bad.parquet",
        "bronze/daily/date=2022-01-01/20220103T230000000000Z-bad.parquet",
        "bronze/daily/date=2022-02-31/20220103T230000000000Z-bad.parquet",
        "bronze/daily/stray.csv",
    ],
)
def test_a_stray_file_in_bronze_is_reported_and_harmless(
    lake: Filled, sound: dict[str, bytes], key: str
) -> None:
    lake.store.write(key, b"whatever")

    outcome = lake.run([3, 5], BOTH)

    assert len(outcome.problems) == 1
    assert key in outcome.problems[0]
    assert silver_bytes(lake.store) == sound


def test_the_command_ends_with_3_and_names_the_file_in_its_report(lake: Filled) -> None:
    lake.store.write(BAD, b"")

    done = run_python("-m", "batch.consolidator", "--lake", lake.store.uri, "--json")

    assert done.code == 3
    assert json.loads(done.out)["problems"] != []
    said = json.loads(done.err.splitlines()[-1])
    assert (said["version"], said["exit_code"]) == (1, 3)
    assert BAD in said["error"]
    assert "Traceback" not in done.err
    (report,) = lake.store.list("_runs/")
    told = json.loads(lake.store.read(report.key))
    assert told["exit_code"] == 3
    assert BAD in told["problems"][0]
    assert {part["table"] for part in told["partitions"]} == {"1d"}


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda _: None,
    "empty": lambda _: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "noise": lambda content: bytes(len(content)),
    "of another kind": lambda _: gzip.compress(b"[]"),
    "without its parts": lambda _: gzip.compress(b'{"format": 1}'),
    "with strange records": lambda _: gzip.compress(
        b'{"format": 1, "table": "1d", "calendar": null, "as_of": null,'
        b' "partitions": {"2021": {"colour": "red"}}}'
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_under_state_is_repaired_by_the_next_run(
    lake: Filled, sound: dict[str, bytes], kind: str
) -> None:
    lake.run([3, 5], BOTH)
    parts = ("1d.", "3d.", "5d_listing.", "inputs/year=2021", "inputs/year=2022", "carry/")

    for confirmations, part in enumerate(parts, 1):
        keys = [item.key for item in lake.store.list(f"_state/{part}")]
        for key in keys:
            damaged = DAMAGE[kind](lake.store.read(key))
            if damaged is None:
                lake.store.delete([key])
            else:
                lake.store.write(key, damaged)
        correction = (bar("A", DAYS[0], 5.0),)
        lake.receive(Receipt(datetime(2022, 2, confirmations, tzinfo=UTC), "again", correction))
        lake.split(Split("NEW", DAYS[1], 1.0 + confirmations))

        lake.run([3, 5], BOTH)

        assert keys
        assert silver_bytes(lake.store) == sound, part


def test_state_and_silver_may_be_deleted(lake: Filled, sound: dict[str, bytes]) -> None:
    lake.run([3, 5], BOTH)
    root = Path(lake.store.uri)

    for folders in (["_state"], ["silver"], ["_state", "silver"], ["silver/1d"], ["silver/5d"]):
        for folder in folders:
            shutil.rmtree(root / folder)
        lake.run([3, 5], BOTH)

        assert silver_bytes(lake.store) == sound, folders


@pytest.mark.parametrize("table", ["1d", "3d", "5d_listing"])
@pytest.mark.parametrize("damage", [lambda _: b"", lambda content: content[:-30]])
def test_a_damaged_partition_is_made_again(
    lake: Filled, sound: dict[str, bytes], table: str, damage: Callable[[bytes], bytes]
) -> None:
    lake.run([3, 5], BOTH)
    key = f"silver/{table}/year=2021/data.parquet"
    Path(lake.store.uri, key).write_bytes(damage(lake.store.read(key)))

    lake.run([3, 5], BOTH)

    assert silver_bytes(lake.store) == sound


@pytest.mark.parametrize(
    "job", [consolidate, partial(resample, intervals=[3], full=True)], ids=["daily", "bars"]
)
def test_decay_that_leaves_date_and_size_is_named_by_the_job_that_reads_it(
    lake: Filled, job: Callable[..., object]
) -> None:
    lake.run([3])
    key = "silver/1d/year=2022/data.parquet"
    path = Path(lake.store.uri, key)
    content, dates = path.read_bytes(), path.stat()
    path.write_bytes(content[:4] + bytes(100) + content[104:])
    os.utime(path, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    new = Receipt(datetime(2022, 1, 5, 22, tzinfo=UTC), "new", (bar("A", date(2022, 1, 5)),))
    lake.receive(new)

    with pytest.raises(DataRefused, match="--full") as refused:
        job(lake.store, calendar=load_calendar())

    assert key in str(refused.value)


def test_a_folder_where_a_partition_belongs_is_named(lake: Filled) -> None:
    path = Path(lake.store.uri, "silver/1d/year=2022/data.parquet")
    path.mkdir(parents=True)

    with pytest.raises(DataRefused, match="remove it") as refused:
        lake.run([3])

    assert str(path) in str(refused.value)


def test_a_copied_lake_is_recognised_and_nothing_is_written(lake: Filled, tmp_path: Path) -> None:
    lake.receive(Receipt(datetime(2022, 2, 1, tzinfo=UTC), "fix", (bar("A", DAYS[0], 9.0),)))
    lake.run([3, 5], BOTH)
    shutil.copytree(lake.store.uri, tmp_path / "copy", copy_function=shutil.copyfile)
    copy = Filled(LocalStore(tmp_path / "copy"))
    before = versions(copy.store)

    copy.run([3, 5], BOTH)

    assert versions(copy.store) == before


def test_a_copied_lake_takes_new_deliveries_as_the_original_does(
    lake: Filled, tmp_path: Path
) -> None:
    lake.run([3, 5], BOTH)
    shutil.copytree(lake.store.uri, tmp_path / "copy", copy_function=shutil.copyfile)
    new = Receipt(datetime(2022, 1, 5, 22, tzinfo=UTC), "new", (bar("A", date(2022, 1, 5)),))
    copy = Filled(LocalStore(tmp_path / "copy"))

    for one in (lake, copy):
        one.receive(new)
        one.run([3, 5], BOTH)

    assert silver_bytes(copy.store) == silver_bytes(lake.store)


@pytest.mark.parametrize(
    "splits",
    [
        b"",
        b"noise",
        parquet(pl.DataFrame({"symbol": ["A"]})),
        parquet(
            pl.DataFrame(
                {
                    "symbol": ["A"],
                    "date": [DAYS[0]],
                    "split_from": [0.0],
                    "split_to": [1.0],
                    "ratio": [float("inf")],
                }
            )
        ),
    ],
)
def test_bad_splits_stop_the_job_before_it_writes(lake: Filled, splits: bytes) -> None:
    lake.run([3])
    before = versions(lake.store, "silver/")
    late = (bar("A", DAYS[0], 99.0),)
    lake.receive(Receipt(datetime(2022, 1, 9, tzinfo=UTC) + timedelta(1), "fix", late))
    lake.store.write("reference/splits/data.parquet", splits)

    with pytest.raises(DataRefused, match=r"reference/splits/data\.parquet"):
        lake.run([3])

    assert versions(lake.store, "silver/") == before
