"""Objects of a lake that are not what its manifests say: found by listing, without their rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby

from batch.core import schema
from batch.core.errors import DeliveryUnreadable, ObjectMissing
from batch.core.frames import empty_frame
from batch.core.layout import (
    DAILY_TABLE,
    DIVIDENDS,
    RESTATEMENTS_TABLE,
    SILVER,
    SPLITS,
    STATE,
    TICKERS,
    manifest_key,
    manifest_table,
    parse_bars_table,
    parse_partition_key,
    partition_key,
    table_order,
)
from batch.lake.manifest import DailyRecord, Manifest, load_daily_manifest
from batch.lake.partitions import DIGEST_ENTRY, TablePartitions, list_tables, table_schema
from batch.lake.recorded import RecordedPartition, RecordedTable, remake
from batch.lake.reference import splits_digest
from batch.storage.parquet import Footer, read_footer
from batch.storage.store import ObjectStore, StoredObject

PUBLISHED_WITHIN = timedelta(minutes=15)
"""How long after a whole partition was written its record may take to be committed."""

_REFERENCE = {
    TICKERS: schema.TICKERS,
    SPLITS: schema.SPLITS,
    DIVIDENDS: schema.DIVIDENDS,
}
_NAMED = 3


@dataclass(frozen=True, slots=True)
class WrongObject:
    """An object that is missing, foreign or damaged, and the next step in words."""

    key: str
    wrong: str
    remedy: str


@dataclass(frozen=True, slots=True)
class StoredTable:
    """One silver table: what is stored, and what its manifest says of it."""

    partitions: TablePartitions
    recorded: RecordedTable

    @property
    def newest(self) -> date | None:
        """Newest session that it was made from, None where that is not recorded."""
        return self.recorded.newest

    @property
    def rows(self) -> int:
        """How many rows were published."""
        return sum(one.rows for one in self.recorded.partitions.values())


@dataclass(frozen=True, slots=True)
class ListedLake:
    """A lake as its manifests and a listing show it.

    ``daily`` is the manifest of the daily bars, empty where it is damaged; the silver tables come
    the narrowest bars first.
    """

    daily: Manifest[DailyRecord]
    tables: tuple[StoredTable, ...]
    wrong: tuple[WrongObject, ...]


def list_lake(store: ObjectStore, *, now: datetime) -> ListedLake:
    """Compare what is stored with the manifests, at an aware instant.

    Objects are compared by size and the store's version, then by their footer, never by their
    rows: ``ohlcv verify`` compares these. A partition that a job has just written, and not
    recorded yet, is not wrong.
    """
    damaged: list[str] = []
    daily = load_daily_manifest(store, on_damaged=damaged.append)
    listed = list_tables(store)
    made = {name for item in store.list(STATE) if (name := manifest_table(item.key))}
    tables: list[StoredTable] = []
    wrong: list[WrongObject] = []
    for name in sorted({DAILY_TABLE, RESTATEMENTS_TABLE, *listed, *made}, key=table_order):
        is_of_daily = name in (DAILY_TABLE, RESTATEMENTS_TABLE)
        partitions = listed.get(name) or TablePartitions(name, {})
        if not is_of_daily and parse_bars_table(name) is None:
            wrong += [_foreign(key) for key in partitions.keys]
            continue
        if is_of_daily:
            recorded = RecordedTable.of_daily(daily, name)
            is_damaged = bool(damaged)
        else:
            messages: list[str] = []
            recorded = RecordedTable.load(store, name, on_damaged=messages.append)
            is_damaged = bool(messages)
        if partitions.objects:
            tables.append(StoredTable(partitions, recorded))
        if not is_damaged:
            wrong += _wrong_partitions(store, partitions, recorded, now)
        elif name != RESTATEMENTS_TABLE:
            wrong.append(WrongObject(manifest_key(name), "damaged", f"run `{remake(name)}`"))
    wrong += [_foreign(key) for key in _strays(store)]
    return ListedLake(daily, tuple(tables), (*wrong, *_wrong_reference(store, daily)))


def wrong_in_words(wrong: Iterable[WrongObject]) -> Iterator[str]:
    """Return a line for all objects that are wrong in the same way and have the same remedy."""

    def kind(one: WrongObject) -> tuple[str, str]:
        return one.wrong, one.remedy

    for (what, remedy), found in groupby(sorted(wrong, key=kind), key=kind):
        keys = [one.key for one in found]
        more = f" and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else ""
        yield f"{what}: {', '.join(keys[:_NAMED])}{more}; {remedy}"


def _wrong_partitions(
    store: ObjectStore, there: TablePartitions, recorded: RecordedTable, now: datetime
) -> Iterator[WrongObject]:
    remedy = f"run `{remake(there.table)}`"
    for year in sorted(recorded.partitions.keys() | there.objects.keys()):
        record, item = recorded.partitions.get(year), there.objects.get(year)
        if item is None:
            yield WrongObject(partition_key(there.table, year), "missing", remedy)
        elif record is None or record.version != item.version:
            footer = _footer_of(store, there.table, item)
            if footer is None:
                yield WrongObject(item.key, "not a table of this lake", remedy)
            elif not _is_recorded(record, item, footer) and not _is_new(item, now):
                wrong = "not in the manifest" if record is None else "not what was published"
                yield WrongObject(item.key, wrong, remedy)


def _footer_of(store: ObjectStore, table: str, item: StoredObject) -> Footer | None:
    """Return the footer of a partition that some job wrote; None where none can have."""
    try:
        with store.local_copy(item.key) as path:
            footer = read_footer(path, label=item.key)
        footer.require_columns(table_schema(table), label=item.key)
    except (DeliveryUnreadable, ObjectMissing):
        return None
    return footer if DIGEST_ENTRY in footer.metadata else None


def _is_recorded(record: RecordedPartition | None, item: StoredObject, footer: Footer) -> bool:
    """Whether a file is a copy of what was recorded: its version is then another one."""
    return (
        record is not None
        and record.size_bytes in (item.size_bytes, None)
        and (record.rows, record.digest) == (footer.rows, footer.metadata[DIGEST_ENTRY])
    )


def _is_new(item: StoredObject, now: datetime) -> bool:
    return item.modified_at is not None and abs(now - item.modified_at) < PUBLISHED_WITHIN


def _foreign(key: str) -> WrongObject:
    return WrongObject(key, "foreign", "remove it: programs that read a whole table read it too")


def _strays(store: ObjectStore) -> Iterator[str]:
    for item in store.list(SILVER):
        name = item.key.rpartition("/")[2]
        if parse_partition_key(item.key) is None and not name.startswith((".", "_")):
            yield item.key


def _wrong_reference(store: ObjectStore, daily: Manifest[DailyRecord]) -> Iterator[WrongObject]:
    without_splits = splits_digest(empty_frame(schema.SPLITS))
    for key, columns in _REFERENCE.items():
        if store.head(key) is None:
            records = daily.partitions.values()
            if key == SPLITS and any(one.splits_digest != without_splits for one in records):
                yield WrongObject(
                    key,
                    "missing",
                    "put it back from a backup, or run `ohlcv fetch --only reference`: the next"
                    " `ohlcv consolidate` would undo the splits that the daily bars have",
                )
            continue
        try:
            with store.local_copy(key) as path:
                read_footer(path, label=key).require_columns(columns, label=key)
        except ObjectMissing:
            continue
        except DeliveryUnreadable:
            yield WrongObject(
                key,
                "damaged",
                "put it back from a backup; or remove it and run `ohlcv fetch --only reference`",
            )
