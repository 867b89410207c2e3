"""Importing: files in, deliveries under bronze out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from batch.core.errors import DataRefused, DeliveryUnreadable
from batch.core.sessions import EARLIEST, Calendar, load_calendar
from batch.lake.landing import Landed, land, require_few_refused
from batch.lake.reference import add_splits
from batch.runtime.progress import Progress, StopRequested, require_going
from batch.storage.store import ObjectStore
from fetchers.files.reader import SourceFile, read_file
from fetchers.files.symbol_folders import gather_sessions, is_symbol_folder


@dataclass(slots=True)
class Import:
    """What one import did.

    Attributes:
        files: Files given.
        deliveries: Deliveries that the files hold, one per session of each.
        written: Deliveries that were not in the lake yet.
        accepted_rows: Rows in bronze.
        refused_rows: Rows under rejected.
        reasons: How often each reason applied.
        layouts: What was taken for what, and how many files had that layout.
        notes: Things to know about the files.
        splits: Splits that are new or changed.
        problems: Every file that could not be taken, or not whole.
    """

    files: int = 0
    deliveries: int = 0
    written: int = 0
    accepted_rows: int = 0
    refused_rows: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    layouts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    splits: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, landed: Landed) -> None:
        """Count what landed."""
        self.deliveries += len(landed.deliveries)
        self.written += len(landed.written)
        self.accepted_rows += landed.accepted_rows
        self.refused_rows += landed.refused_rows
        self.reasons.update(landed.reasons)


def import_files(
    store: ObjectStore,
    files: Sequence[SourceFile],
    *,
    calendar: Calendar,
    source: str,
    received_at: datetime | None,
    max_refused_share: float,
    workers: int,
    progress: Progress,
    stop_requested: StopRequested,
) -> Import:
    """Bring the deliveries of files into bronze.

    A file that cannot be read is told and the others go on. Importing a file again
    writes nothing.

    Args:
        store: The lake.
        files: What to import.
        calendar: Tells sessions from other dates; older files than it covers are judged
            by the library's.
        source: Who the deliveries are from; part of their names.
        received_at: When the files were received; None takes each file's own time.
        max_refused_share: Share of refused rows above which a file is a problem.
        workers: Files read side by side.
        progress: Hears what is going on.
        stop_requested: Asked between files.

    Raises:
        Interrupted: It was asked to stop.
    """
    outcome = Import(files=len(files))
    progress.begin("importing", len(files), "files")
    folders = [file for file in files if is_symbol_folder(file)]
    singles = [file for file in files if not is_symbol_folder(file)]

    def problem(text: str) -> None:
        outcome.problems.append(text)
        progress.warn(text)

    def take(file: SourceFile) -> tuple[Landed, str, bool] | str:
        require_going(stop_requested)
        try:
            read = read_file(file)
        except DeliveryUnreadable as err:
            return str(err)
        landed = land(
            store,
            read.rows,
            received_at=received_at or file.received_at,
            source=source,
            calendar=_reaching_back(calendar, read.rows),
        )
        return landed, read.columns.told, read.columns.is_adjusted_vendor

    with ThreadPoolExecutor(workers) as pool:
        for file, taken in zip(singles, pool.map(take, singles), strict=True):
            progress.advance()
            if isinstance(taken, str):
                problem(taken)
                continue
            landed, layout, adjusted = taken
            outcome.add(landed)
            outcome.layouts[layout] += 1
            if adjusted and not outcome.notes:
                outcome.notes.append(
                    f"{file.named}: this vendor's prices are usually split-adjusted already;"
                    " import splits only for dates after the files were downloaded"
                )
            try:
                require_few_refused(landed, label=file.named, share=max_refused_share)
            except DataRefused as err:
                problem(str(err))
    if folders:
        outcome.layouts["one folder per symbol (symbol=*/data.parquet, date=*.parquet)"] += len(
            folders
        )
        for part in gather_sessions(
            folders, received_at=received_at, problem=problem, advance=progress.advance
        ):
            require_going(stop_requested)
            landed = land(
                store,
                part.rows,
                received_at=part.received_at,
                source=source,
                calendar=_reaching_back(calendar, part.rows),
            )
            outcome.add(landed)
            try:
                named = f"session {part.rows['date'][0]} of the symbol folders"
                require_few_refused(landed, label=named, share=max_refused_share)
            except DataRefused as err:
                problem(str(err))
    return outcome


def _reaching_back(calendar: Calendar, rows: pl.DataFrame) -> Calendar:
    """Return a calendar that covers the rows, however old they are."""
    oldest = rows["date"].min()
    is_covered = not isinstance(oldest, date) or oldest >= calendar.first
    return calendar if is_covered else load_calendar(EARLIEST)


def import_splits(store: ObjectStore, file: SourceFile) -> int:
    """Add the splits of a file to the reference table; returns how many are new or changed.

    Columns: ``symbol`` or ``ticker``; ``date`` or ``execution_date``; ``split_from`` and
    ``split_to``, or ``ratio`` (shares after one share before).

    Raises:
        DataRefused: It cannot be read, or a split in it cannot be true.
    """
    named = file.named
    try:
        content = file.store.read(file.key)
        is_parquet = content[:4] == b"PAR1"
        raw = pl.read_parquet(content) if is_parquet else pl.read_csv(content, infer_schema=False)
    except pl.exceptions.PolarsError as err:
        raise DeliveryUnreadable(f"{named}: {str(err).splitlines()[0]}") from err
    names = {name.lower(): name for name in raw.columns}
    symbol = names.get("symbol") or names.get("ticker")
    executed = names.get("date") or names.get("execution_date") or names.get("ex_date")
    pair = (names.get("split_from"), names.get("split_to"))
    ratio = names.get("ratio") or names.get("split_ratio")
    if not symbol or not executed or not (all(pair) or ratio):
        raise DeliveryUnreadable(
            f"{named}: columns {', '.join(raw.columns)}; expected ticker, execution_date,"
            " split_from, split_to"
        )
    before = pl.col(str(pair[0])) if all(pair) else pl.lit(1.0)
    after = pl.col(str(pair[1])) if all(pair) else pl.col(str(ratio))
    splits = raw.select(
        symbol=pl.col(symbol).cast(pl.String).str.strip_chars(),
        date=pl.col(executed).cast(pl.String).str.slice(0, 10).str.to_date(strict=False),
        split_from=before.cast(pl.Float64, strict=False),
        split_to=after.cast(pl.Float64, strict=False),
    )
    return add_splits(store, splits, label=named)
