"""Receipts: what became of each upload, kept for ever under its id."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum
from typing import Final

from pydantic import TypeAdapter, ValidationError

from batch.core.errors import (
    CommitConflict,
    ObjectMissing,
    SettingsError,
    StateDamaged,
)
from batch.core.layout import (
    RECEIPTS,
    STAGED,
    UPLOAD_RULES,
    open_key,
    receipt_id,
    receipt_key,
    staged_id,
    staged_prefix,
)
from batch.storage.store import Expect, Expectation, ObjectStore, read_to_replace
from fetchers.files.refusals import Code, FileRefused
from fetchers.uploads.drop import Upload

FORMAT: Final = 1
SHORTEST_ID: Final = 4
"""Digits of an id by which a person may name it, if no other begins with them."""

SHOWN_ID: Final = 12

_TRIES: Final = 10


class State(StrEnum):
    """How far an upload has come."""

    CLAIMED = "claimed"
    STAGED = "staged"
    HELD = "held"
    QUARANTINED = "quarantined"
    NOTHING_NEW = "nothing_new"
    LANDED = "landed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self in (State.QUARANTINED, State.NOTHING_NEW, State.LANDED)


HELD_FOR: Final = frozenset(
    {
        *(Code.AMBIGUOUS_DATES, Code.AMBIGUOUS_DECIMALS, Code.ADJUSTED_PRICES),
        *(Code.LAYOUT_CHANGED, Code.RESTATES_TOO_MUCH),
    }
)
"""Why an upload waits for a person's word; for any other code it is quarantined."""

UNREAD: Final = frozenset({Code.AMBIGUOUS_DATES, Code.AMBIGUOUS_DECIMALS})
"""Codes with which nothing could be read, so that there is nothing to release."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a file, or a member of an archive, is not taken as it is.

    Attributes:
        sentence: What was found, in words.
        remedy: What to do about it.
        line: Where in a text, counted from 1; None where no one line is to blame.
        lines: The first of the rows that are to blame, in words.
    """

    code: Code
    sentence: str
    remedy: str
    line: int | None = None
    lines: tuple[str, ...] = ()

    @classmethod
    def of(cls, refused: FileRefused) -> Finding:
        """Take what the reader says of a file."""
        return cls(refused.code, refused.sentence, refused.remedy, refused.line)


@dataclass(frozen=True, slots=True)
class Sessions:
    """The sessions of some bars: the first, the last, how many."""

    first: date
    last: date
    count: int


@dataclass(frozen=True, slots=True)
class PartReceipt:
    """What was found in a file, or in one member of an archive.

    Attributes:
        name: The member's; None where the file is a table itself.
        kind: ``bars``, ``splits``, ``dividends`` or ``tickers``; None where it was not read.
        layout: Which column was taken for what, in one line.
        rows: Those that were accepted.
        finding: Why it is not taken as it is; None where it is.
    """

    name: str | None = None
    kind: str | None = None
    layout: str | None = None
    rows: int = 0
    refused_rows: int = 0
    sessions: Sessions | None = None
    finding: Finding | None = None

    @property
    def is_staged(self) -> bool:
        """Whether its rows can land, if only after a person's word."""
        code = self.finding.code if self.finding else None
        return code is None or code in HELD_FOR - UNREAD


@dataclass(frozen=True, slots=True)
class Example:
    """A published close that an upload would change."""

    symbol: str
    session: date
    old: float
    new: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of an upload.

    Attributes:
        received_at: When its rows count as received; fixed when it is first seen.
        seen_at: When it was first seen.
        claimed_at: When the last inspection of it began.
        attempts: How often it was inspected.
        parts: One for the file, or one for each member of an archive.
        finding: Why it is held or quarantined; of an archive of which only some members are
            taken, why the first of the others is not.
        examples: Published closes that it would change.
        released: Whether a person said to take it as it is.
        deliveries: How many it became, alone or with others; None before it has.
    """

    upload: Upload
    state: State
    received_at: datetime
    seen_at: datetime
    claimed_at: datetime
    updated_at: datetime
    attempts: int = 1
    parts: tuple[PartReceipt, ...] = ()
    finding: Finding | None = None
    examples: tuple[Example, ...] = ()
    released: bool = False
    deliveries: int | None = None
    version: int = FORMAT

    @property
    def id(self) -> str:
        """The upload's."""
        return self.upload.id

    @property
    def order(self) -> tuple[datetime, datetime, str, str]:
        """Sorts receipts in the order of receipt."""
        return (self.received_at, self.upload.uploaded_at, self.upload.key, self.id)

    @property
    def rows(self) -> int:
        """Rows accepted."""
        return sum(part.rows for part in self.parts)

    @property
    def refused_rows(self) -> int:
        """Rows refused."""
        return sum(part.refused_rows for part in self.parts)

    @property
    def sessions(self) -> Sessions | None:
        """The sessions of its bars; of several parts, each counts its own."""
        found = [part.sessions for part in self.parts if part.sessions]
        if not found:
            return None
        return Sessions(
            min(one.first for one in found),
            max(one.last for one in found),
            max(one.count for one in found),
        )


