"""Exported bars: other readers find what the lake has, and import reads them back."""

from __future__ import annotations

import gzip
import io
import json
import os
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl
import pyarrow.csv
import pyarrow.parquet
import pytest
from click.shell_completion import BashComplete
from polars.testing import assert_frame_equal

from batch.consolidator.job import consolidate
from batch.core import schema
from batch.core.frames import conform
from batch.core.layout import SPLITS, partition_key
from batch.core.sessions import Calendar
from batch.lake.read import Lake
from batch.lake.reference import add_splits
from batch.resampler.job import resample
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from orchestration.cli import export
from orchestration.cli.main import cli
from tests.support.bars import bar, land_rows, received_after

FIRST, LAST = date(2024, 12, 2), date(2025, 1, 31)
SYMBOLS = ("A", "NA", "TRUE", 'say "hi", \\n')


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> Lake:
    """Four symbols, one with a split and one of a name that CSV must quote."""
    store = LocalStore(tmp_path_factory.mktemp("export") / "lake")
    rows = [
        bar(symbol, session, 10.1 + n / 3 + m, volume=1000.5 + n, trades=None if m else n)
        for n, session in enumerate(calendar.sessions_between(FIRST, LAST))
        for m, symbol in enumerate(SYMBOLS)
    ]
    land_rows(store, rows, calendar, received_at=received_after(LAST))
    split = {"symbol": "NA", "date": date(2025, 1, 8), "split_from": 1, "split_to": 3}
    add_splits(store, pl.DataFrame([split]), label="test")
    consolidate(store, calendar=calendar)
    resample(store, intervals=[5], calendar=calendar)
    return Lake(store)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ohlcv(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command that reads one symbol at a time."""
    monkeypatch.setattr(export, "_SYMBOLS_AT_A_TIME", 1)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = run_main(cli, [*arguments], name="ohlcv")
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


def read_csv(content: bytes, columns: Any) -> pl.DataFrame:
    """Read CSV by Arrow, which takes quoted text for text and empty values for null."""
    options = pyarrow.csv.ConvertOptions(column_types=columns, strings_can_be_null=False)
    table = pyarrow.csv.read_csv(io.BytesIO(content), convert_options=options)
    return conform(pl.DataFrame(table), columns)


@pytest.mark.parametrize(
    ("suffix", "read"),
    [
        (".csv", lambda path: read_csv(path.read_bytes(), schema.DAILY)),
        (".csv.gz", lambda path: read_csv(gzip.decompress(path.read_bytes()), schema.DAILY)),
        (".parquet", lambda path: pl.DataFrame(pyarrow.parquet.read_table(path))),
    ],
)
def test_another_reader_finds_the_bars_of_the_lake(
    filled: Lake, tmp_path: Path, ohlcv: Run, suffix: str, read: Callable[[Path], pl.DataFrame]
) -> None:
    path = tmp_path / f"bars{suffix}"

    code, out, err = ohlcv("export", "--lake", filled.store.uri, "-o", str(path), "--json")

    told = json.loads(out)
    assert (code, told["rows"], told["symbols"]) == (0, filled.bars("1d").height, 4), err
    assert told["bytes"] == path.stat().st_size
    assert_frame_equal(read(path), filled.bars("1d"), rel_tol=1e-15, abs_tol=0.0)
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (["--raw"], {"adjusted": False}),
        (["--dividends", "--start", "2025-01-02"], {"start": "2025-01-02"}),
        (["-s", "NA", "-s", "A", "--end", "2025-01-10"], {"symbols": ["A", "NA"]}),
    ],
)
def test_standard_output_has_the_bars_asked_for(
    filled: Lake, ohlcv: Run, options: list[str], asked: dict[str, Any]
) -> None:
    code, out, _ = ohlcv("export", "--lake", filled.store.uri, "-i", "5d", *options)

    end = options[options.index("--end") + 1] if "--end" in options else None
    assert code == 0
    assert_frame_equal(
        read_csv(out.encode(), schema.BARS),
        filled.bars("5d", end=end, **asked),
        rel_tol=1e-15,  # Polars divides a whole column by one number in a way of its own
        abs_tol=0.0,
    )


def test_daily_bars_as_traded_make_the_same_lake_again(
    filled: Lake, tmp_path: Path, ohlcv: Run
) -> None:
    path, again = str(tmp_path / "daily.csv"), str(tmp_path / "again")
    splits = str(Path(filled.store.uri) / SPLITS)

    symbols = [symbol for symbol in SYMBOLS if '"' not in symbol]  # an import refuses the other
    chosen = [word for symbol in symbols for word in ("-s", symbol)]

    assert ohlcv("export", "--lake", filled.store.uri, "--raw", "-o", path, *chosen)[0] == 0
    assert ohlcv("import", path, splits, "--lake", again)[0] == 0
    assert ohlcv("consolidate", "--lake", again)[0] == 0

    traded = filled.bars("1d", symbols, adjusted=False)
    assert Lake.open(again).bars("1d", adjusted=False).equals(traded)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-o", "bars.xlsx"], "expected a name ending in .csv or .csv.gz or .parquet"),
        (["-o", "{lake}/bars.csv"], "is inside the lake"),
        (["-o", "missing/bars.csv"], "No such file or directory"),
        (["--json"], "give --output"),
        (["-s", "A", "-s", "na", "-o", "bars.csv"], "no bars of 'na' in"),
        (["--start", "2025-06-02", "-o", "bars.csv"], "no 1d bars from 2025-06-02 on"),
        (["-i", "7d", "-o", "bars.csv"], "there is no table 7d"),
    ],
)
def test_what_cannot_be_written_is_a_usage_error_and_leaves_nothing(
    filled: Lake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ohlcv: Run,
    arguments: list[str],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [argument.format(lake=filled.store.uri) for argument in arguments]

    code, out, err = ohlcv("export", "--lake", filled.store.uri, *given)

    assert (code, out) == (2, "")
    assert told in err
    assert [*tmp_path.iterdir()] == []
    assert not (Path(filled.store.uri) / "bars.csv").exists()


def test_a_lake_without_bars_says_how_to_make_them(tmp_path: Path, ohlcv: Run) -> None:
    (tmp_path / "lake/bronze").mkdir(parents=True)

    code, out, err = ohlcv("export", "--lake", str(tmp_path / "lake"))

    assert (code, out) == (2, "")
    assert "has no daily bars: check the path, or make them with `ohlcv consolidate`" in err


def test_what_a_killed_export_of_the_same_process_number_left_is_in_nobodys_way(
    filled: Lake, tmp_path: Path, ohlcv: Run
) -> None:
    left = tmp_path / f".bars.csv.{os.getpid()}.part"  # in a container every process is the first
    left.write_text("half")

    code, _, err = ohlcv("export", "--lake", filled.store.uri, "-o", str(tmp_path / "bars.csv"))

    assert code == 0, err


def copy_of(lake: Lake, folder: Path) -> LocalStore:
    store = LocalStore(folder)
    for item in lake.store.list(""):
        store.write(item.key, lake.store.read(item.key))
    return store


def test_an_export_that_fails_halfway_leaves_the_older_file(
    filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ohlcv: Run
) -> None:
    store, path = copy_of(filled, tmp_path / "lake"), tmp_path / "bars.csv"
    path.write_text("older")
    damaged = store.root / partition_key("1d", 2025)
    read = Lake.bars

    def damage_after_the_first(lake: Lake, *arguments: Any, **asked: Any) -> pl.DataFrame:
        rows = read(lake, *arguments, **asked)
        damaged.write_bytes(damaged.read_bytes()[:-20])
        return rows

    monkeypatch.setattr(Lake, "bars", damage_after_the_first)

    code, _, err = ohlcv("export", "--lake", store.uri, "-o", str(path))

    assert code == 3
    assert str(damaged) in err
    assert path.read_text() == "older"
    assert sorted(tmp_path.iterdir()) == [path, store.root]


def test_bars_that_a_job_published_meanwhile_are_not_mixed_with_those_of_before(
    filled: Lake,
    tmp_path: Path,
    calendar: Calendar,
    monkeypatch: pytest.MonkeyPatch,
    ohlcv: Run,
) -> None:
    store, path = copy_of(filled, tmp_path / "lake"), tmp_path / "bars.csv"
    read = Lake.bars

    def publish_after_the_first(lake: Lake, *arguments: Any, **asked: Any) -> pl.DataFrame:
        rows = read(lake, *arguments, **asked)
        monkeypatch.setattr(Lake, "bars", read)
        later = date(2025, 2, 3)
        land_rows(store, [bar("A", later)], calendar, received_at=received_after(later))
        consolidate(store, calendar=calendar)
        return rows

    monkeypatch.setattr(Lake, "bars", publish_after_the_first)

    code, _, err = ohlcv("export", "--lake", store.uri, "-o", str(path))

    assert code == 75
    assert "a job has published bars" in err
    assert not path.exists()


def test_a_pipe_is_written_to_rather_than_replaced(
    filled: Lake, tmp_path: Path, ohlcv: Run
) -> None:
    pipe, received = tmp_path / "pipe.csv", list[str]()
    os.mkfifo(pipe)
    reader = Thread(target=lambda: received.append(pipe.read_text()), daemon=True)
    reader.start()

    code, _, _ = ohlcv("export", "--lake", filled.store.uri, "-s", "A", "-o", str(pipe), "--quiet")

    reader.join(10)
    assert code == 0
    assert pipe.is_fifo()
    assert received[0].count("\n") == 1 + filled.bars("1d", "A").height


def test_the_tab_key_completes_the_symbols_of_the_lake(
    filled: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def completed(*given: str, begun: str) -> list[str]:
        completer = BashComplete(cli, {}, "ohlcv", "_OHLCV_COMPLETE")
        return [item.value for item in completer.get_completions([*given], begun)]

    monkeypatch.chdir(tmp_path)
    assert completed("export", "--lake", filled.store.uri, "--symbol", begun="") == [*SYMBOLS]
    assert completed("export", "-s", begun="N") == []  # there is no ./lake

    monkeypatch.setenv("OHLCV_LAKE", filled.store.uri)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert completed("export", "-s", begun="N") == ["NA"]
        assert completed("chart", "A", begun="N") == ["NA"]
    assert completed("resample", "--interval", begun="3") == ["3d", "34d"]
