"""How a delivery enters the lake: rows sifted, announced, then written once under bronze."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import chain

import polars as pl

from batch.core import schema
from batch.core.errors import CommitConflict, DataRefused
from batch.core.frames import to_arrow
from batch.core.instants import receipt_refusal
from batch.core.layout import (
    Delivery,
    bronze_year_prefix,
    delivery_name,
    rejected_key,
    source_slug,
    vacuumed_year_prefix,
)
from batch.core.rules import sift
from batch.core.sessions import Calendar
from batch.storage.parquet import table_bytes
from batch.storage.store import Expect, ObjectStore


@dataclass(frozen=True, slots=True)
class Landed:
    """The result of landing rows that were received together.

    Attributes:
        deliveries: One per session, in order of sessions, whether new or there already.
        written: Keys that this call wrote under bronze.
        reasons: How often each reason to refuse a row applied.
        unchanged: Sessions whose rows equal those received before; nothing of them was kept.
        first_refused_line: Of the file; None where no row was refused, or rows have no lines.
        first_refused_reason: Why the row on that line was refused.
    """

    deliveries: tuple[Delivery, ...]
    written: tuple[str, ...]
    accepted_rows: int
    refused_rows: int
    reasons: Counter[str] = field(default_factory=Counter)
    unchanged: tuple[date, ...] = ()
    first_refused_line: int | None = None
    first_refused_reason: str | None = None


class Arrivals:
    """What arrived in a lake, whether still there or removed by a vacuum.

    Threads may share it. A year is listed when a delivery of it is first sought.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._years: dict[int, dict[Delivery, Delivery]] = {}
        self._lock = threading.Lock()

    def before(self, delivery: Delivery) -> Delivery | None:
        """Return what arrived before it with equal rows, received at the same instant.

        Where there is none, it counts as arrived itself from then on.
        """
        year = delivery.session.year
        with self._lock:
            if year not in self._years:
                self._years[year] = self._list(year)
            first = self._years[year].setdefault(delivery.as_sent, delivery)
            if first <= delivery and first is not delivery:
                return first
            self._years[year][delivery.as_sent] = delivery
        return None

    def _list(self, year: int) -> dict[Delivery, Delivery]:
        # The deliveries first: a vacuum writes the marker before it removes.
        there = [Delivery.parse(one.key) for one in self._store.list(bronze_year_prefix(year))]
        markers = self._store.list(vacuumed_year_prefix(year))
        there += [Delivery.of_vacuumed(one.key) for one in markers]
        return {one.as_sent: one for one in sorted(filter(None, there), reverse=True)}


