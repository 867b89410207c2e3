"""Commands that only look at a lake need no right to write into it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import ExitCode
from batch.core.sessions import load_calendar
from batch.resampler.job import resample
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from orchestration.cli.main import cli
from tests.support.bars import bar, land_rows, received_after
from tests.support.lakes import versions
from tests.test_store_local import as_nobody

LOOKING = {
    "status": ["--max-age-sessions", "100000"],
    "verify": [],
    "quality": [],
    "sql": ["select count(*) from bars_5d"],
    "chart": ["A", "--interval", "5", "--output", "a.svg"],
    "report": ["--output", "report.html"],
    "vacuum": [],
}


@pytest.fixture(scope="module")
def read_only() -> Iterator[LocalStore]:
    """A lake of somebody else's, none of which may be written; every command has looked at it.

    They looked before, so that Python has imported all that it may not read as another user.
    """
    calendar = load_calendar()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        lake = LocalStore(Path(folder) / "lake")
        for session in calendar.sessions_between(*map(calendar.session_at, (14000, 14009))):
            rows = [bar("A", session), bar("B", session, 20.0)]
            land_rows(lake, rows, calendar, received_at=received_after(session))
        consolidate(lake, calendar=calendar)
        resample(lake, intervals=[5], calendar=calendar)
        with pytest.MonkeyPatch.context() as patched:
            patched.chdir(folder)
            for name, arguments in LOOKING.items():
                assert run_main(cli, [name, *arguments, "--lake", lake.uri], name="ohlcv") == 0
        folders = [path for path in (lake.root, *lake.root.rglob("*")) if path.is_dir()]
        for path in (lake.root, *lake.root.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        yield lake
        for path in folders:
            path.chmod(0o755)


@pytest.mark.parametrize("name", LOOKING)
def test_a_lake_that_may_only_be_read_can_be_looked_at(
    name: str,
    read_only: LocalStore,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = versions(read_only)
    with tempfile.TemporaryDirectory() as own:  # pytest's own folders are closed to others
        Path(own).chmod(0o777)
        monkeypatch.chdir(own)
        with as_nobody():
            code = run_main(cli, [name, *LOOKING[name], "--lake", read_only.uri], name="ohlcv")

    told = capsys.readouterr()
    assert code == 0, told.err
    assert versions(read_only) == before
    kept_no_report = "the lake keeps no report of this run" in told.err
    assert kept_no_report == (name == "verify")


@pytest.mark.parametrize("name", ["consolidate", "resample"])
def test_a_job_that_writes_says_that_it_may_not(
    name: str, read_only: LocalStore, capsys: pytest.CaptureFixture[str]
) -> None:
    run_main(cli, [name, "--help"], name="ohlcv")

    with as_nobody():
        code = run_main(cli, [name, "--lake", read_only.uri], name="ohlcv")

    assert code == ExitCode.USAGE
    assert "permission denied" in capsys.readouterr().err
