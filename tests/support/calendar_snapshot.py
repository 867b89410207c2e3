"""Keeps the sessions of XNYS as the calendar's library computes them.

Run ``python -m tests.support.calendar_snapshot`` after an upgrade of the library.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from textwrap import wrap

import numpy as np

from batch.core.sessions import _DEFAULT_LAST, EPOCH, Calendar, compute_calendar

TARGET = Path(__file__).parents[2] / "batch" / "core" / "xnys.py"


def snapshot_text(calendar: Calendar, taken_from: str) -> str:
    """Return the module that holds a calendar from the epoch on."""
    first, last = calendar.days[0], calendar.days[-1]
    dates = np.arange(first, last + 1).astype("datetime64[D]")
    weekdays = dates[np.is_busday(dates)].astype(np.int32)
    closed = np.setdiff1d(weekdays, calendar.days).astype("datetime64[D]")
    minutes = (calendar.closes_s - calendar.days.astype(np.int64) * 86_400) // 60
    edges = np.flatnonzero(np.append(True, minutes[1:] != minutes[:-1]))
    runs = [
        f"{np.datetime64(int(calendar.days[at]), 'D')}={int(minutes[at])}" for at in edges.tolist()
    ]
    body = "\n".join(wrap(" ".join(map(str, closed)), 98, break_on_hyphens=False))
    closes = "\n".join(wrap(" ".join(runs), 98, break_on_hyphens=False))
    return (
        '"""Sessions of XNYS as exchange_calendars gives them; jobs need not compute them.\n\n'
        "Made by ``python -m tests.support.calendar_snapshot``; a test compares the two.\n"
        '"""\n\n'
        f'TAKEN_FROM = "{taken_from}"\n'
        '"""Version of exchange_calendars; with another one installed nothing here is used."""\n\n'
        f'FIRST, LAST = "{np.datetime64(int(first), "D")}", "{np.datetime64(int(last), "D")}"\n\n'
        f'CLOSED = """\n{body}\n"""\n'
        '"""Weekdays on which the exchange is closed."""\n\n'
        f'CLOSES = """\n{closes}\n"""\n'
        '"""Minutes of the UTC day at which sessions close, from each date on."""\n'
    )


if __name__ == "__main__":
    TARGET.write_text(
        snapshot_text(compute_calendar(EPOCH, _DEFAULT_LAST), version("exchange_calendars"))
    )
