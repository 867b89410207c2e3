"""Panels: one field of many symbols side by side, against pandas' pivot of the same bars."""

from __future__ import annotations

import warnings
from datetime import date
from typing import Any

import polars as pl
import pytest
from pandas.testing import assert_frame_equal

from batch.consolidator.job import consolidate
from batch.core.errors import DataRefused, LakeWarning, SettingsError
from batch.core.sessions import Calendar
from batch.lake.panel import widen
from batch.lake.read import Lake
from batch.lake.reference import add_splits
from batch.resampler.job import resample
from batch.storage.local import LocalStore
from tests.support.bars import bar, land_rows, received_after

FIRST, LAST = date(2024, 12, 16), date(2025, 1, 24)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> Lake:
    """A symbol with every session and a split, one with a halt, one listed late."""
    store = LocalStore(tmp_path_factory.mktemp("panel") / "lake")
    rows = []
    for n, session in enumerate(calendar.sessions_between(FIRST, LAST)):
        rows.append(bar("NA", session, 40.0 + n, trades=None if n % 3 else n))
        if not 8 <= n < 16:
            rows.append(bar("AA", session, 20.0 + n))
        if n >= 12:
            rows.append(bar("B", session, 7.0 + n))
    land_rows(store, rows, calendar, received_at=received_after(LAST))
    split = {"symbol": "NA", "date": date(2025, 1, 8), "split_from": 1, "split_to": 4}
    add_splits(store, pl.DataFrame([split]), label="test")
    consolidate(store, calendar=calendar)
    resample(store, intervals=[5], calendar=calendar)
    return Lake(store)


@pytest.mark.parametrize(
    ("field", "interval", "asked"),
    [
        ("close", "1d", {}),
        ("close", "1d", {"adjusted": False, "start": "2024-12-20", "end": "2025-01-15"}),
        ("volume", "5d", {"symbols": ["AA", "NA"]}),
        ("trades", "1d", {}),
        ("complete", "5d", {"complete": False}),
        ("sessions", 5, {"as_of": "2025-01-25", "complete": None}),
    ],
)
def test_a_panel_is_the_pivot_of_the_bars(
    uneven: Lake, field: str, interval: Any, asked: dict[str, Any]
) -> None:
    index = "date" if interval == "1d" else "end"
    bars = uneven.bars(interval, **asked)
    expected = bars.to_pandas().pivot(index=index, columns="symbol", values=field)

    panel = uneven.panel(field, interval, **asked)

    assert panel.height == bars[index].n_unique() > 1
    assert panel.schema == {
        index: pl.Date,
        **dict.fromkeys(expected.columns, bars.schema[field]),
    }
    wide = panel.to_pandas().set_index(index)
    assert_frame_equal(wide.astype(float), expected.rename_axis(columns=None).astype(float))


def test_symbols_stand_in_the_order_in_which_they_were_asked_for(uneven: Lake) -> None:
    panel = uneven.panel("close", "1d", ["NA", "B", "NA"], end="2024-12-31")

    assert panel.columns == ["date", "NA", "B"]
    assert panel["B"].null_count() == panel.height == 11


def test_an_unknown_symbol_is_a_warning_at_the_line_that_asked(uneven: Lake) -> None:
    with pytest.warns(LakeWarning, match="no bars of 'AB'") as seen:
        panel = uneven.panel("close", "5d", ["AB", "AA"])

    assert seen[0].filename == __file__
    assert panel["AB"].is_null().all()
    assert not panel["AA"].has_nulls()


def test_a_field_that_the_bars_do_not_have_names_those_that_they_have(uneven: Lake) -> None:
    with pytest.raises(SettingsError, match=r"field 'cloze': .* split_ratio; did you mean 'close'"):
        uneven.panel("cloze", "1d")
    with pytest.raises(SettingsError, match="field 'sessions'"):
        uneven.panel("sessions", "1d")
    with pytest.raises(SettingsError, match="no bars of 'ZZ'"):
        uneven.panel("close", "1d", "ZZ")


def test_dates_without_bars_give_a_panel_without_rows(uneven: Lake) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LakeWarning)
        panel = uneven.panel("close", "1d", ["AA"], start="2025-06-02")

    assert panel.schema == {"date": pl.Date, "AA": pl.Float64}
    assert panel.is_empty()


def test_a_symbol_with_the_name_of_the_dates_is_refused() -> None:
    rows = pl.DataFrame({"symbol": ["end"], "end": [LAST], "close": [1.0]})

    with pytest.raises(DataRefused, match="symbol 'end'"):
        widen(rows, "close", "end", None)
