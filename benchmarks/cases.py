"""What is measured: each case runs its contenders one after the other, several times."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core import schema
from batch.core.sessions import load_calendar
from benchmarks.compare import require_same_bars
from benchmarks.contenders import polars_reading
from benchmarks.contenders.floor import ready_path
from benchmarks.contenders.reading import READERS
from benchmarks.datasets import (
    DATA,
    FULL_INTERVALS,
    Dataset,
    copy_of,
    daily_rows,
    ensure,
    land_sessions,
    tell,
    years_of,
)
from benchmarks.measure import (
    ContenderFailed,
    Measured,
    contender_command,
    job_command,
    measure,
    medians,
    total,
)
from simulation.exchange import SyntheticExchange

OURS, FLOOR = "ours", "floor"
ENGINES = ("duckdb_sql", "polars_group_by", "pandas_group_by")

OHLCV = [sys.executable, "-c", "from orchestration.cli.main import main; main()"]

Runner = Callable[[], Measured]


@dataclass(slots=True)
class Case:
    """One comparison.

    Attributes:
        name: Short, for tables and references.
        title: What was done, for readers.
        rows: Daily rows in, 0 where rows are not the point.
        results: Median of each contender, ours among them.
        spread: Fastest and slowest wall time of each contender.
        notes: What a reader should know.
        against: The contender that ours is compared with.
        target: Largest ratio of ours to it, if there is one.
    """

    name: str
    title: str
    rows: int = 0
    results: dict[str, Measured] = field(default_factory=dict)
    spread: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    against: str = FLOOR
    target: float | None = None

    @property
    def ratio(self) -> float | None:
        """Wall time of ours against the other contender, where both ran."""
        if OURS not in self.results or self.against not in self.results:
            return None
        return self.results[OURS].wall_s / self.results[self.against].wall_s

    @property
    def guarded_ratio(self) -> float | None:
        """The same of the fastest runs, which other work on the machine disturbs least."""
        if OURS not in self.spread or self.against not in self.spread:
            return None
        return self.spread[OURS][0] / self.spread[self.against][0]

    def run(self, runners: dict[str, Runner], repeats: int) -> None:
        """Run the contenders in turn, ``repeats`` times round."""
        runs: dict[str, list[Measured]] = {name: [] for name in runners}
        for _ in range(repeats):
            for name, runner in runners.items():
                runs[name].append(runner())
                newest = runs[name][-1]
                tell(
                    f"{self.name}: {name} {newest.wall_s:.2f} s, cpu {newest.cpu_s:.2f} s,"
                    f" peak {newest.peak_bytes / 2**20:,.0f} MiB"
                )
        for name, done in runs.items():
            self.results[name] = medians(done)
            walls = [run.wall_s for run in done]
            self.spread[name] = (min(walls), max(walls))


def six_intervals(
    dataset: Dataset,
    *,
    engines: tuple[str, ...],
    repeats: int,
    name: str,
    target: float | None,
    limited: bool = False,
) -> Case:
    """All six intervals in one process, against the floor and other engines.

    Args:
        dataset: Which lake.
        engines: Other contenders.
        repeats: Runs of each.
        name: Name of the case.
        target: Largest ratio of ours to the floor.
        limited: Whether to run ours once more with 1 GiB of memory and no byte more.
    """
    source = ensure(dataset)
    lake = copy_of(source, f"{dataset.name}-ours", leave_out=["bronze"])
    measure(job_command("resample", lake, "--full"))
    ready = prepare_rows(lake, DATA / f"{dataset.name}-ready")
    options = interval_options(FULL_INTERVALS)
    case = Case(name, "six intervals in one process", daily_rows(lake), target=target)
    runners: dict[str, Runner] = {
        OURS: lambda: measure(job_command("resample", lake, "--full")),
        FLOOR: lambda: measure(floor_command(dataset, lake, ready, FULL_INTERVALS)),
    }
    if limited:
        runners["ours in 1 GiB"] = lambda: measure(
            job_command("resample", lake, "--full", "--memory-limit", "1GiB"),
            data_limit_bytes=2**30,
        )
    for engine in engines:
        runners[engine] = lambda engine=engine: measure(  # type: ignore[misc]
            contender_command(
                engine, "--lake", str(lake), "--out", str(_out(dataset, engine)), *options
            )
        )
    case.run(runners, repeats)
    for engine in (FLOOR, *engines):
        bars = sum(
            require_same_bars(lake, _out(dataset, engine), table=f"{width}d")
            for width in FULL_INTERVALS
        )
        tell(f"{name}: {engine} wrote the same {bars:,} bars")
        shutil.rmtree(_out(dataset, engine))
    return case


def row_number_sql(dataset: Dataset) -> Case:
    """The original system's SQL on the same rows; once, because it takes minutes."""
    lake = copy_of(ensure(dataset), f"{dataset.name}-ours", leave_out=["bronze"])
    out = _out(dataset, "row_number_sql")
    options = interval_options(FULL_INTERVALS)
    case = Case(
        "row-number",
        "the original system's SQL",
        daily_rows(lake),
        against="row_number_sql",
        target=1 / 50,
    )
    case.run(
        {
            OURS: lambda: measure(job_command("resample", lake, "--full")),
            "row_number_sql": lambda: measure(
                contender_command(
                    "row_number_sql", "--lake", str(lake), "--out", str(out), *options
                )
            ),
        },
        repeats=1,
    )
    measure(job_command("resample", lake, "--anchor", "listing", "--full"))
    bars = sum(
        require_same_bars(
            lake, out, table=f"{width}d_listing", their_table=f"{width}d", splits=False
        )
        for width in FULL_INTERVALS
    )
    tell(f"row_number_sql wrote the same {bars:,} bars as our listing anchor, splits aside")
    shutil.rmtree(out)
    return case


