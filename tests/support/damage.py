"""Damaging one file of a lake in every way that has been thought of, and what must follow.

Every command meets every damage. A reader ends with 0 or names the file and ends with 3;
``verify`` reports it; the jobs make the damaged table again, and name a damaged delivery.
``python -m tests.support.damage FIRST COUNT`` runs that many cases from a number on and prints
what became of them.
"""

from __future__ import annotations

import contextlib
import io
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from batch.core.layout import Anchor
from batch.core.sessions import load_calendar
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from orchestration.cli.main import cli
from tests.oracle import Split
from tests.support.bars import bar
from tests.support.lakes import Filled, Receipt, silver_bytes

Harm = Callable[[Path, random.Random], None]

SESSIONS = load_calendar().sessions_between(date(2021, 12, 22), date(2022, 1, 11))
SYMBOLS = tuple(f"S{number:02}" for number in range(12))


def make_lake(root: Path) -> Filled:
    """Make a lake over the end of a year, with a split and corrections in both years."""
    lake = Filled(LocalStore(root))
    for no, session in enumerate(SESSIONS):
        evening = datetime(session.year, session.month, session.day, 22, tzinfo=UTC)
        rows = tuple(
            bar(symbol, session, 20.0 + at + no / 8, volume=1000.0 + no, trades=10 + at)
            for at, symbol in enumerate(SYMBOLS)
        )
        lake.receive(Receipt(evening, "day", rows))
        if no % 3 == 1:
            fixed = bar(SYMBOLS[0], session, 21.0 + no / 8, vwap=None)
            lake.receive(Receipt(evening.replace(hour=23), "fix", (fixed,)))
    lake.split(Split(SYMBOLS[1], SESSIONS[5], 2.0))
    lake.run([3, 5], tuple(Anchor))
    return lake


def _content(change: Callable[[bytearray, random.Random], bytes]) -> Harm:
    def harm(path: Path, chance: random.Random) -> None:
        path.write_bytes(change(bytearray(path.read_bytes()), chance))

    return harm


def _flip(content: bytearray, at: int, chance: random.Random) -> bytes:
    content[at] ^= 1 << chance.randrange(8)
    return bytes(content)


def _overwrite(content: bytearray, at: int, chance: random.Random, filler: int | None) -> bytes:
    length = min(chance.randint(1, 64), len(content) - at)
    content[at : at + length] = (
        bytes([filler] * length) if filler is not None else (chance.randbytes(length))
    )
    return bytes(content)


