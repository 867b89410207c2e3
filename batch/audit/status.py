"""How a lake is doing: freshness, gaps, refused rows, corrections, sizes, last runs."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from batch.core.errors import DataRefused
from batch.core.layout import (
    ARRIVALS,
    BRONZE,
    DAILY_TABLE,
    REJECTED,
    RESTATEMENTS_TABLE,
    RUNS,
    Delivery,
    parse_instant_text,
    partition_key,
)
from batch.core.schema import REJECTED as REJECTED_SCHEMA
from batch.core.schema import RESTATEMENTS as RESTATEMENTS_SCHEMA
from batch.core.sessions import EPOCH, Calendar, load_calendar
from batch.lake.manifest import DailyRecord, load_bars_manifest, load_daily_manifest
from batch.storage.scan import Access, list_tables, reading
from batch.storage.store import ObjectStore, StoredObject

RECENT_SESSIONS = 30
"""How far back lateness, refused rows and corrections are looked at, unless told."""

_REPORTS = 10
_RUN = re.compile(rf"{RUNS}(?P<at>\d{{8}}T\d{{12}}Z)-(?P<job>.+)-(?P<id>[^-]+)\.json")


@dataclass(frozen=True, slots=True)
class Patience:
    """When a lake counts as unwell.

    Attributes:
        delay: How long after the close a session may take to arrive and be consolidated.
        max_age_sessions: How many sessions it may be behind all the same.
    """

    delay: timedelta = timedelta(hours=4)
    max_age_sessions: int = 0


@dataclass(frozen=True, slots=True)
class TableStatus:
    """The partitions of one silver table.

    Attributes:
        table: Its name.
        years: Number of partitions.
        rows: Rows, as its manifest says; None for a table without one of its own.
        size_bytes: Length of all partitions.
        newest: Newest session that it was made from, ISO date.
    """

    table: str
    years: int
    rows: int | None
    size_bytes: int
    newest: str | None


@dataclass(frozen=True, slots=True)
class LateSession:
    """A session whose first delivery came late.

    Attributes:
        session: Which.
        received_at: When the first delivery of it came.
        hours: Hours from the close to then.
    """

    session: date
    received_at: datetime
    hours: float


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run of a job, from its report.

    Attributes:
        job: Name of the job.
        started_at: When it started.
        duration_s: Seconds that it took, if it ended.
        exit_code: How it ended, if it did.
        error: What ended it, if something did.
    """

    job: str
    started_at: datetime
    duration_s: float | None
    exit_code: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """What a look at a lake found.

    Attributes:
        lake: Its root.
        at: The instant that it was judged at.
        as_of: The past instant that its daily bars show, ISO 8601, None in the present.
        expected: The newest session that should be there by then.
        oldest: Oldest consolidated session, None where there is none.
        newest: Newest consolidated session, None where there is none.
        behind: Sessions after the newest one, up to the expected one.
        missing: Sessions between the oldest and the newest one without any daily bar.
        since: First session of what the next three look at.
        late: Sessions whose first delivery came late.
        refused: Refused rows by reason; a row with two reasons counts under both.
        restated: Changed values by field.
        restatements: Changed values over all time.
        waiting: Deliveries that have not been consolidated yet.
        tables: Every silver table.
        outdated: Tables of bars that were made from older daily bars than there are.
        runs: The last runs, newest first.
        problems: Why the lake is unwell; empty where it is well.
    """

    lake: str
    at: datetime
    as_of: str | None
    expected: date
    oldest: date | None
    newest: date | None
    behind: tuple[date, ...]
    missing: tuple[date, ...]
    since: date | None
    late: tuple[LateSession, ...]
    refused: Mapping[str, int]
    restated: Mapping[str, int]
    restatements: int
    waiting: tuple[str, ...]
    tables: tuple[TableStatus, ...]
    outdated: tuple[str, ...]
    runs: tuple[RunStatus, ...]
    problems: tuple[str, ...] = field(default=())