def single_intervals(dataset: Dataset, *, repeats: int) -> Case:
    """A process for each interval, as on Batch, against a floor for each."""
    lake = copy_of(ensure(dataset), f"{dataset.name}-ours", leave_out=["bronze"])
    measure(job_command("resample", lake, "--full"))
    ready = prepare_rows(lake, DATA / f"{dataset.name}-ready")
    case = Case(
        "single-intervals", "six processes of one interval each", daily_rows(lake), target=1.6
    )
    runs: dict[str, list[Measured]] = {}
    for _ in range(repeats):
        for width in FULL_INTERVALS:
            alone = ["--interval", str(width), "--full"]
            runs.setdefault(f"{OURS} {width}d", []).append(
                measure(job_command("resample", lake, *alone))
            )
            runs.setdefault(f"{FLOOR} {width}d", []).append(
                measure(floor_command(dataset, lake, ready, (width,)))
            )
    worst = 0.0
    for width in FULL_INTERVALS:
        mine, floor = (medians(runs[f"{name} {width}d"]) for name in (OURS, FLOOR))
        case.results[f"{OURS} {width}d"], case.results[f"{FLOOR} {width}d"] = mine, floor
        case.notes.append(f"{width}d: {mine.wall_s / floor.wall_s:.2f} x its floor")
        worst = max(worst, mine.wall_s / floor.wall_s)
    for name in (OURS, FLOOR):
        each = [case.results[f"{name} {width}d"] for width in FULL_INTERVALS]
        case.results[name] = total(each)
    case.notes.append(f"the widest gap is {worst:.2f} x")
    return case


def consolidation(dataset: Dataset, *, repeats: int) -> Case:
    """All years from one delivery per session, against reading and writing the same rows."""
    source = ensure(dataset)
    lake = copy_of(source, f"{dataset.name}-daily")
    ready = prepare_rows(lake, DATA / f"{dataset.name}-daily-ready", tables=("1d",))
    out = DATA / f"{dataset.name}-daily-floor"
    deliveries = sum(1 for _ in (lake / "bronze/daily").glob("*/*.parquet"))
    case = Case(
        "consolidation", f"consolidation from {deliveries:,} deliveries", daily_rows(lake), target=2
    )
    case.run(
        {
            OURS: lambda: measure(job_command("consolidate", lake, "--full")),
            FLOOR: lambda: measure(
                contender_command(
                    "consolidation_floor",
                    *("--lake", str(lake), "--out", str(out), "--ready", str(ready)),
                )
            ),
        },
        repeats,
    )
    shutil.rmtree(out)
    return case


