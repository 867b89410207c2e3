"""The guard against getting slower, and the comparison of contenders' bars."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from batch.core import schema
from benchmarks import report
from benchmarks.cases import FLOOR, OURS, Case
from benchmarks.compare import BarsDiffer, require_same_bars


def measured(name: str, ours_s: float, floor_s: float) -> Case:
    case = Case(name, name)
    case.spread = {OURS: (ours_s, ours_s * 2), FLOOR: (floor_s, floor_s * 3)}
    return case


def test_the_guard_tells_a_ratio_a_quarter_worse_and_a_case_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = tmp_path / "reference.json"
    reference.write_text(json.dumps({"ratios": {"fold": 1.2, "merge": 2.0, "other": 1.0}}))
    monkeypatch.setattr(report, "REFERENCE", reference)

    worse = report.find_regressions([measured("fold", 1.6, 1.0), measured("merge", 2.4, 1.0)])

    assert set(worse) == {"fold", "other"}
    assert "1.60 x, the reference is 1.20 x" in worse["fold"]


def test_the_committed_reference_guards_both_jobs() -> None:
    ratios = json.loads(report.REFERENCE.read_text())["ratios"]

    assert set(ratios) == {"six-intervals-quick", "consolidation"}
    assert all(ratio > 0 for ratio in ratios.values())


def write_bars(root: Path, *, close: float = 2.0, rows: int = 2) -> Path:
    path = root / "silver/5d/year=2020/data.parquet"
    path.parent.mkdir(parents=True)
    bar = {
        "symbol": "A",
        "start": date(2020, 1, 2),
        "end": date(2020, 1, 8),
        "open": 1.0,
        "high": 3.0,
        "low": 1.0,
        "close": close,
        "volume": 1e6,
        "vwap": None,
        "trades": 7,
        "sessions": 5,
        "complete": True,
        "split_ratio": 1.0,
    }
    frame = pl.DataFrame([bar] * rows).select(schema.BARS.names)
    frame.with_columns(pl.col("vwap").cast(pl.Float64)).write_parquet(path)
    return root


def test_equal_bars_pass_and_rounding_of_sums_is_allowed(tmp_path: Path) -> None:
    ours, theirs = write_bars(tmp_path / "a"), write_bars(tmp_path / "b", close=2.0 + 1e-12)

    assert require_same_bars(ours, theirs, table="5d") == 2


@pytest.mark.parametrize(
    ("changed", "told"), [({"close": 2.1}, "close of 5d"), ({"rows": 1}, "1 bars")]
)
def test_bars_that_differ_are_told(tmp_path: Path, changed: dict[str, float], told: str) -> None:
    ours = write_bars(tmp_path / "a")
    theirs = write_bars(tmp_path / "b", **changed)  # type: ignore[arg-type]

    with pytest.raises(BarsDiffer, match=told):
        require_same_bars(ours, theirs, table="5d")
