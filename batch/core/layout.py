"""Every path of the lake is built and parsed here, and nowhere else.

Keys are POSIX paths relative to the root of the lake. Times in keys are UTC, in the
basic ISO 8601 form with microseconds, so that text order is time order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from enum import StrEnum
from functools import total_ordering
from typing import Final

from batch.core.errors import SettingsError

BRONZE: Final = "bronze/daily/"
REJECTED: Final = "bronze/rejected/"
VACUUMED: Final = "bronze/vacuumed/"
SILVER: Final = "silver/"
STATE: Final = "_state/"
ARRIVALS: Final = "_state/arrivals/"
INCOMPLETE: Final = "_state/incomplete/"
INPUTS: Final = "_state/inputs/"
CARRY: Final = "_state/carry/"
RUNS: Final = "_runs/"
RECEIPTS: Final = "_state/uploads/receipts/"
STAGED: Final = "_state/uploads/staged/"
LANDING: Final = "_state/uploads/landing.json"
"""Which uploads land together, and as received when, until their bars are made."""

WATCHER: Final = "_state/uploads/watcher.json"
"""Which process watches a drop folder for the lake, while one does."""

NEWS: Final = "_state/uploads/news.json"
"""Which uploads the next message to people is about."""

QUARANTINE: Final = "quarantine/"
GATHERED: Final = "_state/uploads/gathered/"
KEPT: Final = "_state/uploads/kept/"
UPLOAD_RULES: Final = "uploads.toml"
"""What is known in advance of each source of uploads."""

ROOTS: Final = (STATE, SILVER, "bronze/", "reference/", RUNS, QUARANTINE, UPLOAD_RULES)
"""What lies in the root of a lake, what every lake has first."""

DAILY_TABLE: Final = "1d"
RESTATEMENTS_TABLE: Final = "restatements"

TICKERS: Final = "reference/tickers/data.parquet"
SPLITS: Final = "reference/splits/data.parquet"
DIVIDENDS: Final = "reference/dividends/data.parquet"

LISTED: Final = "_state/listed.json"
"""How far the vendor's lists of reference data have been read."""

INTERVALS: Final = (3, 5, 8, 13, 21, 34)
"""The Fibonacci intervals that the pipeline publishes, in sessions."""

WIDEST: Final = 10_000
"""Widest interval, in sessions: about forty years."""

NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
"""Where refused rows without a readable date go: Hive's name for null."""

_NOT_RECORDED = datetime.min.replace(tzinfo=UTC)
_INSTANT = "%Y%m%dT%H%M%S%fZ"
_SOURCE = re.compile(r"[a-z0-9][a-z0-9._-]{0,80}")
_DELIVERY = re.compile(
    r"bronze/daily/date=(?P<date>\d{4}-\d\d-\d\d)/(?P<at>\d{8}T\d{12}Z)-"
    r"(?:(?P<arrived>\d{8}T\d{12}Z)-)?(?P<source>[^/]+)\.parquet"
)
_INCOMPLETE = re.compile(r"_state/incomplete/date=(\d{4}-\d\d-\d\d)\.json")
_RUN_REPORT = re.compile(rf"{RUNS}(\d{{8}}T\d{{12}}Z)-.+-[^-]+\.json")
_RECEIPT = re.compile(rf"{RECEIPTS}([0-9a-f]{{64}})\.json")
_STAGED_OBJECT = re.compile(rf"{STAGED}([0-9a-f]{{64}})/.+")
_KEPT = re.compile(rf"{KEPT}[^/]+/\d{{8}}T\d{{12}}Z-\d{{8}}T\d{{12}}Z-([0-9a-f]{{64}})/.+")
_PARTITION = re.compile(r"silver/([^/]+)/year=(\d{4})/data\.parquet")
_MANIFEST = re.compile(rf"{STATE}([^/]+)\.json\.gz")


class Anchor(StrEnum):
    """What the windows of an interval are counted from."""

    CALENDAR = "calendar"
    LISTING = "listing"


