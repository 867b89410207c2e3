"""A small synthetic lake that the pages are made of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from batch.core.sessions import Calendar
from batch.lake.read import Lake
from batch.runtime.command import run_main
from batch.runtime.output import LOGGER
from batch.runtime.progress import Silent, never
from batch.storage.local import LocalStore
from orchestration.cli.demo import DemoSettings, make_demo_lake
from orchestration.cli.main import cli
from simulation.exchange import ExchangeSpec
from tests.support.command_line import Finished


@pytest.fixture(scope="session")
def demo_lake(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> Lake:
    """About 40 synthetic stocks over a year and a quarter; do not write to it."""
    store = LocalStore(tmp_path_factory.mktemp("pages") / "lake")
    make_demo_lake(
        store,
        ExchangeSpec(symbols=40, first=date(2024, 1, 2), last=date(2025, 3, 14)),
        DemoSettings.model_construct(),
        calendar=calendar,
        progress=Silent(),
        stop_requested=never,
    )
    return Lake(store)


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
