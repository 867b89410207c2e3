"""Universes: who is in on a session, against DuckDB, and what must be known for it."""

from __future__ import annotations

import warnings
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest

from batch.consolidator.job import consolidate
from batch.core import schema
from batch.core.errors import LakeWarning, SettingsError
from batch.core.frames import conform
from batch.core.layout import TICKERS
from batch.core.sectors import SECTORS, sector_of
from batch.core.sessions import Calendar
from batch.lake.read import Lake
from batch.lake.reference import add_splits, rewrite_reference
from batch.storage.local import LocalStore
from tests.support.bars import bar, land_rows, received_after

FIRST, LAST = date(2024, 11, 1), date(2025, 1, 31)
SPLIT, DELISTED, LEARNT = date(2025, 1, 14), date(2025, 1, 17), date(2025, 1, 10)


def ticker(symbol: str, **columns: Any) -> dict[str, Any]:
    row = dict.fromkeys(schema.TICKERS.names)
    return row | {"symbol": symbol, "valid_from": LEARNT, "active": True, **columns}


TICKERS_KNOWN = [
    ticker("S00", type="CS", sic_code="2834", name="Pills"),
    ticker("S01", type="ETF"),
    ticker("S02", type="CS", sic_code="3571", valid_to=date(2025, 1, 22)),
    ticker("S02", type="ADRC", sic_code="3571", valid_from=date(2025, 1, 22)),
    ticker("S03", type="CS", sic_code="6021", active=False, delisted_date=DELISTED),
    ticker("S04", type="CS", sic_code="none"),
    ticker("S05", type="CS", valid_from=date(2025, 1, 30)),
]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory, calendar: Calendar) -> Lake:
    """Twelve symbols of random prices and halts; one splits, one is delisted, two are equal."""
    store = LocalStore(tmp_path_factory.mktemp("universe") / "lake")
    random, rows = np.random.default_rng(21), []
    for session in calendar.sessions_between(FIRST, LAST):
        if session == date(2025, 1, 2):
            continue  # the lake misses a session
        for n in range(12):
            close = round(2.0 + n + random.random(), 2)
            volume = float(random.integers(1_000, 100_000))
            present = n in (0, 1, 2, 10, 11) or random.random() < 0.3 + 0.07 * n
            if n == 11:
                close, volume = rows[-1]["close"], rows[-1]["volume"]  # as S10, of the line before
            if n == 3:
                present = session < DELISTED
            if present:
                rows.append(bar(f"S{n:02}", session, close, volume=volume))
    land_rows(store, rows, calendar, received_at=received_after(LAST))
    split = {"symbol": "S00", "date": SPLIT, "split_from": 1, "split_to": 10}
    add_splits(store, pl.DataFrame([split]), label="test")
    known = conform(pl.DataFrame(TICKERS_KNOWN, infer_schema_length=None), schema.TICKERS)
    rewrite_reference(store, TICKERS, schema.TICKERS, lambda _: known)
    consolidate(store, calendar=calendar)
    return Lake(store)


@pytest.fixture(autouse=True)
def _gaps_are_warned_of_elsewhere() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LakeWarning)
        yield


