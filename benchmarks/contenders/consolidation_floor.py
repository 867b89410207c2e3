"""The floor of consolidation: reads every delivery, writes the same rows, merges nothing."""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from batch.core import schema
from batch.core.layout import partition_key
from batch.storage.local import LocalStore
from batch.storage.parquet import TableWriter, read_table, with_encoded_symbols
from benchmarks.contenders.floor import ready_path


def main() -> None:
    """Read the deliveries of a lake, year by year, and write its daily partitions."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ready", type=Path, required=True)
    given = parser.parse_args()
    store = LocalStore(given.out)
    files = sorted((given.lake / "bronze/daily").glob("*/*.parquet"))
    with ThreadPoolExecutor(2) as pool:
        for year, group in groupby(files, key=lambda path: int(path.parent.name[5:9])):
            for _ in pool.map(_read, group):
                pass
            _write(store, given.ready, year)


def _read(path: Path) -> None:
    read_table(path.read_bytes(), schema.DELIVERY.names, label=path.name)


def _write(store: LocalStore, ready: Path, year: int) -> None:
    with store.scratch() as folder, pa.memory_map(str(ready_path(ready, "1d", year))) as mapped:
        rows = pa.ipc.open_file(mapped)
        path = folder / "partition"
        with TableWriter(path, with_encoded_symbols(schema.DAILY), {}) as writer:
            for number in range(rows.num_record_batches):
                writer.append(rows.get_batch(number))
        store.write(partition_key("1d", year), path)


if __name__ == "__main__":
    main()
