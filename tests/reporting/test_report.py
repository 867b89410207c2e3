"""The report: every fact on it, against lakes whose facts are known."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from batch.audit.checks import unrecorded_splits, with_neighbours
from batch.consolidator.job import consolidate
from batch.core.sessions import Calendar
from batch.lake.read import Lake
from batch.lake.reference import add_splits
from batch.resampler.job import resample
from batch.runtime.progress import Silent
from batch.runtime.run_report import RunReport
from batch.storage.local import LocalStore
from reporting.lake_facts import (
    SessionCoverage,
    count_coverage,
    gather_facts,
    refused_reasons,
    restated_fields,
    restated_months,
)
from reporting.lake_page import level_of, outcome_text, report_page
from reporting.moves import Moves, find_moves
from tests.reporting.conftest import Ohlcv
from tests.support.bars import bar, land_rows, received_after
from tests.support.browser import ask_page

NOW = datetime(2024, 3, 1, 12, 0, tzinfo=UTC)
NO_SPLITS = pl.DataFrame(schema={"symbol": pl.String, "date": pl.Date, "ratio": pl.Float64})


def sessions_from(calendar: Calendar, first: date, count: int) -> list[date]:
    low = calendar.session_no(first)
    return [calendar.session_at(low + n) for n in range(count)]


def daily(
    calendar: Calendar, closes: dict[str, list[float | None]], **ratios: float
) -> pl.LazyFrame:
    """Return daily bars from 2024-01-02 on; None is a session without a bar."""
    rows = [
        {
            "symbol": symbol,
            "date": session,
            "open": float(close),
            "high": float(close),
            "low": float(close),
            "close": float(close),
            "volume": 1e4 / float(close),
            "split_ratio": ratios.get(f"{symbol}_{n}", 1.0),
        }
        for symbol, values in closes.items()
        for n, (session, close) in enumerate(
            zip(sessions_from(calendar, date(2024, 1, 2), len(values)), values, strict=True)
        )
        if close is not None
    ]
    return pl.DataFrame(rows).lazy()


def moves_in(
    calendar: Calendar,
    closes: dict[str, list[float | None]],
    splits: pl.DataFrame = NO_SPLITS,
    **ratios: float,
) -> Moves:
    """Return the moves of symbols that all lie in one group."""
    bars = daily(calendar, closes, **ratios).collect()
    return find_moves([with_neighbours(bars, calendar)], splits, calendar)


def test_coverage_counts_against_the_symbols_listed_around_a_session(calendar: Calendar) -> None:
    bars = daily(calendar, {"A": [1, 1, None, 1], "B": [None, 1, None, 1], "C": [1, 1, None, None]})

    coverage = count_coverage(bars, calendar)

    assert [(found.present, found.expected) for found in coverage.sessions] == [
        (2, 2),
        (3, 3),
        (0, 2),
        (2, 2),
    ]
    assert coverage.empty_sessions == [date(2024, 1, 4)]
    assert coverage.patchy == [("A", 4, 1), ("B", 3, 1)]
    assert (coverage.symbols, coverage.rows) == (3, 7)


@pytest.mark.parametrize(
    ("present", "expected", "heat"), [(0, 9, 0), (8, 10, 1), (95, 100, 2), (99, 100, 3), (9, 9, 4)]
)
def test_the_heat_of_a_session_is_its_share_of_symbols(
    present: int, expected: int, heat: int
) -> None:
    assert level_of(SessionCoverage(date(2024, 1, 2), present, expected)) == heat


def test_a_split_on_record_is_no_move(calendar: Calendar) -> None:
    moves = moves_in(calendar, {"A": [100] * 6 + [10, 10]}, A_6=10.0)

    assert moves.count == 0


def test_a_missing_split_is_shown_with_its_ratio_and_one_on_record_nearby(
    calendar: Calendar,
) -> None:
    closes: dict[str, list[float | None]] = {
        "A": [100] * 6 + [10.1, 10, 10],
        "B": [4] * 6 + [40, 40, 40],
    }
    splits = pl.DataFrame({"symbol": ["A"], "date": [date(2024, 1, 12)], "ratio": [10.0]})

    moves = moves_in(calendar, closes, splits)

    shown = [(m.symbol, m.session, m.looks_like, m.on_record) for m in moves.like_splits]
    assert sorted(shown) == [
        ("A", date(2024, 1, 10), "10:1", "10:1 on 2024-01-12"),
        ("B", date(2024, 1, 10), "1:10", ""),
    ]


def test_the_page_and_the_check_find_the_same_missing_splits(calendar: Calendar) -> None:
    closes: dict[str, list[float | None]] = {
        "A": [90] * 6 + [60, 60, 60],
        "B": [50] * 6 + [10, 10, 10],
        "C": [50] * 6 + [20.6, 20.6, 20.6],
    }
    bars = with_neighbours(daily(calendar, closes).collect(), calendar)

    moves = find_moves([bars], NO_SPLITS, calendar)

    assert [m.symbol for m in moves.others] == ["C"]
    assert [(m.symbol, m.session) for m in moves.like_splits] == (
        unrecorded_splits(bars).select("symbol", "date").rows()
    )


def test_a_price_that_went_and_came_back_is_one_move_and_no_split(calendar: Calendar) -> None:
    moves = moves_in(calendar, {"A": [100, 10, 10, 101, 101]})

    assert (moves.like_splits_count, moves.others_count) == (0, 1)
    assert moves.others[0].session == date(2024, 1, 3)
    assert moves.others[0].back_on == date(2024, 1, 5)


def test_the_step_of_a_cent_does_not_look_like_a_split(calendar: Calendar) -> None:
    moves = moves_in(calendar, {"A": [0.01] * 6 + [0.02, 0.02]})

    assert (moves.like_splits_count, moves.others_count) == (0, 1)


def test_another_symbols_price_is_not_the_one_before(calendar: Calendar) -> None:
    moves = moves_in(calendar, {"A": [100, 100], "B": [1, 1]})

    assert moves.count == 0


def test_the_moves_of_every_group_are_ranked_together(calendar: Calendar) -> None:
    groups = [
        with_neighbours(daily(calendar, closes).collect(), calendar)
        for closes in ({"A": [10, 30], "B": [7] * 6 + [35, 35]}, {"C": [10, 40], "D": [10, 20]})
    ]

    moves = find_moves(groups, NO_SPLITS, calendar, most=2)

    assert [m.symbol for m in moves.like_splits] == ["B"]
    assert [m.symbol for m in moves.others] == ["C", "A"]
    assert (moves.like_splits_count, moves.others_count) == (1, 3)


def test_the_end_of_a_year_hides_no_move(lake: LocalStore, calendar: Calendar) -> None:
    sessions = sessions_from(calendar, date(2023, 12, 20), 9)
    for session in sessions:
        close = 100.0 if session.year == 2023 else 20.0
        rows = [bar("A", session, close), bar("B", session, 7.0)]
        land_rows(lake, rows, calendar, received_at=received_after(session))
    consolidate(lake, calendar=calendar)

    moves = gather_facts(Lake(lake), now=NOW, progress=Silent()).moves

    (move,) = [*moves.like_splits, *moves.others]
    assert (move.symbol, move.session, move.factor) == ("A", date(2024, 1, 2), 0.2)


def test_the_small_drawing_is_on_one_scale(calendar: Calendar) -> None:
    closes: dict[str, list[float | None]] = {"A": [80, 80, 20, 69, 34.5, 34.5]}

    (move,) = moves_in(calendar, closes, A_2=4.0, A_4=2.0).others

    assert move.session == date(2024, 1, 5)
    assert (move.before, move.after) == (20, 69)
    assert move.closes[: move.at + 1] == (10, 10, 10, 34.5)


def test_restatements_are_counted_by_field_and_month_of_receipt() -> None:
    when = [datetime(2024, month, 5, tzinfo=UTC) for month in (1, 1, 2)]
    rows = pl.DataFrame(
        {
            "field": ["close", "volume", "close"],
            "old": [10.0, 0.0, 20.0],
            "new": [11.0, 50.0, 22.2],
            "received_at": when,
        }
    )

    close, volume = restated_fields(rows).iter_rows()
    months = restated_months(rows)

    assert close == ("close", 2, pytest.approx(0.105), pytest.approx(0.11))
    assert volume == ("volume", 1, None, None)
    assert months.rows() == [("2024-01", 1, 1), ("2024-02", 1, 0)]


def test_a_row_with_two_reasons_counts_for_both() -> None:
    rows = pl.DataFrame(
        {
            "symbol": ["A", None],
            "date": [date(2024, 1, 2), None],
            "reason": ["volume negative; price infinite", "volume negative"],
        }
    )

    refused = refused_reasons(rows)

    assert refused.rows() == [
        ("volume negative", 2, "(none) no date"),
        ("price infinite", 1, "A 2024-01-02"),
    ]


def test_runs_are_newest_first_and_show_their_error(lake: LocalStore) -> None:
    older = RunReport("resample", "a", datetime(2024, 1, 2, 10, tzinfo=UTC), {}, exit_code=0)
    newer = RunReport(
        "resample", "b", datetime(2024, 1, 3, 10, tzinfo=UTC), {}, exit_code=75, error="Lost"
    )
    for report in (older, newer):
        report.keep(lake)

    runs = gather_facts(Lake(lake), now=NOW, progress=Silent()).runs

    assert [(run.exit_code, outcome_text(run)) for run in runs] == [
        (75, "Lost"),
        (0, "nothing to do"),
    ]


@pytest.mark.parametrize(
    ("job", "counts", "outcome"),
    [
        ("verify", {"differences": 0, "gaps": 0}, "0 differences, 0 gaps"),
        ("fetch", {"newest_due": "2024-01-02", "sessions_left": 0, "rows": 7}, "7 rows"),
        (
            "vacuum",
            {"deliveries": 1200, "superseded": ["a", "b"]},
            "1,200 deliveries, 2 superseded",
        ),
        ("consolidate", {"deliveries_read": 3}, "nothing to do"),
        ("import", {}, "nothing to do"),
    ],
)
def test_a_job_that_publishes_nothing_shows_what_it_counted(
    job: str, counts: dict[str, object], outcome: str
) -> None:
    report = RunReport(job, "a", datetime(2024, 1, 2, 10, tzinfo=UTC), {}, counts=counts)

    assert outcome_text(report) == outcome


def test_a_page_of_a_dirty_lake_shows_what_is_wrong_with_it(
    lake: LocalStore, calendar: Calendar, tmp_path: Path
) -> None:
    sessions = sessions_from(calendar, date(2024, 1, 2), 9)
    present = [session for session in sessions if session != sessions[3]]
    for session in present:
        late = session >= sessions[7]
        rows = [bar("AAA", session, 50.0 if late else 100.0), bar("BBB", session, 7.0)]
        rows += [bar("<i>", session, volume=-1.0)] if session == sessions[0] else []
        land_rows(lake, rows, calendar, received_at=received_after(session))
    corrected = [bar("BBB", sessions[0], 7.5)]
    land_rows(lake, corrected, calendar, received_at=received_after(sessions[8], days=1))
    add_splits(
        lake,
        pl.DataFrame(
            {"symbol": ["AAA"], "date": [sessions[0]], "split_from": [1.0], "split_to": [2.0]}
        ),
        label="test",
    )
    consolidate(lake, calendar=calendar)
    resample(lake, calendar=calendar, intervals=[5])

    facts = gather_facts(Lake(lake), now=NOW, progress=Silent())
    page = report_page(facts)

    text = re.sub(r"<[^>]+>", " ", page)
    assert facts.coverage.empty_sessions == [sessions[3]]
    assert facts.behind == calendar.session_no(date(2024, 2, 29)) - calendar.session_no(sessions[8])
    assert "No bars at all on 2024-01-05." in text
    assert re.search(rf"{facts.behind} sessions behind\s+2024-02-29", text)
    assert "volume negative" in text
    assert "&lt;i&gt; 2024-01-02" in page
    assert [move.looks_like for move in facts.moves.like_splits] == ["2:1"]
    assert facts.moves.like_splits[0].on_record == f"2:1 on {sessions[0]}"
    assert facts.restated["field"].to_list() == ["close", "high", "low", "open", "vwap"]
    assert [stored.partitions.table for stored in facts.tables] == ["1d", "5d", "restatements"]


def test_a_lake_without_bars_has_a_page_too(lake: LocalStore, calendar: Calendar) -> None:
    session = date(2024, 1, 2)
    land_rows(lake, [bar("A", session)], calendar, received_at=received_after(session))

    page = report_page(gather_facts(Lake(lake), now=NOW, progress=Silent()))

    assert "There are no daily bars yet." in page
    assert "1 delivery not yet consolidated" in page
    assert "No job has run yet." in page


def test_the_command_prints_in_json_what_the_page_shows(
    demo_lake: Lake, elsewhere: Path, ohlcv: Ohlcv
) -> None:
    done = ohlcv("report", "--lake", demo_lake.store.uri, "--json")

    seen = json.loads(done.out)
    page = (elsewhere / "lake-report.html").read_bytes()
    assert seen["bytes"] == len(page)
    assert seen["newest_session"] == "2025-03-14"
    assert seen["daily_bars"] == demo_lake.bars("1d").height
    assert seen["symbols"] == len(demo_lake.symbols())
    assert seen["restated_values"] == demo_lake.restatements().height
    assert seen["refused_rows"] == demo_lake.rejected().height


def test_a_browser_shows_every_session_and_nothing_else_is_loaded(
    demo_lake: Lake, calendar: Calendar, tmp_path: Path
) -> None:
    page = report_page(gather_facts(demo_lake, now=datetime.now(UTC), progress=Silent()))

    seen = ask_page(
        page,
        """
        const cells = [...document.querySelectorAll(".year rect")];
        const seen = cells.filter((cell) => cell.getBoundingClientRect().width > 3);
        const over = document.documentElement.scrollWidth - innerWidth;
        return { cells: seen.length, tables: document.querySelectorAll("table").length, over };
        """,
        tmp_path,
    )

    sessions = calendar.sessions_between(date(2024, 1, 2), date(2025, 3, 14))
    assert seen["cells"] == len(sessions)
    assert seen["tables"] == 3
    assert seen["over"] <= 0


@pytest.mark.parametrize("window", ["1600,900", "1000,900"])
def test_no_table_is_clipped_where_the_window_has_room(
    demo_lake: Lake, tmp_path: Path, window: str
) -> None:
    facts = gather_facts(demo_lake, now=datetime.now(UTC), progress=Silent())
    path = "/data/lake/bronze/daily/date=2024-01-02/20240102T213000000000Z-import.parquet"
    failed = replace(facts.runs[0], job="consolidate", exit_code=3, error=f"DataRefused: {path}")
    long = replace(failed, finished_at=failed.started_at + timedelta(seconds=12_345.6))

    seen = ask_page(
        report_page(replace(facts, runs=[long, *facts.runs])),
        """
        const frames = [...document.querySelectorAll(".wide")];
        return { clipped: frames.filter((one) => one.scrollWidth > one.clientWidth).length };
        """,
        tmp_path,
        window=window,
    )

    assert seen["clipped"] == 0


def test_a_narrow_window_does_not_scroll_sideways(demo_lake: Lake, tmp_path: Path) -> None:
    page = report_page(gather_facts(demo_lake, now=datetime.now(UTC), progress=Silent()))

    seen = ask_page(
        page,
        "return { over: document.documentElement.scrollWidth - innerWidth };",
        tmp_path,
        window="500,900",
    )

    assert seen["over"] <= 0
