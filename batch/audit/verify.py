"""Verification: every table of the lake recomputed by DuckDB and compared value by value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from batch.audit.verify_sql import (
    BAR_COLUMNS,
    DAILY_COLUMNS,
    EXPECTED_CALENDAR_BARS,
    EXPECTED_DAILY,
    EXPECTED_LISTING_BARS,
    MACROS,
    OUT_OF_ORDER,
    SPLIT_ROWS,
    differences,
    tolerance_of,
)
from batch.core import schema
from batch.core.errors import DataRefused
from batch.core.layout import (
    DAILY_TABLE,
    SILVER,
    Anchor,
    Delivery,
    bronze_year_prefix,
    parse_bars_table,
    partition_key,
)
from batch.core.sessions import EARLIEST, EPOCH, Calendar, load_calendar
from batch.lake.manifest import (
    DailyRecord,
    Manifest,
    load_bars_manifest,
    load_daily_manifest,
    load_inputs,
)
from batch.lake.partitions import DIGEST_ENTRY, TablePartitions
from batch.lake.reference import read_splits
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.storage.parquet import read_footer
from batch.storage.store import ObjectStore, require_lake

SHOWN = 200
"""Differences kept for each partition; all are counted."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what it should be.

    Attributes:
        table: Name of the table.
        year: Its partition.
        symbol: Symbol of the row; empty where the whole partition is meant.
        day: Date or start of the row, ISO; empty where the whole partition is meant.
        column: Column, or what is wrong with the row or partition.
        expected: As recomputed.
        found: As stored.
    """

    table: str
    year: int
    symbol: str
    day: str
    column: str
    expected: Any
    found: Any


@dataclass(slots=True)
class Verification:
    """What one verification found.

    Attributes:
        checked: Table, number of partitions and of rows.
        differences: Those that are shown.
        count: All of them.
        gaps: Sessions between the first and the newest without any daily bar.
    """

    checked: list[tuple[str, int, int]] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    count: int = 0
    gaps: list[date] = field(default_factory=list)

    def add(self, found: Sequence[Difference], count: int | None = None) -> None:
        """Count differences, and keep some."""
        self.differences += found[:SHOWN]
        self.count += len(found) if count is None else count


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
    Keys, order, manifests and the calendar's sessions are checked as well.

    Args:
        store: The lake.
        progress: Hears what is going on.
        stop_requested: Asked between partitions.
        calendar: The exchange calendar; the library's where not given.
        memory_limit: Bytes that DuckDB should stay under.

    Raises:
        LakeMissing: There is no lake at the root.
        Interrupted: It was asked to stop.
    """
    progress = progress or Silent()
    require_lake(store)
    outcome = Verification()
    with ExitStack() as stack:
        scratch = stack.enter_context(store.scratch())
        database = stack.enter_context(duckdb.connect(":memory:"))
        database.execute(f"SET temp_directory = '{_quoted(scratch)}'")
        database.execute("SET preserve_insertion_order = false")
        if memory_limit is not None:
            database.execute(f"SET memory_limit = '{memory_limit // 1_000_000}MB'")
        database.execute(MACROS)
        _Job(store, progress, stop_requested, calendar, database, stack, outcome).run()
    return outcome


