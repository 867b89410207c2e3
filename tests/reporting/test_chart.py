"""Candles: what is drawn, where, and what the command says."""

from __future__ import annotations

import json
import re
import struct
import sys
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.consolidator.job import consolidate
from batch.core.errors import LakeWarning, SettingsError
from batch.core.sessions import Calendar
from batch.lake.read import Lake
from batch.runtime.formats import compact_text, split_text
from batch.storage.local import LocalStore
from reporting.candles import (
    Drawing,
    Series,
    SplitMark,
    draw_candles,
    series_of,
    span_of,
    split_marks,
)
from reporting.chart import NEWEST_BARS, load_chart
from reporting.png import to_png
from reporting.svg import Scale, date_ticks, tick_texts
from tests.reporting.conftest import Ohlcv
from tests.support.bars import bar, land_rows, received_after
from tests.support.browser import ask_page


def some_bars(
    calendar: Calendar, width: int, windows: list[int], **columns: object
) -> pl.DataFrame:
    """Return bars of the given windows, each with a body from 10 to 11."""
    starts = [calendar.session_at(n * width) for n in windows]
    ends = [calendar.session_at(n * width + width - 1) for n in windows]
    bars = pl.DataFrame({"start": starts, "end": ends})
    values: dict[str, object] = {
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "volume": 100.0,
        "sessions": width,
        "complete": True,
    }
    for name, value in {**values, **columns}.items():
        bars = bars.with_columns(
            pl.Series(name, value) if isinstance(value, list) else pl.lit(value).alias(name)
        )
    return bars


def drawn(bars: pl.DataFrame, width: int, calendar: Calendar, **options: bool) -> Drawing:
    series = series_of(bars, width, calendar)
    return draw_candles(series, [], span_of([series]), calendar, width=800, height=400, **options)


def bodies(markup: str) -> list[tuple[float, float]]:
    """Return the left and right edge of every bar drawn."""
    shapes = re.findall(r'class="bar [^"]*"[^>]* d="([^"]+)"', markup)
    found = [re.search(r"M([\d.]+) [\d.]+H([\d.]+)V[\d.]+H", shape) for shape in shapes]
    return [(float(match[1]), float(match[2])) for match in found if match]


def test_every_bar_is_drawn_once_and_in_order(calendar: Calendar) -> None:
    drawing = drawn(some_bars(calendar, 5, [2800, 2801, 2802, 2803]), 5, calendar)

    edges = bodies(drawing.markup)

    assert len(edges) == 4
    assert all(left[1] < right[0] for left, right in pairwise(edges))


def test_a_halt_leaves_its_place_empty(calendar: Calendar) -> None:
    drawing = drawn(some_bars(calendar, 5, [2800, 2801, 2803]), 5, calendar)

    (first, second, third) = [(left + right) / 2 for left, right in bodies(drawing.markup)]

    assert third - second == pytest.approx(2 * (second - first), abs=0.3)


def test_panels_of_two_intervals_share_their_sessions(calendar: Calendar) -> None:
    narrow = series_of(some_bars(calendar, 5, [2800, 2801, 2802, 2803]), 5, calendar)
    wide = series_of(some_bars(calendar, 10, [1400, 1401]), 10, calendar)
    span = span_of([narrow, wide])

    fives, tens = (
        bodies(draw_candles(s, [], span, calendar, width=800, height=400).markup)
        for s in (narrow, wide)
    )

    assert tens[0][0] == pytest.approx(fives[0][0], abs=3)
    assert tens[0][1] == pytest.approx(fives[1][1], abs=3)
    assert tens[1][1] == pytest.approx(fives[3][1], abs=3)


def test_the_open_bar_alone_is_hatched_and_says_how_far_it_is(calendar: Calendar) -> None:
    bars = some_bars(
        calendar, 5, [2800, 2801], sessions=[5, 2], complete=[True, False], close=[11.0, 9.5]
    )

    drawing = drawn(bars, 5, calendar)

    assert drawing.markup.count("url(#hatch-") == 1
    assert 'class="bar fall open" style="fill:url(#hatch-fall)"' in drawing.markup
    assert re.findall(r'class="open-note"[^>]*>([^<]+)<', drawing.markup) == ["open: 2 of 5"]
    assert drawing.places.readouts[-1].endswith("open,\xa02\xa0of\xa05")


