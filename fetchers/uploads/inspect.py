"""Inspecting an upload: read it, judge it, stage its rows, or say why not.

This is the code that reads the bytes of strangers. Of the lake it reads the source rules, and it
reads and writes receipts and the staging area, nothing else: it can neither read nor change bars.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import polars as pl

from batch.core import schema
from batch.core.errors import CommitConflict
from batch.core.frames import conform, to_arrow
from batch.core.layout import staged_key, staged_prefix
from batch.core.rules import Reason, calendar_for, sift
from batch.core.sessions import Calendar
from batch.runtime.formats import count_text
from batch.storage.parquet import TableWriter, table_bytes
from batch.storage.store import ObjectStore
from fetchers.files.reference import ReferenceRows
from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused
from fetchers.uploads.drop import Drop, Upload
from fetchers.uploads.layouts import layout_known
from fetchers.uploads.parts import Reader, ReadTable, jail_for_uploads
from fetchers.uploads.receipts import (
    HELD_FOR,
    SHOWN_ID,
    Finding,
    Kept,
    PartReceipt,
    Receipt,
    Sessions,
    State,
    claim,
    decide_setting,
    read_receipt,
    write_receipt,
)
from fetchers.uploads.rules import USUAL, SourceRules, read_rules

MOST_BYTES: Final = 20 * 1024**3
"""Size of the largest file that is read."""

BARS: Final = "bars"

_SHOWN_LINES: Final = 10


def inspect(
    lake: ObjectStore,
    drop: Drop,
    upload: Upload,
    *,
    calendar: Calendar,
    now: datetime,
    jail: Reader | None = None,
) -> Receipt:
    """Decide what becomes of an upload; return its receipt.

    It is staged, held or quarantined; one that was inspected already keeps its receipt. Whatever
    is wrong with the file is an outcome; what is raised says nothing of the file.

    Args:
        lake: Where the receipt and the rows are kept.
        drop: Where the upload lies.
        upload: As an event or a listing names it.
        calendar: The exchange calendar.
        now: The instant.
        jail: What reads it, such as :func:`fetchers.uploads.parts.jail_for_uploads` opens; one
            is opened for this upload alone where none is given.

    Raises:
        ObjectMissing: The upload is not there any more.
        SettingsError: The source rules cannot be read.
        RetryMayHelp: The stores did not answer, or the inspection was interrupted.
    """
    kept, is_ours = claim(lake, upload, now=now)
    if not is_ours:
        return kept.receipt
    rules = read_rules(lake).get(upload.source, USUAL)
    with nullcontext(jail) if jail else jail_for_uploads(lake) as reader:
        judged = _Inspection(lake, kept.receipt, rules, calendar, reader).judge(drop)
    return _conclude(lake, kept, replace(judged, updated_at=now))


def _conclude(lake: ObjectStore, claimed: Kept, judged: Receipt) -> Receipt:
    try:
        return write_receipt(lake, judged, claimed.version).receipt
    except CommitConflict:
        # Another inspection took it over: its outcome counts, and it is the same.
        other = read_receipt(lake, judged.id)
        if other is None:
            raise
        return other.receipt


@dataclass(frozen=True, slots=True)
class _Inspection:
    lake: ObjectStore
    receipt: Receipt
    rules: SourceRules
    calendar: Calendar
    reader: Reader

    def judge(self, drop: Drop) -> Receipt:
        upload = self.receipt.upload
        self.lake.delete(item.key for item in self._staged_before())
        refused = _refused_by_size(upload)
        if refused:
            return self._outcome((PartReceipt(finding=refused),))
        with (
            drop.open(upload) as path,
            self.reader.read(path, address=upload.address, reading=self.rules.reading) as parts,
        ):
            return self._outcome(
                tuple(self._part(number, part) for number, part in enumerate(parts))
            )

    def _staged_before(self) -> list[Any]:
        """List what an inspection that died has staged, but not the marker."""
        prefix = staged_prefix(self.receipt.id)
        return [item for item in self.lake.list(prefix) if item.key.endswith(".parquet")]

    def _outcome(self, parts: tuple[PartReceipt, ...]) -> Receipt:
        findings = [part.finding for part in parts if part.finding]
        held = [one for one in findings if one.code in HELD_FOR]
        if held:
            state = State.HELD
        elif any(part.is_staged for part in parts):
            state = State.STAGED
        else:
            state = State.QUARANTINED
        finding = next(iter([*held, *findings]), None)
        return replace(
            self.receipt, state=state, parts=parts, finding=finding, examples=(), deliveries=None
        )

    def _part(self, number: int, part: ReadTable | FileRefused) -> PartReceipt:
        if isinstance(part, FileRefused):
            member = part.label.removeprefix(f"{self.receipt.upload.address}/")
            name = None if member == part.label else member
            return PartReceipt(name=name, finding=Finding.of(part))
        if part.reference:
            return self._reference(number, part, part.reference)
        return self._bars(number, part)

    def _reference(self, number: int, part: ReadTable, found: ReferenceRows) -> PartReceipt:
        refused = _too_many_refused(
            found.rows.height, found.refused_rows, dict(found.reasons), self.rules
        )
        if refused and found.first_refused:
            lines = (found.first_refused,)
            refused = replace(refused, line=found.first_refused_line, lines=lines)
        if refused is None and found.rows.height:
            key = staged_key(self.receipt.id, number, found.kind, 0)
            self.lake.write(key, table_bytes(to_arrow(found.rows)))
        return PartReceipt(
            name=part.name,
            kind=found.kind,
            layout=part.layout,
            rows=found.rows.height,
            refused_rows=found.refused_rows,
            finding=refused or self._changed_layout(found.kind, part.layout),
        )

    def _bars(self, number: int, part: ReadTable) -> PartReceipt:
        counted = _Counted()
        with self.lake.scratch() as scratch:
            pieces: list[Path] = []
            for rows in part.pieces():
                counted = counted.after(rows, self.calendar, self.receipt.received_at)
                pieces.append(scratch / f"{len(pieces)}.parquet")
                _write_staged(pieces[-1], rows)
            refused = _too_many_refused(
                counted.rows, counted.refused_rows, counted.reasons, self.rules
            )
            if refused:
                refused = replace(refused, line=counted.line, lines=counted.lines)
            if refused and counted.reasons.get(Reason.SESSION_NOT_CLOSED):
                at = f"{self.receipt.received_at:%Y-%m-%d %H:%M} UTC"
                refused = replace(
                    refused,
                    sentence=f"{refused.sentence}; it counts as received at {at}, by the time in"
                    " its name, else by that of the upload",
                )
            finding = refused
            if finding is None and part.adjusted and not self.rules.adjusted:
                finding = _adjusted(part.adjusted, self.receipt)
            finding = finding or self._changed_layout(BARS, part.layout)
            if finding is None or finding.code in HELD_FOR:
                for piece, path in enumerate(pieces):
                    self.lake.write(staged_key(self.receipt.id, number, BARS, piece), path)
        return PartReceipt(
            name=part.name,
            kind=BARS,
            layout=part.layout,
            rows=counted.rows,
            refused_rows=counted.refused_rows,
            sessions=counted.sessions,
            finding=finding,
        )

    def _changed_layout(self, kind: str, layout: str) -> Finding | None:
        known = layout_known(self.lake, self.receipt.upload.source, kind)
        if known is None or known == layout:
            return None
        return Finding(
            Code.LAYOUT_CHANGED,
            f"its columns were read as {layout}; those of the last file of this source as {known}",
            "see whether each column was taken for the right one, then"
            f" `ohlcv uploads release {self.receipt.id[:SHOWN_ID]}`",
        )


@dataclass(frozen=True, slots=True)
class _Counted:
    """What was counted in the bars of a part, piece by piece; no two have rows of one date."""

    rows: int = 0
    refused_rows: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    line: int | None = None
    lines: tuple[str, ...] = ()
    sessions: Sessions | None = None

    def after(self, rows: pl.DataFrame, calendar: Calendar, received_at: datetime) -> _Counted:
        sifted = sift(rows, calendar_for(rows, calendar), received_at)
        reasons = dict(self.reasons)
        for text in sifted.refused["reason"].to_list():
            for reason in text.split("; "):
                reasons[reason] = reasons.get(reason, 0) + 1
        shown = sifted.refused.head(_SHOWN_LINES - len(self.lines)).iter_rows(named=True)
        dates = sifted.accepted["date"].unique()
        return _Counted(
            self.rows + sifted.accepted.height,
            self.refused_rows + sifted.refused.height,
            reasons,
            min([*sifted.refused["line"].drop_nulls(), *filter(None, [self.line])], default=None),
            (*self.lines, *map(_row_text, shown)),
            _joined(self.sessions, dates),
        )


def _joined(before: Sessions | None, dates: pl.Series) -> Sessions | None:
    if dates.is_empty():
        return before
    sessions: list[date] = dates.sort().to_list()
    first, last = sessions[0], sessions[-1]
    if before is None:
        return Sessions(first, last, len(sessions))
    return Sessions(min(first, before.first), max(last, before.last), before.count + len(sessions))


def _row_text(row: dict[str, Any]) -> str:
    line = "" if row["line"] is None else f"line {row['line']}: "
    names = schema.DELIVERY.names
    values = ", ".join(f"{name} {row[name]}" for name in names if row[name] is not None)
    return f"{line}{values}: {row['reason']}"


def _write_staged(path: Path, rows: pl.DataFrame) -> None:
    """Write rows sorted by date, so that some sessions of many are read without the others."""
    table = to_arrow(conform(rows, schema.STAGED).sort("date", nulls_last=True), schema.STAGED)
    with TableWriter(path, schema.STAGED, {}) as writer:
        for batch in table.to_batches():
            writer.append(batch)


def _refused_by_size(upload: Upload) -> Finding | None:
    if not upload.size_bytes:
        return Finding(Code.EMPTY, "empty: it has no bytes", f"{DOWNLOAD_AGAIN}, or remove it")
    if upload.size_bytes > MOST_BYTES:
        return Finding(
            Code.TOO_LARGE,
            f"{upload.size_bytes:,} bytes; at most {MOST_BYTES:,} are read",
            "split it, such as by year, and drop the parts",
        )
    return None


def _too_many_refused(
    rows: int,
    refused_rows: int,
    reasons: dict[str, int],
    rules: SourceRules,
) -> Finding | None:
    received = rows + refused_rows
    if not received:
        return Finding(Code.EMPTY, "it has no rows", f"{DOWNLOAD_AGAIN}, or remove it")
    if refused_rows <= rules.max_refused_share * received and rows:
        return None
    named = ", ".join(
        f"{name}: {n}" for name, n in sorted(reasons.items(), key=lambda one: -one[1])
    )
    if not rows:
        return Finding(
            Code.ALL_ROWS_REFUSED,
            f"all of its {count_text(received, 'rows')} are refused ({named})",
            "correct the rows and drop the file again",
        )
    return Finding(
        Code.TOO_MANY_REFUSED,
        f"{refused_rows:,} of {received:,} rows are refused ({named}), more than"
        f" {rules.max_refused_share:.2%}",
        "correct the rows and drop the file again, or raise max_refused_share for its source in"
        " uploads.toml and `ohlcv uploads retry` it",
    )


def _adjusted(how: str, receipt: Receipt) -> Finding:
    setting = decide_setting(Code.ADJUSTED_PRICES, receipt.upload.source)
    return Finding(
        Code.ADJUSTED_PRICES,
        how,
        "a lake has prices as traded: drop such; or, to take the vendor's, "
        f"{setting} and `ohlcv uploads retry {receipt.id[:SHOWN_ID]}`",
    )
