"""The sweep: uploads whose events were lost, and those that do not come to an end."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from batch.core.layout import RECEIPTS, receipt_id
from batch.storage.store import ObjectStore
from fetchers.uploads.drop import Drop, Upload
from fetchers.uploads.receipts import Receipt, State, open_ids, read_receipts

TAKEN_OVER_AFTER: Final = timedelta(hours=1)
"""Age at which an inspection counts as dead."""

OVERDUE_AFTER: Final = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found.

    Attributes:
        missed: Uploads to inspect, the oldest first: never seen, sent back, or of an inspection
            that died.
        waiting: Uploads that are staged and have not landed.
        overdue: Those that were first seen more than six hours ago and neither came to an end nor
            wait for a person.
    """

    missed: tuple[Upload, ...]
    waiting: tuple[Receipt, ...]
    overdue: tuple[Receipt, ...]


def sweep(lake: ObjectStore, drop: Drop, *, now: datetime) -> Swept:
    """Compare what lies in a drop with the receipts.

    Raises:
        RetryMayHelp: A store did not answer.
    """
    seen = {found for item in lake.list(RECEIPTS) if (found := receipt_id(item.key))}
    unfinished = [kept.receipt for kept in read_receipts(lake, open_ids(lake))]
    claimed = [one for one in unfinished if one.state is State.CLAIMED]
    again = {one.id for one in claimed if _is_due(one, now)}
    missed = [one for one in drop.list() if one.id in again or one.id not in seen]
    staged = [one for one in unfinished if one.state is State.STAGED]
    overdue = [one for one in (*claimed, *staged) if now - one.seen_at > OVERDUE_AFTER]
    return Swept(
        tuple(sorted(missed, key=lambda one: (one.uploaded_at, one.key))),
        tuple(sorted(staged, key=lambda one: one.order)),
        tuple(sorted(overdue, key=lambda one: one.order)),
    )


def _is_due(claimed: Receipt, now: datetime) -> bool:
    # One that was sent back keeps the instant of its last inspection.
    return now - claimed.claimed_at > TAKEN_OVER_AFTER or claimed.updated_at > claimed.claimed_at
