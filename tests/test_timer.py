"""The schedules that docs/operations.md shows for a machine of one's own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from batch.core.sessions import Calendar
from tests.support.documents import REPOSITORY, blocks_of

NEW_YORK = ZoneInfo("America/New_York")
HAS_THE_BARS = time(21)
"""When the free plan has a session's bars: docs/fetching.md."""

OPERATIONS = (REPOSITORY / "docs/operations.md").read_text()


def shown_files() -> dict[str, str]:
    """The files that the page shows, by the path in their first line."""
    shown = [block.content for block in blocks_of(OPERATIONS) if block.language == "ini"]
    return {content.splitlines()[0].removeprefix("# "): content for content in shown}


def systemd_analyze(*arguments: str | Path, home: Path) -> str:
    """Run ``systemd-analyze`` and return what it says; skip where it is not installed."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed (Debian: package systemd)")
    environment = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "TZ": "UTC"}
    done = subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def install(home: Path, files: Mapping[str, str], folder: str) -> list[Path]:
    """Lay out a machine on which the units of one folder find what they name."""
    for place in ("ohlcv/.venv/bin/ohlcv", "opt/ohlcv/bin/ohlcv"):
        command = home / place
        command.parent.mkdir(parents=True, exist_ok=True)
        command.write_text("#!/bin/sh\n")
        command.chmod(0o755)
    units = []
    for path, content in files.items():
        if Path(path).parent == Path(folder):
            unit = home / "units" / Path(path).name
            unit.parent.mkdir(exist_ok=True)
            unit.write_text(content.replace("/opt/ohlcv", f"{home}/opt/ohlcv"))
            units.append(unit)
    return sorted(units)


@pytest.mark.parametrize(
    ("mode", "folder"),
    [("--user", "~/.config/systemd/user"), ("--system", "/etc/systemd/system")],
)
def test_systemd_accepts_the_units(tmp_path: Path, mode: str, folder: str) -> None:
    files = shown_files()
    files["/etc/systemd/system/ohlcv.timer"] = files["~/.config/systemd/user/ohlcv.timer"]
    units = install(tmp_path, files, folder)

    said = systemd_analyze(mode, "--man=no", "verify", *units, home=tmp_path)

    of_user = {"ohlcv.service", "ohlcv.timer", "ohlcv-watch.service"}
    of_system = {"ohlcv.service", "ohlcv.timer", "ohlcv-status.service", "ohlcv-status.timer"}
    assert {unit.name for unit in units} == (of_user if mode == "--user" else of_system)
    assert said == ""


def test_systemd_refuses_a_unit_that_names_what_is_not_there(tmp_path: Path) -> None:
    units = install(tmp_path, shown_files(), "~/.config/systemd/user")
    shutil.rmtree(tmp_path / "ohlcv")

    with pytest.raises(AssertionError, match=r"ohlcv is not executable"):
        systemd_analyze("--user", "--man=no", "verify", *units, home=tmp_path)


@pytest.mark.parametrize("base", ["2025-03-06", "2025-10-30", "2026-12-23"])
def test_the_timer_runs_on_the_evening_of_every_session_all_year(
    tmp_path: Path, calendar: Calendar, base: str
) -> None:
    (schedule,) = re.findall(r"^OnCalendar=(.+ \d.+)$", OPERATIONS, re.MULTILINE)

    said = systemd_analyze(
        "calendar", f"--base-time={base}", "--iterations=8", schedule, home=tmp_path
    )

    runs = [
        datetime.fromisoformat(f"{text}+00:00").astimezone(NEW_YORK)
        for text in re.findall(r": \w{3} (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) UTC$", said, re.MULTILINE)
    ]
    sessions = calendar.sessions_between(runs[0].date(), runs[-1].date())
    assert len(runs) == 8
    assert {run.time() >= HAS_THE_BARS for run in runs} == {True}
    assert set(sessions) <= {run.date() for run in runs}


def test_the_line_for_cron_runs_late_enough_after_every_session_where_the_system_is_in_utc(
    calendar: Calendar,
) -> None:
    ((minute, hour, days),) = re.findall(r"^(\d+) (\d+) \* \* (\S+)  ", OPERATIONS, re.MULTILINE)
    first, last = map(int, days.split("-"))

    runs = [
        datetime.combine(day, time(int(hour), int(minute)), tzinfo=UTC).astimezone(NEW_YORK)
        for day in (date(2025, 1, 1) + timedelta(days=n) for n in range(365))
        if first <= day.isoweekday() <= last
    ]

    sessions = calendar.sessions_between(date(2025, 1, 1), date(2025, 12, 29))
    assert {run.time() >= HAS_THE_BARS for run in runs} == {True}
    assert set(sessions) <= {run.date() for run in runs}


def test_the_services_try_again_for_the_exit_code_that_asks_for_it_alone() -> None:
    from batch.core.errors import ExitCode

    prevented = re.findall(r"^RestartPreventExitStatus=(.+)$", OPERATIONS, re.MULTILINE)

    codes = {int(code) for code in ExitCode} - {ExitCode.DONE, ExitCode.RETRY}
    assert [set(map(int, found.split())) for found in prevented] == [codes] * 3
