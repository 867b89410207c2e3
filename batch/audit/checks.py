"""The checks of daily bars. Pure.

Row rules refuse what cannot be true; these find what is probably not. A finding is a hint
for a person: nothing is changed or removed for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from batch.core.sessions import Calendar
from batch.runtime.formats import count_text, split_text

USUAL_BARS = 20
"""Bars before one that define what is usual for its symbol."""

STALE_SESSIONS = 10
"""Sessions with the same traded close that make a run stale; their range must be 3 ticks."""

IDLE_SESSIONS = 10
"""Sessions without any volume that make a run."""

VANISHED_SESSIONS = 5
"""Sessions that a symbol may be absent before the newest one."""

COVERAGE_SHARE = 0.95
"""Share of the usual number of symbols below which a session's coverage dropped."""

_GENTLE = (1.5, 2.0, 3.0, 1 / 2, 1 / 3)
_STEEP = (4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 100.0)
_CLEAN_RATIOS = pl.DataFrame(
    [
        *((ratio, 0.04, 2.5, 1.0) for ratio in _GENTLE),
        *((ratio, 0.08, 2.5, 0.05) for ratio in _STEEP),
        *((1 / ratio, 0.12, 15.0, 0.05) for ratio in _STEEP),
    ],
    schema=["ratio", "near", "most_unusual", "least_price"],
    orient="row",
)
"""What a split missing from the record looks like, by its ratio.

``near`` is how far the logarithm of the step may be from the ratio's, ``most_unusual`` how
many times the usual dollar volume was traded at most, ``least_price`` the lowest price in USD.
Gentle ratios, which markets reach by themselves, are held to a narrower tolerance than steep
ones; only companies in distress, which join many shares into one, see much more volume.
"""

_FAR = math.log(2.5)

FINDINGS = pl.Schema(
    {
        "check": pl.String,
        "symbol": pl.String,
        "date": pl.Date,
        "value": pl.Float64,
        "told": pl.String,
    }
)
"""One row per finding: the check's name, where, a number and a sentence (``told``). ``symbol``
is null for what concerns a whole session."""


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the bars of each symbol.

    ``find`` takes what :func:`with_neighbours` returned, and returns rows of :data:`FINDINGS`.
    """

    name: str
    description: str
    find: Callable[[pl.DataFrame], pl.DataFrame]


def with_neighbours(bars: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Add to each daily bar what the checks compare it with.

    The bars are raw, of whole symbols, sorted by (symbol, date); the calendar must cover them.
    Added are ``no`` (session number), ``earlier``, ``before`` and ``after`` (closes of the
    symbol's second bar before, bar before and bar after), ``gap`` (sessions since the bar
    before, 1 where none is missing), ``was_traded`` (the bar before has volume) and ``unusual``
    (dollar volume against the median of the bars before).
    """
    number = calendar.session_nos(bars["date"].cast(pl.Int32).to_numpy())
    dollars = pl.col("close") * pl.col("volume")
    return (
        bars.with_columns(pl.Series("no", number, dtype=pl.Int32), dollars=dollars)
        .with_columns(
            before=pl.col("close").shift(1).over("symbol"),
            after=pl.col("close").shift(-1).over("symbol"),
            earlier=pl.col("close").shift(2).over("symbol"),
            gap=pl.col("no").diff().over("symbol"),
            was_traded=(pl.col("volume").shift(1) > 0).over("symbol"),
            usual=pl.col("dollars")
            .rolling_median(USUAL_BARS, min_samples=5)
            .shift(1)
            .over("symbol"),
        )
        .with_columns(
            unusual=pl.when(pl.col("usual") > 0).then(pl.col("dollars") / pl.col("usual"))
        )
        .drop("dollars", "usual")
    )