class Period(StrEnum):
    """An interval of the civil calendar, whatever the number of its sessions.

    Bars of these are made on read; no table has them.
    """

    WEEK = "1w"
    MONTH = "1mo"


def instant_text(instant: datetime) -> str:
    """Return an aware instant as ``20250109T210500000000Z``.

    Raises:
        ValueError: The instant has no time zone.
    """
    if instant.tzinfo is None:
        raise ValueError(f"instant {instant!r} has no time zone")
    return instant.astimezone(UTC).strftime(_INSTANT)


@total_ordering
@dataclass(frozen=True, slots=True)
class Delivery:
    """One session's bars as one source sent them at one instant; the last in order is newest.

    ``received_at`` may be assumed, such as the end of the day in a file's name. What was
    received at the same instant is ordered by ``arrived_at``, when it reached the lake: one
    whose arrival was not recorded comes first.
    """

    session: date
    received_at: datetime
    source: str
    arrived_at: datetime | None = None

    def __post_init__(self) -> None:
        if not _SOURCE.fullmatch(self.source):
            raise ValueError(
                f"source {self.source!r} must match {_SOURCE.pattern}: it is part of a file name"
            )

    def __lt__(self, other: Delivery) -> bool:
        return self._precedence < other._precedence

    @property
    def _precedence(self) -> tuple[date, datetime, datetime, str]:
        return (self.session, self.received_at, self.arrived_at or _NOT_RECORDED, self.source)

    @property
    def as_sent(self) -> Delivery:
        """The same without its arrival: equal for equal rows received at the same instant."""
        return replace(self, arrived_at=None)

    @property
    def sender(self) -> str:
        """Who sent it: the source without the digest of the rows."""
        return self.source.rpartition("-")[0]

    @property
    def rows_digest(self) -> str:
        """Digest of the rows that were sent, the end of the source."""
        return self.source.rpartition("-")[2]

    @property
    def name(self) -> str:
        """File name, without its folder."""
        return delivery_name(self.received_at, self.source, self.arrived_at)

    @property
    def key(self) -> str:
        """Where the accepted rows are."""
        return f"{BRONZE}date={self.session}/{self.name}"

    @property
    def rejected_key(self) -> str:
        """Where the refused rows are, if there were any."""
        return rejected_key(self.session, self.name)

    @property
    def arrival_key(self) -> str:
        """The marker that announces the delivery until it has been consolidated."""
        return f"{ARRIVALS}date={self.session}/{self.name}"

    @property
    def vacuumed_key(self) -> str:
        """The marker that remembers the delivery once a vacuum has removed it."""
        return f"{VACUUMED}date={self.session}/{self.name.removesuffix('.parquet')}"

    @classmethod
    def parse(cls, key: str) -> Delivery | None:
        """Return the delivery of a key under bronze, or None for any other key."""
        found = _DELIVERY.fullmatch(key)
        if not found:
            return None
        try:
            received_at = _parse_instant(found["at"])
            arrived_at = _parse_instant(found["arrived"]) if found["arrived"] else None
            return cls(date.fromisoformat(found["date"]), received_at, found["source"], arrived_at)
        except ValueError:
            return None

    @classmethod
    def of_arrival(cls, key: str) -> Delivery | None:
        """Return the delivery that an arrival marker announces."""
        return cls.parse(BRONZE + key.removeprefix(ARRIVALS)) if key.startswith(ARRIVALS) else None

    @classmethod
    def of_vacuumed(cls, key: str) -> Delivery | None:
        """Return the delivery that a vacuum's marker remembers."""
        if not key.startswith(VACUUMED):
            return None
        return cls.parse(f"{BRONZE}{key.removeprefix(VACUUMED)}.parquet")


def delivery_name(received_at: datetime, source: str, arrived_at: datetime | None = None) -> str:
    """File name of what a source sent at an instant."""
    arrival = f"{instant_text(arrived_at)}-" if arrived_at else ""
    return f"{instant_text(received_at)}-{arrival}{source}.parquet"


def _parse_instant(text: str) -> datetime:
    return datetime.strptime(text, _INSTANT).replace(tzinfo=UTC)