def test_a_bar_that_misses_sessions_says_so(calendar: Calendar) -> None:
    drawing = drawn(some_bars(calendar, 5, [2800], sessions=3), 5, calendar)

    assert drawing.places.readouts[0].endswith("3\xa0of\xa05\xa0traded")


def test_a_split_on_a_holiday_is_marked_at_the_next_session(calendar: Calendar) -> None:
    splits = pl.DataFrame({"date": [date(2024, 7, 4)], "ratio": [10.0]})

    (mark,) = split_marks(splits, calendar)

    assert calendar.session_at(mark.session_no) == date(2024, 7, 5)
    assert mark.text == "10:1"


def test_flags_of_splits_close_together_do_not_cover_each_other(calendar: Calendar) -> None:
    bars = some_bars(calendar, 1, list(range(2800, 2900)))
    series = series_of(bars, 1, calendar)
    marks = [SplitMark(2885, "3:2"), SplitMark(2888, "2:1"), SplitMark(2899, "10:1")]

    markup = draw_candles(series, marks, span_of([series]), calendar, width=480, height=300).markup

    flags = re.findall(r'class="split-flag" x="([\d.]+)" y="3" width="([\d.]+)"', markup)
    edges = sorted((float(left), float(left) + float(width)) for left, width in flags)
    assert len(edges) == 3
    assert all(one[1] < next_one[0] for one, next_one in pairwise(edges))
    assert re.findall(r'class="flag-text"[^>]*>(\d+:\d+)<', markup) == ["10:1", "2:1", "3:2"]


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (7.0, "7:1"),
        (0.1, "1:10"),
        (1.5, "3:2"),
        (0.066667, "1:15"),
        (0.111111, "1:9"),
        (1.05, "21:20"),
        (1.0471976, "x1.047"),
    ],
)
def test_ratios_read_as_people_say_them(ratio: float, text: str) -> None:
    assert split_text(ratio) == text


@pytest.mark.parametrize("log", [False, True])
def test_flat_prices_without_volume_can_be_drawn(calendar: Calendar, log: bool) -> None:
    flat = some_bars(calendar, 5, [2800, 2801], open=3.0, high=3.0, low=3.0, close=3.0, volume=0.0)

    drawing = drawn(flat, 5, calendar, log=log)

    assert len(bodies(drawing.markup)) == 2
    assert "nan" not in drawing.markup
    assert "inf" not in drawing.markup


@given(
    low=st.floats(0.001, 1e5),
    ratio=st.floats(1.001, 1e4),
    count=st.integers(2, 12),
    log=st.booleans(),
)
def test_ticks_are_few_within_the_scale_and_ascending(
    low: float, ratio: float, count: int, log: bool
) -> None:
    high = low * ratio

    ticks = Scale(low, high, 400, 0, log).ticks(count)

    slack = (high - low) * 1e-6
    assert all(low - slack <= tick <= high + slack for tick in ticks)
    assert ticks == sorted(set(ticks))
    assert len(ticks) <= 2 * count + 2


def test_tick_labels_all_have_the_decimals_of_the_finest() -> None:
    assert tick_texts([2.0, 2.25, 2.5]) == ["2.00", "2.25", "2.50"]
    assert tick_texts([1000.0, 1500.0]) == ["1,000", "1,500"]


def test_dates_are_labelled_as_coarsely_as_there_is_room(calendar: Calendar) -> None:
    sessions = calendar.sessions_between(date(2015, 1, 2), date(2024, 12, 31))

    labels = [label for _, label in date_ticks(sessions, 10)]

    assert labels == [str(year) for year in range(2016, 2025)]


def test_counts_have_three_digits() -> None:
    assert [compact_text(n) for n in (950, 12_345, 999_950, 4_560_000, 2.29e9)] == [
        "950",
        "12.3k",
        "1.00M",
        "4.56M",
        "2.29B",
    ]


def test_a_symbol_cannot_bring_markup_into_a_page(demo_lake: Lake) -> None:
    chart = load_chart(demo_lake, demo_lake.symbols()[0], [5])
    hostile = replace(chart.panels[0], symbol="<script>alert(1)</script>")
    chart = replace(chart, panels=[hostile, *chart.panels])

    assert "<script>alert" not in chart.html()
    assert "<script>alert" not in chart.svg()


