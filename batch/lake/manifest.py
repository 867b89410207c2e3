"""Manifests: what each partition of a table was made from, committed last.

There is one manifest per table. A job reads it, works, publishes its partitions and then
commits their records with a conditional write. Jobs that publish different partitions at
the same time both get in; of two that publish the same one, the second is refused.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any, Generic, TypeAlias, TypeVar

from batch.core.errors import CommitConflict, DataRefused, ObjectMissing, StateDamaged
from batch.core.layout import DAILY_TABLE, inputs_key, manifest_key
from batch.core.sessions import Calendar
from batch.storage.store import Expect, Expectation, ObjectStore

FORMAT = 1
_TRIES = 50
_MADE_BY = "`ohlcv consolidate` and `ohlcv resample` rebuild it"


SplitRow: TypeAlias = tuple[str, str, float]
"""Symbol, ISO date of execution and ratio of a split."""


def fingerprint(*parts: object) -> str:
    """Return one digest of values that JSON can hold, sensitive to their order."""
    text = json.dumps(parts, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class DailyRecord:
    """What the daily partition of a year was made from, and what it holds.

    Attributes:
        results_version: Version of the code as far as it changes results.
        inputs_digest: Of the list of its deliveries, which is kept beside.
        splits_digest: Of the splits that its rows wait for.
        carry_in_digest: Of the whole state that earlier years pass on.
        carry_slice_digest: Of the part of it on which the rows depend.
        carry_digest: Of the state that the year passes on.
        sessions: For each session, ISO date: digest of its rows.
        version: The store's version of the data when it was published.
        restatements: How many there are, values that did not win among them.
        restatements_version: The store's version of them, empty where there are none.
        bytes_digest: Length and CRC-32 of the partition's file, empty where an earlier version
            of this package wrote it.
        restatements_bytes_digest: Likewise, and empty where there are none.
        held_back: How many restatements are values that did not win.
        contested_after: With the next two, the splits on which sessions with several deliveries
            depend, as :class:`batch.lake.bases.Contest` has them.
    """

    results_version: str
    inputs_digest: str
    splits_digest: str
    carry_in_digest: str
    carry_slice_digest: str
    carry_digest: str
    sessions: dict[str, str]
    digest: str
    rows: int
    size_bytes: int
    version: str
    restatements: int
    restatements_digest: str
    restatements_version: str
    bytes_digest: str = ""
    restatements_bytes_digest: str = ""
    held_back: int = 0
    contested_after: str = ""
    contested_upto: str = ""
    contested_splits_digest: str = ""

    @property
    def oldest(self) -> str:
        """Oldest session of the partition, ISO date."""
        return min(self.sessions)

    @property
    def newest(self) -> str:
        """Newest session of the partition, ISO date."""
        return max(self.sessions)


@dataclass(frozen=True, slots=True)
class BarsRecord:
    """What a year of N-session bars was made from.

    Attributes:
        fingerprint: Digest of the daily rows, windows and parameters used.
        newest: Newest session that the partition knows of, ISO date.
        version: The store's version of the data when it was published.
        sources_digest: With the listing anchor, digest of the daily bars from this year on.
        bytes_digest: Length and CRC-32 of the partition's file, empty where an earlier version
            of this package wrote it.
    """

    fingerprint: str
    newest: str
    rows: int
    size_bytes: int
    version: str
    sources_digest: str = ""
    bytes_digest: str = ""


Record = TypeVar("Record", DailyRecord, BarsRecord)


@dataclass(frozen=True, slots=True)
class PublishedCalendar:
    """The sessions that published windows were cut by: the first and the last, ISO dates.

    ``digest`` is the calendar's between these two, both inclusive.
    """

    first: str
    last: str
    digest: str

    @classmethod
    def of(cls, calendar: Calendar, first: str, last: str) -> PublishedCalendar:
        """Return a calendar as far as it has the sessions between two of them, ISO dates."""
        digest = calendar.digest(date.fromisoformat(first), date.fromisoformat(last))
        return cls(first, last, digest)


CalendarOf = Callable[[Mapping[int, Record]], PublishedCalendar | None]


@dataclass(frozen=True, slots=True)
class Manifest(Generic[Record]):
    """The records of a table's partitions, as read at one moment.

    Attributes:
        calendar: The calendar that the table's windows were cut by, if it has windows.
        as_of: Instant that deliveries are cut off at, ISO 8601, None for the present. Set
            before the first partition goes back, unset after the last has returned.
        version: The store's version of the manifest, None where there was none.
    """

    table: str
    partitions: Mapping[int, Record] = field(default_factory=dict)
    calendar: PublishedCalendar | None = None
    as_of: str | None = None
    version: str | None = None

    @property
    def newest(self) -> date | None:
        """Newest session that the partitions know of, None where there is no partition."""
        newest = max((record.newest for record in self.partitions.values()), default=None)
        return date.fromisoformat(newest) if newest else None

    @property
    def oldest(self: Manifest[DailyRecord]) -> date | None:
        """Oldest consolidated session, None where there is no partition."""
        oldest = min((record.oldest for record in self.partitions.values()), default=None)
        return date.fromisoformat(oldest) if oldest else None

    @property
    def sessions(self: Manifest[DailyRecord]) -> list[date]:
        """Every consolidated session, ascending."""
        dates = {day for record in self.partitions.values() for day in record.sessions}
        return [date.fromisoformat(day) for day in sorted(dates)]


OnDamaged = Callable[[str], None]


def load_daily_manifest(
    store: ObjectStore, *, on_damaged: OnDamaged | None = None
) -> Manifest[DailyRecord]:
    """Read the manifest of the daily bars; an empty one where there is none.

    Where ``on_damaged`` is given, a damaged manifest counts as empty, so that its partitions
    are made again, and the function is called with a message.

    Raises:
        StateDamaged: It is damaged and there is no ``on_damaged``.
    """
    return _load(store, DAILY_TABLE, on_damaged)


def load_bars_manifest(
    store: ObjectStore, table: str, *, on_damaged: OnDamaged | None = None
) -> Manifest[BarsRecord]:
    """Read the manifest of a table of N-session bars, as :func:`load_daily_manifest` does."""
    return _load(store, table, on_damaged)


def _load(store: ObjectStore, table: str, on_damaged: OnDamaged | None = None) -> Manifest[Any]:
    key = manifest_key(table)
    # The version comes first: of a manifest replaced between the two requests, the content
    # is then newer than the version, and a commit on top of it is refused.
    seen = store.head(key)
    if seen is None:
        return Manifest(table)
    try:
        found = _read_json(store, key)
        if found.get("format") != FORMAT:
            raise DataRefused(
                f"{store.uri}/{key}: format {found.get('format')}, this version reads {FORMAT};"
                " upgrade, or remove _state and rebuild with --full"
            )
        try:
            kind = DailyRecord if table == DAILY_TABLE else BarsRecord
            calendar = found["calendar"]
            return Manifest(
                table,
                {int(year): kind(**record) for year, record in found["partitions"].items()},
                PublishedCalendar(**calendar) if calendar else None,
                found["as_of"],
                seen.version,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise StateDamaged(f"{store.uri}/{key}: damaged ({err!r}); {_MADE_BY}", key) from err
    except StateDamaged as err:
        if on_damaged is None:
            raise
        on_damaged(f"{err}, and its partitions")
        return Manifest(table, version=seen.version)


def commit(
    store: ObjectStore,
    seen: Manifest[Record],
    changed: Mapping[int, Record | None],
    calendar: PublishedCalendar | CalendarOf[Record] | None = None,
) -> Manifest[Record]:
    """Publish the records of changed partitions; None removes one.

    ``seen`` is the manifest that the work was planned by. ``calendar`` replaces its calendar
    where given; a function is called with the records to be published, those of other jobs
    included. Returns the manifest as published.

    Raises:
        CommitConflict: Another job changed one of these partitions meanwhile.
    """

    def revised(current: Manifest[Record]) -> Manifest[Record]:
        records = {**current.partitions, **changed}
        partitions = {year: record for year, record in records.items() if record is not None}
        cut_by = calendar(partitions) if callable(calendar) else calendar
        return replace(current, partitions=partitions, calendar=cut_by or current.calendar)

    return _publish(store, seen, changed, revised)


def commit_as_of(store: ObjectStore, seen: Manifest[Record], as_of: str | None) -> Manifest[Record]:
    """Publish the instant that deliveries are cut off at, None for the present."""
    return _publish(store, seen, {}, lambda current: replace(current, as_of=as_of))


def _publish(
    store: ObjectStore,
    seen: Manifest[Record],
    changed: Mapping[int, Record | None],
    revised: Callable[[Manifest[Record]], Manifest[Record]],
) -> Manifest[Record]:
    """Write a revised manifest; revise that of another job again if it left ours alone."""
    key, current = manifest_key(seen.table), seen
    for _ in range(_TRIES):
        wanted = revised(current)
        if wanted == current:
            return current
        expect: Expectation = current.version or Expect.NOTHING
        try:
            published = store.write(key, _json_bytes(_content(wanted)), expect=expect)
        except CommitConflict:
            current = _load(store, seen.table)
            for year, record in changed.items():
                there = current.partitions.get(year)
                if there != seen.partitions.get(year) and there != record:
                    raise CommitConflict(
                        f"{store.uri}: another job published year {year} of {seen.table}"
                        " meanwhile; run the job again, it plans from what is there now"
                    ) from None
            continue
        return replace(wanted, version=published.version)
    raise CommitConflict(
        f"{store.uri}/{key}: {_TRIES} other jobs committed first;"
        " the partitions are written, run the job again to record them"
    )


def _content(manifest: Manifest[Any]) -> dict[str, object]:
    return {
        "format": FORMAT,
        "table": manifest.table,
        "calendar": asdict(manifest.calendar) if manifest.calendar else None,
        "as_of": manifest.as_of,
        "partitions": {year: asdict(one) for year, one in sorted(manifest.partitions.items())},
    }


def _json_bytes(content: object) -> bytes:
    """Return compressed JSON; equal contents give equal bytes."""
    text = json.dumps(content, separators=(",", ":"))
    return gzip.compress(text.encode(), compresslevel=6, mtime=0)


def _read_json(store: ObjectStore, key: str) -> dict[str, Any]:
    try:
        found = json.loads(gzip.decompress(store.read(key)))
    except (OSError, EOFError, ValueError, zlib.error) as err:
        raise StateDamaged(f"{store.uri}/{key}: damaged ({err}); {_MADE_BY}", key) from err
    if not isinstance(found, dict):
        raise StateDamaged(f"{store.uri}/{key}: damaged; {_MADE_BY}", key)
    return found


def load_inputs(store: ObjectStore, year: int, record: DailyRecord) -> dict[str, int] | None:
    """Read which deliveries a daily partition was made from: key and size of each.

    None where the list that the record refers to is gone or damaged.
    """
    try:
        found = _read_json(store, inputs_key(year, record.inputs_digest))
        deliveries: dict[str, int] = found["deliveries"]
    except (ObjectMissing, StateDamaged, KeyError):
        return None
    return deliveries if fingerprint(deliveries) == record.inputs_digest else None


def load_contested_splits(store: ObjectStore, year: int, record: DailyRecord) -> list[SplitRow]:
    """Read the splits on which a partition's sessions with several deliveries depend.

    They are those of the last job that wrote the list, whether or not it committed its record:
    compare their digest with the record's. No rows where the list is gone or damaged.
    """
    try:
        found = _read_json(store, inputs_key(year, record.inputs_digest))
        return [(symbol, executed, ratio) for symbol, executed, ratio in found["splits"]]
    except (ObjectMissing, StateDamaged, KeyError, TypeError, ValueError):
        return []


def write_inputs(
    store: ObjectStore,
    year: int,
    deliveries: Mapping[str, int],
    contested_splits: Sequence[SplitRow] = (),
) -> str:
    """Keep which deliveries a daily partition is made from; return their digest.

    ``contested_splits`` are those that :func:`load_contested_splits` returns.
    """
    digest = fingerprint(deliveries)
    content = {"deliveries": deliveries, "splits": contested_splits}
    store.write(inputs_key(year, digest), _json_bytes(content))
    return digest