def rejected_key(session: date | None, name: str) -> str:
    """Where refused rows dated ``session`` of the delivery file ``name`` are kept."""
    return f"{REJECTED}date={session or NO_VALUE}/{name}"


def source_slug(text: str) -> str:
    """Return free text as a source: lower case, at most 40 characters."""
    slug = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:40]
    return slug or "unnamed"


def bronze_session_prefix(session: date) -> str:
    """Prefix of every delivery of one session."""
    return f"{BRONZE}date={session}/"


def vacuumed_session_prefix(session: date) -> str:
    """Prefix of the markers of what vacuums removed of one session."""
    return f"{VACUUMED}date={session}/"


def incomplete_key(session: date) -> str:
    """Where the note lies that what a vendor sent of a session may be incomplete."""
    return f"{INCOMPLETE}date={session}.json"


def incomplete_session(key: str) -> date | None:
    """Return the session of a key of :func:`incomplete_key`; None for any other key."""
    found = _INCOMPLETE.fullmatch(key)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def bronze_year_prefix(year: int) -> str:
    """Prefix of every delivery of a year's sessions."""
    return f"{BRONZE}date={year:04d}-"


def vacuumed_year_prefix(year: int) -> str:
    """Prefix of the markers of what vacuums removed of a year's sessions."""
    return f"{VACUUMED}date={year:04d}-"


def bars_table(interval: int, anchor: Anchor = Anchor.CALENDAR) -> str:
    """Name of the table of ``interval``-session bars: ``5d`` or ``5d_listing``.

    With the calendar anchor and one session it is still a resampled table, ``1d`` being
    the consolidated one, so it is named ``1d_calendar``.
    """
    if anchor is Anchor.LISTING:
        return f"{interval}d_listing"
    return f"{interval}d" if interval != 1 else "1d_calendar"


def parse_bars_table(table: str) -> tuple[int, Anchor] | None:
    """Return interval and anchor of a name of :func:`bars_table`; None for any other name."""
    interval = _leading_sessions(table)
    for anchor in Anchor if interval else ():
        if bars_table(interval, anchor) == table:
            return interval, anchor
    return None


def table_order(table: str) -> tuple[bool, int, str]:
    """Sort key of a silver table's name: the narrowest bars first, other tables last."""
    interval = _leading_sessions(table)
    return (not interval, interval, table)


def _leading_sessions(table: str) -> int:
    digits, d, _ = table.partition("d")
    return int(digits) if d and digits.isascii() and digits.isdigit() else 0


def parse_interval(value: int | str) -> int:
    """Read an interval as users write it, ``5``, ``"5"`` or ``"5d"``, as a number of sessions.

    Raises:
        ValueError: It is not a number; its range is not checked.
    """
    digits = str(value).removesuffix("d")
    if digits.isascii() and digits.removeprefix("-").isdigit():
        return int(digits)
    hint = f"; {value} bars are not stored: read them with Lake.bars({str(value)!r})"
    raise ValueError(
        f"{value!r} is not a number of sessions: use 5 or 5d{hint if value in [*Period] else ''}"
    )


def require_interval(value: int | str, label: str = "interval") -> int:
    """Read an interval as :func:`parse_interval` does.

    Raises:
        SettingsError: It is not a number of sessions, or not from 1 to :data:`WIDEST`.
    """
    try:
        interval = parse_interval(value)
    except ValueError as err:
        raise SettingsError(f"{label} {err}") from err
    if not 1 <= interval <= WIDEST:
        raise SettingsError(f"{label} {value}: must be from 1 to {WIDEST} sessions")
    return interval


def table_prefix(table: str) -> str:
    """Prefix of every partition of a silver table."""
    return f"{SILVER}{table}/"


def partition_key(table: str, year: int) -> str:
    """Where a year of a silver table is."""
    return f"{table_prefix(table)}year={year:04d}/data.parquet"