def look_at(
    store: ObjectStore,
    *,
    now: datetime,
    patience: Patience | None = None,
    since: date | None = None,
    calendar: Calendar | None = None,
) -> Status:
    """Find out how a lake is doing. Nothing is written.

    Args:
        store: The lake.
        now: The instant to judge at, aware.
        patience: When it counts as unwell.
        since: First session of which gaps, lateness, refused rows and corrections are
            looked at. Where None, gaps are sought in the whole lake and the others in
            the last :data:`RECENT_SESSIONS` sessions.
        calendar: The exchange calendar; the library's where not given.
    """
    patience = patience or Patience()
    manifest = load_daily_manifest(store)
    records = manifest.partitions
    sessions = sorted(day for record in records.values() for day in record.sessions)
    oldest = date.fromisoformat(sessions[0]) if sessions else None
    newest = date.fromisoformat(sessions[-1]) if sessions else None
    calendar = calendar or load_calendar(min(oldest or EPOCH, EPOCH))
    expected = calendar.newest_closed(now - patience.delay)
    behind = _after(newest, expected, calendar)
    missing = _missing(sessions, since, calendar)
    recent = since or _recent(newest, calendar)
    tables = tuple(_tables(store, records))
    outdated = tuple(
        table.table for table in tables if table.newest and sessions and table.newest < sessions[-1]
    )
    return Status(
        lake=store.uri,
        at=now,
        as_of=manifest.as_of,
        expected=expected,
        oldest=oldest,
        newest=newest,
        behind=behind,
        missing=missing,
        since=recent,
        late=tuple(_late(store, recent, patience.delay, calendar)),
        refused=_refused(store, recent),
        restated=_restated(store, recent, records),
        restatements=sum(record.restatements for record in records.values()),
        waiting=tuple(_waiting(store)),
        tables=tables,
        outdated=outdated,
        runs=tuple(_last_runs(store)),
        problems=(
            *_in_the_past(manifest.as_of),
            *_problems(newest, expected, behind, missing, outdated, patience),
        ),
    )


def _in_the_past(as_of: str | None) -> Iterable[str]:
    if as_of:
        yield f"in the past: the daily bars show what was known at {as_of}; run `ohlcv consolidate`"


def _problems(
    newest: date | None,
    expected: date,
    behind: tuple[date, ...],
    missing: tuple[date, ...],
    outdated: tuple[str, ...],
    patience: Patience,
) -> Iterable[str]:
    if newest is None:
        yield (
            f"empty: no session has been consolidated, {expected} was expected; bring deliveries"
            " in with `ohlcv import` or `ohlcv fetch`, then run `ohlcv consolidate`"
        )
    elif len(behind) > patience.max_age_sessions:
        yield (
            f"stale: the newest session is {newest}, {expected} was expected"
            f" ({_sessions(len(behind))} behind, {patience.max_age_sessions} allowed)"
        )
    if missing:
        yield (
            f"gapped: {_sessions(len(missing))} without any daily bar,"
            f" the newest of them {missing[-1]}"
        )
    if outdated:
        yield f"outdated: {', '.join(outdated)} made from older daily bars; run `ohlcv resample`"


def _after(newest: date | None, expected: date, calendar: Calendar) -> tuple[date, ...]:
    if newest is None or newest >= expected:
        return ()
    return tuple(calendar.sessions_between(newest + timedelta(days=1), expected))


def _sessions(count: int) -> str:
    return f"{count:,} session{'s' if count != 1 else ''}"


def _missing(sessions: list[str], since: date | None, calendar: Calendar) -> tuple[date, ...]:
    if not sessions:
        return ()
    first, last = date.fromisoformat(sessions[0]), date.fromisoformat(sessions[-1])
    there = set(sessions)
    wanted = calendar.sessions_between(max(first, since or first), last)
    return tuple(day for day in wanted if day.isoformat() not in there)


def _recent(newest: date | None, calendar: Calendar) -> date | None:
    if newest is None:
        return None
    return calendar.session_at(calendar.session_no(newest) - RECENT_SESSIONS + 1)


