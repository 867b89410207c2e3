"""Everything that the documents show works, and prints what they show."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from batch.core import rules, schema
from batch.core.sessions import Calendar
from tests.support.bars import bar, frame
from tests.support.documents import (
    REPOSITORY,
    RUNS,
    Block,
    Reader,
    StandIn,
    blocks_of,
    command_of,
    prose_of,
    run_document,
)

RUN = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/charts.md",
    "docs/data.md",
    "docs/fetching.md",
    "docs/operations.md",
)
"""Pages whose blocks run here."""

PROSE = (
    "CHANGELOG.md",
    "docs/json.md",
    "docs/performance.md",
    "docs/scale.md",
    "docs/uploads.md",
)
"""Pages without blocks; the commands in their prose are read by test_commands_shown.py."""

ELSEWHERE = {"orchestration/README.md": "needs the local AWS: tests/aws"}
"""Pages whose commands other tests run, and why."""

STAND_INS = {
    "make demo": StandIn(
        "pip install --quiet . && make demo VENV=clean",
        "the environment of these tests was set up by the same rule, which takes long",
    ),
    "make test": StandIn("make --dry-run test", "all tests would run this one again"),
    "make check": StandIn("make --dry-run check", "it is what runs this test"),
    ".venv/bin/pytest tests/test_rules.py": StandIn(
        "python -m pytest --collect-only tests/test_rules.py", "this checkout has no such .venv"
    ),
    'make test PYTEST="tests/test_rules.py -k reason"': StandIn(
        'make --dry-run test PYTEST="tests/test_rules.py -k reason"', "the same"
    ),
    "pip install '.[notebook]' jupyterlab": StandIn(
        "uv pip install --quiet --dry-run --python clean/bin/python '.[notebook]' jupyterlab",
        "JupyterLab is large and not ours: that all of it can be had together is enough",
    ),
    "OHLCV_LAKE=$PWD/demo-lake jupyter lab notebooks/bars.ipynb": StandIn(
        "OHLCV_LAKE=$PWD/demo-lake jupyter execute notebooks/bars.ipynb",
        "JupyterLab waits for a person in a browser, who would run every cell",
    ),
    "ohlcv vendor-stub &": StandIn(
        "ohlcv vendor-stub --port $FREE_PORT &", "the usual port may be taken on this machine"
    ),
    "export OHLCV_POLYGON_BASE_URL=http://127.0.0.1:8321 POLYGON_API_KEY=any": StandIn(
        "export OHLCV_POLYGON_BASE_URL=http://127.0.0.1:$FREE_PORT POLYGON_API_KEY=any",
        "the same port",
    ),
}
"""Lines of the pages that do not run as they stand."""


def environment() -> dict[str, str]:
    """Return what a reader's shell begins with: how to reach programs and packages."""
    keep = re.compile(r"PATH|HOME|LANG|TMPDIR|TZ|(PIP|UV|SSL)_\w+|\w+_(proxy|PROXY)")
    return {name: value for name, value in os.environ.items() if keep.fullmatch(name)}


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Somebody in an empty folder."""
    somebody = Reader(tmp_path, environment(), STAND_INS)
    yield somebody
    somebody.leave()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh copy of the repository, and in it a clean environment that needs no downloads.

    The environment finds the packages that the project depends on in the one that runs the
    tests, and not the project itself.
    """
    folder = tmp_path_factory.mktemp("readers") / "checkout"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (REPOSITORY / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)
    venv.create(folder / "clean", with_pip=True)
    (library,) = (folder / "clean").glob("lib/python*/site-packages")
    (library / "packages-of-the-tests.pth").write_text(sysconfig.get_path("purelib"))
    (folder / "clean/runtime.done").touch()
    (folder / "clean/bin/jupyter").symlink_to(Path(sys.executable).with_name("jupyter"))
    return folder


@pytest.fixture
def newcomer(checkout: Path) -> Iterator[Reader]:
    """Somebody in a checkout, with an environment of their own activated."""
    inherited = environment()
    path = f"{checkout / 'clean/bin'}:{inherited['PATH']}:{Path(sys.executable).parent}"
    # Wheels are built with the tests' own packages: pip would download them for each build.
    own = {"PATH": path, "PIP_NO_BUILD_ISOLATION": "0"}
    somebody = Reader(checkout, {**inherited, **own}, STAND_INS, installed=True)
    yield somebody
    somebody.leave()
    shutil.rmtree(checkout / "lake", ignore_errors=True)


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


def files_told(page: str) -> set[str]:
    """Return the files that the ``ohlcv`` lines of a page say they write."""
    lines = re.findall(r"^ohlcv (?:chart|report).*", page, re.MULTILINE)
    return {name for line in lines for name in re.findall(r"[\w-]+\.(?:html|png|svg)\b", line)}


