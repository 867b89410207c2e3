"""Making a year's partition of its merged deliveries, and writing it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date
from functools import cached_property

import polars as pl

from batch.consolidator.deliveries import MergedYear
from batch.consolidator.merge import with_split_digests
from batch.consolidator.plan import Plan, splits_digest
from batch.core import schema
from batch.core.frames import to_arrow
from batch.core.layout import DAILY_TABLE, RESTATEMENTS_TABLE
from batch.kernel.columns import DailyColumns
from batch.lake.carry import Carry, attach_carried_splits, write_carry
from batch.lake.inputs import YearInputs
from batch.lake.manifest import DailyRecord, fingerprint, write_inputs
from batch.lake.partitions import (
    DIGEST_ENTRY,
    PublishedPartition,
    publish_partition,
    table_metadata,
)
from batch.runtime.progress import StopRequested, require_going
from batch.storage.parquet import with_encoded_symbols
from batch.storage.store import ObjectStore
from batch.version import RESULTS_VERSION


@dataclass(frozen=True, eq=False)
class BuiltYear:
    """A daily partition ready to be published.

    Attributes:
        inputs: The deliveries that it was made from.
        bars: Columns of :data:`batch.core.schema.DAILY`, sorted by (symbol, date).
        sessions: ISO date and digest of each session.
        restatements: Columns of :data:`batch.core.schema.RESTATEMENTS`, sorted.
        splits_digest: Digest of the splits that its rows waited for.
        carry_in: The state that earlier years passed on.
        carry: The state that it passes on.
        carry_slice_digest: Digest of the part of ``carry_in`` on which its rows depend.
    """

    inputs: YearInputs
    bars: DailyColumns
    sessions: dict[str, str]
    restatements: pl.DataFrame
    splits_digest: str
    carry_in: Carry
    carry: Carry
    carry_slice_digest: str

    @cached_property
    def digest(self) -> str:
        """Digest of all rows, by the digests of their sessions."""
        return fingerprint(self.sessions)

    @cached_property
    def restatements_digest(self) -> str:
        """Digest of the restatements."""
        return hashlib.sha256(self.restatements.write_csv().encode()).hexdigest()[:16]


def build_year(
    inputs: YearInputs, merged: MergedYear, splits: pl.DataFrame, carry_in: Carry
) -> BuiltYear:
    """Make a year's partition of its merged deliveries and of what earlier years pass on."""
    bars, carry = attach_carried_splits(merged.bars, splits, carry_in)
    return BuiltYear(
        inputs,
        bars,
        with_split_digests(merged.digests, bars),
        merged.restatements,
        splits_digest(splits),
        carry_in,
        carry,
        carry_in.slice_digest(splits),
    )


def publish_year(
    store: ObjectStore, plan: Plan, built: BuiltYear, stop_requested: StopRequested
) -> tuple[DailyRecord, list[PublishedPartition]]:
    """Write all of a year but its record, which is to be committed next.

    Until then the manifest describes the partition that was there before, so a job that is
    cut off anywhere between these writes leaves a year that the next job finds changed and
    makes again. Both partitions are written on the condition that the store still holds the
    version that the plan listed: what another job wrote meanwhile is not written over. The
    carried state and the list of deliveries have their digest in their key and need no
    condition: jobs that write the same key write the same content.

    Returns:
        The record of the daily partition, and the partitions that were written.

    Raises:
        CommitConflict: Another job has published the year meanwhile.
        Interrupted: A stop was requested between two writes.
    """
    year = built.inputs.year
    first, newest = min(built.sessions), max(built.sessions)
    metadata = table_metadata(
        interval=DAILY_TABLE,
        anchor="none",
        calendar=plan.calendar.version(date.fromisoformat(first), date.fromisoformat(newest)),
        newest=newest,
        results_version=RESULTS_VERSION,
        digest=built.digest,
    )
    stored = publish_partition(
        store,
        DAILY_TABLE,
        year,
        [built.bars.to_batch()],
        with_encoded_symbols(schema.DAILY),
        metadata,
        plan.daily.expectation(year),
    )
    published = [PublishedPartition(DAILY_TABLE, year, len(built.bars), stored.size_bytes)]
    require_going(stop_requested)
    restatements_version = ""
    if not built.restatements.is_empty():
        restated = publish_partition(
            store,
            RESTATEMENTS_TABLE,
            year,
            to_arrow(built.restatements).to_batches(),
            schema.RESTATEMENTS,
            {
                **metadata,
                "ohlcv.interval": RESTATEMENTS_TABLE,
                DIGEST_ENTRY: built.restatements_digest,
            },
            plan.restated.expectation(year),
        )
        rows = built.restatements.height
        published.append(PublishedPartition(RESTATEMENTS_TABLE, year, rows, restated.size_bytes))
        restatements_version = restated.version
    elif year in plan.restated.objects:
        store.delete([plan.restated.objects[year].key])
    require_going(stop_requested)
    write_carry(store, year, built.carry)
    write_inputs(store, year, built.inputs.sizes)
    record = DailyRecord(
        results_version=RESULTS_VERSION,
        inputs_digest=built.inputs.digest,
        splits_digest=built.splits_digest,
        carry_in_digest=built.carry_in.digest,
        carry_slice_digest=built.carry_slice_digest,
        carry_digest=built.carry.digest,
        sessions=built.sessions,
        digest=built.digest,
        rows=len(built.bars),
        size_bytes=stored.size_bytes,
        version=stored.version,
        restatements=built.restatements.height,
        restatements_digest=built.restatements_digest,
        restatements_version=restatements_version,
    )
    return record, published