def _late(
    store: ObjectStore, since: date | None, delay: timedelta, calendar: Calendar
) -> Iterable[LateSession]:
    first: dict[date, datetime] = {}
    for item in _from_session(store, BRONZE, since):
        found = Delivery.parse(item.key)
        if found and calendar.is_session(found.session):
            first[found.session] = min(
                first.get(found.session, found.received_at), found.received_at
            )
    for session, received_at in sorted(first.items()):
        took = received_at - calendar.close_of(session)
        if took > delay:
            yield LateSession(session, received_at, round(took.total_seconds() / 3600, 1))


def _refused(store: ObjectStore, since: date | None) -> dict[str, int]:
    keys = [
        item.key for item in _from_session(store, REJECTED, since) if item.key.endswith(".parquet")
    ]
    if not keys:
        return {}
    with reading(f"{store.uri}/{REJECTED}"):
        reasons = Access.of(store).scan(keys, REJECTED_SCHEMA).select("reason").collect()
    counts = Counter(reason for text in reasons["reason"] for reason in text.split("; "))
    return dict(counts.most_common())


def _restated(
    store: ObjectStore, since: date | None, records: Mapping[int, DailyRecord]
) -> dict[str, int]:
    keys = [
        partition_key(RESTATEMENTS_TABLE, year)
        for year, record in sorted(records.items())
        if record.restatements and (since is None or year >= since.year)
    ]
    rows = Access.of(store).scan(keys, RESTATEMENTS_SCHEMA)
    if since is not None:
        rows = rows.filter(pl.col("date") >= since)
    with reading(f"{store.uri}/silver/{RESTATEMENTS_TABLE}"):
        counts = rows.group_by("field").len().sort("len", "field", descending=True).collect()
    return {str(name): int(count) for name, count in counts.rows()}


def _waiting(store: ObjectStore) -> Iterable[str]:
    announced = [Delivery.of_arrival(item.key) for item in store.list(ARRIVALS)]
    waiting = sorted(delivery.key for delivery in announced if delivery)
    if waiting:
        before_first = waiting[0].rpartition("/")[0]
        there = {item.key for item in store.list(BRONZE, start_after=before_first)}
        yield from (key for key in waiting if key in there)


def _tables(store: ObjectStore, daily: Mapping[int, DailyRecord]) -> Iterable[TableStatus]:
    for table, parts in list_tables(store).items():
        size_bytes = sum(part.size_bytes for part in parts.values())
        rows: int | None = None
        newest: str | None = None
        if table == DAILY_TABLE:
            rows = sum(record.rows for record in daily.values())
            newest = max((max(record.sessions) for record in daily.values()), default=None)
        elif table == RESTATEMENTS_TABLE:
            rows = sum(record.restatements for record in daily.values())
        else:
            made = load_bars_manifest(store, table).partitions.values()
            rows = sum(record.rows for record in made)
            newest = max((record.newest for record in made), default=None)
        yield TableStatus(table, len(parts), rows, size_bytes, newest)


def _last_runs(store: ObjectStore) -> Iterable[RunStatus]:
    found = [item.key for item in store.list(RUNS) if _RUN.fullmatch(item.key)]
    for key in reversed(found[-_REPORTS:]):
        named = _RUN.fullmatch(key)
        assert named is not None  # noqa: S101 - only matching keys were kept
        report = _report(store, key)
        yield RunStatus(
            named["job"],
            parse_instant_text(named["at"]),
            report.get("duration_s"),
            report.get("exit_code"),
            report.get("error"),
        )


def _report(store: ObjectStore, key: str) -> dict[str, Any]:
    try:
        report = json.loads(store.read(key))
    except ValueError as err:
        raise DataRefused(f"{store.uri}/{key}: not a run's report ({err}); remove it") from err
    if not isinstance(report, dict):
        raise DataRefused(f"{store.uri}/{key}: not a run's report; remove it")
    return report


def _from_session(store: ObjectStore, prefix: str, since: date | None) -> Iterable[StoredObject]:
    return store.list(prefix, start_after=f"{prefix}date={since}" if since else "")
