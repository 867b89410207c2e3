"""Write the golden files again: ``python -m tests.golden.generate``.

Do so only where a change of the results is meant, read the difference line by line, and
raise ``RESULTS_VERSION`` in ``batch/version.py`` with it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, date, datetime
from io import StringIO
from pathlib import Path
from typing import Any

from batch.core.layout import INTERVALS, Anchor
from batch.core.sessions import load_calendar
from batch.kernel.windows import windows_starting_in
from tests.oracle import Split
from tests.support.bars import bar
from tests.support.lakes import Receipt, new_lake, refused_rows, rows_of

FOLDER = Path(__file__).parent

DAYS = [
    date(2021, 12, 29),
    date(2021, 12, 30),
    date(2021, 12, 31),
    date(2022, 1, 3),
    date(2022, 1, 4),
    date(2022, 1, 5),
    date(2022, 1, 6),
    date(2022, 1, 7),
]
TABLES = ("1d", "restatements", "3d", "5d", "3d_listing")


def history() -> list[Receipt]:
    """Return eight sessions of three symbols: one halted, one listed late, some rows dirty.

    One bar is corrected later, and one volume sent again on the basis of a split.
    """
    receipts = []
    for no, day in enumerate(DAYS):
        close = 70.0 + no if no < 4 else 10.0 + no / 8
        rows = [bar("NAN", day, close, high=close + 0.5, low=close - 0.5, volume=100.0 + no)]
        if no not in (3, 4):
            rows.append(bar("BRK.B", day, 300.0 - no, vwap=None, trades=None))
        if no >= 5:
            rows.append(bar("brk.b", day, 1.0 + no / 4, volume=0.0))
        if no == 6:
            rows += [bar("", day), bar("BAD", day, low=0.0), bar("BAD2", date(2022, 1, 1))]
        evening = datetime(day.year, day.month, day.day, 22, tzinfo=UTC)
        receipts.append(Receipt(evening, "golden", tuple(rows)))
    corrected = bar("NAN", DAYS[1], 71.25, high=71.75, low=70.5, volume=105.5)
    receipts.append(Receipt(datetime(2022, 1, 8, 9, tzinfo=UTC), "fix", (corrected,)))
    rebased = bar("NAN", DAYS[2], 72.0, high=72.5, low=71.5, volume=714.0)
    receipts.append(Receipt(datetime(2022, 1, 8, 10, tzinfo=UTC), "again", (rebased,)))
    return receipts


SPLITS = (Split("NAN", DAYS[4], 7.0), Split("BRK.B", DAYS[3], 1.5), Split("brk.b", DAYS[0], 9.0))


def answers() -> dict[str, str]:
    """Return the name and content of every golden file, made by the package now."""
    with new_lake() as lake:
        lake.receive(*history())
        lake.split(*SPLITS)
        lake.run([3, 5], Anchor)
        made = {f"{table}.csv": as_csv(rows_of(lake.store, table)) for table in TABLES}
        made["rejected.csv"] = as_csv(refused_rows(lake.store))
    made["sessions.csv"] = as_csv(spot_sessions())
    made["windows.csv"] = as_csv(spot_windows())
    return made


def spot_sessions() -> Iterable[dict[str, Any]]:
    """Number the first and the last session of every year from 1970 to 2030."""
    calendar = load_calendar()
    for year in range(1970, 2031):
        sessions = calendar.sessions_between(date(year, 1, 1), date(year, 12, 31))
        for session in (sessions[0], sessions[-1]):
            yield {"session": session, "session_no": calendar.session_no(session)}


def spot_windows() -> Iterable[dict[str, Any]]:
    """Tell the edges of the first window that starts in every third year, for the intervals."""
    calendar = load_calendar()
    for width in INTERVALS:
        for year in range(1970, 2031, 3):
            window = windows_starting_in(year, width, calendar).start
            start = window * width
            yield {
                "interval": width,
                "window": window,
                "start": calendar.session_at(start),
                "end": calendar.session_at(start + width - 1),
            }


def as_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows as text that a reader can check; floats in full, nulls empty."""
    listed = list(rows)
    text = StringIO()
    writer = csv.DictWriter(text, listed[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return text.getvalue()


if __name__ == "__main__":
    for name, content in answers().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
        print(f"{name}: {content.count(chr(10)) - 1} rows")
