"""What every command prints with ``--json`` has the fields that docs/json.md documents."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import click
import polars as pl
import pytest

from batch.core.layout import partition_key
from batch.core.sessions import Calendar, load_calendar
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from batch.version import JSON_VERSION
from orchestration.cli.main import SECTIONS, cli
from tests.fetchers.support import KEY, vendor
from tests.support.bars import bar, frame, land_rows, received_after
from tests.support.documents import REPOSITORY
from tests.support.uploads import MadeDrop, csv_of, round_of

PAGE = (REPOSITORY / "docs" / "json.md").read_text()
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
FIRST, LAST = date(2025, 1, 13), date(2025, 2, 7)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TYPES: dict[str, Callable[[Any], bool]] = {
    "any": lambda _: True,
    "boolean": lambda value: isinstance(value, bool),
    "date": lambda value: isinstance(value, str) and str(date.fromisoformat(value)) == value,
    "instant": lambda value: isinstance(value, str) and bool(INSTANT.fullmatch(value)),
    "integer": lambda value: _is_number(value) and isinstance(value, int),
    "null": lambda value: value is None,
    "number": _is_number,
    "text": lambda value: isinstance(value, str),
}


def commands_with_json() -> list[str]:
    names = [name for section in SECTIONS.values() for name in section]
    found = [(name, cli.get_command(click.Context(cli), name)) for name in names]
    return [
        name
        for name, command in found
        if command and any("--json" in option.opts for option in command.params)
    ]


def documented(command: str, page: str = PAGE) -> dict[str, list[str]]:
    """Return the fields that a page documents for a command, each with its types."""
    fields: dict[str, list[str]] = {}
    for section in re.split(r"^##+ ", page, flags=re.MULTILINE)[1:]:
        heading, _, body = section.partition("\n")
        if heading == "Every command" or command in re.findall(r"`([a-z]+)`", heading):
            table = body.split("| field | type | what |\n", 1)[1].split("\n\n")[0]
            for name, kinds in re.findall(r"^\| `([^`]+)` \| ([a-z, ]+) \|", table, re.MULTILINE):
                assert name not in fields, f"{command}: {name} is documented twice"
                fields[name] = kinds.split(", ")
    return fields


def fields_of(value: object, path: str, fields: dict[str, list[str]]) -> Iterator[tuple[str, Any]]:
    """Yield path and value of every leaf, with the paths of lists and objects that are there."""
    inside = [name for name in fields if re.match(rf"{re.escape(path)}(\[\]|\.)", name)]
    if isinstance(value, list):
        yield path, ...
        for item in value:
            yield from fields_of(item, f"{path}[]", fields)
    elif isinstance(value, dict):
        yield path, ...
        by_key = f"{path}.*" in inside
        for key, item in value.items():
            yield from fields_of(item, f"{path}.*" if by_key else f"{path}.{key}", fields)
    else:
        yield path, value


def differences(document: dict[str, Any], fields: dict[str, list[str]]) -> list[str]:
    """Say how a document differs from its fields."""
    found: list[str] = []
    items: dict[str, set[str]] = defaultdict(set)
    seen = set()
    for key, value in document.items():
        for path, leaf in fields_of(value, key, fields):
            seen.add(path)
            holds = any(re.match(rf"{re.escape(path)}(\[\]|\.)", name) for name in fields)
            if leaf is ...:
                found += [] if holds else [f"{path}: a list or object"]
            elif path not in fields:
                found.append(f"{path}: not documented")
            elif not any(TYPES[kind](leaf) for kind in fields[path]):
                found.append(f"{path}: {leaf!r} is not {' or '.join(fields[path])}")
    for name in fields:
        parent = re.split(r"\[\]|\.", name)[0]
        if parent not in seen:
            found.append(f"{name}: documented, but not there")
        whole, dot, inner = name.partition("[].")
        if dot:
            items[whole].add(re.split(r"\[\]|\.", inner)[0])
    for whole, names in items.items():
        found += [
            f"{whole}[]: has {sorted(item)}, documented are {sorted(names)}"
            for item in document.get(whole, [])
            if item.keys() != names
        ]
    return found


def print_json(*arguments: str) -> dict[str, Any]:
    """Run a command and return the document that it prints."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run_main(cli, [*arguments, "--json"], name="ohlcv")
    assert out.getvalue(), f"{arguments}: {code}, {err.getvalue()}"
    document: dict[str, Any] = json.loads(out.getvalue())
    return document


def leave_files(folder: Path, calendar: Calendar) -> list[str]:
    """Write deliveries with all that a command reports: gaps, corrections, refused rows."""
    sessions = calendar.sessions_between(FIRST, LAST)
    for number, session in enumerate(sessions):
        rows = [bar("A", session, 10.0 + number), bar("B", session, 20.0)]
        rows += [bar("GONE", session, 30.0)] if number < 5 else []
        rows += [bar("BAD", session, high=1.0)] if number == 2 else []
        name = f"late-{LAST}" if number == 8 else str(session)
        if number != 7:
            (folder / f"{name}.csv").write_text(frame(rows).write_csv())
    corrected, repeated = [bar("A", sessions[-2], 11.0)], [bar("B", sessions[3], 20.0)]
    (folder / f"a-{LAST}.csv").write_text(frame(corrected).write_csv())
    (folder / f"b-{LAST}.csv").write_text(frame(repeated).write_csv())
    (folder / "page.csv").write_text("<html>")
    return [str(path) for path in sorted(folder.glob("*.csv"))]