def test_adjusted_prices_have_no_step_where_raw_ones_do(demo_lake: Lake) -> None:
    split = demo_lake.splits().filter(pl.col("ratio") >= 1.5)
    traded = demo_lake.bars("1d").join(split, on=["symbol", "date"], how="semi")
    symbol = traded["symbol"][0]

    adjusted, raw = (
        load_chart(demo_lake, symbol, [1], start=date(2024, 1, 2), adjusted=kind).series[0]
        for kind in (True, False)
    )

    def steepest(series: Series) -> float:
        closes = pairwise(bar.close for bar in series.bars)
        return max(max(a / b, b / a) for a, b in closes)

    assert steepest(raw) > 1.4
    assert steepest(adjusted) < steepest(raw)


def test_weeks_and_months_are_drawn_beside_bars_of_sessions(demo_lake: Lake) -> None:
    symbol = demo_lake.bars("1d", start="2025-03-03", end="2025-03-03")["symbol"][0]

    chart = load_chart(demo_lake, symbol, ["1mo", 8, "1w", "1d"], start="2025-01-02")

    assert chart.title == f"{symbol}, bars of 1 and 8 sessions, weeks and months"
    assert [series.label for series in chart.series] == [
        "1 session",
        "1 week",
        "8 sessions",
        "1 month",
    ]
    march = chart.drawings()[-1]
    assert march.places.readouts[-1].startswith("2025-03-03 to 2025-03-31")
    assert "open: 10 of 21" in march.markup
    weekly = load_chart(demo_lake, symbol, ["1w"], adjusted="dividends")
    assert weekly.title == f"{symbol}, weekly"
    assert "USD, adjusted for splits and dividends" in weekly.subtitle


def test_a_chart_of_total_returns_warns_of_dividends_that_it_leaves_out(
    lake: LocalStore, calendar: Calendar
) -> None:
    day = date(2025, 1, 15)
    land_rows(lake, [bar("A", day)], calendar, received_at=received_after(day))
    consolidate(lake, calendar=calendar)

    with pytest.warns(LakeWarning, match="no dividends"):
        chart = load_chart(Lake(lake), "A", ["1d", "1w"], adjusted="dividends")

    assert len(chart.series) == 2


def test_without_a_start_the_newest_bars_are_drawn_and_the_note_says_so(demo_lake: Lake) -> None:
    bars = demo_lake.bars("1d").group_by("symbol").len().sort("len", "symbol")
    symbol = bars["symbol"][-1]

    chart = load_chart(demo_lake, symbol, [1])

    assert len(chart.series[0]) == NEWEST_BARS
    assert chart.series[0].bars[-1].end == demo_lake.bars("1d", symbol)["date"].max()
    assert f"newest {NEWEST_BARS} bars of 1d" in chart.subtitle


def test_an_unknown_symbol_names_those_near_it(demo_lake: Lake) -> None:
    symbol = next(name for name in demo_lake.symbols() if name.isalpha() and name.isupper())

    with pytest.raises(SettingsError, match=f"did you mean {symbol}"):
        load_chart(demo_lake, symbol.lower(), [5])


def test_an_open_bar_at_the_end_of_the_lake_is_drawn(demo_lake: Lake) -> None:
    newest = demo_lake.bars("34d", complete=False).filter(~pl.col("complete"))
    symbol = newest["symbol"][0]

    chart = load_chart(demo_lake, symbol, [34])

    assert chart.series[0].bars[-1].complete is False
    assert chart.subtitle.split(" · ")[0].endswith("to 2025-03-14")


def test_the_command_writes_a_page_and_says_how_many_bars_it_has(
    demo_lake: Lake, elsewhere: Path, ohlcv: Ohlcv
) -> None:
    symbol = demo_lake.symbols()[0]

    done = ohlcv("chart", symbol, "--lake", demo_lake.store.uri, "-i", "5d", "-i", "21d", "--json")

    seen = json.loads(done.out)
    page = (elsewhere / f"{symbol}-5d-21d.html").read_text()
    assert seen["output"] == f"{symbol}-5d-21d.html"
    assert sum(seen["bars"].values()) == len(re.findall('class="bar ', page))
    assert "://" not in page
    assert len(page) == seen["bytes"] - (len(page.encode()) - len(page))


