"""Importing: files in, deliveries under bronze out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial

import polars as pl

from batch.core.errors import DataRefused, DeliveryUnreadable
from batch.core.rules import Reason, calendar_for
from batch.core.sessions import Calendar
from batch.lake.landing import Arrivals, Landed, land, require_few_refused, together
from batch.runtime.progress import Progress, StopRequested, require_going
from batch.storage.store import ObjectStore
from fetchers.files.jail import FileRead, Jail, Limits
from fetchers.files.reader import SourceFile, local_copy
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.reference import Kind, ReferenceRows
from fetchers.files.reference_tables import add_rows
from fetchers.files.refusals import Code, FileRefused
from fetchers.files.symbol_folders import gather_sessions, is_symbol_folder, read_bars

_SPLITS_AFTER = "import splits only for dates after the files were downloaded"
_FOLDERS = "one folder per symbol (symbol=*)"


@dataclass(frozen=True, slots=True)
class Import:
    """What one import did.

    Attributes:
        deliveries: Deliveries that the files hold, one per session of each.
        written: Deliveries that were not in the lake yet.
        accepted_rows: Of bars.
        refused_rows: Of bars and of reference tables.
        reference: Splits, dividends and tickers that are new or changed.
        layouts: Which column was taken for what, and how many files had that layout.
        notes: What to know about the files; a note of one file stands for the others.
        refused: Files of which nothing was taken, or too little.
        problems: Every file that could not be imported, or not whole.
    """

    files: int
    deliveries: int
    written: int
    accepted_rows: int
    refused_rows: int
    reference: Counter[Kind]
    reasons: Counter[str]
    layouts: Counter[str]
    notes: list[str]
    refused: list[RefusedFile]
    problems: list[str]


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file that was refused, or whose rows were: which, why, where and what to do.

    ``line`` is a line of its text, counted from 1; None where no one line is to blame.
    """

    file: str
    code: Code
    sentence: str
    line: int | None
    remedy: str


@dataclass(frozen=True, slots=True)
class _Imported:
    """What became of some rows: a piece of a file, or one session of a lake of symbol folders.

    ``place`` is the file's among all by their age.
    """

    place: int = 0
    landed: Landed | None = None
    reference: ReferenceRows | None = None
    layout: str | None = None
    note: str | None = None
    problem: str | None = None
    refused: RefusedFile | None = None


def import_files(
    store: ObjectStore,
    files: Sequence[SourceFile],
    *,
    calendar: Calendar,
    source: str,
    received_at: datetime | None,
    now: datetime,
    reading: Reading = BY_EVIDENCE,
    max_refused_share: float,
    workers: int,
    memory_limit: int | None = None,
    progress: Progress,
    stop_requested: StopRequested,
) -> Import:
    """Bring the deliveries of files into bronze: read, recognise the columns, land the rows.

    Splits, dividends and tickers, recognised by their columns, go into their reference tables. A
    file that cannot be read is a problem, and the others go on. Importing a file again
    writes nothing. Of files received at the same instant, as are all that have the same date
    in their name, the one imported last wins, and of those imported together the one written
    last.

    Args:
        calendar: The exchange calendar; rows older than it are judged by the library's.
        source: Who the deliveries are from; part of their names.
        received_at: When the files were received; None takes each file's own time.
        now: When they reach the lake.
        reading: What is known of the files before they are read.
        max_refused_share: Share of refused rows above which a file is a problem.
        workers: Files read side by side.
        memory_limit: Bytes that this process and those that read files should stay under.

    Raises:
        Interrupted: A stop was requested; it is checked between files.
    """
    folders = [file for file in files if is_symbol_folder(file)]
    singles = [file for file in files if not is_symbol_folder(file)]
    by_age = enumerate(sorted(singles, key=lambda file: file.modified_at))
    places = {file: place for place, file in by_age}
    arrivals = Arrivals(store)

    def land_rows(
        pieces: Iterable[pl.DataFrame], at: datetime, place: int, label: str
    ) -> _Imported:
        try:
            landed = together(land_piece(rows, at, place) for rows in pieces)
        except DataRefused as err:
            return _Imported(
                problem=f"{label}: {err}; that is the date in its name or its modification time;"
                " give --received-at"
            )
        try:
            require_few_refused(landed, label=label, share=max_refused_share)
        except DataRefused as err:
            problem = str(err)
            if landed.reasons[Reason.SESSION_NOT_CLOSED]:
                problem += (
                    f"; it counts as received at {at:%Y-%m-%d %H:%M} UTC: by --received-at, else"
                    " the time in its name, else its modification time"
                )
            return _Imported(
                place, landed, problem=problem, refused=_rows_refused(landed, label, problem)
            )
        return _Imported(place, landed)

    def land_piece(rows: pl.DataFrame, at: datetime, place: int) -> Landed:
        return land(
            store,
            rows,
            received_at=at,
            source=source,
            calendar=calendar_for(rows, calendar),
            arrived_at=now + timedelta(microseconds=place),
            arrivals=arrivals,
        )

    def import_single(jail: Jail, file: SourceFile) -> list[_Imported]:
        try:
            with (
                local_copy(file) as path,
                jail.read(path, address=file.uri, reading=reading) as parts,
            ):
                return [import_part(part, file) for part in parts]
        except DeliveryUnreadable as err:
            return [_unreadable(err)]

    def import_part(part: FileRead | FileRefused, file: SourceFile) -> _Imported:
        if isinstance(part, FileRefused):
            return _unreadable(part)
        if part.reference:
            return _reference(part.reference, part, places[file], max_refused_share)
        at = received_at or file.received_at
        landed = land_rows(part.pieces(), at, places[file], part.address)
        note = f"{part.address}: {part.adjusted}; {_SPLITS_AFTER}" if part.adjusted else None
        return replace(landed, layout=part.layout, note=note)

    def import_all(jail: Jail) -> Iterator[_Imported]:
        with ThreadPoolExecutor(workers) as pool:
            for single in pool.map(partial(import_single, jail), singles):
                progress.advance()
                yield from single
        for found in gather_sessions(
            folders,
            read=partial(read_bars, jail, reading=reading),
            received_at=received_at,
            progress=progress,
        ):
            require_going(stop_requested)
            if isinstance(found, DeliveryUnreadable):
                yield _unreadable(found)
            else:
                label = f"session {found.rows['date'][0]} of the symbol folders"
                yield land_rows([found.rows], found.received_at, found.version, label)

    progress.begin("importing", len(files), "files")
    imported = []
    with (
        store.scratch() as scratch,
        Jail(
            Limits.within(memory_limit, children=workers),
            scratch=scratch,
            files_per_child=None,
            children=workers,
            stop_requested=stop_requested,
        ) as jail,
    ):
        for one in import_all(jail):
            imported.append(one)
            if one.problem:
                progress.warn(one.problem)
    return _summary(
        store,
        imported,
        files=len(files),
        layouts=Counter({_FOLDERS: len(folders)}),
        today=now.date(),
    )