def unrecorded_splits(rows: pl.DataFrame) -> pl.DataFrame:
    """Find price steps of a clean ratio that stay, without a split on record.

    A fall to a half on news looks like a split, but its dollar volume is many times the
    usual one, while a split leaves it about as it was. The value is shares after one before.
    """
    off = {
        name: (pl.col("before") / pl.col(name) / pl.col("ratio")).log().abs()
        for name in ("open", "close", "after")
    }
    found = (
        rows.filter(
            pl.col("split_ratio") == 1.0,
            pl.col("gap") <= 5,
            pl.col("was_traded"),
            pl.col("volume") > 0,
            (pl.col("before") / pl.col("open")).log().abs() > math.log(1.4),
            (pl.col("earlier") / pl.col("open")).log().abs().fill_null(1.0) > math.log(1.25),
        )
        .join(_CLEAN_RATIOS, how="cross")
        .filter(
            off["open"] < pl.col("near"),
            off["close"] < 2 * pl.col("near"),
            off["after"].fill_null(0.0) < 3 * pl.col("near"),
            pl.col("unusual") < pl.col("most_unusual"),
            pl.min_horizontal("before", "open") >= pl.col("least_price"),
        )
        .sort("symbol", "date", off["open"])
        .unique(["symbol", "date"], keep="first", maintain_order=True)
    )
    return _findings(
        "unrecorded_split",
        found,
        pl.col("ratio"),
        lambda row: (
            f"opened at {row['open']:.6g} after a close of {row['before']:.6g}:"
            f" looks like {_split_text(row['ratio'])}, none is on record"
        ),
    )


def splits_without_step(rows: pl.DataFrame) -> pl.DataFrame:
    """Find splits on record that the price does not show.

    The split is on its bar, yet the open and the close are nearer to the close before than
    to that close adjusted for the split.
    """
    ratio = pl.col("split_ratio").log()
    halfway = ratio.abs() / 2
    moved = [(pl.col("before") / pl.col(name)).log() * ratio.sign() for name in ("open", "close")]
    found = rows.filter(
        (pl.col("split_ratio") != 1.0) & (ratio.abs() > math.log(1.2)),
        pl.all_horizontal([step < halfway for step in moved]),
    )
    return _findings(
        "split_without_step",
        found,
        pl.col("split_ratio"),
        lambda row: (
            f"{_split_text(row['split_ratio'])} is on record, yet it opened at"
            f" {row['open']:.6g} after a close of {row['before']:.6g}"
        ),
    )


def undone_steps(rows: pl.DataFrame) -> pl.DataFrame:
    """Find closes far from the bars on both sides of them, which agree with each other.

    Mostly a price with its decimal point in the wrong place.
    """
    there = (pl.col("close") / pl.col("before")).log()
    back = (pl.col("after") / pl.col("close")).log()
    found = rows.filter(
        pl.col("split_ratio") == 1.0,
        there.abs() > _FAR,
        (there + back).abs() < math.log(1.25),
        pl.min_horizontal("before", "after", "close") >= 0.05,
    )
    return _findings(
        "undone_step",
        found,
        pl.col("close") / pl.col("before"),
        lambda row: (
            f"closed at {row['close']:.6g} between {row['before']:.6g} and {row['after']:.6g}"
        ),
    )


def stale_closes(rows: pl.DataFrame) -> pl.DataFrame:
    """Find runs of bars that traded, some within a range, and always closed the same."""
    same = rows.filter(pl.col("volume") > 0)
    runs = _runs(same, pl.col("close"), STALE_SESSIONS).filter(
        pl.col("widest") >= pl.max_horizontal(0.005 * pl.col("close"), 0.03)
    )
    return _findings(
        "stale_close",
        runs,
        pl.col("length"),
        lambda row: f"{row['length']} traded sessions from here on closed at {row['close']:.6g}",
    )


def repeated_bars(rows: pl.DataFrame) -> pl.DataFrame:
    """Find bars that repeat the bar before in every price and in volume, traded in a range."""
    fields = ("open", "high", "low", "close", "volume")
    same = [pl.col(name) == pl.col(name).shift(1).over("symbol") for name in fields]
    found = rows.filter(*same, pl.col("volume") > 0, pl.col("high") > pl.col("low"))
    return _findings(
        "repeated_bar",
        found,
        pl.col("volume"),
        lambda row: f"the bar before again: close {row['close']:.6g}, volume {row['volume']:,.0f}",
    )


def idle_runs(rows: pl.DataFrame) -> pl.DataFrame:
    """Find runs of sessions with a price and no volume."""
    runs = _runs(rows, pl.col("volume") == 0, IDLE_SESSIONS).filter(pl.col("volume") == 0)
    return _findings(
        "zero_volume",
        runs,
        pl.col("length"),
        lambda row: f"{row['length']} sessions without volume from here on",
    )


