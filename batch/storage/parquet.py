"""Parquet in and out: one way to write every table, streaming reads of sorted partitions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core.errors import DeliveryUnreadable
from batch.kernel.arrow import arrow_of, numpy_of
from batch.storage.disk_space import full_disk_raised

ROW_GROUP_ROWS = 131_072
"""Rows per row group: about 128k, so that one symbol's rows lie in one or two of them."""

_REPETITIVE = (
    "symbol",
    "date",
    "start",
    "end",
    "sessions",
    "split_ratio",
    "field",
    "source",
    "reason",
)


def with_encoded_symbols(table_schema: Any) -> Any:
    """Return a schema whose symbol column holds dictionary indices in memory.

    Files hold plain text either way: the Arrow schema is not stored in them.
    """
    at = table_schema.get_field_index("symbol")
    encoded = pa.dictionary(pa.int32(), pa.string())
    return table_schema.set(at, table_schema.field(at).with_type(encoded))


class TableWriter:
    """Writes one Parquet file in row groups of :data:`ROW_GROUP_ROWS`.

    The bytes depend on the rows, the schema and the metadata alone, never on the sizes
    of the batches appended.

    Raises:
        StoreFull: From every method: the disk has no room for the file.
    """

    def __init__(self, path: Path, table_schema: Any, metadata: dict[str, str]) -> None:
        self._path = path
        self._schema = table_schema.remove_metadata()
        self._waiting = pa.Table.from_batches([], self._schema)
        self.rows = 0
        with full_disk_raised(path):
            self._writer = pq.ParquetWriter(
                path,
                self._schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=[name for name in _REPETITIVE if name in table_schema.names],
                write_statistics=True,
                store_schema=False,
            )
        self._writer.add_key_value_metadata(metadata)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: object, value: object, trace: object) -> None:
        if kind is None:
            self.close()
        else:
            with full_disk_raised(self._path):
                self._writer.close()

    def close(self) -> None:
        """Write the rows still held, and the footer."""
        if self._waiting.num_rows:
            self._write(self._waiting)
            self._waiting = pa.Table.from_batches([], self._schema)
        with full_disk_raised(self._path):
            self._writer.close()

    def append(self, batch: Any) -> None:
        """Add rows: a record batch with the schema's columns."""
        self.rows += batch.num_rows
        added = pa.Table.from_batches([batch.cast(self._schema)])
        self._waiting = pa.concat_tables([self._waiting, added])
        while self._waiting.num_rows >= ROW_GROUP_ROWS:
            self._write(self._waiting.slice(0, ROW_GROUP_ROWS))
            self._waiting = self._waiting.slice(ROW_GROUP_ROWS)

    def _write(self, rows: Any) -> None:
        with full_disk_raised(self._path):
            self._writer.write_table(_compact_symbols(rows), ROW_GROUP_ROWS)


def table_bytes(table: Any) -> bytes:
    """Return a small table as the bytes of a Parquet file."""
    sink = BytesIO()
    with TableWriter(sink, table.schema, {}) as writer:  # type: ignore[arg-type]
        for batch in table.to_batches():
            writer.append(batch)
    return sink.getvalue()


def read_table(source: Path | bytes, columns: list[str], *, label: str) -> Any:
    """Read some columns of a local Parquet file or its content, symbols as dictionary indices.

    Raises:
        DeliveryUnreadable: It is not a whole Parquet file, or a column is missing.
    """
    try:
        file = pq.ParquetFile(
            BytesIO(source) if isinstance(source, bytes) else source,
            read_dictionary=["symbol"],
        )
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise DeliveryUnreadable(
                f"{label}: no column {', '.join(missing)}; it has"
                f" {', '.join(file.schema_arrow.names)}"
            )
        return file.read(columns, use_threads=False)
    except KeyError as err:
        raise DeliveryUnreadable(f"{label}: no column symbol") from err
    except (pa.ArrowException, OSError) as err:
        reason = str(err).splitlines()[0]
        raise DeliveryUnreadable(f"{label}: not a readable Parquet file: {reason}") from err


