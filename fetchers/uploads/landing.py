"""Which staged uploads land together, and as received when: decided once, then carried out.

The plan is one object. Whoever finds it carries it out, so that a run that was killed is
continued with the same deliveries, and of two runs at the same time neither adds any.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from pydantic import TypeAdapter, ValidationError

from batch.core.errors import CommitConflict, StateDamaged
from batch.core.layout import GATHERED, LANDING, gathered_key, instant_text, source_slug
from batch.core.sessions import Calendar
from batch.storage.store import Expectation, ObjectStore, read_to_replace
from fetchers.uploads.receipts import Receipt, read_receipts
from fetchers.uploads.standing import Position, Standing, position_of

_TRIES: Final = 20
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Member:
    """An upload of an entry: where it stands by itself, and its symbols."""

    upload: str
    received_at: datetime
    uploaded_at: datetime
    symbols: tuple[str, ...]

    @property
    def position(self) -> Position:
        """Where its rows would stand if it had landed alone."""
        return Position(self.received_at, self.uploaded_at)


@dataclass(frozen=True, slots=True)
class Entry:
    """Uploads of one source that land as one delivery per session: that of the last of them.

    They follow one another, and no two have a symbol in common. ``members`` are in the order of
    receipt.
    """

    source: str
    members: tuple[Member, ...]

    @property
    def uploads(self) -> list[str]:
        """Their ids."""
        return [one.upload for one in self.members]

    @property
    def position(self) -> Position:
        """Where its deliveries stand among those of a session."""
        return self.members[-1].position

    @property
    def first(self) -> Position:
        """Where the first of its uploads stands by itself."""
        return self.members[0].position

    def symbols_before(self, position: Position) -> set[str]:
        """Return the symbols of the uploads that stand before a position by themselves."""
        return {symbol for one in self.members if one.position < position for symbol in one.symbols}


_ENTRIES: Final = TypeAdapter(tuple[Entry, ...])
_ENTRY: Final = TypeAdapter(Entry)


def plan_entries(
    receipts: Iterable[Receipt],
    symbols: Mapping[str, Set[str]],
    standing: Standing,
    gathered: Gathered,
    calendar: Calendar,
) -> Iterator[Entry]:
    """Say what lands together, so that it comes out as if each had landed by itself.

    An upload joins those of its source before it where all were received on one day, between
    the same closes, no two have a symbol in common, and nothing of their symbols and sessions
    was received in between, be it in the lake or among these uploads.
    """
    open_: dict[str, list[Receipt]] = {}
    for one in sorted(receipts, key=lambda receipt: receipt.order):
        group = open_.get(one.upload.source)
        own = symbols[one.id]
        joins = bool(own) and not gathered.around(position_of(one), one.id)
        if not (group and joins and _may_join(group, one, symbols, standing, calendar)):
            if group:
                yield _entry(group, symbols)
            group = open_[one.upload.source] = []
        group.append(one)
        for source, other in list(open_.items()):
            # What comes after it may not go before it with rows of the same symbols.
            if source != one.upload.source and any(own & symbols[each.id] for each in other):
                yield _entry(open_.pop(source), symbols)
        if not joins:
            yield _entry(open_.pop(one.upload.source), symbols)
    for group in open_.values():
        yield _entry(group, symbols)


def _may_join(
    group: list[Receipt],
    one: Receipt,
    symbols: Mapping[str, Set[str]],
    standing: Standing,
    calendar: Calendar,
) -> bool:
    first, last = group[0], group[-1]
    both = [first, one]
    # Either all are received when they are uploaded, or all at one instant, such as a day's end:
    # then what is received later stands after all of them.
    alike = (
        all(each.received_at == each.upload.uploaded_at for each in both)
        or len({each.received_at for each in both}) == 1
    )
    day = {each.received_at.astimezone(UTC).date() for each in both}
    instants_s = np.array([int(each.received_at.timestamp()) for each in both], np.int64)
    closes = set(calendar.next_to_close(instants_s).tolist())
    if not alike or len(day) > 1 or len(closes) > 1 or position_of(last) == position_of(one):
        return False
    if any(symbols[one.id] & symbols[each.id] for each in group):
        return False
    ranges = [each.sessions for each in (*group, one) if each.sessions]
    if not ranges:
        return False
    between = standing.between(min(r.first for r in ranges), max(r.last for r in ranges))
    low, high = position_of(first), position_of(one)
    return not any(low < Position.of(found) < high for found in between)


def _entry(group: list[Receipt], symbols: Mapping[str, Set[str]]) -> Entry:
    is_gathered = len(group) > 1  # only then it matters whose symbols are whose
    members = tuple(
        Member(
            one.id,
            one.received_at,
            one.upload.uploaded_at,
            tuple(sorted(symbols[one.id])) if is_gathered else (),
        )
        for one in group
    )
    return Entry(group[0].upload.source, members)


class Gathered:
    """The entries of several uploads that have landed, for what comes later and belongs inside."""

    def __init__(self, lake: ObjectStore) -> None:
        self._lake = lake
        self._entries: dict[str, Entry] = {}

    def keep(self, entry: Entry) -> None:
        """Remember an entry of several uploads; before it lands."""
        content = _json(_ENTRY.dump_python(entry))
        digest = hashlib.sha256(content).hexdigest()[:12]
        self._lake.write(gathered_key(entry.position[:2], digest), content)

    def around(self, position: Position, upload: str) -> list[Entry]:
        """Return the entries that an upload is of, or whose uploads stand on both sides of it."""
        start_after = f"{GATHERED}{instant_text(position.received_at)}-"
        found = []
        for item in self._lake.list(GATHERED, start_after=start_after):
            if item.key not in self._entries:
                self._entries[item.key] = _validated(_ENTRY, self._lake.read(item.key), item.key)
            entry = self._entries[item.key]
            if entry.first < position < entry.position or any(
                one.upload == upload for one in entry.members
            ):
                found.append(entry)
        return found


def rank_behind(entry: Entry, position: Position) -> tuple[Position, str]:
    """Return where rows land that stand inside an entry and override some of it: right behind.

    Of several such the order among them is kept. The second value is the ``rank`` for
    :func:`batch.lake.landing.land`.
    """
    instants = (position.received_at, position.arrived_at)
    rank = "." + "".join(f"{(at - _EPOCH) // _MICROSECOND:013x}" for at in instants)
    slug = source_slug(entry.source)
    return entry.position._replace(source=f"{slug}{rank}"), rank


def planned_entries(lake: ObjectStore) -> tuple[tuple[Entry, ...], Expectation]:
    """Return what was planned and is not finished, and the version of the plan.

    Raises:
        StateDamaged: The plan cannot be read.
    """
    content, expect = read_to_replace(lake, LANDING)
    return () if content is None else _validated(_ENTRIES, content, LANDING), expect


def write_entries(lake: ObjectStore, entries: tuple[Entry, ...], expect: Expectation) -> None:
    """Replace the plan.

    Raises:
        CommitConflict: Another run has changed it.
    """
    lake.write(LANDING, _json(_ENTRIES.dump_python(entries)), expect=expect)


def forget_finished(lake: ObjectStore) -> None:
    """Take entries out of the plan whose uploads have all come to an end."""
    for _ in range(_TRIES):
        before, expect = planned_entries(lake)
        planned = [upload for entry in before for upload in entry.uploads]
        receipts = [kept.receipt for kept in read_receipts(lake, planned)]
        ended = {one.id for one in receipts if one.state.is_final}
        after = tuple(one for one in before if not ended.issuperset(one.uploads))
        if after == before:
            return
        try:
            write_entries(lake, after, expect)
        except CommitConflict:
            continue
        return


def _json(content: Any) -> bytes:
    return json.dumps(content, default=datetime.isoformat).encode()


def _validated(adapter: TypeAdapter[Any], content: bytes, key: str) -> Any:
    try:
        return adapter.validate_python(json.loads(content))
    except (ValidationError, ValueError) as err:
        raise StateDamaged(
            f"{key}: damaged: {str(err).splitlines()[0]}; remove it: what is staged lands again,"
            " and deliveries that are there already are not doubled",
            key,
        ) from err