@dataclass(frozen=True, slots=True)
class Kept:
    """A receipt as it is stored, and what its replacement expects to find."""

    receipt: Receipt
    version: Expectation


_RECEIPT: Final = TypeAdapter(Receipt)


def to_json(receipt: Receipt) -> bytes:
    """Return a receipt as it is stored.

    Names of files need not be text; JSON holds what is not with its escapes.
    """
    return json.dumps(_RECEIPT.dump_python(receipt), default=_iso, indent=1).encode()


def _iso(value: date) -> str:
    return value.isoformat()


def read_receipt(lake: ObjectStore, upload_id: str) -> Kept | None:
    """Return the receipt of an upload; None where it was never seen.

    Raises:
        StateDamaged: It cannot be read.
    """
    key = receipt_key(upload_id)
    content, version = read_to_replace(lake, key)
    if content is None:
        return None
    try:
        return Kept(_RECEIPT.validate_python(json.loads(content)), version)
    except (ValidationError, ValueError) as err:
        raise StateDamaged(
            f"{lake.uri}/{key}: not a receipt: {str(err).splitlines()[0]}; remove it, and the file"
            " counts as never seen",
            key,
        ) from err


def write_receipt(lake: ObjectStore, receipt: Receipt, expect: Expectation) -> Kept:
    """Store a receipt.

    Raises:
        CommitConflict: Another one is there than was expected.
    """
    stored = lake.write(receipt_key(receipt.id), to_json(receipt), expect=expect)
    return Kept(receipt, stored.version)


def claim(lake: ObjectStore, upload: Upload, *, now: datetime) -> tuple[Kept, bool]:
    """Take an upload for inspection; return its receipt, and whether it is ours to inspect.

    One that an inspection left claimed is taken over, since that one may be dead. If it is not,
    the last to claim is the one whose outcome counts.
    """
    for _ in range(_TRIES):
        kept = read_receipt(lake, upload.id)
        if kept and kept.receipt.state is not State.CLAIMED:
            return kept, False
        lake.write(open_key(upload.id), b"")
        if kept:
            taken = replace(
                kept.receipt,
                claimed_at=now,
                updated_at=now,
                attempts=kept.receipt.attempts + 1,
            )
            expect = kept.version
        else:
            taken = Receipt(
                upload=upload,
                state=State.CLAIMED,
                received_at=upload.received_at,
                seen_at=now,
                claimed_at=now,
                updated_at=now,
            )
            expect = Expect.NOTHING
        try:
            return write_receipt(lake, taken, expect), True
        except CommitConflict:
            continue
    raise CommitConflict(f"{upload.address}: others kept claiming it; run it again")


def become(
    lake: ObjectStore, upload_id: str, state: State, *, deliveries: int | None, now: datetime
) -> Receipt:
    """Give an upload its final state, unless it has one; return its receipt.

    Raises:
        ObjectMissing: It has no receipt.
        CommitConflict: Others kept writing it.
    """

    def ended(receipt: Receipt) -> Receipt:
        if receipt.state.is_final:
            return receipt
        return replace(receipt, state=state, deliveries=deliveries, updated_at=now)

    return change_receipt(lake, upload_id, ended)


def release(lake: ObjectStore, upload_id: str, *, now: datetime) -> Receipt:
    """Let an upload land that is held, as it is.

    Raises:
        SettingsError: It is not held, or nothing of it could be read.
        CommitConflict: Others kept writing its receipt.
    """

    def released(receipt: Receipt) -> Receipt:
        finding = receipt.finding
        if receipt.state is not State.HELD or finding is None:
            raise SettingsError(
                f"upload {receipt.id[:SHOWN_ID]} is {receipt.state}: only what is held can be"
                " released"
            )
        findings = [one.finding for one in receipt.parts if one.finding]
        unread = next((one for one in (finding, *findings) if one.code in UNREAD), None)
        if unread:
            raise SettingsError(
                f"upload {receipt.id[:SHOWN_ID]} cannot be released: {unread.sentence}, so that"
                f" nothing was read; {decide_setting(unread.code, receipt.upload.source)}, then"
                f" `ohlcv uploads retry {receipt.id[:SHOWN_ID]}`"
            )
        return replace(receipt, state=State.STAGED, released=True, updated_at=now)

    return change_receipt(lake, upload_id, released, reopens=True)


def send_back(lake: ObjectStore, upload_id: str, *, now: datetime) -> Receipt:
    """Let an upload be inspected again that was held or quarantined.

    Raises:
        SettingsError: It is neither.
        CommitConflict: Others kept writing its receipt.
    """

    def claimed(receipt: Receipt) -> Receipt:
        if receipt.state not in (State.HELD, State.QUARANTINED, State.CLAIMED):
            raise SettingsError(
                f"upload {receipt.id[:SHOWN_ID]} is {receipt.state}: only what is held or"
                " quarantined can be retried; drop the file again to have it read again"
            )
        return replace(receipt, state=State.CLAIMED, released=False, updated_at=now)

    return change_receipt(lake, upload_id, claimed, reopens=True)


