"""The facts that the report of a lake shows, read from its tables, manifests and runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl

from batch.audit.quality import bars_by_group
from batch.audit.status import StoredTable, list_stored_tables, waiting_deliveries
from batch.core.sessions import EPOCH, Calendar, load_calendar
from batch.lake.manifest import load_daily_manifest
from batch.lake.read import Lake
from batch.runtime.progress import Progress
from batch.runtime.run_report import RunReport, list_run_reports
from reporting.moves import Moves, find_moves

RUNS_READ = 60
"""How many runs are read, from the newest."""


@dataclass(frozen=True, slots=True)
class SessionCoverage:
    """How much of the market one session has.

    ``present`` counts the symbols with a bar, ``expected`` those whose first and last bars
    lie around it, both inclusive.
    """

    session: date
    present: int
    expected: int

    @property
    def share(self) -> float:
        """Symbols present as a share of those expected; 0 where none is."""
        return self.present / self.expected if self.expected else 0.0


@dataclass(frozen=True, slots=True)
class Coverage:
    """All sessions from the first to the newest, and the symbols that miss most of them.

    Attributes:
        sessions: Every session of the exchange in between, those without bars too.
        patchy: Symbols that miss sessions within their own span: symbol, its sessions,
            those it misses; the worst first.
        patchy_symbols: How many symbols miss any.
        symbols: How many there are.
        rows: Daily bars.
    """

    sessions: list[SessionCoverage]
    patchy: list[tuple[str, int, int]]
    patchy_symbols: int
    symbols: int
    rows: int

    @property
    def newest(self) -> date | None:
        """The newest session with bars."""
        return self.sessions[-1].session if self.sessions else None

    @property
    def empty_sessions(self) -> list[date]:
        """Sessions without a single bar."""
        return [found.session for found in self.sessions if not found.present]


@dataclass(frozen=True, slots=True)
class RestatedField:
    """Values of one field that later deliveries changed; the changes are relative."""

    name: str
    values: int
    median_change: float | None
    largest_change: float | None


@dataclass(frozen=True, slots=True)
class Restated:
    """What later deliveries changed: by field, most values first, and by month of receipt.

    ``months`` counts, for each month such as ``2016-03``, the values of each field.
    """

    fields: list[RestatedField]
    months: dict[str, dict[str, int]]

    @property
    def count(self) -> int:
        """All values changed."""
        return sum(field.values for field in self.fields)


@dataclass(frozen=True, slots=True)
class RefusedReason:
    """How many rows were refused for a reason, and one of them."""

    reason: str
    rows: int
    example: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Rows that were refused: by reason, most first, and all of them."""

    reasons: list[RefusedReason]
    rows: int


@dataclass(frozen=True, slots=True)
class LakeFacts:
    """All that the report shows.

    Attributes:
        newest_closed: Newest session that had closed by ``made_at``.
        behind: Sessions that closed since the newest one in the lake.
        splits: How many are on record.
        runs: The last ones, newest first.
        waiting: Deliveries announced and not yet consolidated.
    """

    uri: str
    made_at: datetime
    newest_closed: date
    behind: int
    coverage: Coverage
    moves: Moves
    splits: int
    restated: Restated
    refused: Refused
    tables: list[StoredTable]
    runs: list[RunReport]
    waiting: int


def gather_facts(lake: Lake, *, now: datetime, progress: Progress) -> LakeFacts:
    """Read what the report shows.

    Raises:
        DataRefused: A table or a run's report is damaged.
        StoreUnavailable: The store does not answer.
    """
    manifest = load_daily_manifest(lake.store)
    calendar = load_calendar(min(manifest.oldest or EPOCH, EPOCH))
    splits = lake.splits()
    coverage = count_coverage(lake.lazy("1d"), calendar)
    groups = bars_by_group(lake, calendar, progress=progress)
    newest_closed = calendar.newest_closed(now)
    newest = coverage.newest
    behind = calendar.session_no(newest_closed) - calendar.session_no(newest) if newest else 0
    return LakeFacts(
        uri=lake.store.uri,
        made_at=now,
        newest_closed=newest_closed,
        behind=max(behind, 0),
        coverage=coverage,
        moves=find_moves(groups, splits, calendar),
        splits=splits.height,
        restated=count_restated(lake.restatements()),
        refused=count_refused(lake.rejected()),
        tables=list_stored_tables(lake.store, manifest),
        runs=list_run_reports(lake.store, RUNS_READ),
        waiting=len(waiting_deliveries(lake.store)),
    )


def count_coverage(daily: pl.LazyFrame, calendar: Calendar, *, worst: int = 8) -> Coverage:
    """Count symbols per session against those that were listed around it.

    Args:
        daily: Daily bars; ``symbol`` and ``date`` are read.
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
    firsts, lasts = (
        calendar.session_nos(by_symbol[name].cast(pl.Int32).to_numpy()) - low
        for name in ("first", "last")
    )
    # One symbol more from each first bar on, one less after each last: their running sum.
    change = np.bincount(firsts, minlength=len(sessions) + 1)
    change -= np.bincount(lasts + 1, minlength=len(sessions) + 1)
    expected = np.cumsum(change)
    span = pl.Series((lasts - firsts + 1).astype(np.int64))
    patchy = (
        by_symbol.select("symbol", span=span, missing=span - by_symbol["rows"].cast(pl.Int64))
        .filter(pl.col("missing") > 0)
        .sort("missing", "symbol", descending=[True, False])
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


def count_restated(restatements: pl.DataFrame) -> Restated:
    """Count restatements by field and by the month they were received in."""
    change = (pl.col("new") / pl.col("old") - 1).abs()
    finite = pl.when(change.is_finite()).then(change)
    by_field = (
        restatements.group_by("field")
        .agg(count=pl.len(), median=finite.median(), largest=finite.max())
        .sort("count", "field", descending=[True, False])
    )
    by_month = (
        restatements.group_by(pl.col("received_at").dt.strftime("%Y-%m").alias("month"), "field")
        .len()
        .sort("month")
    )
    months: dict[str, dict[str, int]] = {}
    for month, name, count in by_month.iter_rows():
        months.setdefault(month, {})[name] = count
    return Restated([RestatedField(*row) for row in by_field.iter_rows()], months)


def count_refused(rejected: pl.DataFrame) -> Refused:
    """Count refused rows by reason; a row may have several."""
    reasons = (
        rejected.with_columns(pl.col("reason").str.split("; "))
        .explode("reason")
        .group_by("reason")
        .agg(
            count=pl.len(),
            example=pl.concat_str(
                pl.col("symbol").fill_null("(none)"),
                pl.lit(" "),
                pl.col("date").cast(pl.String).fill_null("no date"),
            ).min(),
        )
        .sort("count", "reason", descending=[True, False])
    )
    return Refused([RefusedReason(*row) for row in reasons.iter_rows()], rejected.height)
