"""How much of the market each session has, and which symbols miss sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from batch.core.sessions import Calendar


@dataclass(frozen=True, slots=True)
class SessionCoverage:
    """How much of the market one session has.

    Attributes:
        session: The session.
        present: Symbols with a bar.
        expected: Symbols whose first and last bars lie around it, both inclusive.
    """

    session: date
    present: int
    expected: int

    @property
    def share(self) -> float:
        """Symbols present as a share of those expected; 0 where nothing is."""
        return self.present / self.expected if self.expected else 0.0


@dataclass(frozen=True, slots=True)
class Coverage:
    """All sessions from the first to the newest, and who misses most of them.

    Attributes:
        sessions: Every session of the exchange in between, those without bars too.
        patchy: Symbols that miss sessions within their own span: symbol, its sessions,
            those it misses; the worst first.
        patchy_symbols: How many symbols miss any.
        symbols: How many symbols there are.
        rows: How many daily bars.
    """

    sessions: list[SessionCoverage]
    patchy: list[tuple[str, int, int]]
    patchy_symbols: int
    symbols: int
    rows: int

    @property
    def empty_sessions(self) -> list[date]:
        """Sessions without a single bar."""
        return [found.session for found in self.sessions if not found.present]


def coverage_of(daily: pl.LazyFrame, calendar: Calendar, *, worst: int = 8) -> Coverage:
    """Count symbols per session against those that were listed around it.

    Args:
        daily: Daily bars: ``symbol`` and ``date`` are read.
        calendar: Must cover the dates.
        worst: How many patchy symbols to name.
    """
    by_date, by_symbol = pl.collect_all(
        [
            daily.group_by("date").len().sort("date"),
            daily.group_by("symbol").agg(
                rows=pl.len(), first=pl.col("date").min(), last=pl.col("date").max()
            ),
        ]
    )
    if by_date.is_empty():
        return Coverage([], [], 0, 0, 0)
    sessions = calendar.sessions_between(by_date["date"][0], by_date["date"][-1])
    low = calendar.session_no(sessions[0])
    present = dict(by_date.iter_rows())
    firsts, lasts = (_session_nos(by_symbol[name], calendar) - low for name in ("first", "last"))
    change = np.bincount(firsts, minlength=len(sessions) + 1)
    change -= np.bincount(lasts + 1, minlength=len(sessions) + 1)
    expected = np.cumsum(change)
    missing = by_symbol.select(
        "symbol", "rows", span=pl.Series((lasts - firsts + 1).astype(np.int64))
    ).select("symbol", "span", missing=pl.col("span") - pl.col("rows").cast(pl.Int64))
    patchy = missing.filter(pl.col("missing") > 0).sort(
        "missing", "symbol", descending=[True, False]
    )
    return Coverage(
        [
            SessionCoverage(session, int(present.get(session, 0)), int(expected[n]))
            for n, session in enumerate(sessions)
        ],
        list(patchy.head(worst).iter_rows()),
        patchy.height,
        by_symbol.height,
        int(by_date["len"].sum()),
    )


def _session_nos(days: pl.Series, calendar: Calendar) -> Any:
    return calendar.session_nos(days.cast(pl.Int32).to_numpy())
