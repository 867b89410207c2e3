"""Verification: every table of the lake recomputed by DuckDB and compared value by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from batch.audit.second_engine import SecondEngine, WrongValue, require_decodable
from batch.core import schema
from batch.core.errors import DataRefused
from batch.core.frames import to_polars
from batch.core.layout import (
    DAILY_TABLE,
    RESTATEMENTS_TABLE,
    SILVER,
    STATE,
    Anchor,
    Delivery,
    bronze_year_prefix,
    manifest_table,
    parse_bars_table,
    parse_partition_key,
    table_order,
)
from batch.core.sessions import EARLIEST, EPOCH, Calendar, load_calendar
from batch.lake.landing import digest_rows
from batch.lake.manifest import (
    DailyRecord,
    Manifest,
    load_daily_manifest,
    load_inputs,
)
from batch.lake.partitions import DIGEST_ENTRY, digest_bytes, table_schema
from batch.lake.recorded import RecordedPartition, RecordedTable
from batch.lake.reference import read_splits, splits_known_at
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.storage.parquet import Footer, read_footer, read_table, require_schema
from batch.storage.store import ObjectStore, StoredObject, require_lake

SHOWN = 200
"""Differences kept for each partition; all are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what it should be.

    ``day`` is the date or start of the row, ISO; it and ``symbol`` are empty where the whole
    partition, or one of its deliveries, is meant. ``column`` may also say what is wrong with it.
    """

    table: str
    year: int
    symbol: str
    day: str
    column: str
    expected: Any
    found: Any


class CheckedTable(NamedTuple):
    """A table whose rows were recomputed, and how many partitions and rows it has."""

    table: str
    partitions: int
    rows: int


@dataclass(frozen=True, slots=True)
class Verification:
    """What one verification found.

    Attributes:
        checked: Tables whose rows were recomputed.
        differences: At most :data:`SHOWN` for each partition.
        count: Number of all differences.
        gaps: Sessions between the first and the newest without any daily bar.
    """

    checked: list[CheckedTable]
    differences: list[Difference]
    count: int
    gaps: list[date]


@dataclass(frozen=True, slots=True)
class _Table:
    """A table as the listing and its manifest show it."""

    name: str
    objects: Mapping[int, StoredObject]
    recorded: Mapping[int, RecordedPartition]


@dataclass(frozen=True, slots=True)
class _Partition:
    """A partition as a local file; in place of its footer the error that reading it raised."""

    path: Path
    size_bytes: int
    bytes_digest: str
    footer: Footer | DataRefused


_Partitions: TypeAlias = Mapping[int, _Partition]


def verify(
    store: ObjectStore,
    *,
    progress: Progress | None = None,
    stop_requested: StopRequested = never,
    calendar: Calendar | None = None,
    memory_limit: int | None = None,
) -> Verification:
    """Recompute every table with DuckDB and compare every value.

    Daily bars and restatements are recomputed from the deliveries and the splits, bars from the
    daily bars. Every file is compared with its record byte by byte, and every delivery with the
    digest in its name; keys, order and the calendar's sessions are checked as well. Where a
    partition of a table cannot be read, the rows of that table are not compared; where it is one
    of the daily bars, no rows are. Nor are those of a year of which a delivery is damaged.

    ``stop_requested`` is asked between partitions; ``memory_limit`` is in bytes and DuckDB's.

    Raises:
        LakeMissing: There is no lake at the root.
        DataRefused: A manifest or the table of splits is damaged.
        Interrupted: It was asked to stop.
    """
    reported = progress or Silent()
    require_lake(store)
    manifest = load_daily_manifest(store)
    daily, restated, *tables = _list_tables(store, manifest)

    def each(partitions: _Partitions) -> Iterator[tuple[int, Path]]:
        for year, partition in partitions.items():
            require_going(stop_requested)
            yield year, partition.path
            reported.advance()

    checked: list[CheckedTable] = []
    shown: list[Difference] = []
    counts: Counter[tuple[str, int]] = Counter()
    gaps: list[date] = []

    def count(differences: Iterable[Difference]) -> None:
        for one in differences:
            partition = (one.table, one.year)
            counts[partition] += 1
            if counts[partition] <= SHOWN:
                shown.append(one)

    reported.begin("verifying", sum(len(t.objects) for t in (daily, *tables)), "partitions")
    with (
        SecondEngine.open(store, memory_limit) as engine,
        _local_files(store, daily) as days,
        _local_files(store, restated) as changes,
    ):
        count(_check_records(daily, days))
        count(_check_records(restated, changes))
        if days and _readable(days):
            calendar = calendar or _calendar_before(manifest.oldest or EPOCH)
            cut_off = datetime.fromisoformat(manifest.as_of) if manifest.as_of else None
            on_record = splits_known_at(read_splits(store), None)
            splits = splits_known_at(on_record, cut_off)
            deliveries = {year: set(_deliveries(store, year, cut_off)) for year in days}
            names = set[Delivery]().union(*deliveries.values())
            files = [day.path for day in days.values()]
            engine.load(files, splits, on_record, calendar, names)
            count(_check_daily(store, engine, manifest, deliveries, each(days), changes))
            checked.append(_checked(daily, days))
            gaps = engine.gaps()
            if changes and _readable(changes):
                checked.append(_checked(restated, changes))
        for table in tables:
            with _local_files(store, table) as bars:
                count(_check_records(table, bars))
                if checked and _readable(bars):
                    count(_check_bars(engine, table, each(bars)))
                    checked.append(_checked(table, bars))
    return Verification(checked, shown, counts.total(), gaps)


def _list_tables(store: ObjectStore, daily: Manifest[DailyRecord]) -> Iterator[_Table]:
    """List daily bars, restatements, then the tables of N-session bars, the narrowest first.

    A table is listed where it has anything under silver, or a manifest.
    """
    objects: dict[str, dict[int, StoredObject]] = {DAILY_TABLE: {}, RESTATEMENTS_TABLE: {}}
    for item in store.list(SILVER):
        # A table that holds nothing but stray files is listed too: its partitions are missing.
        partitions = objects.setdefault(item.key.removeprefix(SILVER).partition("/")[0], {})
        if found := parse_partition_key(item.key):
            partitions[found[1]] = item
    for item in store.list(STATE):
        if table := manifest_table(item.key):
            objects.setdefault(table, {})
    for name in (DAILY_TABLE, RESTATEMENTS_TABLE):
        yield _Table(name, objects[name], RecordedTable.of_daily(daily, name).partitions)
    for name in sorted(filter(parse_bars_table, objects), key=table_order):
        yield _Table(name, objects[name], RecordedTable.load(store, name).partitions)


@contextmanager
def _local_files(store: ObjectStore, table: _Table) -> Iterator[_Partitions]:
    """Give the partitions of a table as local files, ascending by year."""
    with ExitStack() as copies:
        partitions = {}
        for year, item in sorted(table.objects.items()):
            path = copies.enter_context(store.local_copy(item.key))
            bytes_digest = digest_bytes(path)
            recorded = table.recorded.get(year)
            is_as_written = recorded is not None and recorded.bytes_digest == bytes_digest
            footer: Footer | DataRefused
            try:
                footer = read_footer(path, label=item.key)
                footer.require_columns(table_schema(table.name), label=item.key)
                if not is_as_written:
                    require_decodable(path, label=item.key)
            except DataRefused as err:
                footer = err
            partitions[year] = _Partition(path, item.size_bytes, bytes_digest, footer)
        yield partitions


def _readable(partitions: _Partitions) -> bool:
    return not any(isinstance(one.footer, DataRefused) for one in partitions.values())


def _checked(table: _Table, partitions: _Partitions) -> CheckedTable:
    footers = [one.footer for one in partitions.values() if isinstance(one.footer, Footer)]
    return CheckedTable(table.name, len(partitions), sum(footer.rows for footer in footers))


def _check_records(table: _Table, partitions: _Partitions) -> Iterator[Difference]:
    """Compare what the manifest says with what the listing and the files show."""
    for year in sorted({*partitions, *table.recorded}):
        for wrong in _wrong_with_record(table.recorded.get(year), partitions.get(year)):
            yield Difference(table.name, year, "", "", *wrong)


def _wrong_with_record(
    recorded: RecordedPartition | None, partition: _Partition | None
) -> Iterable[tuple[str, Any, Any]]:
    if recorded is None:
        return [("manifest", "a record", "no record")]
    if partition is None:
        return [("manifest", "an object", "no object")]
    if isinstance(partition.footer, DataRefused):
        return [("file", "Parquet", str(partition.footer))]
    size_bytes = partition.size_bytes if recorded.size_bytes is None else recorded.size_bytes
    facts = [
        ("size", size_bytes, partition.size_bytes),
        ("rows", recorded.rows, partition.footer.rows),
        ("digest", recorded.digest, partition.footer.metadata.get(DIGEST_ENTRY)),
        ("bytes", recorded.bytes_digest, partition.bytes_digest),
    ]
    return [fact for fact in facts if fact[1] != fact[2]]


def _check_daily(
    store: ObjectStore,
    engine: SecondEngine,
    manifest: Manifest[DailyRecord],
    deliveries: Mapping[int, set[Delivery]],
    days: Iterable[tuple[int, Path]],
    changes: _Partitions,
) -> Iterator[Difference]:
    """Check daily bars and restatements against the deliveries; all must be consolidated.

    All but those of sessions that had not closed at their receipt: none of these may be.
    """
    before_close = engine.before_close()
    for year, path in days:
        for wrong in engine.check_order(path, "date"):
            yield Difference(DAILY_TABLE, year, *wrong)
        record = manifest.partitions.get(year)
        consolidated = (load_inputs(store, year, record) if record else None) or {}
        there = deliveries[year]
        used = {found for key in consolidated if (found := Delivery.parse(key))}
        for delivery in sorted(there):
            if (delivery in used) == (delivery.key in before_close):
                expected = "received after the close" if delivery in used else "consolidated"
                day = str(delivery.session) if delivery in used else ""
                yield Difference(DAILY_TABLE, year, "", day, "delivery", expected, delivery.key)
        with ExitStack() as copies:
            received = {
                delivery: copies.enter_context(store.local_copy(delivery.key))
                for delivery in there & used
            }
            damaged = [*_damaged_deliveries(received)]
            for broken, expected, landed in damaged:
                day = str(broken.session)
                yield Difference(DAILY_TABLE, year, "", day, "delivery", expected, landed)
            if damaged or not received:
                continue
            # Vacuum may take a delivery whose rows newer ones have; what it was compared with
            # in the restatements cannot be computed without it.
            engine.receive(received, {gone.session for gone in used - there})
            for wrong_value in engine.compare_daily(path):
                yield Difference(DAILY_TABLE, year, *wrong_value)
            for wrong_value in _wrong_restatements(engine, record, changes.get(year)):
                yield Difference(RESTATEMENTS_TABLE, year, *wrong_value)


def _damaged_deliveries(
    received: Mapping[Delivery, Path],
) -> Iterator[tuple[Delivery, str, str]]:
    """Find deliveries that cannot be read, or whose rows are not those that landed.

    Gives what was expected of each, and what was found.
    """
    for delivery, path in sorted(received.items()):
        try:
            table = read_table(path, schema.DELIVERY.names, label=delivery.key)
            table = require_schema(table, schema.DELIVERY, label=delivery.key)
        except DataRefused as err:
            yield delivery, "Parquet", str(err)
            continue
        digest = digest_rows(to_polars(table, schema.DELIVERY))
        if digest != delivery.rows_digest:
            yield delivery, f"the rows that landed as {delivery.key}", f"rows of digest {digest}"


def _wrong_restatements(
    engine: SecondEngine, record: DailyRecord | None, partition: _Partition | None
) -> Iterator[WrongValue]:
    is_recorded = record is not None and record.restatements > 0
    if partition is None:
        if not is_recorded:
            yield from engine.compare_restatements(None)
    elif isinstance(partition.footer, Footer):
        order = "row(date, received_at, source, field)"
        yield from engine.check_order(partition.path, "date", order)
        yield from engine.compare_restatements(partition.path)


def _check_bars(
    engine: SecondEngine, table: _Table, partitions: Iterable[tuple[int, Path]]
) -> Iterator[Difference]:
    """Check a table of N-session bars against the daily bars; all its years must be there."""
    width, anchor = parse_bars_table(table.name) or (1, Anchor.CALENDAR)
    for year, path in partitions:
        for wrong in engine.check_order(path, "start"):
            yield Difference(table.name, year, *wrong)
        for wrong in engine.compare_bars(path, year, width, anchor):
            yield Difference(table.name, year, *wrong)
    if anchor is Anchor.CALENDAR:
        for year in sorted(engine.window_years(width) - table.objects.keys()):
            yield Difference(table.name, year, "", "", "partition", "there", "missing")


def _deliveries(store: ObjectStore, year: int, cut_off: datetime | None) -> Iterator[Delivery]:
    for item in store.list(bronze_year_prefix(year)):
        found = Delivery.parse(item.key)
        if found and (cut_off is None or found.received_at <= cut_off):
            yield found


def _calendar_before(oldest: date) -> Calendar:
    """Return a calendar that begins early enough for windows of fifty years."""
    early = date(max(oldest.year - 50, EARLIEST.year + 1), 1, 1)
    return load_calendar(min(EPOCH, early))