@pytest.mark.slow
def test_every_example_of_the_readme_runs(newcomer: Reader, calendar: Calendar) -> None:
    leave_deliveries(newcomer.folder, calendar)

    assert run_document(REPOSITORY / "README.md", newcomer) > 1


@pytest.mark.slow
@pytest.mark.parametrize("document", ["docs/charts.md", "CONTRIBUTING.md"])
def test_every_example_runs_in_a_checkout(document: str, newcomer: Reader) -> None:
    if document == "docs/charts.md" and not (newcomer.folder / "demo-lake").exists():
        newcomer.run(block("sh", "make demo\n"), document)  # what the page begins with

    assert run_document(REPOSITORY / document, newcomer) > 1
    told = files_told((REPOSITORY / document).read_text())
    assert (document == "docs/charts.md") == bool(told)
    assert {name for name in told if not (newcomer.folder / name).exists()} == set()


@pytest.mark.parametrize("document", ["docs/data.md", "docs/fetching.md", "docs/operations.md"])
def test_every_example_runs_and_prints_what_is_shown(document: str, reader: Reader) -> None:
    pytest.importorskip("backtrader")  # its docstrings warn when they are compiled
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        reader.environment["FREE_PORT"] = str(free.getsockname()[1])

    assert run_document(REPOSITORY / document, reader) > 0


def test_every_document_of_the_repository_is_covered() -> None:
    documents = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()

    assert sorted(documents) == sorted([*RUN, *PROSE, *ELSEWHERE])


@pytest.mark.parametrize("document", PROSE)
def test_a_page_of_prose_has_no_block(document: str) -> None:
    text = (REPOSITORY / document).read_text()

    assert list(blocks_of(text)) == []
    assert "```" not in text


@pytest.mark.parametrize("document", [*RUN, *PROSE])
def test_every_block_says_what_it_is(document: str) -> None:
    text = (REPOSITORY / document).read_text()

    assert {block.language for block in blocks_of(text)} <= RUNS | {
        "text",
        "sql",
        "json",
        "ini",
        "yaml",
    }
    assert "```" not in prose_of(text)
    assert re.findall(r"\n\n {4,}[^\s*-].*", prose_of(text)) == []  # a block without a fence


def test_no_stand_in_has_outlived_its_line() -> None:
    lines = {
        command_of(line)
        for document in RUN
        for block in blocks_of((REPOSITORY / document).read_text())
        if block.language == "sh"
        for line in block.content.splitlines()
    }

    assert STAND_INS.keys() - lines == set()


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

    assert re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE) == list(rules.Reason)


def test_every_name_under_which_import_reads_a_column_is_documented() -> None:
    from fetchers.files import columns, reference

    text = (REPOSITORY / "docs/data.md").read_text()
    section = text.split("\n## Files to import\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, re.MULTILINE)

    assert {ours: tuple(re.findall(r"`(\w+)`", names)) for ours, names in rows} == columns._NAMES
    of_reference = {
        *(*reference._EXECUTED, *reference._BEFORE, *reference._AFTER, *reference._RATIO),
        *(*reference._PAID, *reference._AMOUNT),
        *(name for names in reference._OTHER_NAMES.values() for name in names[1:]),
    }
    assert of_reference - set(re.findall(r"`(\w+)`", section)) == set()


def test_every_check_is_documented() -> None:
    from batch.audit.checks import CHECKS, LAKE_CHECKS

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
    reader.run(block("sh", "export COLOUR=green\n"), "page")
    reader.run(block("python", "answer = 42\n"), "page")

    assert reader.run(block("sh", "echo $COLOUR\n"), "page") == "green\n"
    assert reader.run(block("python", "print(answer)\n"), "page") == "42\n"


def test_no_line_is_passed_over(reader: Reader) -> None:
    with pytest.raises(AssertionError, match="No rule to make target"):
        reader.run(block("sh", "make nonsense\n"), "page")


def test_a_stand_in_takes_the_place_of_its_line_alone(reader: Reader) -> None:
    reader.stand_ins = {"sleep 1000": StandIn("echo rested", "it takes too long")}

    assert reader.run(block("sh", "sleep 1000   # a while\necho on\n"), "page") == "rested\non\n"


def test_what_runs_in_the_background_ends_with_the_page(reader: Reader) -> None:
    told = reader.folder / "told"
    ready = "(trap 'echo ended > told; exit' TERM; echo > ready; sleep 1000 & wait) &\n"
    reader.run(block("sh", ready + "until [ -e ready ]; do sleep 0.01; done\n"), "page")
    assert not told.exists()

    reader.leave()

    until = time.monotonic() + 10
    while not told.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
