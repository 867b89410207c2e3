"""Parquet in and out: one way to write every table, streaming reads of sorted partitions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
        # Casting, even to the same types, would import the whole compute package.
        fits = batch.schema.equals(self._schema)
        added = pa.Table.from_batches([batch if fits else batch.cast(self._schema)])
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
    with _parquet_errors(label):
        file = pq.ParquetFile(
            BytesIO(source) if isinstance(source, bytes) else source,
            read_dictionary=["symbol"],
        )
        _require_names(file.schema_arrow, columns, label=label)
        found = file.read(columns, use_threads=False)
        # Of a damaged file Arrow may decode indices that point nowhere.
        found.validate(full=True)
        return found


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


def _require_names(found: Any, columns: list[str], *, label: str) -> None:
    missing = [name for name in columns if name not in found.names]
    if missing:
        raise DeliveryUnreadable(
            f"{label}: no column {', '.join(missing)}; it has {', '.join(found.names)}"
        )


@dataclass(frozen=True, slots=True)
class Footer:
    """What a Parquet file says of itself: how many rows, its columns, the table's own entries."""

    rows: int
    schema: Any
    metadata: dict[str, str]

    def require_columns(self, table_schema: Any, *, label: str) -> None:
        """Raise ``DeliveryUnreadable`` where a column of a schema is missing or of another kind."""
        _require_names(self.schema, table_schema.names, label=label)
        no_rows = self.schema.empty_table().select(table_schema.names)
        require_schema(no_rows, table_schema, label=label)


def read_footer(path: Path, *, label: str) -> Footer:
    """Read the footer of a Parquet file.

    Raises:
        DeliveryUnreadable: It is not a whole Parquet file.
    """
    with _parquet_errors(label):
        file = pq.read_metadata(path)
        columns = file.schema.to_arrow_schema()
    entries = {
        key.decode(errors="replace"): value.decode(errors="replace")
        for key, value in (file.metadata or {}).items()
    }
    return Footer(file.num_rows, columns, entries)


def stream_batches(path: Path, table_schema: Any, *, rows: int, label: str) -> Iterator[Any]:
    """Read a partition in tables of about so many rows, symbols as dictionary indices.

    Each has at least one row group. They come in the order of the file, and none is empty.

    Raises:
        DeliveryUnreadable: It is not a whole Parquet file of the schema.
    """
    with (
        _parquet_errors(label),
        pq.ParquetFile(path, read_dictionary=["symbol"], memory_map=True) as file,
    ):
        _require_names(file.schema_arrow, table_schema.names, label=label)
        waiting: list[int] = []
        waiting_rows = 0
        for number in range(file.num_row_groups):
            waiting.append(number)
            waiting_rows += file.metadata.row_group(number).num_rows
            if waiting_rows >= rows or number == file.num_row_groups - 1:
                if waiting_rows:
                    found = file.read_row_groups(waiting, table_schema.names)
                    found.validate(full=True)
                    yield require_schema(found, table_schema, label=label)
                waiting, waiting_rows = [], 0


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Add what to do next to the error of a file that cannot be read."""
    try:
        yield
    except DeliveryUnreadable as err:
        raise DeliveryUnreadable(f"{err}; {advice}") from err


@contextmanager
def _parquet_errors(label: str) -> Iterator[None]:
    try:
        yield
    except KeyError as err:
        raise DeliveryUnreadable(f"{label}: no column symbol") from err
    except (pa.ArrowException, OSError) as err:
        reason = (str(err).splitlines() or [type(err).__name__])[0]
        raise DeliveryUnreadable(f"{label}: not a readable Parquet file: {reason}") from err


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
