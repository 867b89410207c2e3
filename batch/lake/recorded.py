"""What the manifests record of the silver tables, beside what the store holds of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from batch.core.errors import DataRefused
from batch.core.layout import (
    DAILY_TABLE,
    RESTATEMENTS_TABLE,
    Anchor,
    parse_bars_table,
    partition_key,
)
from batch.lake.manifest import (
    BarsRecord,
    DailyRecord,
    Manifest,
    OnDamaged,
    load_bars_manifest,
    load_daily_manifest,
)
from batch.lake.partitions import TablePartitions
from batch.storage.store import ObjectStore


@dataclass(frozen=True, slots=True)
class RecordedPartition:
    """What a manifest says of one partition.

    ``size_bytes`` is None, and ``bytes_digest`` empty, where an earlier version of this package
    wrote it and did not say.
    """

    rows: int
    digest: str
    bytes_digest: str
    version: str
    size_bytes: int | None

    @classmethod
    def of_bars(cls, record: DailyRecord | BarsRecord) -> RecordedPartition:
        """Take what is recorded of a partition of daily bars or of N-session bars."""
        digest = record.digest if isinstance(record, DailyRecord) else record.fingerprint
        return cls(record.rows, digest, record.bytes_digest, record.version, record.size_bytes)

    @classmethod
    def of_restatements(cls, record: DailyRecord) -> RecordedPartition:
        """Take what is recorded of the restatements of a year that has any."""
        bytes_digest = record.restatements_bytes_digest
        return cls(
            record.restatements,
            record.restatements_digest,
            bytes_digest,
            record.restatements_version,
            int(bytes_digest.partition("-")[0]) if bytes_digest else None,
        )


@dataclass(frozen=True, slots=True)
class RecordedTable:
    """The partitions of a silver table by year, and the newest session they were made from."""

    partitions: Mapping[int, RecordedPartition]
    newest: date | None

    @classmethod
    def load(
        cls, store: ObjectStore, table: str, *, on_damaged: OnDamaged | None = None
    ) -> RecordedTable:
        """Read what is recorded of a table; nothing where it has no manifest.

        Raises:
            StateDamaged: The manifest is damaged and there is no ``on_damaged``.
        """
        if table in (DAILY_TABLE, RESTATEMENTS_TABLE):
            return cls.of_daily(load_daily_manifest(store, on_damaged=on_damaged), table)
        manifest = load_bars_manifest(store, table, on_damaged=on_damaged)
        records = manifest.partitions.items()
        return cls({year: RecordedPartition.of_bars(one) for year, one in records}, manifest.newest)

    @classmethod
    def of_daily(cls, manifest: Manifest[DailyRecord], table: str) -> RecordedTable:
        """Take what the manifest of the daily bars says of them, or of the restatements."""
        records = manifest.partitions.items()
        if table == DAILY_TABLE:
            return cls(
                {year: RecordedPartition.of_bars(one) for year, one in records}, manifest.newest
            )
        return cls(
            {
                year: RecordedPartition.of_restatements(one)
                for year, one in records
                if one.restatements
            },
            None,
        )


def remake(table: str) -> str:
    """Return the command that makes damaged or missing partitions of a silver table again."""
    found = parse_bars_table(table)
    if found is None:
        return "ohlcv consolidate"
    width, anchor = found
    option = " --anchor listing" if anchor is Anchor.LISTING else ""
    return f"ohlcv resample --interval {width}{option}"


def require_recorded(store: ObjectStore, there: TablePartitions) -> None:
    """Check that a listing has every partition of a table that is recorded.

    Raises:
        DataRefused: One is missing; the message names it.
        StateDamaged: The manifest is damaged.
    """
    recorded = RecordedTable.load(store, there.table).partitions
    if recorded.keys() <= there.objects.keys():
        return
    # A job may have published or removed a year since the listing.
    for year in sorted(RecordedTable.load(store, there.table).partitions):
        key = partition_key(there.table, year)
        if store.head(key) is None:
            raise DataRefused(
                f"{store.uri}/{key}: missing, though it was published;"
                f" `{remake(there.table)}` rebuilds it"
            )
