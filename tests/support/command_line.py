"""Running commands as a user does: in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Finished:
    """What a command left."""

    code: int
    out: str
    err: str


def run_ohlcv(*arguments: str | Path, **environment: str) -> Finished:
    """Run ``ohlcv`` and wait for it."""
    return run_python(
        "-c", "from orchestration.cli.main import main; main()", *arguments, **environment
    )


def put_on_path(folder: Path) -> Path:
    """Leave a script ``ohlcv`` in a folder that somebody has on their path."""
    folder.mkdir(exist_ok=True)
    ohlcv = folder / "ohlcv"
    ohlcv.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from orchestration.cli.main import main;'
        ' main()" "$@"\n'
    )
    ohlcv.chmod(0o755)
    return folder


def run_python(*arguments: str | Path, **environment: str) -> Finished:
    """Run Python with the project on its path."""
    inherited = {name: value for name, value in os.environ.items() if name != "OHLCV_LAKE"}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return Finished(done.returncode, done.stdout, done.stderr)