def _footer_start(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def _page_starts(content: bytes) -> list[int]:
    metadata = pq.read_metadata(io.BytesIO(content))
    starts = []
    for group in range(metadata.num_row_groups):
        for column in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(column)
            starts.append(chunk.data_page_offset)
            if chunk.dictionary_page_offset:
                starts.append(chunk.dictionary_page_offset)
    return starts


def _in_footer(content: bytes, chance: random.Random) -> int:
    return chance.randrange(_footer_start(content), len(content))


def _in_page_header(content: bytes, chance: random.Random) -> int:
    return chance.choice(_page_starts(content)) + chance.randrange(24)


def _in_data(content: bytes, chance: random.Random) -> int:
    return chance.randrange(4, _footer_start(content))


def _rows(change: Callable[[Any, random.Random], Any]) -> Harm:
    """Write a table's rows again, changed, with the metadata of the file."""

    def harm(path: Path, chance: random.Random) -> None:
        found = pq.read_table(path)
        pq.write_table(change(found, chance).replace_schema_metadata(found.schema.metadata), path)

    return harm


def _column(
    table: Any, chance: random.Random, change: Callable[[list[Any], Any], Any], *names: str
) -> Any:
    name = chance.choice([one for one in names or table.column_names if one in table.column_names])
    at = table.schema.get_field_index(name)
    kind = table.schema.field(at).type
    changed = change(table.column(at).to_pylist(), kind)
    return table.set_column(at, pa.field(name, changed.type), changed)


def _one_value(value: Any, *names: str) -> Harm:
    def change(table: Any, chance: random.Random) -> Any:
        def put(values: list[Any], kind: Any) -> Any:
            values[chance.randrange(len(values))] = value
            return pa.array(values, kind)

        return _column(table, chance, put, *names)

    return _rows(change)


def _another_type(table: Any, chance: random.Random) -> Any:
    def retype(values: list[Any], kind: Any) -> Any:
        if pa.types.is_string(kind):
            return pa.array([float(at) for at in range(len(values))])
        return pa.array([None if value is None else str(value) for value in values], pa.string())

    return _column(table, chance, retype)


def _another_partition(path: Path, chance: random.Random) -> None:
    others = [other for other in path.parents[1].glob("*/*.parquet") if other != path]
    path.write_bytes(chance.choice(sorted(others)).read_bytes())


def _another_table(path: Path, chance: random.Random) -> None:
    root = next(parent for parent in path.parents if (parent / "bronze").is_dir())
    others = [
        other for other in root.glob("*/*/*/*.parquet") if other.parents[1] != path.parents[1]
    ]
    path.write_bytes(chance.choice(sorted(others)).read_bytes())


def _directory(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()
    if chance.random() < 0.5:
        (path / "part.parquet").write_bytes(b"PAR1")


_PRICES = ("open", "high", "low", "close", "old", "new")

DAMAGES: dict[str, Harm] = {
    "truncated": _content(lambda content, chance: bytes(content[: chance.randrange(len(content))])),
    "empty": _content(lambda content, chance: b""),
    "text": _content(lambda content, chance: b"symbol,date,open\nS00,2022-01-03,1\n"),
    "zeros": _content(lambda content, chance: bytes(len(content))),
    "a bit of the footer": _content(lambda c, chance: _flip(c, _in_footer(c, chance), chance)),
    "the footer zeroed": _content(
        lambda c, chance: _overwrite(c, _in_footer(c, chance), chance, 0)
    ),
    "noise in the footer": _content(
        lambda c, chance: _overwrite(c, _in_footer(c, chance), chance, None)
    ),
    "a bit of a page header": _content(
        lambda c, chance: _flip(c, _in_page_header(c, chance), chance)
    ),
    "a page header zeroed": _content(
        lambda c, chance: _overwrite(c, _in_page_header(c, chance), chance, 0)
    ),
    "a bit of data": _content(lambda c, chance: _flip(c, _in_data(c, chance), chance)),
    "data zeroed": _content(lambda c, chance: _overwrite(c, _in_data(c, chance), chance, 0)),
    "noise in data": _content(lambda c, chance: _overwrite(c, _in_data(c, chance), chance, None)),
    "another schema": lambda path, chance: pq.write_table(pa.table({"x": [1, 2]}), path),
    "another type": _rows(_another_type),
    "a column missing": _rows(
        lambda table, chance: table.drop_columns([chance.choice(table.column_names)])
    ),
    "a null": _one_value(None),
    "a row twice": _rows(lambda table, chance: pa.concat_tables([table.slice(0, 1), table])),
    "rows unsorted": _rows(lambda table, chance: table.take(list(range(len(table)))[::-1])),
    "no rows": _rows(lambda table, chance: table.slice(0, 0)),
    "a row missing": _rows(lambda table, chance: table.slice(1)),
    "another year or session": _another_partition,
    "another table": _another_table,
    "infinity": _one_value(float("inf"), *_PRICES),
    "NaN": _one_value(float("nan"), *_PRICES),
    "a huge price": _one_value(1e308, *_PRICES),
    "a directory": _directory,
}

PLACES = (
    "silver/1d/year=2021",
    "silver/1d/year=2022",
    "silver/3d/year=2021",
    "silver/5d_listing/year=2022",
    "silver/restatements/year=2021",
    "silver/restatements/year=2022",
    "bronze/daily/date=2021-12-28",
    "bronze/daily/date=2022-01-04",
)

CASES = [(name, place) for name in DAMAGES for place in PLACES]


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code and what it printed."""

    code: int
    printed: str


def run(*arguments: str) -> Ended:
    """Run a command line in this process."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run_main(cli, list(arguments), name="ohlcv")
    return Ended(code, printed.getvalue())


def _has_rows(path: Path, content: bytes) -> bool:
    """Whether a delivery still has the rows of its content: its name carries their digest."""
    try:
        return bool(pq.read_table(path).equals(pq.read_table(io.BytesIO(content))))
    except (pa.ArrowException, OSError):
        return False


READERS: dict[str, tuple[str, ...]] = {
    "status": ("status", "--max-age-sessions", "9999"),
    "quality": ("quality",),
    "report": ("report", "--output", "PAGE"),
    "chart": ("chart", "S01", "-i", "1d", "-i", "3d", "--output", "PAGE"),
    "sql": ("sql", "select * from bars_1d join restatements using (symbol, date)"),
    "sql of a listing": ("sql", "select * from bars_5d_listing"),
    "vacuum": ("vacuum",),
}


def _names(ended: Ended, key: str) -> bool:
    """Whether output names a file, its table and year or session, or at least its table."""
    _, table, *rest = key.split("/")
    year = rest[0].removeprefix("year=")
    in_table = f'"table": "{table}"' in ended.printed and f'"year": {year}' in ended.printed
    session = f'"day": "{rest[0].removeprefix("date=")}"' in ended.printed
    return key in ended.printed or in_table or session or f"silver/{table}/: " in ended.printed


def wrongs(sound: Path, number: int, readers: Iterable[str] = READERS) -> Iterator[str]:
    """Damage a copy of a sound lake in the way of a number; yield what went wrong after it."""
    name, place = CASES[number % len(CASES)]
    with tempfile.TemporaryDirectory(dir=sound.parent) as folder:
        lake = Path(shutil.copytree(sound, Path(folder) / "lake"))
        chance = random.Random(number)
        path = chance.choice(sorted(lake.glob(f"{place}/*.parquet")))
        before = path.read_bytes()
        DAMAGES[name](path, chance)
        key = str(path.relative_to(lake))
        is_changed = path.is_dir() or path.read_bytes() != before
        if key.startswith("bronze/") and is_changed:
            is_changed = not _has_rows(path, before)
        page = str(Path(folder) / "page.html")
        for reader in readers:
            arguments = [page if one == "PAGE" else one for one in READERS[reader]]
            ended = run(*arguments, "--lake", str(lake), "--json")
            if ended.code not in (0, 3):
                yield f"{reader}: ends with {ended.code}: {ended.printed[-400:]}"
            elif ended.code == 3 and not _names(ended, key):
                yield f"{reader}: does not name {key}: {ended.printed[-400:]}"
        if is_changed:
            ended = run("verify", "--lake", str(lake), "--json")
            if ended.code != 3:
                yield f"verify: ends with {ended.code}: {ended.printed[-400:]}"
            elif not _names(ended, key):
                yield f"verify: does not name {key}: {ended.printed[-400:]}"
        is_folder = path.is_dir()  # which is for a person to remove
        jobs = [run("consolidate", "--lake", str(lake))]
        for anchor in Anchor:
            widths = ("--interval", "3", "--interval", "5")
            jobs.append(run("resample", *widths, "--anchor", anchor, "--lake", str(lake)))
        if key.startswith("silver/") and not is_folder:
            for ended in jobs:
                if ended.code:
                    yield f"a job ends with {ended.code}: {ended.printed[-400:]}"
            if silver_bytes(LocalStore(lake)) != silver_bytes(LocalStore(sound)):
                yield "the jobs did not make it again"
        else:
            for ended in jobs:
                if ended.code not in (0, 3):
                    yield f"a job ends with {ended.code}: {ended.printed[-400:]}"
                if ended.code == 3 and key not in ended.printed:
                    yield f"a job does not name {key}: {ended.printed[-400:]}"


def main(first: int, count: int) -> None:
    """Run cases and print what went wrong."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        sound = make_lake(Path(folder) / "sound")
        for number in range(first, first + count):
            found = list(wrongs(Path(sound.store.uri), number))
            counts["wrong" if found else "right"] += 1
            for wrong in found:
                print(number, CASES[number % len(CASES)], wrong, flush=True)
    print(dict(counts))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
