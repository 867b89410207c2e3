"""The state of a lake: freshness, gaps, refused rows, corrections, sizes, last runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import polars as pl

from batch.audit.objects import StoredTable, WrongObject, list_lake, wrong_in_words
from batch.core import schema
from batch.core.instants import parse_instant
from batch.core.layout import (
    ARRIVALS,
    BRONZE,
    REJECTED,
    RESTATEMENTS_TABLE,
    Anchor,
    Delivery,
    parse_bars_table,
    partition_key,
    table_prefix,
)
from batch.core.sessions import Calendar, calendar_from
from batch.lake.inputs import received_before_close
from batch.lake.manifest import DailyRecord
from batch.runtime.formats import count_text
from batch.runtime.run_report import list_run_reports
from batch.storage.scan import reading, scan_objects
from batch.storage.store import ObjectStore, StoredObject
from batch.version import RESULTS_VERSION

RECENT_SESSIONS = 30
"""Sessions whose lateness, refused rows and corrections are counted by default."""

_LAST_RUNS = 10


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One silver table: its partitions counted, and the newest session it was made from.

    ``newest`` is None where it is not recorded. ``open_sessions`` is how many sessions the window
    that is still open has so far, 0 where the newest one is closed; None for tables without
    windows that all symbols share.
    """

    table: str
    years: int
    rows: int
    size_bytes: int
    newest: date | None
    open_sessions: int | None

    @classmethod
    def of(cls, stored: StoredTable, calendar: Calendar) -> TableStatus:
        """Count what is stored of a table."""
        held = stored.partitions
        return cls(
            held.table,
            len(held.objects),
            stored.rows,
            held.size_bytes,
            stored.newest,
            _open_sessions(held.table, stored.newest, calendar),
        )


def _open_sessions(table: str, newest: date | None, calendar: Calendar) -> int | None:
    width, anchor = parse_bars_table(table) or (1, None)
    if width == 1 or anchor is not Anchor.CALENDAR or newest is None:
        return None
    return (calendar.session_no(newest) + 1) % width


@dataclass(frozen=True, slots=True)
class LateSession:
    """A session whose first delivery was received late, ``hours`` after the close."""

    session: date
    received_at: datetime
    hours: float


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run of a job; None where it did not end, or ended without an error."""

    job: str
    started_at: datetime
    duration_s: float | None
    exit_code: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a lake at one instant.

    Attributes:
        as_of: The past instant that its daily bars show, None in the present.
        expected: The newest session that should be there by then.
        oldest: Oldest consolidated session, None where there is none; so is ``newest``.
        ahead: Consolidated sessions that had not closed by ``at``; counted nowhere else.
        behind: Sessions after the newest one, up to the expected one.
        missing: Sessions between the oldest and the newest one without any daily bar.
        since: First session that ``late``, ``refused``, ``restated`` and ``held_back`` cover.
        refused: Refused rows by reason; a row with two reasons counts under both.
        restated: Changed values by field.
        restatements: Changed values over all time.
        held_back: Values of later deliveries that did not replace the published ones, by reason.
        held_back_values: Such values over all time.
        waiting: Deliveries that have not been consolidated yet.
        outdated: Tables of bars that were made from older daily bars than there are.
        wrong: Objects that are missing, foreign or damaged.
        runs: The last runs, newest first.
        problems: Why the lake is not well; empty where it is.
    """

    lake: str
    at: datetime
    as_of: datetime | None
    expected: date
    oldest: date | None
    newest: date | None
    ahead: tuple[date, ...]
    behind: tuple[date, ...]
    missing: tuple[date, ...]
    since: date | None
    late: tuple[LateSession, ...]
    refused: Mapping[str, int]
    restated: Mapping[str, int]
    restatements: int
    held_back: Mapping[str, int]
    held_back_values: int
    waiting: tuple[str, ...]
    tables: tuple[TableStatus, ...]
    outdated: tuple[str, ...]
    wrong: tuple[WrongObject, ...]
    runs: tuple[RunStatus, ...]
    problems: tuple[str, ...] = ()


