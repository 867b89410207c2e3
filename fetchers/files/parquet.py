"""Tables in Parquet, judged by their footer before a value is read.

https://parquet.apache.org/docs/file-format/ describes the format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fetchers.files.kinds import PARQUET
from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused
from fetchers.files.streams import CHUNK_BYTES, Budget
from fetchers.files.text import MOST_COLUMNS, FileTable, too_many_columns

_MOST_FOOTER_BYTES: Final = 16 * 1024 * 1024
_MOST_TEXT_BYTES: Final = 1024
_VALUE_BYTES: Final = 16
"""What a value takes in memory, but for a long text."""

_IS_FLAT: Final = (
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_boolean,
    pa.types.is_date,
    pa.types.is_timestamp,
    pa.types.is_null,
)
_IS_TEXT: Final = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)


class ParquetTable:
    """A table in Parquet whose footer has been read.

    Arrow reads it: of mutated files, Polars' reader made some panic.

    Attributes:
        columns: The names of its columns, in their order.
        is_wide: Never: only a text may have a column per field and symbol.
        is_whole: Whether it is one piece.
    """

    def __init__(self, path: Path, *, label: str, piece_bytes: int) -> None:
        """Read the footer.

        Args:
            path: The file, under any name.
            label: Its address, for messages.
            piece_bytes: How much of the values is read at a time.

        Raises:
            FileRefused: It is damaged or cut off, or has too many columns.
        """
        self.is_wide = False
        self._path = path
        self._label = label
        self._piece_bytes = piece_bytes
        self._require_footer()
        with self._open() as file:
            if file.metadata.num_columns > MOST_COLUMNS:
                raise too_many_columns(file.metadata.num_columns, label)
            found = file.schema_arrow
            self._rows = int(file.metadata.num_rows)
        self.columns: list[str] = found.names
        if len(set(self.columns)) < len(self.columns):
            raise FileRefused(
                Code.NO_COLUMNS, label, "two columns have one name", "name each column differently"
            )
        self._types = dict(zip(found.names, found.types, strict=True))
        self.is_whole = self._rows * len(self.columns) * _VALUE_BYTES <= piece_bytes

    def pieces(self, names: Sequence[str] | None = None) -> Iterator[FileTable]:
        """Read some columns, by default all that are flat, in the order of the rows.

        Raises:
            FileRefused: It is damaged, promises more than a file of its size can hold, or has a
                column of a type that no delivery has.
        """
        if names is None:
            names = [name for name in self.columns if _is_flat(self._types[name])]
        with self._open(names) as file:
            self._require_credible(file.metadata, names)
            batch_rows = max(1, self._piece_bytes // (_VALUE_BYTES * max(1, len(names))))
            waiting = [pl.DataFrame({name: self._empty(name) for name in names})]
            for batch in file.iter_batches(batch_rows, columns=list(names), use_threads=False):
                waiting.append(pl.DataFrame(self._to_polars(batch)).select(names))
                if sum(rows.height for rows in waiting) >= batch_rows:
                    yield FileTable(pl.concat(waiting))
                    waiting = waiting[:1]
        yield FileTable(pl.concat(waiting))

    def _to_polars(self, batch: Any) -> dict[str, Any]:
        """Return the columns of a batch; every text in it was looked at."""
        columns = {}
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if pa.types.is_string_view(values.type):
                values = values.cast(pa.large_string())  # noqa: PLW2901 - the same values
            if pa.types.is_dictionary(values.type):
                self._require_texts(name, values.dictionary)
                values.validate(full=True)
                values = values.dictionary_decode()  # noqa: PLW2901 - the same values
            self._require_texts(name, values)
            columns[name] = pl.from_arrow(values)
        return columns

    def _require_texts(self, name: str, values: Any) -> None:
        if not _is_one_of(_IS_TEXT, values.type):
            return
        values.validate(full=True)  # Arrow's reader takes any bytes for text
        longest = pc.max(pc.binary_length(values)).as_py() or 0
        if longest > _MOST_TEXT_BYTES:
            raise FileRefused(
                Code.NO_COLUMNS,
                self._label,
                f"its column {name!r} has a value of {longest:,} bytes; expected at most"
                f" {_MOST_TEXT_BYTES:,}",
                "leave the column out",
            )

    def _empty(self, name: str) -> Any:
        """Return the column without values.

        Raises:
            FileRefused: Its type is nested or none that a delivery has.
        """
        kind = self._types[name]
        if not _is_flat(kind):
            raise FileRefused(
                Code.NO_COLUMNS,
                self._label,
                f"its column {name!r} has values of type {kind}; expected numbers, text or dates",
                "write the column as one of these",
            )
        try:
            values = pa.array([], kind.value_type if pa.types.is_dictionary(kind) else kind)
            return pl.from_arrow(values)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as err:  # its time zone
            raise FileRefused(
                Code.NO_COLUMNS,
                self._label,
                f"its column {name!r} has values of type {kind}: {err}".splitlines()[0],
                "write dates, or instants in UTC or a time zone such as America/New_York",
            ) from err

    def _require_footer(self) -> None:
        size_bytes = self._path.stat().st_size
        with self._path.open("rb") as file:
            file.seek(max(0, size_bytes - 8))
            end = file.read()
        if not end.endswith(PARQUET):
            raise self._damaged("a Parquet file without its end")
        if int.from_bytes(end[:4], "little") > _MOST_FOOTER_BYTES:
            raise FileRefused(
                Code.TOO_LARGE,
                self._label,
                f"a Parquet footer of more than {_MOST_FOOTER_BYTES // 1024**2} MiB",
                "write it again with larger row groups",
            )

    def _require_credible(self, metadata: Any, names: Sequence[str]) -> None:
        """Refuse what would be a petabyte: repetitions take no bytes in Parquet.

        The metadata of columns is left alone: of a damaged one, Arrow ends the process.
        """
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        uncompressed_bytes = sum(max(0, group.total_byte_size) for group in groups)
        budget = Budget(self._path.stat().st_size, label=self._label)
        budget.take(max(uncompressed_bytes, self._rows * len(names) * 8))

    @contextmanager
    def _open(self, names: Sequence[str] = ()) -> Iterator[Any]:
        """Open the file; what Arrow finds damaged in it is a refusal."""
        texts = [name for name in names if _is_one_of(_IS_TEXT, self._types[name])]
        try:
            with pq.ParquetFile(
                self._path,
                read_dictionary=texts,  # a value that is repeated is there once
                pre_buffer=False,
                buffer_size=CHUNK_BYTES,
                page_checksum_verification=True,
                arrow_extensions_enabled=False,
            ) as file:
                yield file
        except MemoryError as err:
            raise self._damaged("it asks for more memory than there is") from err
        except NotImplementedError as err:
            raise FileRefused(
                Code.NOT_A_TABLE,
                self._label,
                f"Parquet of a kind that is not read: {_first_line(err)}",
                "write it with usual encodings, and compressed with zstd or snappy",
            ) from err
        except (pa.ArrowException, OSError, UnicodeDecodeError, ValueError, IndexError) as err:
            raise self._damaged(_first_line(err)) from err

    def _damaged(self, sentence: str) -> FileRefused:
        return FileRefused(
            Code.TRUNCATED, self._label, f"damaged or cut off: {sentence}", DOWNLOAD_AGAIN
        )


def _is_flat(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _is_one_of((*_IS_FLAT, *_IS_TEXT), kind)


def _is_one_of(tests: Sequence[Any], kind: Any) -> bool:
    return any(test(kind) for test in tests)


def _first_line(err: BaseException) -> str:
    return next(iter(str(err).strip().splitlines()), type(err).__name__)