def require_schema(table: Any, table_schema: Any, *, label: str) -> Any:
    """Return what :func:`read_table` did with a schema's types, columns in the same order.

    Numbers of another width are widened; symbols keep their dictionary indices.

    Raises:
        DeliveryUnreadable: A column holds another kind of value, numbers that do not fit,
            or nulls where there may be none.
    """
    columns = []
    for column, field in zip(table.columns, table_schema, strict=True):
        found, wanted = column.type, field.type
        if pa.types.is_dictionary(found):
            found = found.value_type
        if _kind(found) != _kind(wanted):
            raise DeliveryUnreadable(
                f"{label}: column {field.name} holds {found}, expected {wanted}"
            )
        if column.null_count and not field.nullable:
            raise DeliveryUnreadable(
                f"{label}: column {field.name} has {column.null_count} nulls, expected none"
            )
        if _kind(wanted) != "text" and column.type != wanted:
            try:
                column = column.cast(wanted)  # noqa: PLW2901 - the same column, widened
            except pa.ArrowInvalid as err:
                raise DeliveryUnreadable(f"{label}: column {field.name}: {err}") from err
        columns.append(column)
    return pa.table(columns, names=table_schema.names)


def _kind(found: Any) -> str:
    if pa.types.is_string(found) or pa.types.is_large_string(found):
        return "text"
    if pa.types.is_integer(found) or pa.types.is_floating(found):
        return "number"
    return str(found)


@dataclass(frozen=True, slots=True)
class Footer:
    """What a Parquet file says of itself: how many rows, and the table's own entries."""

    rows: int
    metadata: dict[str, str]


def read_footer(path: Path, *, label: str) -> Footer:
    """Read the footer of a Parquet file.

    Raises:
        DeliveryUnreadable: It is not a whole Parquet file.
    """
    try:
        file = pq.read_metadata(path)
    except (pa.ArrowException, OSError) as err:
        raise DeliveryUnreadable(f"{label}: not a readable Parquet file: {err}") from err
    entries = {key.decode(): value.decode() for key, value in (file.metadata or {}).items()}
    return Footer(file.num_rows, entries)


def stream_batches(path: Path, columns: list[str], *, rows: int) -> Iterator[Any]:
    """Read a partition in tables of about so many rows, symbols as dictionary indices.

    Each has at least one row group. They come in the order of the file, and none is empty.
    """
    with pq.ParquetFile(path, read_dictionary=["symbol"], memory_map=True) as file:
        waiting: list[int] = []
        waiting_rows = 0
        for number in range(file.num_row_groups):
            waiting.append(number)
            waiting_rows += file.metadata.row_group(number).num_rows
            if waiting_rows >= rows or number == file.num_row_groups - 1:
                if waiting_rows:
                    yield file.read_row_groups(waiting, columns)
                waiting, waiting_rows = [], 0


def _compact_symbols(rows: Any) -> Any:
    """Keep only the symbols that occur, so that the bytes depend on the rows alone."""
    at = rows.schema.get_field_index("symbol")
    if at < 0 or not pa.types.is_dictionary(rows.schema.field(at).type):
        return rows
    encoded = pa.concat_arrays(rows.column(at).unify_dictionaries().chunks)
    code = numpy_of(encoded.indices)
    used = np.flatnonzero(np.bincount(code, minlength=len(encoded.dictionary)))
    place = np.empty(len(encoded.dictionary), dtype=np.int32)
    place[used] = np.arange(len(used), dtype=np.int32)
    compact = pa.DictionaryArray.from_arrays(
        arrow_of(place[code]), encoded.dictionary.take(arrow_of(used))
    )
    return rows.set_column(at, rows.schema.field(at), compact)
