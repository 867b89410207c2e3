"""Every command and option that a page, a help text or a message names is a real one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import nbformat
import pytest

from batch.runtime.command import run_main
from orchestration.cli.main import SECTIONS, cli
from tests.support.commands import (
    examples_of,
    options_of_ohlcv,
    program_of,
    require_call,
    require_options,
    spans_of,
    targets_of_make,
    words_of,
)
from tests.support.documents import REPOSITORY, blocks_of, printed_by, prose_of
from tests.test_docs import ELSEWHERE, PROSE, RUN

COMMANDS = ["", *(name for section in SECTIONS.values() for name in section)]

OTHERS = {
    "lint-imports": "a gate of `make check`",
    "DOCS=update pytest tests/test_docs.py": "it would write into the pages",
    "pip install '.[notebook]'": "docs/charts.md runs it",
    "pip install '.[watch]'": "the environment of the tests has what it installs",
    "python -m tests.support.damage 0 208": "a part of it is a test",
}
"""Commands of other programs in prose, and why they are not run from there."""


def texts() -> dict[str, str]:
    """Everything that speaks to a reader in prose, by its path."""
    found = {name: prose_of((REPOSITORY / name).read_text()) for name in (*RUN, *PROSE)}
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        found[path.relative_to(REPOSITORY).as_posix()] = "\n\n".join(
            cell.source for cell in cells if cell.cell_type == "markdown"
        )
    for package in ("batch", "fetchers", "orchestration"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            found[path.relative_to(REPOSITORY).as_posix()] = path.read_text()
    return found


TEXTS = texts()
CALLS = [
    (name, span) for name, text in TEXTS.items() for span in spans_of(text) if program_of(span)
]


def calls_of(program: str) -> list[tuple[str, str]]:
    """Return where a program is called in prose, and how."""
    return [(name, span) for name, span in CALLS if program_of(span) == program]


def test_calls_are_found_in_every_kind_of_text() -> None:
    kinds = {Path(name).suffix for name, _ in calls_of("ohlcv")}

    assert kinds == {".md", ".ipynb", ".py"}
    assert len(calls_of("ohlcv")) > 60
    assert len(calls_of("make")) > 4


@pytest.mark.parametrize(("name", "span"), calls_of("ohlcv"))
def test_every_call_of_ohlcv_in_prose_names_a_real_command_and_real_options(
    name: str, span: str
) -> None:
    require_options(words_of(span)[1:])


@pytest.mark.parametrize(("name", "span"), calls_of("make"))
def test_every_make_target_in_prose_exists(name: str, span: str) -> None:
    assert set(words_of(span)[1:]) <= targets_of_make(), name


def test_every_option_in_prose_is_one_of_ohlcv() -> None:
    named = {
        (name, words_of(span)[0].split("=")[0])
        for name in (*RUN, *PROSE)
        for span in spans_of(TEXTS[name])
        if re.match(r"--?[a-z]", span)
    }

    assert len(named) > 20
    assert {option for option in named if option[1] not in options_of_ohlcv()} == set()


def test_commands_of_other_programs_in_prose_are_accounted_for() -> None:
    pages = {name for name in TEXTS if not name.endswith(".py")}
    called = {
        span for name, span in CALLS if name in pages and program_of(span) not in ("ohlcv", "make")
    }

    assert called == OTHERS.keys()
    for span in called:
        program = program_of(span)
        assert program
        assert shutil.which(program) or Path(sys.executable).with_name(program).exists()
        for word in words_of(span)[1:]:
            assert not word.startswith("tests/") or (REPOSITORY / word).exists()


def test_what_stands_in_a_text_block_and_nobody_prints_is_a_real_command() -> None:
    found = []
    for name in RUN:
        blocks = list(blocks_of((REPOSITORY / name).read_text()))
        printed = [printed_by(blocks, place) for place in range(len(blocks))]
        for block in blocks:
            if block.language in {"text", "ini"} and block not in printed:
                found += re.findall(r"\bohlcv\b\"? [a-z]+ -.*", block.content)

    assert len(found) == 4  # three services and a crontab of docs/operations.md; one has no option
    for call in found:
        require_call(words_of(call.replace('"', ""))[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_of_a_help_text_is_a_whole_call(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(cli, [*([name] if name else []), "--help"], name="ohlcv") == 0
    examples = examples_of(capsys.readouterr().out)

    assert examples
    for example in examples:
        require_call(words_of(example)[1:])


@pytest.mark.slow
@pytest.mark.parametrize(
    "target", sorted(targets_of_make() - {"help", "demo", "test", "pythons", "clean"})
)
def test_every_target_of_make_runs_something_that_is_there(target: str) -> None:
    """What takes half an hour, or what runs this test, is not run: see that it could be."""
    tools = Path(sys.executable).parent
    told = subprocess.run(
        ["make", "--dry-run", target, f"BIN={tools}", f"VENV={tools.parent}"],
        cwd=REPOSITORY,
        env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    programs = set(re.findall(rf"{re.escape(str(tools))}/([\w-]+)", told))
    modules = re.findall(r"python -m ([\w.]+)", told)

    assert programs
    assert {name for name in programs if not (tools / name).exists()} == set()
    for module in modules:
        subprocess.run(
            [sys.executable, "-m", module, "--help"],
            cwd=REPOSITORY,
            check=True,
            capture_output=True,
        )


@pytest.mark.parametrize(
    "wrong",
    ["ohlcv resampel", "ohlcv resample --intervall 5", "ohlcv --versoin", "ohlcv sql --csvv"],
)
def test_a_command_that_is_none_is_noticed(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        require_options(words_of(wrong)[1:])


@pytest.mark.parametrize(
    "wrong", ["ohlcv chart", "ohlcv completion ksh", "ohlcv quality --show many"]
)
def test_a_call_that_is_not_whole_is_noticed(wrong: str) -> None:
    with pytest.raises(click.UsageError):
        require_call(words_of(wrong)[1:])


def test_pages_that_are_run_elsewhere_are_there() -> None:
    for name in ELSEWHERE:
        assert (REPOSITORY / name).exists()
