"""Writing a year: its partitions and what its record refers to, in an order that may be cut off."""

from __future__ import annotations

import hashlib
from datetime import date

import polars as pl

from batch.consolidator.merge import Merged, with_split_digests
from batch.consolidator.plan import Plan
from batch.core import schema
from batch.core.frames import to_arrow
from batch.core.layout import DAILY_TABLE, RESTATEMENTS_TABLE
from batch.lake.carry import Carry, attach_carried_splits
from batch.lake.inputs import YearInputs
from batch.lake.manifest import DailyRecord, fingerprint, write_inputs
from batch.lake.partitions import (
    DIGEST_ENTRY,
    PublishedPartition,
    publish_partition,
    table_metadata,
)
from batch.lake.reference import splits_digest
from batch.runtime.progress import StopRequested, require_going
from batch.storage.parquet import with_encoded_symbols
from batch.storage.store import ObjectStore
from batch.version import RESULTS_VERSION


def publish_year(
    store: ObjectStore,
    plan: Plan,
    inputs: YearInputs,
    merged: Merged,
    *,
    splits: pl.DataFrame,
    carry_in: Carry,
    stop_requested: StopRequested,
) -> tuple[DailyRecord, Carry, list[PublishedPartition]]:
    """Attach the splits to a year's merged deliveries, and write all of it but its record.

    Until the record is committed the manifest describes the partition that was there before,
    so a job that is cut off anywhere between these writes leaves a year that the next job
    finds changed and makes again. Both partitions are written on the condition that the store
    still holds the version that the plan listed: what another job wrote meanwhile is not
    written over. The carried state and the list of deliveries have their digest in their key
    and need no condition: jobs that write the same key write the same content.

    Returns:
        The record to be committed, the state that the year passes on, and what was written.

    Raises:
        CommitConflict: Another job has published the year meanwhile.
        Interrupted: A stop was requested between two writes.
    """
    year = inputs.year
    contest = plan.bases.contest(inputs.deliveries)
    bars, carry = attach_carried_splits(merged.bars, splits, carry_in)
    sessions = with_split_digests(merged.digests, bars)
    first, newest = min(sessions), max(sessions)
    metadata = table_metadata(
        interval=DAILY_TABLE,
        anchor="none",
        calendar=plan.calendar.version(date.fromisoformat(first), date.fromisoformat(newest)),
        newest=newest,
        results_version=RESULTS_VERSION,
        digest=fingerprint(sessions),
    )
    stored = publish_partition(
        store,
        DAILY_TABLE,
        year,
        [bars.to_batch()],
        with_encoded_symbols(schema.DAILY),
        metadata,
        plan.daily.expectation(year),
    )
    require_going(stop_requested)
    restatements = merged.restatements
    restatements_digest = hashlib.sha256(restatements.write_csv().encode()).hexdigest()[:16]
    restated = None
    if not restatements.is_empty():
        restated = publish_partition(
            store,
            RESTATEMENTS_TABLE,
            year,
            to_arrow(restatements).to_batches(),
            schema.RESTATEMENTS,
            metadata | {"ohlcv.interval": RESTATEMENTS_TABLE, DIGEST_ENTRY: restatements_digest},
            plan.restated.expectation(year),
        )
    elif year in plan.restated.objects:
        store.delete([plan.restated.objects[year].key])
    require_going(stop_requested)
    carry.keep(store, year)
    write_inputs(store, year, inputs.sizes, contest.splits)
    record = DailyRecord(
        results_version=RESULTS_VERSION,
        inputs_digest=inputs.digest,
        splits_digest=splits_digest(splits),
        carry_in_digest=carry_in.digest,
        carry_slice_digest=carry_in.slice_digest(splits),
        carry_digest=carry.digest,
        sessions=sessions,
        digest=metadata[DIGEST_ENTRY],
        rows=len(bars),
        size_bytes=stored.size_bytes,
        version=stored.version,
        restatements=restatements.height,
        restatements_digest=restatements_digest,
        restatements_version=restated.version if restated else "",
        bytes_digest=stored.bytes_digest,
        restatements_bytes_digest=restated.bytes_digest if restated else "",
        held_back=restatements["reason"].len() - restatements["reason"].null_count(),
        contested_after=contest.after,
        contested_upto=contest.upto,
        contested_splits_digest=contest.splits_digest,
    )
    partitions = [PublishedPartition(DAILY_TABLE, year, len(bars), stored.size_bytes)]
    if restated:
        count = restatements.height
        partitions.append(PublishedPartition(RESTATEMENTS_TABLE, year, count, restated.size_bytes))
    return record, carry, partitions
