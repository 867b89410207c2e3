"""The floor of resampling: reads what ours reads, writes what ours writes, computes nothing.

The rows to write lie ready as uncompressed Arrow files that are mapped into memory, so
that taking them costs no decoding. Reading, writing and publishing go through the same
functions as ours, with the same threads side by side.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from batch.core import schema
from batch.core.layout import bars_table, partition_key
from batch.storage.local import LocalStore
from batch.storage.parquet import TableWriter, stream_batches, with_encoded_symbols

PIECE_ROWS = 1_000_000


def ready_path(ready: Path, table: str, year: int) -> Path:
    """Where the rows of a partition lie ready."""
    return ready / table / f"{year}.arrow"


def main() -> None:
    """Read the daily bars and write the partitions of some intervals."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ready", type=Path, required=True)
    parser.add_argument("--interval", type=int, action="append", required=True)
    given = parser.parse_args()
    store = LocalStore(given.out)
    tables = [bars_table(width) for width in given.interval]
    daily = {int(path.parent.name[5:]): path for path in given.lake.glob("silver/1d/*/*.parquet")}
    years = {int(path.stem) for table in tables for path in (given.ready / table).iterdir()}
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(2) as writers:
        for year in sorted(daily.keys() | years, reverse=True):
            reading = reader.submit(_read, daily.get(year))
            for _ in writers.map(
                lambda table, y=year: _write(store, given.ready, table, y), tables
            ):
                pass
            reading.result()


def _read(path: Path | None) -> None:
    if path is None:
        return
    for _ in stream_batches(path, schema.DAILY.names, rows=PIECE_ROWS):
        pass


def _write(store: LocalStore, ready: Path, table: str, year: int) -> None:
    source = ready_path(ready, table, year)
    if not source.exists():
        return
    with store.scratch() as folder, pa.memory_map(str(source)) as mapped:
        rows = pa.ipc.open_file(mapped)
        path = folder / table
        with TableWriter(path, with_encoded_symbols(schema.BARS), {}) as writer:
            for number in range(rows.num_record_batches):
                writer.append(rows.get_batch(number))
        store.write(partition_key(table, year), path)


if __name__ == "__main__":
    main()
