"""One process measured from outside: time, peak memory, bytes read and written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]

THREADS = 2
"""Threads that every contender may use."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process took.

    Attributes:
        wall_s: From its start to its end, the interpreter's own start included.
        cpu_s: Processor time of all its threads and of what it started, user and system.
        peak_bytes: Largest resident set, mapped files included; of a tree of processes, these
            once and all other memory.
        read_bytes: Bytes that it read by system calls, cached or not; pages of mapped
            files are not among them.
        written_bytes: Bytes that it wrote by system calls.
        stdout: What it printed.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    read_bytes: int
    written_bytes: int
    stdout: str = ""


class ContenderFailed(Exception):
    """A measured process ended with an error."""


def measure(
    command: list[str],
    *,
    environment: dict[str, str] | None = None,
    allowed: tuple[int, ...] = (0,),
    data_limit_bytes: int | None = None,
    tree: bool = False,
) -> Measured:
    """Run a command to its end.

    Args:
        command: What to run, from the root of the project.
        environment: Variables to set besides.
        allowed: Exit statuses that count as done.
        data_limit_bytes: Private memory that the kernel lets it have, reserved or used; a
            request for more fails (RLIMIT_DATA, see setrlimit(2)).
        tree: Whether the peak is that of the process and all that it starts, sampled 50 times a
            second; processor time counts them in any case.

    Raises:
        ContenderFailed: It ended with another status.
    """
    with tempfile.NamedTemporaryFile("r") as counts:
        launcher = [sys.executable, "-I", "-S", str(ROOT / "benchmarks" / "launch.py")]
        done = subprocess.run(
            [
                *(*launcher, str(data_limit_bytes or 0), "tree" if tree else "process"),
                *(counts.name, *command),
            ],
            cwd=ROOT,
            env={**process_environment(), **(environment or {})},
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode not in allowed:
            raise ContenderFailed(f"{' '.join(command)}: status {done.returncode}\n{done.stderr}")
        return Measured(**json.loads(counts.read()), stdout=done.stdout)


def medians(runs: list[Measured]) -> Measured:
    """Return the median of every figure."""
    return Measured(
        wall_s=median(run.wall_s for run in runs),
        cpu_s=median(run.cpu_s for run in runs),
        peak_bytes=max(run.peak_bytes for run in runs),
        read_bytes=int(median(run.read_bytes for run in runs)),
        written_bytes=int(median(run.written_bytes for run in runs)),
        stdout=runs[-1].stdout,
    )


def total(steps: list[Measured]) -> Measured:
    """Return the sum of several steps, and the largest of their peaks."""
    return Measured(
        wall_s=sum(step.wall_s for step in steps),
        cpu_s=sum(step.cpu_s for step in steps),
        peak_bytes=max(step.peak_bytes for step in steps),
        read_bytes=sum(step.read_bytes for step in steps),
        written_bytes=sum(step.written_bytes for step in steps),
    )


def job_command(job: str, lake: Path, *options: str) -> list[str]:
    """Return the command line of one of our jobs, as its container starts it."""
    module = {"consolidate": "batch.consolidator", "resample": "batch.resampler"}[job]
    return [sys.executable, "-m", module, "--lake", str(lake), "--quiet", *options]


def contender_command(name: str, *arguments: str) -> list[str]:
    """Return the command line of a contender under ``benchmarks/contenders``."""
    return [sys.executable, "-m", f"benchmarks.contenders.{name}", *arguments]


def process_environment() -> dict[str, str]:
    """Return the environment of every contender: no settings, the same number of threads."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("OHLCV_", "AWS_"))
    }
    return {**kept, "POLARS_MAX_THREADS": str(THREADS), "OMP_NUM_THREADS": str(THREADS)}