def land(
    store: ObjectStore,
    rows: pl.DataFrame,
    *,
    received_at: datetime,
    source: str,
    calendar: Calendar,
    received_before: Mapping[date, Delivery] | None = None,
    arrived_at: datetime | None = None,
    arrivals: Arrivals | None = None,
    rank: str = "",
) -> Landed:
    """Write what was received together as one delivery per session.

    The name of a delivery carries a digest of its rows, so the same rows received at the
    same instant land in the same object, and landing them again writes nothing. Each
    delivery is announced before it is written; consolidation takes the announcement away.

    Args:
        store: The lake.
        rows: Columns of :data:`batch.core.schema.DELIVERY`, any order, dirty rows too; and
            those that :func:`batch.core.rules.sift` takes beside them.
        received_at: When they were received, an aware instant.
        source: Who sent them, such as ``polygon``; any text.
        calendar: Must cover the dates of the rows.
        received_before: A delivery of the same source per session; a session whose accepted
            rows are those of that delivery is not kept a second time.
        arrived_at: When they reached the lake, where ``received_at`` is not that instant
            itself: of what was received at the same instant, the last to arrive wins.
        arrivals: What arrived before; needed with ``arrived_at``, by which the same rows
            would otherwise have another name each time.
        rank: Begins with a dot and follows the source in the name: of what was received and
            arrived at the same instants from one source, what has a rank wins over what has
            none, and a later rank in the order of text over an earlier one.

    Raises:
        DataRefused: They cannot have been received then; nothing landed.
    """
    refusal = receipt_refusal(received_at, now=arrived_at or received_at)
    if refusal:
        raise DataRefused(refusal)
    sifted = sift(rows, calendar, received_at)
    slug = f"{source_slug(source)}{rank}"
    known = {session: found.source for session, found in (received_before or {}).items()}
    deliveries: list[Delivery] = []
    content: dict[Delivery, bytes] = {}
    unchanged: list[date] = []
    for part in sifted.accepted.partition_by("date", maintain_order=True):
        session: date = part["date"][0]
        sent = f"{slug}-{digest_rows(part)}"
        if known.get(session) == sent:
            unchanged.append(session)
            continue
        delivery = Delivery(session, received_at, sent, arrived_at)
        first = arrivals.before(delivery) if arrivals else None
        if first is None:
            content[delivery] = table_bytes(to_arrow(part, schema.DELIVERY))
        deliveries.append(first or delivery)
    names: dict[date | None, str] = {delivery.session: delivery.name for delivery in deliveries}
    refused: dict[str, bytes] = {}
    for part in sifted.refused.partition_by("date", maintain_order=True):
        dated: date | None = part["date"][0]
        if dated in unchanged:
            continue
        name = names.get(dated) or delivery_name(
            received_at, f"{slug}-{digest_rows(part.drop('line'))}"
        )
        refused[rejected_key(dated, name)] = table_bytes(to_arrow(part, schema.REJECTED))
    # Announced first: of a job killed in between, an announcement without a delivery is left,
    # never a delivery that consolidation does not see.
    for delivery in content:
        store.write(delivery.arrival_key, b"")
    for key, body in refused.items():
        store.write(key, body)
    written = [
        delivery.key for delivery, body in content.items() if _write_once(store, delivery, body)
    ]
    reasons = Counter(
        reason for text in sifted.refused["reason"].to_list() for reason in text.split("; ")
    )
    by_line = sifted.refused.drop_nulls("line").sort("line").select("line", "reason").rows()
    return Landed(
        tuple(sorted(deliveries)),
        tuple(written),
        sifted.accepted.height,
        sifted.refused.height,
        reasons,
        tuple(unchanged),
        *(by_line[0] if by_line else ()),
    )


def together(pieces: Iterable[Landed]) -> Landed:
    """Return the result of landing the pieces of one file, each of other sessions."""
    landed = list(pieces)
    first = min(
        (one for one in landed if one.first_refused_line is not None),
        key=lambda one: one.first_refused_line or 0,
        default=None,
    )
    return Landed(
        deliveries=tuple(sorted(chain.from_iterable(one.deliveries for one in landed))),
        written=tuple(chain.from_iterable(one.written for one in landed)),
        accepted_rows=sum(one.accepted_rows for one in landed),
        refused_rows=sum(one.refused_rows for one in landed),
        reasons=sum((one.reasons for one in landed), Counter()),
        unchanged=tuple(chain.from_iterable(one.unchanged for one in landed)),
        first_refused_line=first.first_refused_line if first else None,
        first_refused_reason=first.first_refused_reason if first else None,
    )


def require_few_refused(landed: Landed, *, label: str, share: float) -> None:
    """Raise if too many rows of a delivery were refused; what landed stays.

    Raises:
        DataRefused: More than ``share`` of its rows were.
    """
    received = landed.accepted_rows + landed.refused_rows
    if landed.refused_rows / max(received, 1) > share:
        reasons = ", ".join(f"{reason}: {count}" for reason, count in landed.reasons.most_common())
        line = landed.first_refused_line
        first = "" if line is None else f"; the first on line {line}: {landed.first_refused_reason}"
        raise DataRefused(
            f"{label}: {landed.refused_rows} of {received} rows"
            f" refused ({reasons}{first}), more than {share:.2%}; the others are in bronze,"
            " these are under bronze/rejected"
        )


def _write_once(store: ObjectStore, delivery: Delivery, body: bytes) -> bool:
    try:
        store.write(delivery.key, body, expect=Expect.NOTHING)
    except CommitConflict:
        return False
    return True


def digest_rows(rows: pl.DataFrame) -> str:
    """Digest a delivery's rows, as its name carries it."""
    return hashlib.sha256(rows.write_csv(include_header=False).encode()).hexdigest()[:12]