def daily_run(dataset: Dataset, *, repeats: int) -> Case:
    """Consolidate and resample one new session, with twenty years of history and with one."""
    source = ensure(dataset)
    exchange = SyntheticExchange(dataset.spec, load_calendar())
    newest = exchange.sessions[-1]
    case = Case(
        "daily-run",
        "one new session: 20 years of history against 1",
        against="1 year",
        target=1.2,
    )
    bases = {}
    for years, name in ((20, OURS), (1, "1 year")):
        base = years_of(
            source,
            f"daily-{years}",
            date(newest.year - years + 1, 1, 1),
            exchange.sessions[-2],
        )
        measure(job_command("resample", base))
        bases[name] = base

    def run(name: str) -> Measured:
        lake = copy_of(bases[name], "daily-try")
        land_sessions(lake, exchange, [newest])
        steps = [measure(job_command(job, lake)) for job in ("consolidate", "resample")]
        return total(steps)

    case.run({name: lambda name=name: run(name) for name in bases}, repeats)  # type: ignore[misc]
    long, short = case.results[OURS], case.results["1 year"]
    case.notes.append(f"bytes written: {long.written_bytes / short.written_bytes:.2f} x")
    return case


def reading(dataset: Dataset, *, repeats: int) -> Case:
    """One symbol's whole history, and one day of all symbols, against scanning the files."""
    lake = copy_of(ensure(dataset), f"{dataset.name}-ours", leave_out=["bronze"])
    newest = max((lake / "silver/1d").glob("year=*/data.parquet"))
    day = pl.scan_parquet(newest, hive_partitioning=False).select(pl.col("date").max()).collect()
    symbol = pl.scan_parquet(newest, hive_partitioning=False).select("symbol").collect()
    questions = {
        "one symbol": ["--symbol", str(symbol["symbol"].mode().sort()[0])],
        "one day": ["--day", str(day.item())],
    }
    case = Case(
        "reading", "one symbol's history, one day of all", daily_rows(lake), against="polars"
    )
    runs: dict[str, list[Measured]] = {}
    for _ in range(repeats):
        for question, options in questions.items():
            answers = set()
            for reader in READERS:
                command = contender_command(
                    "reading", "--reader", reader, "--lake", str(lake), *options
                )
                found = measure(command)
                told = json.loads(found.stdout)
                answers.add(json.dumps(told["answer"]))
                # What counts is the answer, not the start of the interpreter.
                found = replace(found, wall_s=told["answer_s"])
                runs.setdefault(f"{reader}, {question}", []).append(found)
            if len(answers) != 1:
                raise ContenderFailed(f"{question}: the readers differ: {', '.join(answers)}")
    case.notes.append(
        "seconds are those of the answer; processor time, memory and bytes of the whole process"
    )
    for name, done in runs.items():
        case.results[name] = medians(done)
        walls = [run.wall_s for run in done]
        case.spread[name] = (min(walls), max(walls))
    for reader in READERS:
        case.results[reader] = total([case.results[f"{reader}, {each}"] for each in questions])
    return case


def start_up(*, repeats: int) -> Case:
    """How long the command and the Lambda handlers take to come up."""
    case = Case("start-up", "start-up", against="python")
    python = [sys.executable, "-c"]
    runners: dict[str, Runner] = {
        "python": lambda: measure([*python, "pass"]),
        "ohlcv --help": lambda: measure(
            [*python, "from orchestration.cli.main import main; main()", "--help"]
        ),
    }
    for module in ("daily_bars", "reference"):
        dotted = f"fetchers.handlers.{module}"
        runners[f"import {dotted}"] = lambda dotted=dotted: measure(  # type: ignore[misc]
            [*python, f"import {dotted}"]
        )
    case.run(runners, repeats)
    return case