def test_a_raw_chart_does_not_replace_the_adjusted_one(
    demo_lake: Lake, elsewhere: Path, ohlcv: Ohlcv
) -> None:
    symbol = demo_lake.symbols()[0]
    given = ("chart", symbol, "--lake", demo_lake.store.uri, "-i", "5d", "--quiet")

    ohlcv(*given)
    ohlcv(*given, "--raw")

    written = {path.name for path in elsewhere.iterdir()}
    assert {f"{symbol}-5d.html", f"{symbol}-5d-raw.html"} <= written


def test_several_symbols_stand_below_one_another_over_the_same_sessions(demo_lake: Lake) -> None:
    traded = demo_lake.bars("1d").group_by("symbol").agg(pl.len()).sort("len", "symbol")
    symbols = traded["symbol"].tail(3).to_list()

    chart = load_chart(demo_lake, symbols, ["1d"], start="2025-01-02")

    drawings = chart.drawings()
    assert chart.symbols == symbols
    assert [len(series) for series in chart.series] == [
        demo_lake.bars("1d", symbol, start="2025-01-02").height for symbol in symbols
    ]
    assert len({drawing.places.span for drawing in drawings}) == 1
    assert re.findall(r"<h2>([^<]+)</h2>", chart.html()) == symbols
    places = re.findall(r'<g transform="translate\(([\d.]+) ([\d.]+)\)">', chart.svg())
    assert len({left for left, _ in places}) == 1
    assert len({top for _, top in places}) == 3
    assert chart.title == f"{symbols[0]}, {symbols[1]} and {symbols[2]}, daily"


def test_the_intervals_of_every_symbol_begin_a_row(demo_lake: Lake) -> None:
    one, other = demo_lake.bars("34d", start="2024-03-01")["symbol"].unique().sort().head(2)

    chart = load_chart(demo_lake, [one, other], [5, 21, "1mo"])

    labels = [
        f"{symbol}, {kind}"
        for symbol in (one, other)
        for kind in ("5 sessions", "21 sessions", "1 month")
    ]
    assert re.findall(r"<h2>([^<]+)</h2>", chart.html()) == labels
    assert chart.html().count('class="begins"') == 2
    places = re.findall(r'<g transform="translate\(([\d.]+) ([\d.]+)\)">', chart.svg())
    lefts, tops = ([float(place[n]) for place in places] for n in (0, 1))
    assert [left == min(lefts) for left in lefts] == [True, False, True] * 2
    assert [sorted(set(tops)).index(top) for top in tops] == [0, 0, 1, 2, 2, 3]


def test_the_newest_bars_of_several_symbols_begin_where_the_first_of_them_do(
    demo_lake: Lake,
) -> None:
    traded = demo_lake.bars("1d").group_by("symbol").agg(pl.len(), pl.col("date").max())
    gone = traded.filter(pl.col("date") < date(2025, 1, 2)).sort("len", "symbol")["symbol"][-1]
    there = traded.filter(pl.col("date") == date(2025, 3, 14)).sort("len", "symbol")["symbol"][-1]

    chart = load_chart(demo_lake, [there, gone], [1])

    first = demo_lake.bars("1d", gone).tail(NEWEST_BARS)["date"][0]
    assert {series.bars[0].start for series in chart.series} == {first}
    assert chart.series[0].bars[-1].start == date(2025, 3, 14)