def decide_setting(code: Code, source: str) -> str:
    """Return in words which setting decides how the files of a source are read."""
    setting = {
        Code.AMBIGUOUS_DATES: 'date_order = "month/day/year" or "day/month/year"',
        Code.AMBIGUOUS_DECIMALS: 'decimal_mark = "." or ","',
        Code.ADJUSTED_PRICES: "adjusted = true",
    }[code]
    return f"write {setting} under [sources.{toml_key(source)}] in {UPLOAD_RULES}"


def toml_key(text: str) -> str:
    """Return text as a key of TOML, in quotes where it needs them."""
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else json.dumps(text)


def change_receipt(
    lake: ObjectStore,
    upload_id: str,
    change: Callable[[Receipt], Receipt],
    *,
    reopens: bool = False,
) -> Receipt:
    """Replace a receipt by what a function makes of it; return that.

    The function is called again where another process wrote in the meantime. Nothing is written
    where it returns what it was given. ``reopens`` says that something is left to do from then on.

    Raises:
        ObjectMissing: There is no receipt.
        CommitConflict: Others kept writing it.
    """
    for _ in range(_TRIES):
        kept = read_receipt(lake, upload_id)
        if kept is None:
            raise ObjectMissing(f"{lake.uri}/{receipt_key(upload_id)}: removed meanwhile")
        changed = change(kept.receipt)
        if changed == kept.receipt:
            return changed
        if reopens:
            lake.write(open_key(upload_id), b"")
        try:
            return write_receipt(lake, changed, kept.version).receipt
        except CommitConflict:
            continue
    raise CommitConflict(f"{receipt_key(upload_id)}: others kept writing it; run it again")


def give_up_claim(lake: ObjectStore, upload: Upload) -> None:
    """Undo the claim of an upload that went away before it could be inspected.

    One that was never inspected is forgotten; one that was sent back is again what it was.
    """
    kept = read_receipt(lake, upload.id)
    if kept is None or kept.receipt.state is not State.CLAIMED:
        return
    finding = kept.receipt.finding
    if finding is None:
        lake.delete([receipt_key(upload.id)])
        lake.delete([item.key for item in lake.list(staged_prefix(upload.id))])
        return
    state = State.HELD if finding.code in HELD_FOR else State.QUARANTINED
    write_receipt(lake, replace(kept.receipt, state=state), kept.version)


def open_ids(lake: ObjectStore) -> list[str]:
    """Return the uploads of which something is left to do, by a person or by a job."""
    return sorted({found for item in lake.list(STAGED) if (found := staged_id(item.key))})


def all_receipts(lake: ObjectStore, *, workers: int = 8) -> Iterator[Kept]:
    """Return every receipt, in no particular order."""
    ids = [found for item in lake.list(RECEIPTS) if (found := receipt_id(item.key))]
    return read_receipts(lake, ids, workers=workers)


def read_receipts(lake: ObjectStore, ids: list[str], *, workers: int = 8) -> Iterator[Kept]:
    """Return the receipts of some uploads, those that have one."""
    with ThreadPoolExecutor(workers) as pool:
        yield from filter(None, pool.map(lambda one: read_receipt(lake, one), ids))


def needing_attention(receipts: Iterable[Receipt]) -> list[Receipt]:
    """Return what is held or quarantined, the newest first.

    A later version of the same file that was taken settles the matter.
    """
    found = sorted(receipts, key=lambda one: one.upload.uploaded_at, reverse=True)
    taken: dict[tuple[str, str], datetime] = {}
    for one in found:
        if one.state in (State.STAGED, State.NOTHING_NEW, State.LANDED):
            taken.setdefault((one.upload.root, one.upload.key), one.upload.uploaded_at)
    return [
        one
        for one in found
        if one.state in (State.HELD, State.QUARANTINED)
        and taken.get((one.upload.root, one.upload.key), one.upload.uploaded_at)
        <= one.upload.uploaded_at
    ]


def find_receipt(lake: ObjectStore, digits: str) -> Kept:
    """Return the receipt whose id begins with some digits.

    Raises:
        SettingsError: They are too few, or none or several begin with them.
    """
    typed = digits.lower()
    if not re.fullmatch(rf"[0-9a-f]{{{SHORTEST_ID},64}}", typed):
        raise SettingsError(
            f"upload {digits!r}: expected the first digits of an id, at least {SHORTEST_ID}, as"
            " `ohlcv uploads` lists them"
        )
    found = [receipt_id(item.key) for item in lake.list(f"{RECEIPTS}{typed}")]
    ids = [one for one in found if one]
    if len(ids) != 1:
        several = f"{len(ids)} begin so: {', '.join(one[:SHOWN_ID] for one in ids[:5])}"
        what = several if ids else "no such upload"
        raise SettingsError(f"upload {digits!r}: {what}; `ohlcv uploads` lists them")
    kept = read_receipt(lake, ids[0])
    if kept is None:
        raise ObjectMissing(f"{lake.uri}/{receipt_key(ids[0])}: removed meanwhile")
    return kept
