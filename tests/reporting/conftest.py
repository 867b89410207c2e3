"""A small synthetic lake that the pages are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from batch.lake.read import Lake
from batch.runtime.command import run_main
from batch.runtime.output import LOGGER
from orchestration.cli.main import cli
from tests.support.command_line import Finished, run_ohlcv


@pytest.fixture(scope="session")
def demo_lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """About 40 synthetic stocks over a year and a quarter; do not write to it."""
    lake = str(tmp_path_factory.mktemp("pages") / "lake")
    dates = ("--first", "2024-01-02", "--last", "2025-03-14")
    made = run_ohlcv("demo", "--lake", lake, "--symbols", "40", *dates)

    assert made.code == 0, made.err
    return Lake.open(lake)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


Ohlcv = Callable[..., Finished]


@pytest.fixture
def ohlcv(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ohlcv:
    """Run a command in this process."""
    monkeypatch.setattr(LOGGER, "handlers", [])
    monkeypatch.setattr(LOGGER, "propagate", LOGGER.propagate)

    def run(*arguments: str) -> Finished:
        capfd.readouterr()
        code = run_main(cli, [*arguments], name="ohlcv")
        out, err = capfd.readouterr()
        return Finished(code, out, err)

    return run
