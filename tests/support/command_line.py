"""Running commands as a user does: in a process of their own."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support import warm

ROOT = Path(__file__).parents[2]

MAIN = "from orchestration.cli.main import main; main()"
"""What the command ``ohlcv`` runs."""

_servers = ExitStack()


@cache
def warm_python(prepared: str = "ohlcv") -> tuple[str, ...]:
    """Return a command that runs ``-m MODULE`` or ``-c CODE`` as Python does, only sooner.

    Imports are done before: those of ``ohlcv`` or of ``aws``, see :mod:`tests.support.warm`. It
    works until :func:`end_warm_python`.
    """
    address = str(Path(_servers.enter_context(TemporaryDirectory(prefix="warm-"))) / "socket")
    command = [sys.executable, "-P", warm.__file__, "--serve", address, prepared]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    server = _servers.enter_context(subprocess.Popen(command, text=True, **pipes))
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    return (sys.executable, "-I", "-S", warm.__file__, address)


def end_warm_python() -> None:
    """End what :func:`warm_python` started."""
    warm_python.cache_clear()
    _servers.close()


@dataclass(frozen=True)
class Finished:
    """What a command left."""

    code: int
    out: str
    err: str


def run_ohlcv(*arguments: str | Path, **environment: str) -> Finished:
    """Run ``ohlcv`` and wait for it."""
    return run_python("-c", MAIN, *arguments, **environment)


def put_on_path(folder: Path) -> Path:
    """Leave a script ``ohlcv`` in a folder that somebody has on their path."""
    folder.mkdir(exist_ok=True)
    ohlcv = folder / "ohlcv"
    command = shlex.join([*warm_python(), "-c", MAIN])
    ohlcv.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    ohlcv.chmod(0o755)
    return folder


def run_python(*arguments: str | Path, **environment: str) -> Finished:
    """Run Python with the project on its path."""
    inherited = {name: value for name, value in os.environ.items() if name != "OHLCV_LAKE"}
    done = subprocess.run(
        [*warm_python(), *map(str, arguments)],
        env={**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Finished(done.returncode, done.stdout, done.stderr)
