"""DuckDB as the second engine: it recomputes a lake's rows and compares them with those found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import duckdb
import polars as pl

from batch.audit import verify_sql as sql
from batch.core import schema
from batch.core.errors import DataRefused, StoreDenied
from batch.core.frames import empty_frame, polars_schema, to_arrow
from batch.core.layout import Anchor, Delivery
from batch.core.sessions import Calendar
from batch.storage.store import ObjectStore

WrongValue: TypeAlias = tuple[str, str, str, Any, Any]
"""Symbol and ISO date of a row, column, the value as recomputed, and as found."""


def require_decodable(path: Path, *, label: str) -> None:
    """Read every value of a Parquet file, on a connection of its own, which an error may break.

    Raises:
        DataRefused: DuckDB cannot read it.
    """
    try:
        with duckdb.connect(":memory:") as database:
            database.execute(sql.DECODED, {"path": str(path)}).fetchall()
    except duckdb.Error as err:
        reason = str(err).splitlines()[0]
        raise DataRefused(f"{label}: not a readable Parquet file: {reason}") from err


@dataclass(frozen=True, slots=True)
class SecondEngine:
    """A database that holds the relations of :mod:`batch.audit.verify_sql`."""

    database: Any

    @classmethod
    @contextmanager
    def open(cls, store: ObjectStore, memory_limit: int | None) -> Iterator[SecondEngine]:
        """Start an engine that spills into the store's scratch space.

        A lake that may only be read has none: then it spills into the system's temporary folder.
        ``memory_limit`` is in bytes; DuckDB's own default where None.
        """
        with ExitStack() as opened:
            try:
                scratch = opened.enter_context(store.scratch())
            except StoreDenied:
                scratch = Path(opened.enter_context(TemporaryDirectory(prefix="ohlcv-")))
            database = opened.enter_context(duckdb.connect(":memory:"))
            database.execute("SET temp_directory = $path", {"path": str(scratch)})
            database.execute("SET preserve_insertion_order = false")
            if memory_limit is not None:
                database.execute(f"SET memory_limit = '{memory_limit // 1_000_000}MB'")
            database.execute(sql.MACROS)
            yield cls(database)

    def load(
        self,
        daily: Sequence[Path],
        splits: pl.DataFrame,
        on_record: pl.DataFrame,
        calendar: Calendar,
        deliveries: Collection[Delivery],
    ) -> None:
        """Take the daily bars, the splits, the exchange's sessions and the names of deliveries.

        All of them are those of all years. ``splits`` are those that the bars carry, ``on_record``
        all of them, later ones too.
        """
        numbers = calendar.session_nos(calendar.days)
        sessions = pl.DataFrame(
            {
                "no": numbers,
                "date": pl.Series(calendar.days).cast(pl.Date),
                "closes_at": pl.from_epoch(pl.Series(calendar.closes_s)).dt.replace_time_zone(
                    "UTC"
                ),
            },
            schema_overrides={"no": pl.Int64},
        )
        self.database.register("sessions", sessions.to_arrow())
        self.database.register("splits", splits.select("symbol", "date", "ratio").to_arrow())
        self.database.register(
            "splits_on_record", on_record.select("symbol", "date", "ratio").to_arrow()
        )
        names = pl.DataFrame(
            [(one.key, one.session, one.received_at) for one in deliveries],
            schema={"key": pl.String, "date": pl.Date, "received_at": pl.Datetime("us", "UTC")},
            orient="row",
        )
        self.database.register("names", names.to_arrow())
        self._view("daily", daily)
        for statement in (sql.SPLIT_ROWS, sql.BEFORE_CLOSE, sql.NEWEST):
            self.database.execute(statement)

    def receive(
        self, deliveries: Mapping[Delivery, Path], partial_sessions: Collection[date]
    ) -> None:
        """Take a year's deliveries, one or more, and the sessions of which others are gone.

        Rows of sessions that had not closed at their receipt are left out.
        """
        ordered = sorted(deliveries)
        arrivals = pl.DataFrame(
            {
                "filename": [str(deliveries[one]) for one in ordered],
                "arrival": range(len(ordered)),
                "received_at": [one.received_at for one in ordered],
                "source": [one.source for one in ordered],
            },
            schema_overrides=polars_schema(schema.RESTATEMENTS, ["received_at", "source"]),
        )
        self.database.register("arrivals", to_arrow(arrivals))
        gone = pl.DataFrame({"date": sorted(partial_sessions)}, schema={"date": pl.Date})
        self.database.register("partial_sessions", gone.to_arrow())
        self._view("delivered", [deliveries[one] for one in ordered], filename=True)
        self.database.execute(sql.RECEIVED)
        self.database.execute(sql.REBASED)

    def compare_daily(self, partition: Path) -> Iterator[WrongValue]:
        """Compare a year of daily bars with its deliveries."""
        return self._compare(partition, sql.DAILY_DIFFERENCES, {})

    def compare_restatements(self, partition: Path | None) -> Iterator[WrongValue]:
        """Compare a year of restatements, None where there are none, with its deliveries."""
        if partition is None:
            self.database.register("no_rows", to_arrow(empty_frame(schema.RESTATEMENTS)))
            self.database.sql("SELECT * FROM no_rows").create_view("found", replace=True)
        else:
            self._view("found", [partition])
        for query in (sql.RESTATEMENT_DIFFERENCES, sql.RESTATED_LAST):
            yield from self.database.execute(query).fetchall()

    def compare_bars(
        self, partition: Path, year: int, width: int, anchor: Anchor
    ) -> Iterator[WrongValue]:
        """Compare a year of N-session bars with the daily bars."""
        parameters = {"year": year, "width": width}
        if anchor is Anchor.LISTING:
            return self._compare(partition, sql.LISTING_DIFFERENCES, parameters)
        [(first_no, last_no)] = self.database.execute(sql.WINDOW_SPAN, parameters).fetchall()
        if first_no is None:
            first_no, last_no = 0, -1
        parameters = {"first_no": first_no, "last_no": last_no, "width": width}
        return self._compare(partition, sql.CALENDAR_DIFFERENCES, parameters)

    def check_order(self, partition: Path, day: str, key: str = "") -> Iterator[WrongValue]:
        """Find rows that do not come after the one before them by symbol and key.

        ``day`` is the column of their date, which is the key where no other is given.
        """
        query = sql.OUT_OF_ORDER.format(day=day, key=key or day)
        found = self.database.execute(query, {"path": str(partition)}).fetchall()
        for symbol, day_of_row in found:
            yield symbol, day_of_row, "order", "after the row before", "not"

    def before_close(self) -> set[str]:
        """Return the keys of the deliveries whose session had not closed at their receipt."""
        return {row[0] for row in self.database.execute("SELECT key FROM before_close").fetchall()}

    def gaps(self) -> list[date]:
        """Return the sessions between the first and the newest without any daily bar."""
        return [row[0] for row in self.database.execute(sql.GAPS).fetchall()]

    def window_years(self, width: int) -> set[int]:
        """Return the years in which calendar windows with daily bars start."""
        return {
            row[0] for row in self.database.execute(sql.WINDOW_YEARS, {"width": width}).fetchall()
        }

    def _compare(
        self, partition: Path, query: str, parameters: dict[str, int]
    ) -> Iterator[WrongValue]:
        self._view("found", [partition])
        cursor = self.database.execute(query, parameters)
        names = [column[0] for column in cursor.description]
        while rows := cursor.fetchmany(10_000):
            for values in rows:
                row = dict(zip(names, values, strict=True))
                for name in row["wrong"]:
                    yield row["symbol"], row["day"], name, row[f"e_{name}"], row[f"f_{name}"]

    def _view(self, name: str, paths: Sequence[Path], *, filename: bool = False) -> None:
        files = self.database.read_parquet(
            [str(path) for path in paths], hive_partitioning=False, filename=filename
        )
        files.create_view(name, replace=True)