def drop_files(lake: LocalStore, folder: Path, calendar: Calendar) -> None:
    """Drop a file that is held, with examples, and one whose rows are refused."""
    (folder / "dropped").mkdir()
    drop, at = MadeDrop(folder / "dropped"), datetime(2025, 3, 3, tzinfo=UTC)
    session = calendar.sessions_between(FIRST, LAST)[0]
    uploads = [
        drop.put("vendor/held.csv", csv_of(bar("A", session, 99.0)), at),
        drop.put("vendor/refused.csv", csv_of(bar("A", session, volume=-1.0)), at),
    ]
    round_of(lake, drop, uploads, at)


def leave_uploads(folder: Path) -> None:
    """Drop a file to land, one to hold, one to quarantine, and what is none."""
    folder.mkdir()
    rows = frame([bar("A", FIRST)])
    (folder / "A.csv").write_text(rows.write_csv())
    (folder / "held.csv").write_text(
        "symbol,date,open,high,low,close,volume\nA,03/04/2024,1,1,1,1,1\n"
    )
    (folder / "page.csv").write_text("<html>\n")
    (folder / "nothing.csv").symlink_to(folder / "missing")


def leave_copy(folder: Path) -> None:
    """Drop the file that landed under another name."""
    (folder / "copy.csv").write_bytes((folder / "A.csv").read_bytes())


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """The documents of every command, on a lake that has something of everything."""
    folder, calendar = tmp_path_factory.mktemp("json"), load_calendar()
    lake = LocalStore(folder / "lake")
    documents: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def run(name: str, *arguments: str, uri: str = lake.uri) -> None:
        documents[name].append(print_json(name, *arguments, "--lake", uri))

    few = "--symbols", "2", "--first", str(FIRST), "--last", "2025-01-16"
    run("demo", *few, uri=str(folder / "demo"))
    now = datetime.now(UTC)
    with (
        vendor(calendar, now, first=now.date() - timedelta(days=30), symbols=3) as running,
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setenv("OHLCV_POLYGON_BASE_URL", running.base_url)
        patched.setenv("OHLCV_POLYGON_REQUESTS_PER_MINUTE", "0")
        patched.setenv("POLYGON_API_KEY", KEY)
        run("fetch", uri=str(folder / "fetched"))
        run("run", "--interval", "5", uri=str(folder / "fetched"))
    run("import", *leave_files(folder, calendar), "--max-refused-share", "1")
    leave_uploads(folder / "drop")
    for _ in range(2):
        run("watch", str(folder / "drop"), "--once", "--settle", "1ms", uri=str(folder / "watched"))
        leave_copy(folder / "drop")
    session = calendar.sessions_between(FIRST, LAST)[0]
    rows = [bar(symbol, session) for symbol in ("A", "B", "GONE", "NEW")]
    land_rows(lake, rows, calendar, received_at=received_after(LAST), source="late")
    run("consolidate")
    run("resample", "--interval", "5")
    run("verify")
    run("quality")
    run("vacuum", "--forget-corrections")
    run("sql", "select symbol, date, vwap from bars_1d limit 2")
    run("chart", "A", "--interval", "5", "--output", str(folder / "a.svg"))
    run("export", "--symbol", "A", "--output", str(folder / "a.csv"))
    run("report", "--output", str(folder / "report.html"))
    land_rows(lake, rows[:1], calendar, received_at=received_after(LAST, 3))
    damaged = lake.root / partition_key("5d", 2025)
    pl.read_parquet(damaged).with_columns(pl.col("close") + 1).write_parquet(damaged)
    run("verify")
    run("status", "--since", str(FIRST))
    run("consolidate", "--as-of", "2025-01-10")
    run("resample", "--interval", "5")
    run("status")
    drop_files(lake, folder, calendar)
    run("uploads")
    return documents


def test_every_command_is_documented_and_runs_here(
    printed: dict[str, list[dict[str, Any]]],
) -> None:
    named = {
        name
        for heading in re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
        for name in re.findall(r"`([a-z]+)`", heading)
    }

    assert named == printed.keys() == {*commands_with_json()} - {"vendor-stub"}


@pytest.mark.parametrize("command", sorted({*commands_with_json()} - {"vendor-stub"}))
def test_a_document_has_the_fields_that_are_documented(
    command: str, printed: dict[str, list[dict[str, Any]]]
) -> None:
    fields = documented(command)

    for document in printed[command]:
        assert document["version"] == JSON_VERSION
        assert differences(document, fields) == []


def test_the_lake_of_these_tests_shows_the_fields_of_every_list(
    printed: dict[str, list[dict[str, Any]]],
) -> None:
    unseen = {
        (command, whole)
        for command, documents in printed.items()
        for whole in {name.partition("[].")[0] for name in documented(command) if "[]." in name}
        if not any(document[whole] for document in documents)
    }

    assert unseen == set()


def test_a_field_that_is_not_as_documented_is_found() -> None:
    page = (
        "## Every command\n\n| field | type | what |\n|---|---|---|\n"
        "| `version` | integer | 1 |\n| `at` | instant | when |\n| `old` | text | gone |\n"
        "| `runs[].job` | text | name |\n| `refused.*` | integer | by reason |\n"
    )
    document = {
        "version": "1",
        "at": "2025-01-15 21:00:00",
        "runs": [{"job": "a", "more": 1}],
        "refused": {"no symbol": 1, "not a session": "2"},
        "added": [],
    }

    assert differences(document, documented("status", page)) == [
        "version: '1' is not integer",
        "at: '2025-01-15 21:00:00' is not instant",
        "runs[].more: not documented",
        "refused.*: '2' is not integer",
        "added: a list or object",
        "old: documented, but not there",
        "runs[]: has ['job', 'more'], documented are ['job']",
    ]