CHECKS = (
    Check(
        "unrecorded_split",
        "a price step of a clean ratio that stays, with no split on record",
        unrecorded_splits,
    ),
    Check(
        "split_without_step", "a split on record that the price does not show", splits_without_step
    ),
    Check("undone_step", "a close far from the bars on both sides of it", undone_steps),
    Check("stale_close", f"{STALE_SESSIONS} traded sessions or more with one close", stale_closes),
    Check("repeated_bar", "a bar that repeats the one before in every value", repeated_bars),
    Check("zero_volume", f"{IDLE_SESSIONS} sessions or more without volume", idle_runs),
)
"""The checks of one symbol at a time."""

LAKE_CHECKS = {
    "coverage_drop": f"a session with less than {COVERAGE_SHARE:.0%} of the usual symbols",
    "vanished": f"no bar for more than {VANISHED_SESSIONS} sessions, no delisting on record",
    "held_back": "a later value that a split explains, which was not published",
}
"""The checks that look at more than one symbol's bars: name and description."""


def coverage_drops(counts: pl.DataFrame) -> pl.DataFrame:
    """Find sessions with far fewer symbols than those before them.

    ``counts`` has ``date`` and ``symbols``, one row per session, sorted.
    """
    usual = pl.col("symbols").rolling_median(USUAL_BARS, min_samples=5).shift(1)
    found = counts.with_columns(usual=usual).filter(
        pl.col("symbols") < COVERAGE_SHARE * pl.col("usual")
    )
    return _findings(
        "coverage_drop",
        found.with_columns(symbol=pl.lit(None, pl.String)),
        pl.col("symbols") / pl.col("usual"),
        lambda row: f"{count_text(row['symbols'], 'symbols')}, {row['usual']:,.0f} are usual",
    )


def vanished(last_bars: pl.DataFrame, newest_no: int, delisted: set[str]) -> pl.DataFrame:
    """Find symbols whose bars end before the newest session without a delisting on record.

    ``last_bars`` has ``symbol``, ``date`` and ``no`` of each symbol's last bar.
    """
    absent = newest_no - pl.col("no")
    found = last_bars.filter(
        absent > VANISHED_SESSIONS, ~pl.col("symbol").is_in(sorted(delisted))
    ).sort("symbol")
    return _findings(
        "vanished",
        found,
        absent,
        lambda row: (
            f"last bar {count_text(newest_no - row['no'], 'sessions')} before the newest session"
        ),
    )


def held_back(restatements: pl.DataFrame) -> pl.DataFrame:
    """Find values of later deliveries that did not replace the published ones."""
    return _findings(
        "held_back",
        restatements.filter(pl.col("reason").is_not_null()),
        pl.col("new"),
        lambda row: (
            f"{row['field']} {_number_text(row['new'])} received {row['received_at']:%Y-%m-%d},"
            f" {_number_text(row['old'])} stays: {row['reason']}"
        ),
    )


def _number_text(value: float | None) -> str:
    return "none" if value is None else f"{value:,.10g}"


def _runs(rows: pl.DataFrame, same: pl.Expr, least: int) -> pl.DataFrame:
    """Fold runs of rows of one symbol, no session missing, over which an expression holds still.

    Returns the first row of each run of at least ``least`` rows, with ``length`` and ``widest``,
    the widest range of its bars.
    """
    broken = (same != same.shift(1)) | (pl.col("symbol") != pl.col("symbol").shift(1))
    broken |= pl.col("no").diff() != 1
    return (
        rows.with_columns(run=broken.fill_null(value=True).cum_sum())
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("symbol", "date", "close", "volume").first(),
            length=pl.len(),
            widest=(pl.col("high") - pl.col("low")).max(),
        )
        .filter(pl.col("length") >= least)
    )


def _findings(
    name: str, rows: pl.DataFrame, value: pl.Expr, sentence: Callable[[dict[str, Any]], str]
) -> pl.DataFrame:
    sentences = [sentence(row) for row in rows.iter_rows(named=True)]
    return rows.select(
        pl.lit(name).alias("check"),
        "symbol",
        "date",
        value.cast(pl.Float64).alias("value"),
        pl.Series("told", sentences, dtype=pl.String),
    )


def _split_text(ratio: float) -> str:
    return f"a split of {split_text(ratio).replace(':', ' for ')}"
