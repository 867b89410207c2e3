"""Silver partitions: listing them, comparing them with a manifest, publishing them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from batch.core import schema
from batch.core.errors import ObjectMissing
from batch.core.layout import (
    DAILY_TABLE,
    RESTATEMENTS_TABLE,
    SILVER,
    parse_partition_key,
    partition_key,
    table_order,
)
from batch.storage.parquet import TableWriter
from batch.storage.store import Expect, Expectation, ObjectStore, StoredObject

DIGEST_ENTRY = "ohlcv.digest"

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class TablePartitions:
    """The partitions of a silver table as one listing shows them, by year, ascending."""

    table: str
    objects: dict[int, StoredObject]

    @classmethod
    def list(cls, store: ObjectStore, table: str) -> TablePartitions:
        """List the partitions of a table."""
        return list_tables(store, f"{SILVER}{table}/").get(table) or cls(table, {})

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of the objects, by year."""
        return tuple(stored.key for stored in self.objects.values())

    @property
    def size_bytes(self) -> int:
        """Length of all objects together."""
        return sum(stored.size_bytes for stored in self.objects.values())

    def expectation(self, year: int) -> Expectation:
        """Return what a conditional write of a year should expect."""
        there = self.objects.get(year)
        return there.version if there else Expect.NOTHING

    def holds(self, store: ObjectStore, year: int, version: str, bytes_digest: str) -> bool:
        """Return whether a year's object is the one that a record describes.

        Versions are compared first; where they differ, as in a copied lake, the digest of all
        bytes decides. A record without one was written by a version that kept none: its
        partition is made again.
        """
        there = self.objects.get(year)
        if there is None or not bytes_digest:
            return False
        if there.version == version:
            return True
        try:
            with store.local_copy(there.key) as path:
                return digest_bytes(path) == bytes_digest
        except ObjectMissing:
            return False


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A partition's file as it was stored: its size, the store's version, a digest of its bytes."""

    size_bytes: int
    version: str
    bytes_digest: str


@dataclass(frozen=True, slots=True)
class PublishedPartition:
    """A partition that a job wrote."""

    table: str
    year: int
    rows: int
    size_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Return it as results and run reports show it."""
        return {"table": self.table, "year": self.year, "rows": self.rows, "bytes": self.size_bytes}


def list_tables(store: ObjectStore, prefix: str = SILVER) -> dict[str, TablePartitions]:
    """List the silver tables by name: the narrowest bars first, other tables last."""
    tables: dict[str, TablePartitions] = {}
    for item in store.list(prefix):
        if found := parse_partition_key(item.key):
            table, year = found
            tables.setdefault(table, TablePartitions(table, {})).objects[year] = item
    return {table: tables[table] for table in sorted(tables, key=table_order)}


def table_schema(table: str) -> Any:
    """Return the Arrow schema of a silver table by its name."""
    if table == DAILY_TABLE:
        return schema.DAILY
    return schema.RESTATEMENTS if table == RESTATEMENTS_TABLE else schema.BARS


def publish_partition(
    store: ObjectStore,
    table: str,
    year: int,
    batches: list[Any],
    partition_schema: Any,
    metadata: dict[str, str],
    expect: Expectation,
) -> WrittenFile:
    """Write a partition that is in memory, if what is there is what was expected."""
    with store.scratch() as folder:
        path = folder / "partition"
        with TableWriter(path, partition_schema, metadata) as writer:
            for batch in batches:
                writer.append(batch)
        return publish_file(store, table, year, path, expect)


def publish_file(
    store: ObjectStore, table: str, year: int, path: Path, expect: Expectation
) -> WrittenFile:
    """Publish a partition that was written to a local file, which is consumed."""
    bytes_digest = digest_bytes(path)
    stored = store.write(partition_key(table, year), path, expect=expect)
    return WrittenFile(stored.size_bytes, stored.version, bytes_digest)


def digest_bytes(path: Path) -> str:
    """Return length and CRC-32 of a whole file: one flipped bit changes it.

    It guards against decay, as checksums of Parquet pages do, at a third of the time that a
    cryptographic digest takes.
    """
    length, checksum = 0, 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK_BYTES):
            length += len(chunk)
            checksum = crc32(chunk, checksum)
    return f"{length}-{checksum:08x}"


def table_metadata(
    *, interval: str, anchor: str, calendar: str, newest: str, results_version: str, digest: str
) -> dict[str, str]:
    """Return what every silver file says of itself.

    ``interval`` is such as ``5d``, ``calendar`` the exchange and a digest of the sessions that
    the file was cut by, ``newest`` its newest session (ISO date), and ``digest`` that of what it
    was made from or holds.
    """
    return {
        "ohlcv.interval": interval,
        "ohlcv.anchor": anchor,
        "ohlcv.calendar": calendar,
        "ohlcv.newest_session": newest,
        "ohlcv.code_version": results_version,
        DIGEST_ENTRY: digest,
    }
