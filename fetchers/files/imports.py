"""Importing: files in, deliveries under bronze out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import polars as pl

from batch.core.errors import DataRefused, DeliveryUnreadable
from batch.core.sessions import EARLIEST, Calendar, load_calendar
from batch.lake.landing import Arrivals, Landed, land, require_few_refused
from batch.lake.reference import add_splits
from batch.runtime.progress import Progress, StopRequested, require_going
from batch.storage.store import ObjectStore
from fetchers.files.reader import SourceFile, read_file, read_splits_file
from fetchers.files.symbol_folders import gather_sessions, is_symbol_folder

_FOLDERS = "one folder per symbol (symbol=*)"


@dataclass(frozen=True, slots=True)
class Import:
    """What one import did.

    Attributes:
        deliveries: Deliveries that the files hold, one per session of each.
        written: Deliveries that were not in the lake yet.
        layouts: Which column was taken for what, and how many files had that layout.
        notes: What to know about the files; a note of one file stands for the others.
        problems: Every file that could not be imported, or not whole.
    """

    files: int
    deliveries: int
    written: int
    accepted_rows: int
    refused_rows: int
    reasons: Counter[str]
    layouts: Counter[str]
    notes: list[str]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class _Imported:
    """What became of one file, or of one session of a lake of symbol folders."""

    landed: Landed | None = None
    layout: str | None = None
    note: str | None = None
    problem: str | None = None


def import_files(
    store: ObjectStore,
    files: Sequence[SourceFile],
    *,
    calendar: Calendar,
    source: str,
    received_at: datetime | None,
    now: datetime,
    max_refused_share: float,
    workers: int,
    progress: Progress,
    stop_requested: StopRequested,
) -> Import:
    """Bring the deliveries of files into bronze: read, recognise the columns, land the rows.

    A file that cannot be read is a problem, and the others go on. Importing a file again
    writes nothing. Of files received at the same instant, as are all that have the same date
    in their name, the one imported last wins, and of those imported together the one written
    last.

    Args:
        calendar: The exchange calendar; rows older than it are judged by the library's.
        source: Who the deliveries are from; part of their names.
        received_at: When the files were received; None takes each file's own time.
        now: When they reach the lake.
        max_refused_share: Share of refused rows above which a file is a problem.
        workers: Files read side by side.

    Raises:
        Interrupted: A stop was requested; it is checked between files.
    """
    folders = [file for file in files if is_symbol_folder(file)]
    singles = [file for file in files if not is_symbol_folder(file)]
    by_age = sorted(singles, key=lambda file: file.modified_at)
    places = {file: place for place, file in enumerate(by_age)}
    arrivals = Arrivals(store)

    def land_rows(rows: pl.DataFrame, at: datetime, place: int, label: str) -> _Imported:
        oldest = rows["date"].min()
        too_old = isinstance(oldest, date) and oldest < calendar.first
        try:
            landed = land(
                store,
                rows,
                received_at=at,
                source=source,
                calendar=load_calendar(EARLIEST) if too_old else calendar,
                arrived_at=now + timedelta(microseconds=place),
                arrivals=arrivals,
            )
        except DataRefused as err:
            return _Imported(
                problem=f"{label}: {err}; that is its name's date or its modification time,"
                " give --received-at"
            )
        try:
            require_few_refused(landed, label=label, share=max_refused_share)
        except DataRefused as err:
            return _Imported(landed, problem=str(err))
        return _Imported(landed)

    def import_single(file: SourceFile) -> _Imported:
        require_going(stop_requested)
        try:
            read = read_file(file)
        except DeliveryUnreadable as err:
            return _Imported(problem=str(err))
        note = (
            f"{file.uri}: this vendor's prices are usually split-adjusted already;"
            " import splits only for dates after the files were downloaded"
        )
        return replace(
            land_rows(read.rows, received_at or file.received_at, places[file], file.uri),
            layout=read.columns.summary,
            note=note if read.columns.is_adjusted_vendor else None,
        )

    def import_all() -> Iterator[_Imported]:
        with ThreadPoolExecutor(workers) as pool:
            for single in pool.map(import_single, singles):
                progress.advance()
                yield single
        for found in gather_sessions(folders, received_at=received_at, progress=progress):
            require_going(stop_requested)
            if isinstance(found, DeliveryUnreadable):
                yield _Imported(problem=str(found))
            else:
                label = f"session {found.rows['date'][0]} of the symbol folders"
                yield land_rows(found.rows, found.received_at, found.version, label)

    progress.begin("importing", len(files), "files")
    imported = []
    for one in import_all():
        imported.append(one)
        if one.problem:
            progress.warn(one.problem)
    landed = [one.landed for one in imported if one.landed]
    layouts = Counter(one.layout for one in imported if one.layout)
    return Import(
        files=len(files),
        deliveries=sum(len(one.deliveries) for one in landed),
        written=sum(len(one.written) for one in landed),
        accepted_rows=sum(one.accepted_rows for one in landed),
        refused_rows=sum(one.refused_rows for one in landed),
        reasons=sum((one.reasons for one in landed), Counter()),
        layouts=layouts + Counter({_FOLDERS: len(folders)}),
        notes=[one.note for one in imported if one.note][:1],
        problems=[one.problem for one in imported if one.problem],
    )


def import_splits(store: ObjectStore, file: SourceFile) -> int:
    """Add the splits of a file to the reference table; returns how many are new or changed.

    Raises:
        DataRefused: It cannot be read, or a split in it cannot be true.
    """
    return add_splits(store, read_splits_file(file), label=file.uri)