DOLLAR_VOLUMES = """
    WITH dates AS (
        SELECT DISTINCT date FROM bars_1d WHERE date BETWEEN DATE '{first}' AND DATE '{on}'
    ), listed AS (SELECT DISTINCT symbol FROM bars_1d WHERE date = DATE '{on}')
    SELECT symbol, median(coalesce(close * volume, 0)) AS dollar_volume
    FROM listed CROSS JOIN dates LEFT JOIN bars_1d USING (symbol, date)
    GROUP BY symbol HAVING dollar_volume >= {least} ORDER BY dollar_volume DESC, symbol
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "on", ["2024-11-01", "2024-12-02", "2025-01-03", "2025-01-16", "2025-01-31"]
)
@pytest.mark.parametrize(("sessions", "least"), [(21, 0), (20, 200_000), (1, 0)])
def test_dollar_volumes_are_the_medians_that_duckdb_finds(
    market: Lake, calendar: Calendar, on: str, sessions: int, least: float
) -> None:
    last = date.fromisoformat(on)
    first = calendar.session_at(calendar.session_no(last) - sessions + 1)
    expected = market.sql(DOLLAR_VOLUMES.format(first=first, on=on, least=least))

    found = market.universe(on, sessions=sessions, min_dollar_volume=least)

    assert found["symbol"].to_list() == expected["symbol"].to_list()
    assert found["dollar_volume"].to_list() == pytest.approx(expected["dollar_volume"].to_list())
    assert found.height > 3


def test_prices_are_those_that_were_traded_and_the_delisted_are_there(market: Lake) -> None:
    eve = market.universe("2025-01-13", min_price=2.0)
    after = market.universe("2025-01-17")

    assert dict(eve.select("symbol", "close").iter_rows())["S00"] > 2.0  # 0.2 on today's scale
    assert "S03" in eve["symbol"]
    assert "S03" not in after["symbol"]


def test_equal_dollar_volumes_are_in_the_order_of_their_symbols(market: Lake) -> None:
    ranked = market.universe("2025-01-31")["symbol"].to_list()

    assert ranked.index("S11") == ranked.index("S10") + 1
    assert market.universe("2025-01-31", size=4)["symbol"].to_list() == ranked[:4]


def test_types_and_sectors_are_those_known_on_the_day(market: Lake) -> None:
    def chosen(on: str, **rules: Any) -> set[str]:
        return set(market.universe(on, **rules)["symbol"])

    assert chosen("2025-01-14", types="CS") - {"S04"} == {"S00", "S02", "S03"}
    assert chosen("2025-01-22", types="CS") - {"S04"} == {"S00"}
    assert chosen("2025-01-22", types=["ADRC", "ETF"]) == {"S01", "S02"}
    assert chosen("2025-01-14", sectors=["BusEq", "Money"]) == {"S02", "S03"}
    row = market.universe("2025-01-14", sectors="Hlth").row(0, named=True)
    assert (row["symbol"], row["type"], row["sector"], row["name"]) == (
        "S00",
        "CS",
        "Hlth",
        "Pills",
    )


def test_hindsight_lets_the_first_rows_stand_in_for_history(market: Lake) -> None:
    with pytest.raises(SettingsError, match=r"types: .* whose first rows are of 2025-01-10; hinds"):
        market.universe("2024-12-16", types="CS")

    found = market.universe("2024-12-16", types="CS", hindsight=True)

    assert {"S00", "S02", "S03"} <= set(found["symbol"]) <= {"S00", "S02", "S03", "S04", "S05"}
    learnt = market.universe("2024-12-16", types="CS", hindsight=True, as_of="2025-02-01")
    assert found.equals(learnt)


def test_without_tickers_a_type_is_refused_rather_than_nobody_let_in(
    lake: LocalStore, calendar: Calendar
) -> None:
    land_rows(lake, [bar("A", LAST)], calendar, received_at=received_after(LAST))
    consolidate(lake, calendar=calendar)

    assert Lake(lake).universe()["symbol"].to_list() == ["A"]
    with pytest.raises(SettingsError, match=r"types: no type of any ticker .* `ohlcv fetch`"):
        Lake(lake).universe(types=["CS"])
    with pytest.raises(SettingsError, match=r"sectors: no sector of any ticker .* --details"):
        Lake(lake).universe(sectors=["Hlth"])


def test_sessions_that_the_lake_misses_are_a_warning(market: Lake) -> None:
    with pytest.warns(LakeWarning, match="has 20 of the 21 sessions from 2024-12-16 to") as seen:
        market.universe("2025-01-16")

    assert seen[0].filename == __file__


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ({"on": "2025-01-18"}, "on 2025-01-18 is not a session .* before is 2025-01-17"),
        ({"on": "2025-01-02"}, "no daily bars of 2025-01-02 .* newest session is 2025-01-31"),
        ({"types": "XX"}, r"types 'XX': no ticker is of such a type .* has CS \(4\)"),
        ({"sectors": "Helth"}, "sector 'Helth': .* did you mean 'Hlth'"),
        ({"min_price": "5"}, "min_price '5': expected US dollars"),
        ({"min_dollar_volume": -1}, "min_dollar_volume -1: expected US dollars"),
        ({"size": 0}, "size 0: expected"),
        ({"sessions": 0}, "sessions 0: must be"),
        ({"hindsight": "no"}, "hindsight 'no': expected True or False"),
    ],
)
def test_wrong_arguments_are_named(market: Lake, rules: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        market.universe(**rules)


@pytest.mark.parametrize(
    ("sic_code", "sector"),
    [
        *(("2080", "NoDur"), ("3711", "Durbl"), ("3531", "Manuf"), ("2911", "Enrgy")),
        *(("2840", "Chems"), ("3571", "BusEq"), ("7372", "BusEq"), ("4813", "Telcm")),
        *(("4931", "Utils"), ("5331", "Shops"), ("2834", "Hlth"), ("6021", "Money")),
        *(("4512", "Other"), ("0100", "NoDur"), ("", None), ("x", None), (None, None)),
    ],
)
def test_a_sic_code_has_a_sector(sic_code: str | None, sector: str | None) -> None:
    assert sector_of(sic_code) == sector


def test_no_sic_code_belongs_to_two_sectors() -> None:
    ranges = sorted(span for spans in SECTORS.values() for span in spans)

    assert all(first <= last for first, last in ranges)
    assert all(one[1] < after[0] for one, after in pairwise(ranges))
