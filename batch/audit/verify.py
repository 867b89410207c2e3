"""Verification: every table of the lake recomputed by DuckDB and compared value by value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from batch.audit.second_engine import SecondEngine
from batch.core.errors import DataRefused
from batch.core.layout import (
    DAILY_TABLE,
    SILVER,
    Anchor,
    Delivery,
    bronze_year_prefix,
    parse_bars_table,
    parse_partition_key,
    table_order,
)
from batch.core.sessions import EARLIEST, EPOCH, Calendar, load_calendar
from batch.lake.manifest import (
    DailyRecord,
    Manifest,
    load_bars_manifest,
    load_daily_manifest,
    load_inputs,
)
from batch.lake.partitions import DIGEST_ENTRY
from batch.lake.reference import read_splits, splits_known_at
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.storage.parquet import Footer, read_footer
from batch.storage.store import ObjectStore, StoredObject, require_lake

SHOWN = 200
"""Differences kept for each partition; all are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what it should be.

    ``day`` is the date or start of the row, ISO; it and ``symbol`` are empty where the whole
    partition is meant. ``column`` may also say what is wrong with the row or partition.
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
    manifest: Manifest[Any]


@dataclass(frozen=True, slots=True)
class _Partition:
    """A partition as a local file; in place of its footer the error that reading it raised."""

    path: Path
    size_bytes: int
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

    Daily bars are recomputed from the deliveries and the splits, bars from the daily bars.
    Keys, order, manifests and the calendar's sessions are checked as well. Where a partition
    of a table cannot be read, the rows of that table are not compared; where it is one of
    the daily bars, no rows are.

    ``stop_requested`` is asked between partitions; ``memory_limit`` is in bytes and DuckDB's.

    Raises:
        LakeMissing: There is no lake at the root.
        Interrupted: It was asked to stop.
    """
    reported = progress or Silent()
    require_lake(store)
    manifest = load_daily_manifest(store)
    daily, *tables = _list_tables(store, manifest)

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
    with SecondEngine.open(store, memory_limit) as engine, _local_files(store, daily) as days:
        count(_check_records(daily, days))
        if days and _readable(days):
            calendar = calendar or _calendar_before(manifest.oldest or EPOCH)
            cut_off = datetime.fromisoformat(manifest.as_of) if manifest.as_of else None
            splits = splits_known_at(read_splits(store), cut_off)
            engine.load([day.path for day in days.values()], splits, calendar)
            count(_check_daily(store, engine, manifest, cut_off, each(days)))
            checked.append(_checked(daily, days))
            gaps = engine.gaps()
        for table in tables if checked else ():
            with _local_files(store, table) as bars:
                count(_check_records(table, bars))
                if _readable(bars):
                    count(_check_bars(engine, table, each(bars)))
                    checked.append(_checked(table, bars))
    return Verification(checked, shown, counts.total(), gaps)


def _list_tables(store: ObjectStore, daily: Manifest[DailyRecord]) -> Iterator[_Table]:
    """List the daily bars, then the tables of N-session bars, the narrowest first."""
    objects: dict[str, dict[int, StoredObject]] = {DAILY_TABLE: {}}
    for item in store.list(SILVER):
        # A table that holds nothing but stray files is listed too: its partitions are missing.
        partitions = objects.setdefault(item.key.removeprefix(SILVER).partition("/")[0], {})
        if found := parse_partition_key(item.key):
            partitions[found[1]] = item
    yield _Table(DAILY_TABLE, objects[DAILY_TABLE], daily)
    for name in sorted(filter(parse_bars_table, objects), key=table_order):
        yield _Table(name, objects[name], load_bars_manifest(store, name))


@contextmanager
def _local_files(store: ObjectStore, table: _Table) -> Iterator[_Partitions]:
    """Give the partitions of a table as local files, ascending by year."""
    with ExitStack() as copies:
        partitions = {}
        for year, item in sorted(table.objects.items()):
            path = copies.enter_context(store.local_copy(item.key))
            footer: Footer | DataRefused
            try:
                footer = read_footer(path, label=item.key)
            except DataRefused as err:
                footer = err
            partitions[year] = _Partition(path, item.size_bytes, footer)
        yield partitions


def _readable(partitions: _Partitions) -> bool:
    return not any(isinstance(one.footer, DataRefused) for one in partitions.values())


def _checked(table: _Table, partitions: _Partitions) -> CheckedTable:
    footers = [one.footer for one in partitions.values() if isinstance(one.footer, Footer)]
    return CheckedTable(table.name, len(partitions), sum(footer.rows for footer in footers))


def _check_records(table: _Table, partitions: _Partitions) -> Iterator[Difference]:
    """Compare what the manifest says with what the listing and the footers show."""
    records = table.manifest.partitions
    for year in sorted({*partitions, *records}):
        for wrong in _wrong_with_record(records.get(year), partitions.get(year)):
            yield Difference(table.name, year, "", "", *wrong)


def _wrong_with_record(record: Any, partition: _Partition | None) -> Iterable[tuple[str, Any, Any]]:
    if record is None:
        return [("manifest", "a record", "no record")]
    if partition is None:
        return [("manifest", "an object", "no object")]
    if isinstance(partition.footer, DataRefused):
        return [("file", "Parquet", str(partition.footer))]
    digest = record.digest if isinstance(record, DailyRecord) else record.fingerprint
    facts = [
        ("size", record.size_bytes, partition.size_bytes),
        ("rows", record.rows, partition.footer.rows),
        ("digest", digest, partition.footer.metadata.get(DIGEST_ENTRY)),
    ]
    return [fact for fact in facts if fact[1] != fact[2]]


def _check_daily(
    store: ObjectStore,
    engine: SecondEngine,
    manifest: Manifest[DailyRecord],
    cut_off: datetime | None,
    partitions: Iterable[tuple[int, Path]],
) -> Iterator[Difference]:
    """Check the daily bars against the deliveries; all of these must be consolidated."""
    for year, path in partitions:
        for wrong in engine.check_order(path, "date"):
            yield Difference(DAILY_TABLE, year, *wrong)
        record = manifest.partitions.get(year)
        consolidated = (load_inputs(store, year, record) if record else None) or {}
        deliveries = _deliveries(store, year, cut_off)
        for delivery in deliveries:
            if delivery.key not in consolidated:
                yield Difference(
                    DAILY_TABLE, year, "", "", "delivery", "consolidated", delivery.key
                )
        with ExitStack() as copies:
            received = [
                copies.enter_context(store.local_copy(delivery.key))
                for delivery in sorted(deliveries)
                if delivery.key in consolidated
            ]
            for wrong in engine.compare_daily(path, received) if received else ():
                yield Difference(DAILY_TABLE, year, *wrong)


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


def _deliveries(store: ObjectStore, year: int, cut_off: datetime | None) -> Sequence[Delivery]:
    listed = [Delivery.parse(item.key) for item in store.list(bronze_year_prefix(year))]
    return [one for one in listed if one and (cut_off is None or one.received_at <= cut_off)]


def _calendar_before(oldest: date) -> Calendar:
    """Return a calendar that begins early enough for windows of fifty years."""
    early = date(max(oldest.year - 50, EARLIEST.year + 1), 1, 1)
    return load_calendar(min(EPOCH, early))
