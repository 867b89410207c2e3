"""Keeps the sessions of XNYS as the calendar's library computes them.

Run ``python -m tests.support.calendar_snapshot`` after an upgrade of the library.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from textwrap import wrap

import numpy as np

from batch.core.sessions import _DEFAULT_LAST, EPOCH, Calendar, compute_calendar

TARGET = Path(__file__).parents[2] / "batch" / "core" / "xnys.json"


def snapshot_text(calendar: Calendar, taken_from: str) -> str:
    """Return the file that holds a calendar from the epoch on."""
    first, last = calendar.days[0], calendar.days[-1]
    dates = np.arange(first, last + 1).astype("datetime64[D]")
    weekdays = dates[np.is_busday(dates)].astype(np.int32)
    closed = np.setdiff1d(weekdays, calendar.days).astype("datetime64[D]")
    minutes = (calendar.closes_s - calendar.days.astype(np.int64) * 86_400) // 60
    edges = np.flatnonzero(np.append(True, minutes[1:] != minutes[:-1]))
    closes = {
        str(np.datetime64(int(calendar.days[at]), "D")): int(minutes[at]) for at in edges.tolist()
    }
    snapshot = {
        "taken_from": taken_from,
        "first": str(np.datetime64(int(first), "D")),
        "last": str(np.datetime64(int(last), "D")),
        "closed": [str(day) for day in closed],
        "closes": closes,
    }
    lines = wrap(json.dumps(snapshot), 98, break_on_hyphens=False)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.write_text(
        snapshot_text(compute_calendar(EPOCH, _DEFAULT_LAST), version("exchange_calendars"))
    )
