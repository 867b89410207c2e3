"""Running the checks over a lake, a few hundred symbols at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from batch.audit.checks import (
    CHECKS,
    FINDINGS,
    LAKE_CHECKS,
    coverage_drops,
    vanished,
    with_neighbours,
)
from batch.core.errors import SettingsError
from batch.core.sessions import EPOCH, Calendar, load_calendar
from batch.lake.read import Lake
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going

SYMBOLS_AT_ONCE = 500

_COLUMNS = ("symbol", "date", "open", "high", "low", "close", "volume", "split_ratio")


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """What the checks found.

    Attributes:
        looks_for: Each check that ran, and what it looks for.
        findings: Columns of :data:`batch.audit.checks.FINDINGS`, in the order of the
            checks, then newest first.
        bars: Daily bars looked at.
        symbols: Symbols looked at.
    """

    looks_for: dict[str, str]
    findings: pl.DataFrame
    bars: int
    symbols: int

    @property
    def counts(self) -> dict[str, int]:
        """How often each check found something."""
        found = dict(self.findings.group_by("check").len().rows())
        return {name: int(found.get(name, 0)) for name in self.looks_for}


def check_lake(
    lake: Lake,
    *,
    names: Sequence[str] | None = None,
    since: date | None = None,
    calendar: Calendar | None = None,
    progress: Progress | None = None,
    stop_requested: StopRequested = never,
) -> Quality:
    """Run checks over the raw daily bars. Nothing is written.

    Args:
        lake: The lake.
        names: Which checks; all where None.
        since: First date of the findings to return.
        calendar: The exchange calendar; the library's where not given.
        progress: Hears what is going on.
        stop_requested: Asked between groups of symbols.

    Raises:
        SettingsError: There is no check of that name.
    """
    progress = progress or Silent()
    looks_for = _chosen(names)
    symbols = lake.symbols()
    newest = lake.newest_session()
    if newest is None:
        return Quality(looks_for, pl.DataFrame(schema=FINDINGS), 0, 0)
    calendar = calendar or load_calendar(min(_oldest(lake), EPOCH))
    found: list[pl.DataFrame] = []
    present: list[pl.DataFrame] = []
    last: list[pl.DataFrame] = []
    bars = 0
    progress.begin("checking", len(symbols), "symbols")
    for group in _groups(symbols):
        require_going(stop_requested)
        rows = with_neighbours(lake.lazy("1d", group).select(_COLUMNS).collect(), calendar)
        bars += rows.height
        found += [check.find(rows) for check in CHECKS if check.name in looks_for]
        present.append(rows.group_by("date").len("symbols"))
        last.append(rows.group_by("symbol").agg(pl.col("date", "no").last()))
        progress.advance(len(group))
    if "coverage_drop" in looks_for:
        counts = pl.concat(present).group_by("date").agg(pl.col("symbols").sum()).sort("date")
        found.append(coverage_drops(counts))
    if "vanished" in looks_for:
        gone = _delisted(lake.tickers())
        found.append(vanished(pl.concat(last), calendar.session_no(newest), gone))
    findings = pl.concat([pl.DataFrame(schema=FINDINGS), *found])
    if since is not None:
        findings = findings.filter(pl.col("date") >= since)
    place = pl.col("check").replace_strict({name: at for at, name in enumerate(looks_for)})
    return Quality(
        looks_for,
        findings.sort(place, "date", "symbol", descending=[False, True, False]),
        bars,
        len(symbols),
    )


def _chosen(names: Sequence[str] | None) -> dict[str, str]:
    every = {check.name: check.looks_for for check in CHECKS} | LAKE_CHECKS
    unknown = sorted(set(names or ()) - every.keys())
    if unknown:
        raise SettingsError(f"check {unknown[0]!r}: there are {', '.join(every)}")
    return {name: text for name, text in every.items() if not names or name in names}


def _groups(symbols: list[str]) -> Iterator[list[str]]:
    for at in range(0, len(symbols), SYMBOLS_AT_ONCE):
        yield symbols[at : at + SYMBOLS_AT_ONCE]


def _oldest(lake: Lake) -> date:
    first = lake.lazy("1d").select(pl.col("date").min()).collect().item()
    assert isinstance(first, date)  # noqa: S101 - a lake with a newest session has one
    return first


def _delisted(tickers: pl.DataFrame) -> set[str]:
    """Return the symbols that the reference data of today calls delisted or not active."""
    gone = ~pl.col("active") | pl.col("delisted_date").is_not_null()
    return set(tickers.filter(pl.col("valid_to").is_null() & gone)["symbol"].to_list())