def corpus_run(corpus: Path, *, repeats: int) -> Case:
    """Import, consolidate and resample the real deliveries."""
    lake = DATA / "corpus"
    files = sorted((corpus / "us-stocks-deliveries").iterdir())
    case = Case("corpus", f"{len(files)} real deliveries: import, consolidate, six intervals")
    parts: dict[str, list[Measured]] = {}
    for _ in range(repeats):
        shutil.rmtree(lake, ignore_errors=True)
        splits = corpus / "splits.csv"
        parts.setdefault("import", []).append(
            measure(
                [
                    *(*OHLCV, "import", "--lake", str(lake), "--quiet"),
                    *("--splits", str(splits), *map(str, files)),
                ],
                allowed=(0, 3),
            )
        )
        parts.setdefault("consolidate", []).append(measure(job_command("consolidate", lake)))
        parts.setdefault("resample", []).append(measure(job_command("resample", lake)))
    for name, runs in parts.items():
        case.results[name] = medians(runs)
    each = list(case.results.values())
    case.results[OURS] = total(each)
    case.rows = daily_rows(lake)
    return case


def import_files(
    files: list[Path], *, repeats: int, name: str, target: float | None, title: str
) -> Case:
    """Import deliveries into an empty lake, against Polars reading the same files."""
    lake = DATA / name
    paths = [str(path) for path in files]
    case = Case(name, title, against="polars", target=target)

    def run() -> Measured:
        shutil.rmtree(lake, ignore_errors=True)
        return measure([*OHLCV, "import", "--lake", str(lake), "--quiet", *paths], **whole)

    whole: dict[str, Any] = {"allowed": (0, 3), "tree": True}
    case.run(
        {
            OURS: run,
            "polars": lambda: measure(contender_command("polars_reading", *paths), **whole),
        },
        repeats,
    )
    case.rows = int(case.results["polars"].stdout)
    columns = schema.DELIVERY.names[:7]
    there = filter(len, map(polars_reading.read, files))
    expected = sum(rows.select(columns).unique().height for rows in there)
    landed = sum(pq.read_metadata(path).num_rows for path in lake.glob("bronze/*/*/*.parquet"))
    if landed != expected:
        raise ContenderFailed(f"{name}: {landed:,} rows landed, the files have {expected:,}")
    return case


def prepare_rows(lake: Path, ready: Path, *, tables: tuple[str, ...] | None = None) -> Path:
    """Lay the rows of our partitions ready for the floor, uncompressed."""
    shutil.rmtree(ready, ignore_errors=True)
    for table in tables or tuple(f"{width}d" for width in FULL_INTERVALS):
        for path in sorted((lake / "silver" / table).glob("year=*/data.parquet")):
            year = int(path.parent.name.removeprefix("year="))
            rows = pq.ParquetFile(path, read_dictionary=["symbol"]).read()
            target = ready_path(ready, table, year)
            target.parent.mkdir(parents=True, exist_ok=True)
            whole = rows.unify_dictionaries().combine_chunks()
            with pa.ipc.new_file(str(target), whole.schema) as writer:
                writer.write_table(whole)
    return ready


def floor_command(dataset: Dataset, lake: Path, ready: Path, widths: tuple[int, ...]) -> list[str]:
    """Return the command line of the floor for some intervals."""
    return contender_command(
        "floor",
        *("--lake", str(lake), "--out", str(_out(dataset, FLOOR)), "--ready", str(ready)),
        *interval_options(widths),
    )


def interval_options(widths: tuple[int, ...]) -> list[str]:
    """Return ``--interval`` for each width."""
    return [text for width in widths for text in ("--interval", str(width))]


def _out(dataset: Dataset, contender: str) -> Path:
    return DATA / f"{dataset.name}-{contender}"
