"""The checks find what they are for, and ignore what only resembles it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from batch.audit.quality import Quality, check_lake
from batch.consolidator.job import consolidate
from batch.core import schema
from batch.core.errors import SettingsError
from batch.core.layout import TICKERS
from batch.core.sessions import Calendar
from batch.lake import Lake
from batch.lake.reference import add_splits
from batch.runtime.command import run_main
from batch.storage.local import LocalStore
from batch.storage.parquet import table_bytes
from orchestration.cli.main import cli
from tests.support.bars import bar, land_rows, received_after
from tests.support.corpus import land_corpus

FIRST, LAST = date(2025, 2, 3), date(2025, 4, 30)


def checked(
    store: LocalStore,
    calendar: Calendar,
    series: dict[str, list[dict[str, Any] | None]],
    splits: list[tuple[str, date, float, float]] | None = None,
) -> Quality:
    """Check a lake in which each symbol has one bar per session; None is an absent one."""
    sessions = calendar.sessions_between(FIRST, LAST)
    for number, session in enumerate(sessions):
        values = {name: bars[number] for name, bars in series.items() if number < len(bars)}
        rows = [bar(name, session, **given) for name, given in values.items() if given is not None]
        if rows:
            land_rows(store, rows, calendar, received_at=received_after(session))
    if splits:
        columns = ["symbol", "date", "split_from", "split_to"]
        add_splits(store, pl.DataFrame(splits, columns, orient="row"), label="test")
    consolidate(store, calendar=calendar)
    return check_lake(Lake(store), calendar=calendar)


def flat(close: float, count: int, **values: Any) -> list[dict[str, Any] | None]:
    """Return bars about a price; each differs a little, so that none is stale."""
    return [
        {
            "close": close * (1 + 0.001 * (n % 3)),
            "high": close * 1.01,
            "low": close * 0.99,
            "open": close,
            "volume": 1e4 + n,
            **values,
        }
        for n in range(count)
    ]


def found(quality: Quality, check: str) -> list[tuple[str | None, date]]:
    return quality.findings.filter(check=check).select("symbol", "date").rows()


def test_a_quiet_market_has_no_findings(lake: LocalStore, calendar: Calendar) -> None:
    quality = checked(lake, calendar, {"A": flat(10.0, 62), "B": flat(99.0, 62)})

    assert quality.findings.is_empty(), quality.findings
    assert set(quality.counts) == {
        "unrecorded_split",
        "split_without_step",
        "undone_step",
        "stale_close",
        "repeated_bar",
        "zero_volume",
        "coverage_drop",
        "vanished",
        "held_back",
    }
    assert (quality.bars, quality.symbols) == (122, 2)


@pytest.mark.slow
@pytest.mark.parametrize("ratio", [2.0, 3.0, 10.0, 0.1, 0.04])
def test_a_split_missing_from_the_record_is_found(
    lake: LocalStore, calendar: Calendar, ratio: float
) -> None:
    after = flat(60.0 / ratio, 32, volume=1e4 * ratio)
    session = calendar.sessions_between(FIRST, LAST)[30]

    quality = checked(lake, calendar, {"A": flat(60.0, 30) + after, "B": flat(9.0, 62)})

    rows = quality.findings.filter(check="unrecorded_split")
    assert rows.select("symbol", "date").rows() == [("A", session)]
    assert rows["value"][0] == pytest.approx(ratio)


def test_a_recorded_split_is_no_finding(lake: LocalStore, calendar: Calendar) -> None:
    session = calendar.sessions_between(FIRST, LAST)[30]
    after = flat(30.0, 32, volume=2e4)

    quality = checked(lake, calendar, {"A": flat(60.0, 30) + after}, [("A", session, 1, 2)])

    assert not {"unrecorded_split", "split_without_step"} & set(quality.findings["check"])


def test_a_crash_on_heavy_trading_is_no_split(lake: LocalStore, calendar: Calendar) -> None:
    crash = flat(30.0, 32)
    crash[0] = {**crash[0], "volume": 4e5}  # type: ignore[dict-item]

    quality = checked(lake, calendar, {"A": flat(60.0, 30) + crash})

    assert found(quality, "unrecorded_split") == []


def test_a_split_that_the_price_does_not_show_is_found(
    lake: LocalStore, calendar: Calendar
) -> None:
    session = calendar.sessions_between(FIRST, LAST)[30]

    quality = checked(lake, calendar, {"A": flat(60.0, 62)}, [("A", session, 1, 2)])

    assert found(quality, "split_without_step") == [("A", session)]
    assert "a split of 2 for 1 is on record" in quality.findings["told"][0]


def test_a_misplaced_decimal_point_is_an_undone_step_and_no_split(
    lake: LocalStore, calendar: Calendar
) -> None:
    series = flat(50.0, 62)
    series[30] = flat(5.0, 1)[0]
    session = calendar.sessions_between(FIRST, LAST)[30]

    quality = checked(lake, calendar, {"A": series})

    assert found(quality, "undone_step") == [("A", session)]
    assert found(quality, "unrecorded_split") == []


def test_a_frozen_close_over_traded_sessions_is_stale(lake: LocalStore, calendar: Calendar) -> None:
    frozen = [
        {"close": 20.0, "open": 20.0, "high": 21.0 + n / 100, "low": 19.0, "volume": 1e4 + n}
        for n in range(10)
    ]
    session = calendar.sessions_between(FIRST, LAST)[30]

    quality = checked(lake, calendar, {"A": flat(20.5, 30) + frozen + flat(20.5, 22)})

    assert found(quality, "stale_close") == [("A", session)]


def test_a_bar_repeated_the_next_day_is_found(lake: LocalStore, calendar: Calendar) -> None:
    series = flat(50.0, 62)
    series[31] = series[30]
    session = calendar.sessions_between(FIRST, LAST)[31]

    quality = checked(lake, calendar, {"A": series})

    assert found(quality, "repeated_bar") == [("A", session)]


@pytest.mark.slow
@pytest.mark.parametrize(("idle", "findings"), [(9, 0), (10, 1)])
def test_a_run_without_volume_is_found_from_ten_sessions_on(
    lake: LocalStore, calendar: Calendar, idle: int, findings: int
) -> None:
    series = flat(50.0, 30) + flat(50.0, idle, volume=0.0) + flat(50.0, 62 - 30 - idle)

    quality = checked(lake, calendar, {"A": series})

    assert len(found(quality, "zero_volume")) == findings


def test_a_drop_in_coverage_is_found(lake: LocalStore, calendar: Calendar) -> None:
    series = {f"S{n:02}": flat(10.0 + n, 62) for n in range(20)}
    for name in ("S03", "S04"):
        series[name][40] = None
    session = calendar.sessions_between(FIRST, LAST)[40]

    quality = checked(lake, calendar, series)

    rows = quality.findings.filter(check="coverage_drop")
    assert rows.select("symbol", "date", "value").rows() == [(None, session, 0.9)]


def test_a_symbol_that_vanishes_is_found_unless_its_delisting_is_on_record(
    lake: LocalStore, calendar: Calendar
) -> None:
    known = [
        {"symbol": "GONE", "valid_from": FIRST, "active": False},
        {"symbol": "LOST", "valid_from": date(2019, 1, 1), "valid_to": FIRST, "active": False},
        {"symbol": "LOST", "valid_from": FIRST, "active": True},
    ]
    lake.write(TICKERS, table_bytes(pa.Table.from_pylist(known, schema.TICKERS)))
    series = {"A": flat(9.0, 62), "GONE": flat(9.0, 40), "LOST": flat(9.0, 40)}

    quality = checked(lake, calendar, series)

    sessions = calendar.sessions_between(FIRST, LAST)
    assert found(quality, "vanished") == [("LOST", sessions[39])]


def test_checks_and_dates_can_be_chosen(lake: LocalStore, calendar: Calendar) -> None:
    series = flat(50.0, 62)
    series[31], series[50] = series[30], series[49]
    checked(lake, calendar, {"A": series})
    sessions = calendar.sessions_between(FIRST, LAST)

    late = check_lake(Lake(lake), names=["repeated_bar"], since=sessions[32], calendar=calendar)

    assert late.counts == {"repeated_bar": 1}
    with pytest.raises(SettingsError, match="no check named 'nonsense'; the checks are unrec"):
        check_lake(Lake(lake), names=["nonsense"], calendar=calendar)


def test_the_command_prints_json_and_is_strict_when_asked(
    lake: LocalStore, calendar: Calendar, capsys: pytest.CaptureFixture[str]
) -> None:
    series = flat(50.0, 62)
    series[31] = series[30]
    checked(lake, calendar, {"A": series})

    code = run_main(cli, ["quality", "--lake", lake.uri, "--json"], name="ohlcv")
    printed = json.loads(capsys.readouterr().out)
    strict = run_main(cli, ["quality", "--lake", lake.uri, "--strict"], name="ohlcv")

    assert (code, strict) == (0, 3)
    assert printed["counts"]["repeated_bar"] == 1
    assert printed["findings"][0]["check"] == "repeated_bar"
    assert "the bar before again" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.corpus
def test_the_real_splits_are_found_again_when_the_record_lacks_them(
    lake: LocalStore, corpus: Path, calendar: Calendar
) -> None:
    """July 2015: a split of 7 for 1, a decimal point gone astray, reverse splits."""
    land_corpus(lake, corpus, calendar, date(2015, 6, 11), date(2015, 9, 15))
    consolidate(lake, calendar=calendar)
    with_record = check_lake(Lake(lake), calendar=calendar)
    lake.delete(["reference/splits/data.parquet"])
    consolidate(lake, full=True, calendar=calendar)

    without = check_lake(Lake(lake), names=["unrecorded_split"], calendar=calendar)

    real = {("NFLX", date(2015, 7, 15)), ("KR", date(2015, 7, 14)), ("ZGNX", date(2015, 7, 1))}
    assert real <= set(found(without, "unrecorded_split"))
    assert not real & set(found(with_record, "unrecorded_split"))
    assert ("HT", date(2015, 6, 23)) in found(with_record, "unrecorded_split")
    assert ("SHAK", date(2015, 9, 4)) in found(with_record, "undone_step")
    assert found(with_record, "split_without_step") == []