def parse_partition_key(key: str) -> tuple[str, int] | None:
    """Return table and year of a key of :func:`partition_key`; None for any other key."""
    found = _PARTITION.fullmatch(key)
    return (found[1], int(found[2])) if found else None


def manifest_key(table: str) -> str:
    """Where the manifest of a silver table is."""
    return f"{STATE}{table}.json.gz"


def manifest_table(key: str) -> str | None:
    """Return the table of a key of :func:`manifest_key`; None for any other key."""
    found = _MANIFEST.fullmatch(key)
    return found[1] if found else None


def inputs_key(year: int, digest: str) -> str:
    """Where the list of deliveries that a daily partition was made from is.

    The digest of the list is part of the name, so concurrent jobs never overwrite what
    another one's manifest refers to.
    """
    return f"{INPUTS}year={year:04d}-{digest}.json.gz"


def carry_key(year: int, digest: str) -> str:
    """Where the state that consolidation passes from a year to the next one is."""
    return f"{CARRY}year={year:04d}-{digest}.parquet"


def run_report_key(job: str, started_at: datetime, run_id: str) -> str:
    """Where the report of one job run is kept."""
    return f"{RUNS}{instant_text(started_at)}-{job}-{run_id}.json"


def run_started_at(key: str) -> datetime | None:
    """Return when the run of a key of :func:`run_report_key` started; None for any other key."""
    found = _RUN_REPORT.fullmatch(key)
    try:
        return datetime.strptime(found[1], _INSTANT).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


def receipt_key(upload_id: str) -> str:
    """Where the receipt of an upload is, for ever."""
    return f"{RECEIPTS}{upload_id}.json"


def receipt_id(key: str) -> str | None:
    """Return the upload of a key of :func:`receipt_key`; None for any other key."""
    found = _RECEIPT.fullmatch(key)
    return found[1] if found else None


def staged_prefix(upload_id: str) -> str:
    """Prefix of what was read of an upload and has not landed yet."""
    return f"{STAGED}{upload_id}/"


def staged_id(key: str) -> str | None:
    """Return the upload that a staged object belongs to; None for any other key."""
    found = _STAGED_OBJECT.fullmatch(key)
    return found[1] if found else None


def open_key(upload_id: str) -> str:
    """The marker that says that an upload's receipt is not final, or its object still to copy."""
    return f"{staged_prefix(upload_id)}open"


def news_key(upload_id: str) -> str:
    """The marker that says that an upload has changed a reference table."""
    return f"{staged_prefix(upload_id)}news"


def staged_key(upload_id: str, part: int, kind: str, piece: int) -> str:
    """Where some rows of one part of an upload are staged; ``kind`` is what they are."""
    return f"{staged_prefix(upload_id)}{part:05d}-{piece:05d}-{kind}.parquet"


def layout_key(digest: str) -> str:
    """Where it is kept how the columns of a source's last files of a kind were read."""
    return f"{STATE}uploads/layouts/{digest}.json"


def gathered_key(last: tuple[datetime, datetime], digest: str) -> str:
    """Where it is kept which uploads landed as one, by when the last was received and arrived."""
    return f"{GATHERED}{instant_text(last[0])}-{instant_text(last[1])}-{digest}.json"


def kept_prefix(kind: str, received_at: datetime, uploaded_at: datetime, upload_id: str) -> str:
    """Prefix of rows of an upload that older uploads, should they come yet, must not undo."""
    at = f"{instant_text(received_at)}-{instant_text(uploaded_at)}"
    return f"{kept_kind_prefix(kind)}{at}-{upload_id}/"


def kept_kind_prefix(kind: str) -> str:
    """Prefix of all that is kept of one kind, in the order of receipt."""
    return f"{KEPT}{kind}/"


def kept_id(key: str) -> str | None:
    """Return the upload of a key below :func:`kept_prefix`; None for any other key."""
    found = _KEPT.fullmatch(key)
    return found[1] if found else None


def quarantine_prefix(day: date, upload_id: str) -> str:
    """Prefix of an upload that was refused: its object, and the reason."""
    return f"{QUARANTINE}{day}/{upload_id}/"