@dataclass(slots=True, eq=False)
class _Job:
    """One verification over one lake."""

    store: ObjectStore
    progress: Progress
    stop_requested: StopRequested
    calendar: Calendar | None
    database: Any
    stack: ExitStack
    outcome: Verification
    manifest: Manifest[DailyRecord] = field(init=False)

    def run(self) -> None:
        """Check the daily bars against the deliveries, then each table against them."""
        self.manifest = load_daily_manifest(self.store)
        daily = TablePartitions.list(self.store, DAILY_TABLE)
        tables = self._tables()
        parts = len(daily.objects) + sum(len(there.objects) for there in tables.values())
        self.progress.begin("verifying", parts, "partitions")
        self._check_records(daily, self.manifest)
        if not daily.objects:
            return
        sessions = self._register_sessions()
        paths = {year: self._local(DAILY_TABLE, year) for year in sorted(daily.objects)}
        if not self._readable(DAILY_TABLE, paths):
            return
        self._view("daily", [*paths.values()])
        self._register_splits()
        for year, path in paths.items():
            require_going(self.stop_requested)
            self._check_daily_year(year, path)
            self.progress.advance()
        self._count(DAILY_TABLE, paths)
        self._find_gaps(sessions)
        for table, there in tables.items():
            self._check_bars(table, there)

    def _tables(self) -> dict[str, TablePartitions]:
        names = {
            item.key.removeprefix(SILVER).partition("/")[0] for item in self.store.list(SILVER)
        }
        bars = [name for name in names if parse_bars_table(name)]
        bars.sort(key=lambda name: parse_bars_table(name) or (0, ""))
        return {name: TablePartitions.list(self.store, name) for name in bars}

    def _check_records(self, there: TablePartitions, manifest: Manifest[Any]) -> None:
        """Compare what the manifest says with what the listing and the footers show."""
        found = []
        for year in sorted({*there.objects, *manifest.partitions}):
            record = manifest.partitions.get(year)
            stored = there.objects.get(year)
            if record is None or stored is None:
                said = ("a record", "no record") if record is None else ("an object", "no object")
                found.append(Difference(there.table, year, "", "", "manifest", *said))
                continue
            digest = record.digest if isinstance(record, DailyRecord) else record.fingerprint
            with self.store.local_copy(stored.key) as path:
                try:
                    footer = read_footer(path, label=stored.key)
                except DataRefused as err:
                    found.append(Difference(there.table, year, "", "", "file", "Parquet", str(err)))
                    continue
            facts = {
                "size": (record.size_bytes, stored.size_bytes),
                "rows": (record.rows, footer.rows),
                "digest": (digest, footer.metadata.get(DIGEST_ENTRY)),
            }
            found += [
                Difference(there.table, year, "", "", name, *pair)
                for name, pair in facts.items()
                if pair[0] != pair[1]
            ]
        self.outcome.add(found)

    def _register_sessions(self) -> pl.DataFrame:
        """Give DuckDB the calendar, from before the oldest to after the newest window."""
        dates = [day for record in self.manifest.partitions.values() for day in record.sessions]
        oldest = min((date.fromisoformat(day) for day in dates), default=EPOCH)
        if self.calendar is None:
            early = date(max(oldest.year - 50, EARLIEST.year + 1), 1, 1)
            self.calendar = load_calendar(min(EPOCH, early))
        numbers = self.calendar.session_nos(self.calendar.days)
        sessions = pl.DataFrame(
            {"no": numbers, "date": pl.Series(self.calendar.days).cast(pl.Date)},
            schema_overrides={"no": pl.Int64},
        )
        self.database.register("sessions", sessions.to_arrow())
        return sessions

    def _register_splits(self) -> None:
        splits = read_splits(self.store).select("symbol", "date", "ratio")
        if self.manifest.as_of:
            until = datetime.fromisoformat(self.manifest.as_of).astimezone(UTC).date()
            splits = splits.filter(pl.col("date") <= until)
        self.database.register("splits", splits.to_arrow())
        self.database.execute(SPLIT_ROWS)

    def _check_daily_year(self, year: int, path: Path) -> None:
        self._check_order(DAILY_TABLE, year, path, "date")
        with self._received(year) as deliveries:
            if deliveries is None:
                return
            self._view("found", [path])
            self._compare(DAILY_TABLE, year, EXPECTED_DAILY, "date", DAILY_COLUMNS, {})

    @contextmanager
    def _received(self, year: int) -> Iterator[int | None]:
        """Give DuckDB the deliveries of a year; tell those that the daily bars leave out."""
        record = self.manifest.partitions.get(year)
        listed = {
            found: item
            for item in self.store.list(bronze_year_prefix(year))
            if (found := Delivery.parse(item.key))
        }
        if self.manifest.as_of:
            cut_off = datetime.fromisoformat(self.manifest.as_of)
            listed = {found: item for found, item in listed.items() if found.received_at <= cut_off}
        known = (load_inputs(self.store, year, record) if record else None) or {}
        left_out = [found.key for found in listed if found.key not in known]
        self.outcome.add(
            [
                Difference(DAILY_TABLE, year, "", "", "delivery", "consolidated", key)
                for key in left_out
            ]
        )
        used = sorted(found for found in listed if found.key in known)
        with ExitStack() as stack:
            paths = [stack.enter_context(self.store.local_copy(found.key)) for found in used]
            if not paths:
                yield None
                return
            arrivals = pl.DataFrame(
                {"path": [str(path) for path in paths], "arrival": range(len(paths))}
            )
            self.database.register("arrivals", arrivals.to_arrow())
            columns = ", ".join(f'r."{name}"' for name in schema.DELIVERY.names)
            self.database.execute(
                f"CREATE OR REPLACE TEMP VIEW received AS SELECT {columns}, arrivals.arrival"
                f" FROM read_parquet([{_listed(paths)}], filename = true,"
                " hive_partitioning = false) AS r JOIN arrivals ON arrivals.path = r.filename"
            )
            yield len(paths)

    def _check_bars(self, table: str, there: TablePartitions) -> None:
        """Recompute one table of N-session bars from the daily bars."""
        assert self.calendar is not None  # noqa: S101 - registered with the sessions
        width, anchor = parse_bars_table(table) or (1, Anchor.CALENDAR)
        manifest = load_bars_manifest(self.store, table)
        self._check_records(there, manifest)
        newest = max(max(record.sessions) for record in self.manifest.partitions.values())
        newest_no = self.calendar.session_no(date.fromisoformat(newest))
        paths = {year: self._local(table, year) for year in sorted(there.objects)}
        if not self._readable(table, paths):
            return
        for year, path in paths.items():
            require_going(self.stop_requested)
            self._check_order(table, year, path, "start")
            self._view("found", [path])
            if anchor is Anchor.LISTING:
                bounds = {"first_date": date(year, 1, 1), "last_date": date(year, 12, 31)}
                expected = EXPECTED_LISTING_BARS
                given: dict[str, Any] = {"width": width, **bounds}
            else:
                expected = EXPECTED_CALENDAR_BARS
                first_no, last_no = self._window_span(width, year)
                given = {
                    "width": width,
                    "first_no": first_no,
                    "last_no": last_no,
                    "newest_no": newest_no,
                }
            self._compare(table, year, expected, "start", BAR_COLUMNS, given)
            self.progress.advance()
        self._count(table, paths)
        missing = {date.fromisoformat(day).year for day in self._starts(width, anchor)}
        absent = sorted(missing - paths.keys())
        self.outcome.add(
            [Difference(table, year, "", "", "partition", "there", "missing") for year in absent]
        )

    def _window_span(self, width: int, year: int) -> tuple[int, int]:
        """First and last session number of the windows that start in a year, by plain search."""
        row = self.database.execute(
            "SELECT min(no), max(no) FROM sessions WHERE year(date) = $year AND no % $width = 0",
            {"year": year, "width": width},
        ).fetchone()
        if row[0] is None:
            return 0, -1
        return row[0], row[1] + width - 1

    def _starts(self, width: int, anchor: Anchor) -> list[str]:
        """Dates on which windows with daily bars start."""
        if anchor is Anchor.LISTING:
            return []
        rows = self.database.execute(
            "SELECT DISTINCT opening.date::VARCHAR FROM (SELECT DISTINCT date FROM daily) AS days"
            " JOIN sessions USING (date) JOIN sessions AS opening"
            " ON opening.no = window_of(sessions.no, $width) * $width",
            {"width": width},
        ).fetchall()
        return [row[0] for row in rows]

    def _compare(
        self,
        table: str,
        year: int,
        expected: str,
        key: str,
        columns: Mapping[str, float | None],
        given: dict[str, Any],
    ) -> None:
        cursor = self.database.execute(differences(expected, key, columns), given)
        names = [column[0] for column in cursor.description]
        found: list[Difference] = []
        count = 0
        while rows := cursor.fetchmany(10_000):
            for values in rows:
                row = dict(zip(names, values, strict=True))
                wrong = list(_wrong_columns(row, columns))
                count += len(wrong)
                if len(found) < SHOWN:
                    where = (table, year, row["symbol"], str(row[key]))
                    found += [Difference(*where, *told) for told in wrong]
        self.outcome.add(found, count)

    def _check_order(self, table: str, year: int, path: Path, key: str) -> None:
        rows = self.database.execute(OUT_OF_ORDER.format(key=key), {"path": str(path)}).fetchall()
        self.outcome.add(
            [
                Difference(table, year, symbol, str(day), "order", "after the row before", "not")
                for symbol, day in rows
            ]
        )

    def _find_gaps(self, sessions: pl.DataFrame) -> None:
        first, last = self.database.execute("SELECT min(date), max(date) FROM daily").fetchone()
        have = {
            row[0] for row in self.database.execute("SELECT DISTINCT date FROM daily").fetchall()
        }
        due = sessions.filter(pl.col("date").is_between(first, last))["date"].to_list()
        self.outcome.gaps = [session for session in due if session not in have]

    def _local(self, table: str, year: int) -> Path:
        path: Path = self.stack.enter_context(self.store.local_copy(partition_key(table, year)))
        return path

    def _readable(self, table: str, paths: dict[int, Path]) -> bool:
        """Tell whether all files can be read; those that cannot were told with the records."""
        for year, path in paths.items():
            try:
                read_footer(path, label=partition_key(table, year))
            except DataRefused:
                return False
        return True

    def _view(self, name: str, paths: Sequence[Path]) -> None:
        self.database.execute(
            f"CREATE OR REPLACE TEMP VIEW {name} AS"
            f" SELECT * FROM read_parquet([{_listed(paths)}], hive_partitioning = false)"
        )

    def _count(self, table: str, paths: dict[int, Path]) -> None:
        rows = sum(read_footer(path, label=table).rows for path in paths.values())
        self.outcome.checked.append((table, len(paths), rows))


def _wrong_columns(
    row: dict[str, Any], columns: Mapping[str, float | None]
) -> Iterator[tuple[str, Any, Any]]:
    if not row["is_found"]:
        yield "row", "there", "missing"
    elif not row["is_expected"]:
        yield "row", "none", "there"
    else:
        for name, tolerance in columns.items():
            expected, found = row[f"e_{name}"], row[f"f_{name}"]
            if not _same(expected, found, tolerance_of(tolerance, row["e_split_ratio"])):
                yield name, expected, found


def _same(expected: Any, found: Any, tolerance: float | None) -> bool:
    """Compare as the macro ``differs`` does."""
    if expected is None or found is None or tolerance is None:
        return bool(expected == found)
    return bool(abs(expected - found) <= tolerance * max(abs(expected), abs(found)))


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(f"'{_quoted(path)}'" for path in paths)


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")