def _summary(
    store: ObjectStore,
    imported: Sequence[_Imported],
    *,
    files: int,
    layouts: Counter[str],
    today: date,
) -> Import:
    landed = [one.landed for one in imported if one.landed]
    by_place = sorted(imported, key=lambda one: one.place)
    references = [one.reference for one in by_place if one.reference]
    layouts += Counter(one.layout for one in imported if one.layout)
    return Import(
        files=files,
        deliveries=sum(len(one.deliveries) for one in landed),
        written=sum(len(one.written) for one in landed),
        accepted_rows=sum(one.accepted_rows for one in landed),
        refused_rows=sum(one.refused_rows for one in landed)
        + sum(one.refused_rows for one in references),
        reference=_add_references(store, references, today),
        reasons=sum((one.reasons for one in landed), Counter())
        + sum((one.reasons for one in references), Counter()),
        layouts=layouts,
        notes=[one.note for one in imported if one.note][:1],
        refused=[one.refused for one in imported if one.refused],
        problems=[one.problem for one in imported if one.problem],
    )


def _reference(found: ReferenceRows, part: FileRead, place: int, most_refused: float) -> _Imported:
    problem = _too_many_refused(found, part.address, most_refused)
    return _Imported(
        place,
        reference=found,
        layout=part.layout,
        problem=problem,
        refused=_rows_refused(found, part.address, problem) if problem else None,
    )


def _unreadable(err: DeliveryUnreadable) -> _Imported:
    if not isinstance(err, FileRefused):  # the store did not give it: nothing is wrong with it
        return _Imported(problem=str(err))
    refused = RefusedFile(err.label, err.code, err.sentence, err.line, err.remedy)
    return _Imported(problem=str(err), refused=refused)


def _rows_refused(found: Landed | ReferenceRows, label: str, problem: str) -> RefusedFile:
    accepted = found.accepted_rows if isinstance(found, Landed) else found.rows.height
    code = Code.TOO_MANY_REFUSED if accepted else Code.ALL_ROWS_REFUSED
    line = found.first_refused_line
    where = "the rows" if line is None else f"line {line} and the others"
    remedy = f"correct {where}, and import the file again"
    return RefusedFile(label, code, problem.removeprefix(f"{label}: "), line, remedy)


def _too_many_refused(found: ReferenceRows, label: str, share: float) -> str | None:
    if found.refused_rows <= share * found.received_rows:
        return None
    return (
        f"{label}: {found.refused_rows} of {found.received_rows} rows of {found.kind} refused"
        f" ({', '.join(found.reasons)}), more than {share:.2%}; the first: {found.first_refused};"
        " the others are in the lake"
    )


def _add_references(
    store: ObjectStore, found: Sequence[ReferenceRows], today: date
) -> Counter[Kind]:
    """Add rows to the reference tables, in order; count those that are new or changed."""
    counts = Counter[Kind]()
    for one in found:
        counts[one.kind] += add_rows(store, one.kind, one.rows, today)
    return +counts