def test_the_command_draws_daily_bars_of_several_symbols(
    demo_lake: Lake, elsewhere: Path, ohlcv: Ohlcv
) -> None:
    one, other = demo_lake.symbols()[:2]
    given = ("chart", one, other, one, "--lake", demo_lake.store.uri)

    done = ohlcv(*given, "--json")
    unknown = ohlcv(*given, "ZZZZZ", "--output", "unknown.html")

    seen = json.loads(done.out)
    assert (seen["symbols"], seen["output"]) == ([one, other], f"{one}-{other}.html")
    assert [*seen["bars"]] == ["1d"]
    assert (elsewhere / f"{one}-{other}.html").stat().st_size == seen["bytes"]
    assert unknown.code == 2
    assert "no bars of 'ZZZZZ'" in unknown.err
    assert not (elsewhere / "unknown.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_command_writes_an_image_without_a_browser(
    demo_lake: Lake, elsewhere: Path, ohlcv: Ohlcv, theme: str
) -> None:
    symbol = demo_lake.symbols()[0]

    ohlcv("chart", symbol, "--lake", demo_lake.store.uri, "--theme", theme, "-o", "six.png")

    content = (elsewhere / "six.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    assert content.startswith(b"\x89PNG")
    assert (width, height) > (1500, 1500)
    assert len(content) > 30_000


def test_without_the_extra_the_error_says_what_to_install(
    demo_lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)

    with pytest.raises(SettingsError, match=r"pip install '\.\[charts\]'"):
        to_png(load_chart(demo_lake, demo_lake.symbols()[0], [5]).svg())


def test_letters_are_drawn_without_the_fonts_of_the_system(demo_lake: Lake) -> None:
    svg = load_chart(demo_lake, demo_lake.symbols()[0], [5]).svg()
    mute = re.sub(r"<text.*?</text>", "", svg)

    assert mute != svg
    assert len(to_png(svg)) > len(to_png(mute)) + 2_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "chart.pdf"], "expected a name ending in .html, .svg or .png"),
        (["-i", "week"], "is not a number of sessions: use 5 or 5d"),
        (["-i", "7d"], "make it with `ohlcv resample --interval 7`"),
        (["-i", "5d", "--all"], "give one of the two"),
        (["-o", "missing/chart.html"], "No such file or directory"),
        (
            ["--start", "2025-03-14", "-i", "34d"],
            "no whole 34d bars of ABCw from 2025-03-14 on",
        ),
    ],
)
def test_what_cannot_be_drawn_is_a_usage_error(
    demo_lake: Lake, elsewhere: Path, ohlcv: Ohlcv, arguments: list[str], message: str
) -> None:
    symbol = demo_lake.symbols()[0]

    done = ohlcv("chart", symbol, "--lake", demo_lake.store.uri, *arguments)

    assert done.code == 2
    assert message in done.err
    assert not list(elsewhere.iterdir())


COUNT_CANDLES = """
const plots = [...document.querySelectorAll("svg.panel")].map((svg) => svg.getBoundingClientRect());
const seen = [...document.querySelectorAll(".bar")].filter((bar) => {
  const { width, height, left, right } = bar.getBoundingClientRect();
  return width > 0 && height > 0 && plots.some((p) => left >= p.left && right <= p.right);
});
return { candles: seen.length, panels: plots.length };
"""


def test_a_browser_shows_every_candle(demo_lake: Lake, tmp_path: Path) -> None:
    chart = load_chart(demo_lake, demo_lake.symbols()[0], [3, 5, 8, 13, 21, 34])

    seen = ask_page(chart.html(), COUNT_CANDLES, tmp_path)

    assert seen == {"candles": sum(map(len, chart.series)), "panels": 6}


def test_arrow_keys_walk_through_the_bars_of_every_panel(demo_lake: Lake, tmp_path: Path) -> None:
    chart = load_chart(demo_lake, demo_lake.symbols()[0], [5, 34])
    walk = """
    const press = () => document.querySelector("svg.panel").dispatchEvent(
      new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true }));
    const texts = () => [...document.querySelectorAll("figcaption")].map((c) => c.textContent);
    const before = texts();
    press(); press(); press();
    return { before, after: texts() };
    """

    seen = ask_page(chart.html(), walk, tmp_path)

    fives, widest = chart.drawings()
    assert seen["before"] == [fives.places.readouts[-1], widest.places.readouts[-1]]
    assert seen["after"][0] == fives.places.readouts[-4]
    shown = fives.places.starts[-4]
    at = max(n for n, start in enumerate(widest.places.starts) if start <= shown)
    assert seen["after"][1] == widest.places.readouts[at]


