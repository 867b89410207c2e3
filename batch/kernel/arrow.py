"""Between NumPy and Arrow without a copy.

``pyarrow.array`` and ``Array.to_numpy`` do the same, but import pandas where it is installed,
which costs every process a quarter of a second and 45 MB that nothing here has a use for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def arrow_of(
    values: npt.NDArray[Any], kind: Any = None, *, valid: npt.NDArray[np.bool_] | None = None
) -> Any:
    """Return an Arrow array that shares the memory of a contiguous array of numbers.

    Truth values are packed into bits instead. ``kind`` is the Arrow type, such as
    ``pa.date32()`` over days, and ``valid`` where a value is not null.
    """
    bits = None if valid is None or valid.all() else _bits(valid)
    if values.dtype == np.bool_:
        return pa.Array.from_buffers(pa.bool_(), len(values), [bits, _bits(values)])
    kind = kind or pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [bits, pa.py_buffer(values)])


def arrow_text(values: Sequence[str]) -> Any:
    """Return an Arrow array of texts."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    return pa.StringArray.from_buffers(
        len(encoded), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))
    )


def numpy_of(column: Any, null: float | None = None) -> npt.NDArray[Any]:
    """Return the numbers of an Arrow array or column; without nulls they share its memory.

    Dates come as days since 1970-01-01. Truth values have no such form.

    Raises:
        ValueError: There are nulls, and ``null``, which is to stand for them, is not given.
    """
    kind = np.int32 if pa.types.is_date32(column.type) else column.type.to_pandas_dtype()
    if isinstance(column, pa.ChunkedArray):
        if not column.num_chunks:
            return np.empty(0, kind)
        column = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
    if not len(column):
        return np.empty(0, kind)
    part = slice(column.offset, column.offset + len(column))
    bits, data = column.buffers()
    found: npt.NDArray[Any] = np.frombuffer(data, dtype=kind)[part]
    if not column.null_count:
        return found
    if null is None:
        raise ValueError(f"{column.null_count} nulls in a column of {column.type}")
    valid = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little")[part]
    return np.where(valid, found, kind(null))


def _bits(flags: npt.NDArray[np.bool_]) -> Any:
    return pa.py_buffer(np.packbits(flags, bitorder="little"))
