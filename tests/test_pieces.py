"""A daily partition is folded in pieces; where they are cut must not show."""

from __future__ import annotations

import itertools
import subprocess
import sys
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.kernel.columns import DailyColumns, concat_columns, whole_symbols
from tests.support.bars import bar
from tests.support.lakes import Receipt, new_lake, rows_of

DAY = date(2024, 1, 2)

SYMBOLS = ("A", "AA", "Ba", "NA", "Zoé")


def partition(rows_of_each: list[int]) -> DailyColumns:
    """Return some rows of each symbol, every one of another day and price."""
    code = np.repeat(np.arange(len(rows_of_each), dtype=np.int32), rows_of_each)
    number = np.arange(len(code))
    price = number + 1.0
    table = pa.table(
        {
            "symbol": [SYMBOLS[place] for place in code],
            "date": pa.array(number.astype(np.int32)).cast(pa.date32()),
            **dict.fromkeys(("open", "high", "low", "close", "volume", "vwap"), price),
            "trades": number,
        }
    )
    return DailyColumns.from_table(table)


@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=len(SYMBOLS)).filter(any),
    st.lists(st.integers(0, 30), max_size=6),
)
def test_pieces_hold_whole_symbols_and_every_row_once(
    rows_of_each: list[int], cuts: list[int]
) -> None:
    rows = partition(rows_of_each)
    table = pa.Table.from_batches([rows.to_batch()])
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(rows)}), len(rows)]
    tables = [table.slice(low, high - low) for low, high in itertools.pairwise(edges)]

    pieces = list(whole_symbols(tables))

    together = concat_columns(pieces)
    assert pa.Table.from_batches([together.to_batch()]).equals(
        pa.Table.from_batches([rows.with_own_symbols().to_batch()])
    )
    names = [name for piece in pieces for name in piece.symbols.to_pylist()]
    assert names == sorted(set(names))


AT_THE_END = """
import atexit, sys
from orchestration.cli.main import main

atexit.register(lambda: print("pandas" in sys.modules, file=sys.stderr))
main()
"""


@pytest.mark.slow
def test_jobs_do_not_import_pandas() -> None:
    with new_lake() as lake:
        lake.receive(Receipt(datetime(2024, 1, 3, 1, tzinfo=UTC), "test", (bar("A", DAY),)))
        for command in ("consolidate", "resample"):
            ran = subprocess.run(
                [sys.executable, "-c", AT_THE_END, command, "--lake", lake.store.uri],
                capture_output=True,
                text=True,
                check=True,
            )

            assert ran.stderr.splitlines()[-1] == "False"
        assert len(rows_of(lake.store, "3d")) == 1
