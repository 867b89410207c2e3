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
    held_back,
    vanished,
    with_neighbours,
)
from batch.core import schema
from batch.core.errors import SettingsError
from batch.core.layout import DAILY_TABLE, table_prefix
from batch.core.sessions import Calendar, calendar_from
from batch.lake.manifest import load_daily_manifest
from batch.lake.read import Lake
from batch.lake.soundness import require_sound
from batch.runtime.progress import Progress, Silent, StopRequested, never, require_going
from batch.storage.scan import reading

SYMBOLS_AT_ONCE = 500

_COLUMNS = ("symbol", "date", "open", "high", "low", "close", "volume", "split_ratio")


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """What the checks found, and how many daily bars and symbols they looked at.

    ``checks`` describes each check that ran. ``findings`` has the columns of
    :data:`batch.audit.checks.FINDINGS`, in the order of the checks, then newest first.
    """

    checks: dict[str, str]
    findings: pl.DataFrame
    bars: int
    symbols: int

    @property
    def counts(self) -> dict[str, int]:
        """How often each check found something."""
        found = dict(self.findings.group_by("check").len().rows())
        return {name: int(found.get(name, 0)) for name in self.checks}


def check_lake(
    lake: Lake,
    *,
    names: Sequence[str] | None = None,
    since: date | None = None,
    calendar: Calendar | None = None,
    progress: Progress | None = None,
    stop_requested: StopRequested = never,
) -> Quality:
    """Run the checks of some names, or all, over the raw daily bars. Nothing is written.

    ``since`` is the first date of the findings to return. ``stop_requested`` is asked between
    groups of symbols.

    Raises:
        SettingsError: There is no check of that name.
    """
    checks = _chosen(names)
    recorded = load_daily_manifest(lake.store)
    if recorded.oldest is None or recorded.newest is None:
        return Quality(checks, pl.DataFrame(schema=FINDINGS), 0, 0)
    calendar = calendar or calendar_from(recorded.oldest)
    findings = [pl.DataFrame(schema=FINDINGS)]
    per_session: list[pl.DataFrame] = []
    last_bars: list[pl.DataFrame] = []
    progress = progress or Silent()
    for rows in bars_by_group(lake, calendar, progress=progress, stop_requested=stop_requested):
        findings += [check.find(rows) for check in CHECKS if check.name in checks]
        per_session.append(rows.group_by("date").len("symbols"))
        last_bars.append(rows.group_by("symbol").agg(pl.col("date", "no").last()))
    counts = pl.concat(per_session).group_by("date").agg(pl.col("symbols").sum()).sort("date")
    last = pl.concat(last_bars)
    if "coverage_drop" in checks:
        findings.append(coverage_drops(counts))
    if "vanished" in checks:
        newest_no = calendar.session_no(recorded.newest)
        findings.append(vanished(last, newest_no, _delisted(lake.tickers())))
    if "held_back" in checks:
        findings.append(held_back(lake.restatements()))
    found = pl.concat(findings)
    if since is not None:
        found = found.filter(pl.col("date") >= since)
    order = pl.col("check").replace_strict({name: at for at, name in enumerate(checks)})
    return Quality(
        checks,
        found.sort(order, "date", "symbol", descending=[False, True, False]),
        bars=int(counts["symbols"].sum()),
        symbols=last.height,
    )


def bars_by_group(
    lake: Lake, calendar: Calendar, *, progress: Progress, stop_requested: StopRequested = never
) -> Iterator[pl.DataFrame]:
    """Yield the raw daily bars of :data:`SYMBOLS_AT_ONCE` symbols after another.

    Each symbol is whole within its group, with its neighbours as
    :func:`batch.audit.checks.with_neighbours` gives them.
    """
    symbols = lake.symbols()
    progress.begin("checking", len(symbols), "symbols")
    for first in range(0, len(symbols), SYMBOLS_AT_ONCE):
        require_going(stop_requested)
        group = symbols[first : first + SYMBOLS_AT_ONCE]
        with reading(lake.store, table_prefix(DAILY_TABLE), schema.DAILY):
            bars = lake.lazy("1d", group, adjusted=False).select(_COLUMNS).collect()
        require_sound(bars, DAILY_TABLE, calendar, label=lake.store.uri)
        yield with_neighbours(bars, calendar)
        progress.advance(len(group))


def _chosen(names: Sequence[str] | None) -> dict[str, str]:
    every = {check.name: check.description for check in CHECKS} | LAKE_CHECKS
    unknown = sorted(set(names or ()) - every.keys())
    if unknown:
        raise SettingsError(f"no check named {unknown[0]!r}; the checks are {', '.join(every)}")
    return {name: text for name, text in every.items() if not names or name in names}


def _delisted(tickers: pl.DataFrame) -> set[str]:
    """Return the symbols that the reference data of today calls delisted or not active."""
    gone = ~pl.col("active") | pl.col("delisted_date").is_not_null()
    return set(tickers.filter(pl.col("valid_to").is_null() & gone)["symbol"].to_list())
