"""Completion in the shells themselves: what stands in the line after the Tab key."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from batch.runtime.command import run_main
from orchestration.cli.main import cli
from tests.support.command_line import ROOT, put_on_path

INTERACTIVE = {
    "bash": ["bash", "--noprofile", "-i"],
    "zsh": ["zsh", "-d", "-i"],
    "fish": ["fish", "-i"],
}
SET_UP_BEFORE = {"zsh": (".zshrc", "autoload -Uz compinit && compinit -u -D\n")}
"""What the shell's own configuration has before ours."""

TAKE_TERMINAL = (
    "import fcntl, os, sys, termios;"
    " fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"
)
"""Makes standard input the terminal that controls the shell, as a login does: fish wants it."""

_PATIENCE_S = 30.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of somebody whose ``ohlcv`` is on their path, with two files to name."""
    put_on_path(tmp_path / "commands")
    (tmp_path / "deliveries").mkdir()
    (tmp_path / "deliveries.csv").write_text("")
    return tmp_path


def environment(home: Path) -> Mapping[str, str]:
    return {
        "HOME": str(home),
        "PATH": f"{home / 'commands'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }


def set_up_as_the_help_says(shell: str, home: Path, shown: str) -> None:
    """Type the line that ``ohlcv completion --help`` shows for a shell."""
    if shell in SET_UP_BEFORE:
        name, content = SET_UP_BEFORE[shell]
        (home / name).write_text(content)
    (home / ".config/fish/completions").mkdir(parents=True)
    (line,) = re.findall(rf"^ +(.*ohlcv completion {shell}\b.*)$", shown, re.MULTILINE)
    subprocess.run(["bash", "-c", line], env=environment(home), cwd=home, check=True)


def type_into(shell: str, typed: str, home: Path) -> str:
    """Type into a shell on a terminal of its own, and return what it wrote to ``line``."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", TAKE_TERMINAL, *INTERACTIVE[shell]],
        env=environment(home),
        cwd=home,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        os.set_blocking(ours, False)
        os.write(ours, typed.encode())
        told, shown = home / "line", b""
        until = time.monotonic() + _PATIENCE_S
        while not (told.exists() and told.read_text().endswith("\n")):
            try:
                shown += os.read(ours, 65_536)
            except BlockingIOError:
                time.sleep(0.02)
            except OSError as err:
                raise AssertionError(shown.decode(errors="replace")) from err
            assert time.monotonic() < until, shown.decode(errors="replace")
        process.kill()
    os.close(ours)
    return " ".join(told.read_text().split())


@pytest.mark.parametrize("shell", INTERACTIVE)
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("ohlcv res", "ohlcv resample"),
        ("ohlcv resample --int", "ohlcv resample --interval"),
        ("ohlcv import deliveries.", "ohlcv import deliveries.csv"),
        ("ohlcv status --lake deliv", "ohlcv status --lake deliveries"),
    ],
)
def test_the_tab_key_completes(
    shell: str, typed: str, completed: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed: install the package {shell}")
    assert run_main(cli, ["completion", "--help"], name="ohlcv") == 0
    set_up_as_the_help_says(shell, home, capsys.readouterr().out)

    # Tab; then to the beginning of the line and to its end, to write it down.
    line = type_into(shell, f"{typed}\t\x01echo \x05 > line\r", home)

    assert line.removesuffix("/") == completed
