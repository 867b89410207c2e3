"""The facts that the report of a lake shows, read from its tables, manifests and runs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import polars as pl

from batch.audit.objects import StoredTable, list_lake, wrong_in_words
from batch.audit.quality import bars_by_group
from batch.audit.status import waiting_deliveries
from batch.core import schema
from batch.core.errors import DataRefused
from batch.core.layout import DAILY_TABLE, table_prefix
from batch.core.sessions import EPOCH, Calendar, load_calendar
from batch.lake.read import Lake
from batch.runtime.progress import Progress
from batch.runtime.run_report import RunReport, list_run_reports
from batch.storage.scan import reading
from reporting.moves import Moves, find_moves

RUNS_READ = 60
"""How many runs are read, from the newest."""

_PATCHY_NAMED = 8


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


@dataclass(frozen=True, slots=True, eq=False)
class LakeFacts:
    """All that the report shows.

    Attributes:
        newest_closed: Newest session that had closed by ``made_at``.
        behind: Sessions that closed since the newest one in the lake.
        splits: How many are on record.
        restated: :func:`restated_fields` of all ``restated_values``.
        held_back_values: Later values that did not replace the published ones.
        months: :func:`restated_months` of them.
        refused: :func:`refused_reasons` of all ``refused_rows``.
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
    restated: pl.DataFrame
    restated_values: int
    held_back_values: int
    months: pl.DataFrame
    refused: pl.DataFrame
    refused_rows: int
    tables: list[StoredTable]
    runs: list[RunReport]
    waiting: int


def gather_facts(lake: Lake, *, now: datetime, progress: Progress) -> LakeFacts:
    """Read what the report shows.

    Raises:
        DataRefused: A table or a run's report is damaged.
        StoreUnavailable: The store does not answer.
    """
    listed = list_lake(lake.store, now=now)
    if listed.wrong:
        problems = "; ".join(wrong_in_words(listed.wrong))
        raise DataRefused(f"{lake.store.uri}: {problems}; then run the report again")
    manifest = listed.daily
    calendar = load_calendar(min(manifest.oldest or EPOCH, EPOCH))
    splits, logged, rejected = lake.splits(), lake.restatements(), lake.rejected()
    restatements = logged.filter(pl.col("reason").is_null())
    # First, because it requires every bar to be sound.
    moves = find_moves(bars_by_group(lake, calendar, progress=progress), splits, calendar)
    with reading(lake.store, table_prefix(DAILY_TABLE), schema.DAILY):
        coverage = count_coverage(lake.lazy("1d", adjusted=False), calendar)
    newest_closed = calendar.newest_closed(now)
    newest = coverage.newest
    behind = calendar.session_no(newest_closed) - calendar.session_no(newest) if newest else 0
    return LakeFacts(
        uri=lake.store.uri,
        made_at=now,
        newest_closed=newest_closed,
        behind=max(behind, 0),
        coverage=coverage,
        moves=moves,
        splits=splits.height,
        restated=restated_fields(restatements),
        restated_values=restatements.height,
        held_back_values=logged.height - restatements.height,
        months=restated_months(restatements),
        refused=refused_reasons(rejected),
        refused_rows=rejected.height,
        tables=[*listed.tables],
        runs=list_run_reports(lake.store, RUNS_READ),
        waiting=len(waiting_deliveries(lake.store)),
    )


def count_coverage(daily: pl.LazyFrame, calendar: Calendar) -> Coverage:
    """Count symbols per session of daily bars against those that were listed around it."""
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
        list(patchy.head(_PATCHY_NAMED).iter_rows()),
        patchy.height,
        by_symbol.height,
        int(by_date["len"].sum()),
    )


def restated_fields(restatements: pl.DataFrame) -> pl.DataFrame:
    """Count restated values by field, most first.

    Their median and largest change are relative, null where no change is finite.
    """
    change = (pl.col("new") / pl.col("old") - 1).abs()
    finite = pl.when(change.is_finite()).then(change)
    return (
        restatements.group_by("field")
        .agg(count=pl.len(), median_change=finite.median(), largest_change=finite.max())
        .sort("count", "field", descending=[True, False])
    )


def restated_months(restatements: pl.DataFrame) -> pl.DataFrame:
    """Count restated ``prices`` and ``others`` by the ``month`` of receipt, such as ``2016-03``."""
    is_price = pl.col("field").is_in(schema.PRICES)
    return (
        restatements.group_by(month=pl.col("received_at").dt.strftime("%Y-%m"))
        .agg(prices=is_price.sum(), others=(~is_price).sum())
        .sort("month")
    )


def refused_reasons(rejected: pl.DataFrame) -> pl.DataFrame:
    """Count refused ``rows`` by ``reason``, most first, each with an ``example``."""
    return (
        rejected.with_columns(pl.col("reason").str.split("; "))
        .explode("reason")
        .group_by("reason")
        .agg(
            rows=pl.len(),
            example=pl.concat_str(
                pl.col("symbol").fill_null("(none)"),
                pl.lit(" "),
                pl.col("date").cast(pl.String).fill_null("no date"),
            ).min(),
        )
        .sort("rows", "reason", descending=[True, False])
    )
