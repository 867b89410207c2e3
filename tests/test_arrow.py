"""Numbers and texts go to Arrow and back as pyarrow itself would take them."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.kernel.arrow import arrow_of, arrow_text, numpy_of

NUMBERS = st.lists(st.one_of(st.none(), st.integers(0, 2**62)), max_size=40)


@given(NUMBERS, st.integers(0, 40), st.integers(0, 40))
def test_numbers_come_from_any_slice_and_any_chunks(
    values: list[int | None], start: int, cut: int
) -> None:
    array = pa.array(values, pa.int64()).slice(start)
    column = pa.chunked_array([array.slice(0, cut), array.slice(cut)])

    wanted = [-1 if value is None else value for value in values[start:]]

    assert numpy_of(array, -1).tolist() == wanted
    assert numpy_of(column, -1).tolist() == wanted


@given(st.lists(st.booleans(), max_size=40), st.data())
def test_arrays_become_what_pyarrow_makes_of_them(flags: list[bool], data: st.DataObject) -> None:
    values = np.array([data.draw(st.floats(allow_nan=False)) for _ in flags], dtype=np.float64)
    valid = np.array(flags, np.bool_)
    wanted = [value if flag else None for value, flag in zip(values.tolist(), flags, strict=True)]

    assert arrow_of(values).equals(pa.array(values))
    assert arrow_of(valid).equals(pa.array(flags, pa.bool_()))
    assert arrow_of(values, valid=valid).equals(pa.array(wanted, pa.float64()))


@pytest.mark.slow
@given(st.lists(st.text(max_size=5), max_size=20))
def test_texts_become_what_pyarrow_makes_of_them(texts: list[str]) -> None:
    assert arrow_text(texts).equals(pa.array(texts, pa.string()))


def test_dates_are_days() -> None:
    days = np.array([-1, 0, 20_000], np.int32)

    assert arrow_of(days, pa.date32()).to_pylist()[1] == date(1970, 1, 1)
    assert numpy_of(arrow_of(days, pa.date32())).tolist() == days.tolist()


def test_a_null_that_nothing_stands_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 nulls in a column of double"):
        numpy_of(pa.array([1.0, None]))
