"""What the report of a lake tells, read from its tables, manifests and runs."""

from __future__ import annotations

import json
from datetime import date, datetime

from batch.core.errors import DataRefused
from batch.core.layout import ARRIVALS, DAILY_TABLE, RESTATEMENTS_TABLE, RUNS
from batch.core.sessions import EPOCH, load_calendar
from batch.lake.manifest import load_bars_manifest, load_daily_manifest
from batch.lake.read import Lake
from batch.runtime.progress import Progress
from batch.storage.scan import list_tables
from batch.storage.store import ObjectStore
from reporting.facts import (
    LakeFacts,
    RunFact,
    TableSize,
    coverage_of,
    moves_of,
    refused_of,
    restated_of,
    runs_of,
)

RUNS_READ = 60
"""How many runs are read, from the newest."""


def gather_facts(lake: Lake, *, now: datetime, progress: Progress) -> LakeFacts:
    """Read what the report tells.

    Raises:
        DataRefused: A table or a run's report is damaged.
        StoreUnavailable: The store does not answer.
    """
    progress.begin("reading", 5, "parts")
    manifest = load_daily_manifest(lake.store)
    calendar = load_calendar(min(manifest.oldest or EPOCH, EPOCH))
    years = [
        lake.lazy("1d", start=date(year, 1, 1), end=date(year, 12, 31))
        for year in sorted(manifest.partitions)
    ]
    splits = lake.splits()
    coverage = coverage_of(lake.lazy("1d"), calendar)
    progress.advance()
    moves = moves_of(years, splits, calendar)
    progress.advance()
    restated = restated_of(lake.restatements())
    progress.advance()
    refused = refused_of(lake.rejected())
    progress.advance()
    newest_closed = calendar.newest_closed(now)
    behind = 0
    if coverage.sessions:
        newest = calendar.session_no(coverage.sessions[-1].session)
        behind = max(calendar.session_no(newest_closed) - newest, 0)
    found = LakeFacts(
        uri=lake.store.uri,
        made_at=now,
        newest_closed=newest_closed,
        behind=behind,
        coverage=coverage,
        moves=moves,
        splits=splits.height,
        restated=restated,
        refused=refused,
        tables=_tables(lake.store),
        runs=_runs(lake.store),
        waiting=sum(1 for _ in lake.store.list(ARRIVALS)),
    )
    progress.advance()
    return found


def _tables(store: ObjectStore) -> list[TableSize]:
    """Tell the size of every silver table."""
    daily = load_daily_manifest(store).partitions.values()
    sizes = []
    for table, parts in list_tables(store).items():
        if table == DAILY_TABLE:
            rows = sum(record.rows for record in daily)
        elif table == RESTATEMENTS_TABLE:
            rows = sum(record.restatements for record in daily)
        else:
            rows = sum(
                record.rows for record in load_bars_manifest(store, table).partitions.values()
            )
        sizes.append(
            TableSize(table, {year: part.size_bytes for year, part in parts.items()}, rows)
        )
    return sizes


def _runs(store: ObjectStore) -> list[RunFact]:
    """Read the newest reports of runs."""
    keys = [item.key for item in store.list(RUNS) if item.key.endswith(".json")]
    reports = []
    for key in keys[-RUNS_READ:]:
        try:
            reports.append(json.loads(store.read(key)))
        except ValueError as err:
            raise DataRefused(f"{store.uri}/{key}: not a run's report ({err}); remove it") from err
    return runs_of(reports)
