"""Everything that the documents show works, and prints what they show."""

from __future__ import annotations

import gzip
import os
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from batch.core import rules, schema
from batch.core.sessions import Calendar
from tests.support.bars import bar, frame
from tests.support.documents import REPOSITORY, Block, Reader, blocks_of, run_document

DOCUMENTS = ("docs/data.md", "docs/operations.md", "CONTRIBUTING.md")


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Somebody in an empty folder."""
    keep = {"PATH", "HOME", "LANG", "TMPDIR", "TZ"}
    return Reader(tmp_path, {name: os.environ[name] for name in keep & os.environ.keys()})


def leave_deliveries(folder: Path, calendar: Calendar) -> None:
    """Leave what the README takes for granted: a reader's own deliveries and splits."""
    (folder / "deliveries").mkdir()
    for number, session in enumerate(
        calendar.sessions_between(date(2025, 9, 2), date(2025, 11, 20))
    ):
        rows = [bar(symbol, session, 10.0 + number % 7) for symbol in ("AAPL", "MSFT", "NA")]
        text = frame(rows).drop("vwap", "trades").write_csv()
        path = folder / "deliveries" / f"{session}.csv.gz"
        path.write_bytes(gzip.compress(text.encode()))
    (folder / "splits.csv").write_text(
        "ticker,execution_date,split_from,split_to\nAAPL,2025-10-01,1,4\n"
    )


def test_every_example_of_the_readme_runs(
    reader: Reader, tmp_path: Path, calendar: Calendar
) -> None:
    leave_deliveries(tmp_path, calendar)

    assert run_document(REPOSITORY / "README.md", reader) > 1


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_example_runs_and_prints_what_is_shown(document: str, reader: Reader) -> None:
    assert run_document(REPOSITORY / document, reader) > 0


@pytest.mark.parametrize(
    ("heading", "table"),
    [
        ("Daily bars", schema.DAILY),
        ("Bars of N sessions", schema.BARS),
        ("Splits", schema.SPLITS),
        ("Tickers", schema.TICKERS),
        ("Dividends", schema.DIVIDENDS),
        ("Restatements", schema.RESTATEMENTS),
    ],
)
def test_every_column_is_documented_with_its_type(heading: str, table: Any) -> None:
    text = (REPOSITORY / "docs/data.md").read_text()
    section = text.split(f"\n### {heading}\n")[1].split("\n### ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", section, re.MULTILINE)
    types = {
        "double": "double",
        "string": "string",
        "date32[day]": "date",
        "int64": "int64",
        "int32": "int32",
        "bool": "bool",
        "timestamp[us, tz=UTC]": "timestamp, UTC",
    }

    expected = [
        (field.name, types[str(field.type)] + (", null" if field.nullable else ""))
        for field in table
    ]

    assert [(name, kind.strip()) for name, kind in rows] == expected


def test_every_reason_is_documented() -> None:
    text = (REPOSITORY / "docs/data.md").read_text()
    section = text.split("| reason | when |")[1].split("\n\n")[0]

    assert re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE) == list(rules.REASONS)


def test_every_check_is_documented() -> None:
    from batch.quality.checks import CHECKS, LAKE_CHECKS

    text = (REPOSITORY / "docs/data.md").read_text()
    section = text.split("| check | finds |")[1].split("\n\n")[0]

    names = [*(check.name for check in CHECKS), *LAKE_CHECKS]
    assert re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE) == names


def test_the_athena_table_has_the_columns_of_the_bars() -> None:
    text = (REPOSITORY / "docs/data.md").read_text()
    statement = next(block.content for block in blocks_of(text) if block.language == "sql")
    inside = statement.split("(", 1)[1].split("\n)")[0]
    athena = {
        "string": "string",
        "date32[day]": "date",
        "double": "double",
        "int64": "bigint",
        "int32": "int",
        "bool": "boolean",
    }

    columns = [tuple(part.replace("`", "").split()) for part in inside.split(",")]

    assert columns == [(field.name, athena[str(field.type)]) for field in schema.BARS]


def block(language: str, content: str) -> Block:
    return Block(language, content, 1, 0, "")


def test_a_document_that_shows_something_else_fails(reader: Reader, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")

    with pytest.raises(AssertionError, match="but it prints\n2"):
        run_document(page, reader)


def test_a_command_that_fails_fails_the_document(reader: Reader) -> None:
    with pytest.raises(AssertionError, match="exit code 2"):
        reader.run(block("sh", "ohlcv status --lake nowhere | cat\necho not reached\n"), "page")


def test_shell_and_python_keep_what_blocks_before_them_set(reader: Reader) -> None:
    reader.run(block("sh", "export COLOUR=green\nmake nonsense\n"), "page")
    reader.run(block("python", "answer = 42\n"), "page")

    assert reader.run(block("sh", "echo $COLOUR\n"), "page") == "green\n"
    assert reader.run(block("python", "print(answer)\n"), "page") == "42\n"