def read_status(
    store: ObjectStore,
    *,
    now: datetime,
    delay: timedelta = timedelta(hours=4),
    max_age_sessions: int = 0,
    since: date | None = None,
    calendar: Calendar | None = None,
) -> Status:
    """Judge the state of a lake at an aware instant. Nothing is written.

    The lake is stale where it is more than ``max_age_sessions`` behind; a session may take
    ``delay`` after its close to arrive and be consolidated. ``since`` is the first session whose
    gaps, lateness, refused rows and corrections count. By default all gaps count, and the others
    from the last :data:`RECENT_SESSIONS`.
    """
    listed = list_lake(store, now=now)
    manifest = listed.daily
    records = manifest.partitions
    calendar = calendar or calendar_from(manifest.oldest)
    closed = calendar.newest_closed(now)
    expected = calendar.newest_closed(now - delay)
    sessions = [session for session in manifest.sessions if session <= closed]
    ahead = manifest.sessions[len(sessions) :]
    oldest, newest = (sessions[0], sessions[-1]) if sessions else (None, None)
    behind: list[date] = []
    missing: list[date] = []
    recent = since
    if oldest and newest:
        if newest < expected:
            behind = calendar.sessions_between(newest + timedelta(days=1), expected)
        consolidated = set(sessions)
        due = calendar.sessions_between(max(oldest, since or oldest), newest)
        missing = [session for session in due if session not in consolidated]
        recent = since or calendar.session_at(calendar.session_no(newest) - RECENT_SESSIONS + 1)
    stored = listed.tables
    restated, held_back = _restated(store, recent, records, {one.key for one in listed.wrong})
    held_back_values = sum(record.held_back for record in records.values())
    status = Status(
        lake=store.uri,
        at=now,
        as_of=parse_instant(manifest.as_of) if manifest.as_of else None,
        expected=expected,
        oldest=oldest,
        newest=newest,
        ahead=tuple(ahead),
        behind=tuple(behind),
        missing=tuple(missing),
        since=recent,
        late=tuple(_late(store, recent, delay, calendar)),
        refused=_refused(store, recent),
        restated=restated,
        restatements=sum(one.restatements for one in records.values()) - held_back_values,
        held_back=held_back,
        held_back_values=held_back_values,
        waiting=waiting_deliveries(store),
        tables=tuple(TableStatus.of(one, calendar) for one in stored),
        outdated=tuple(
            one.partitions.table for one in stored if newest and one.newest and one.newest < newest
        ),
        wrong=listed.wrong,
        runs=tuple(
            RunStatus(run.job, run.started_at, run.duration_s, run.exit_code, run.error)
            for run in list_run_reports(store, _LAST_RUNS)
        ),
    )
    problems = [*_problems(status, max_age_sessions), *_earlier_versions(records)]
    return replace(status, problems=tuple(problems))


def _problems(status: Status, max_age_sessions: int) -> Iterable[str]:
    if status.as_of:
        yield (
            f"in the past: the daily bars show what was known at {status.as_of:%Y-%m-%d %H:%M} UTC;"
            " run `ohlcv consolidate`"
        )
    if status.ahead:
        had = count_text(len(status.ahead), "sessions")
        yield (
            f"ahead: {had} that had not closed, {status.ahead[0]} the first, among the daily bars,"
            " so that open bars pass for complete; run `ohlcv consolidate` and `ohlcv resample`"
        )
    yield from wrong_in_words(status.wrong)
    if status.newest is None and not (status.wrong or status.ahead):
        yield (
            f"empty: no session has been consolidated, {status.expected} was expected;"
            " bring deliveries in with `ohlcv import` or `ohlcv fetch`,"
            " then run `ohlcv consolidate`"
        )
    if len(status.behind) > max_age_sessions:
        behind = count_text(len(status.behind), "sessions")
        yield (
            f"stale: the newest session is {status.newest}, {status.expected} was expected"
            f" ({behind} behind, {max_age_sessions} allowed)"
        )
    if status.missing:
        yield (
            f"gapped: {count_text(len(status.missing), 'sessions')} without any daily bar,"
            f" the newest of them {status.missing[-1]}"
        )
    if status.outdated:
        yield (
            f"outdated: {', '.join(status.outdated)} made from older daily bars;"
            " run `ohlcv resample`"
        )