@pytest.mark.slow
@pytest.mark.parametrize("log", [False, True])
def test_the_pointer_shows_the_price_at_its_height(
    demo_lake: Lake, tmp_path: Path, log: bool
) -> None:
    chart = load_chart(demo_lake, demo_lake.symbols()[0], [5], log=log)
    point = """
    const svg = document.querySelector("svg.panel");
    const flags = [...svg.querySelectorAll(":scope > path.rise, :scope > path.fall")];
    const flag = flags.filter((one) => !one.classList.contains("bar")).pop();
    const box = flag.getBoundingClientRect();
    const label = svg.querySelector(".price");
    const at = (y) => {
      svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.x - 50, clientY: y }));
      return [getComputedStyle(label).visibility, label.textContent];
    };
    const close = at(box.y + box.height / 2);
    const low = at(svg.getBoundingClientRect().bottom - 40);
    return { close, low };
    """

    seen = ask_page(chart.html(), point, tmp_path)

    visibility, text = seen["close"]
    close = chart.series[0].bars[-1].close
    assert visibility == "visible"
    assert abs(float(text.replace(",", "")) / close - 1) < 0.004
    assert seen["low"][0] == "hidden"


@pytest.mark.slow
@pytest.mark.parametrize(("window", "scrolls"), [("1600,900", 0), ("1000,900", 0), ("390,900", 1)])
def test_the_first_candle_is_whole_where_the_window_has_room(
    demo_lake: Lake, tmp_path: Path, window: str, scrolls: int
) -> None:
    chart = load_chart(demo_lake, demo_lake.symbols()[0], [1])
    cut = """
    const frame = document.querySelector(".scroll").getBoundingClientRect();
    return { cut: document.querySelector(".bar").getBoundingClientRect().left < frame.left };
    """

    seen = ask_page(chart.html(), cut, tmp_path, window=window)

    assert seen["cut"] == bool(scrolls)


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_page_can_be_kept_light_or_dark(demo_lake: Lake, tmp_path: Path, theme: str) -> None:
    chart = load_chart(demo_lake, demo_lake.symbols()[0], [5])

    seen = ask_page(
        chart.html(theme),
        "return { paper: getComputedStyle(document.body).backgroundColor };",
        tmp_path,
    )

    assert seen["paper"] == {"light": "rgb(251, 250, 247)", "dark": "rgb(20, 23, 26)"}[theme]


@pytest.mark.slow
@pytest.mark.parametrize("window", ["1400,900", "500,900"])
def test_a_long_chart_scrolls_in_its_frame_and_stays_readable(
    demo_lake: Lake, tmp_path: Path, window: str
) -> None:
    bars = demo_lake.bars("1d").group_by("symbol").len().sort("len", "symbol")
    chart = load_chart(demo_lake, bars["symbol"][-1], [1], start=date(2024, 1, 2))
    (panel,) = chart.panels
    chart = replace(chart, panels=[replace(panel, series=_repeated(panel.series))])

    seen = ask_page(
        chart.html(),
        """
        const ticks = [...document.querySelectorAll(".tick")];
        const heights = ticks.map((tick) => tick.getBoundingClientRect().height);
        const frame = document.querySelector(".scroll");
        return {
          smallest: Math.min(...heights),
          hidden: frame.scrollWidth - frame.clientWidth,
          toTheEnd: frame.scrollWidth - frame.clientWidth - frame.scrollLeft,
          over: document.documentElement.scrollWidth - innerWidth,
        };
        """,
        tmp_path,
        window=window,
    )

    assert seen["smallest"] >= 9
    assert seen["hidden"] > 500
    assert abs(seen["toTheEnd"]) <= 1
    assert seen["over"] <= 0


def _repeated(series: Series) -> Series:
    """Return the same bars twice over, the second time as many sessions later."""
    sessions = series.bars[-1].end_no + 1 - series.bars[0].start_no
    later = [
        replace(bar, start_no=bar.start_no + sessions, end_no=bar.end_no + sessions)
        for bar in series.bars
    ]
    return replace(series, bars=[*series.bars, *later])


def test_a_narrow_window_does_not_scroll_sideways(demo_lake: Lake, tmp_path: Path) -> None:
    chart = load_chart(demo_lake, demo_lake.symbols()[0], [5])

    seen = ask_page(
        chart.html(),
        "return { over: document.documentElement.scrollWidth - innerWidth };",
        tmp_path,
        window="500,900",
    )

    assert seen["over"] <= 0
