"""The sessions kept in the package are those of the calendar's library."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

from batch.core import sessions
from batch.core.sessions import _DEFAULT_LAST, EPOCH, compute_calendar, load_calendar
from tests.support.calendar_snapshot import TARGET, snapshot_text


def test_the_snapshot_is_what_the_library_computes() -> None:
    computed = compute_calendar(EPOCH, _DEFAULT_LAST)
    loaded = load_calendar()

    assert np.array_equal(loaded.days, computed.days)
    assert np.array_equal(loaded.closes_s, computed.closes_s)
    assert (loaded.name, loaded.first_no) == (computed.name, computed.first_no)
    assert loaded.days.dtype == computed.days.dtype
    assert TARGET.read_text() == snapshot_text(computed, version("exchange_calendars")), (
        "run `python -m tests.support.calendar_snapshot`"
    )


def test_another_version_of_the_library_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(sessions, "version", lambda _: "0.1")
    monkeypatch.setattr(sessions, "compute_calendar", lambda *range_: asked.append(range_))
    sessions._load.cache_clear()

    load_calendar()

    sessions._load.cache_clear()
    assert asked == [(EPOCH, _DEFAULT_LAST)]


def test_loading_the_calendar_does_not_import_pandas() -> None:
    script = (
        "import sys; from batch.core.sessions import load_calendar; load_calendar();"
        "sys.exit('pandas' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