def _earlier_versions(records: Mapping[int, DailyRecord]) -> Iterable[str]:
    years = [year for year, record in records.items() if not _is_of_this_version(record)]
    if years:
        yield (
            f"outdated: the daily bars of {count_text(len(years), 'years')} were made by another"
            " version of this package; run `ohlcv consolidate`, then `ohlcv resample`"
        )


def _is_of_this_version(record: DailyRecord) -> bool:
    return record.results_version == RESULTS_VERSION


def _late(
    store: ObjectStore, since: date | None, delay: timedelta, calendar: Calendar
) -> Iterable[LateSession]:
    first: dict[date, datetime] = {}
    for item in _list_from_session(store, BRONZE, since):
        delivery = Delivery.parse(item.key)
        if delivery is None or received_before_close(delivery, calendar):
            continue
        if calendar.is_session(delivery.session):
            received_at = first.get(delivery.session, delivery.received_at)
            first[delivery.session] = min(received_at, delivery.received_at)
    for session, received_at in sorted(first.items()):
        took = received_at - calendar.close_of(session)
        if took > delay:
            yield LateSession(session, received_at, round(took.total_seconds() / 3600, 1))


def _refused(store: ObjectStore, since: date | None) -> dict[str, int]:
    listed = _list_from_session(store, REJECTED, since)
    keys = [item.key for item in listed if item.key.endswith(".parquet")]
    with reading(store, REJECTED, schema.REJECTED):
        reasons = scan_objects(store, keys, schema.REJECTED).select("reason").collect()
    counts = Counter(reason for text in reasons["reason"] for reason in text.split("; "))
    return dict(counts.most_common())


def _restated(
    store: ObjectStore,
    since: date | None,
    records: Mapping[int, DailyRecord],
    left_out: Collection[str],
) -> tuple[dict[str, int], dict[str, int]]:
    """Count changed values by field, and those held back by reason.

    Restatements of another version of this package may have other columns: they are left out.
    """
    keys = [
        partition_key(RESTATEMENTS_TABLE, year)
        for year, record in sorted(records.items())
        if record.restatements
        and _is_of_this_version(record)
        and (since is None or year >= since.year)
    ]
    rows = scan_objects(store, [key for key in keys if key not in left_out], schema.RESTATEMENTS)
    if since is not None:
        rows = rows.filter(pl.col("date") >= since)
    with reading(store, table_prefix(RESTATEMENTS_TABLE), schema.RESTATEMENTS):
        by_field, by_reason = pl.collect_all(
            chosen.group_by(name).len().sort("len", name, descending=True)
            for name, chosen in (
                ("field", rows.filter(pl.col("reason").is_null())),
                ("reason", rows.filter(pl.col("reason").is_not_null())),
            )
        )
    return dict(by_field.rows()), dict(by_reason.rows())


def _list_from_session(
    store: ObjectStore, prefix: str, since: date | None
) -> Iterable[StoredObject]:
    return store.list(prefix, start_after=f"{prefix}date={since}" if since else "")


def waiting_deliveries(store: ObjectStore) -> tuple[str, ...]:
    """Return the keys of deliveries that have not been consolidated yet."""
    announced = [Delivery.of_arrival(item.key) for item in store.list(ARRIVALS)]
    waiting = sorted(delivery.key for delivery in announced if delivery)
    if not waiting:
        return ()
    before_first = waiting[0].rpartition("/")[0]
    there = {item.key for item in store.list(BRONZE, start_after=before_first)}
    return tuple(key for key in waiting if key in there)
