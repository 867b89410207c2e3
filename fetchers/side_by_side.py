"""Fetching bars and reference data at the same time, each to its own end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from batch.core.errors import OhlcvError, SettingsError
from batch.core.sessions import EPOCH, Calendar, load_calendar
from batch.runtime.progress import Progress, StopRequested
from batch.storage.store import ObjectStore
from fetchers.daily_bars import BarsFetched, fetch_daily_bars, require_complete
from fetchers.flat_files import READY_AFTER, FlatFiles
from fetchers.flat_files import SOURCE as FLAT_FILES
from fetchers.plan import SessionRange
from fetchers.reference import (
    ReferenceFetched,
    compare_tickers,
    fetch_reference,
    told_mismatch,
)
from fetchers.secrets import find_flat_file_keys
from fetchers.settings import FetchSettings
from fetchers.vendor import bars_options, connect


@dataclass(slots=True)
class Fetched:
    """What a fetch did; each part is None where it was not asked for.

    Attributes:
        errors: What ended a part before its end, in order of bars and reference data.
    """

    bars: BarsFetched | None = None
    reference: ReferenceFetched | None = None
    errors: list[OhlcvError] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, Any]:
        """What a report tells of it."""
        parts = [part.counts for part in (self.bars, self.reference) if part]
        return {name: value for part in parts for name, value in part.items()}

    @property
    def problems(self) -> list[str]:
        """What could not be done."""
        return [*(self.bars.problems if self.bars else ()), *(str(err) for err in self.errors)]

    @property
    def warnings(self) -> list[str]:
        """What somebody should look at."""
        return [
            *((note.told for note in self.bars.incomplete) if self.bars else ()),
            *(self.reference.warnings if self.reference else ()),
        ]

    def require_success(self, *, strict: bool) -> None:
        """End as the gravest error says; a session that is incomplete is one where strict.

        Raises:
            OhlcvError: The first error; others are in the report.
            DataRefused: A session is incomplete.
        """
        if self.errors:
            raise self.errors[0]
        if strict and self.bars:
            require_complete(self.bars)


def fetch_side_by_side(
    store: ObjectStore,
    settings: FetchSettings,
    environment: Mapping[str, str],
    *,
    progress: Progress,
    other_progress: Progress,
    stop_requested: StopRequested,
    asked: SessionRange | None = None,
    bars: bool = True,
    reference: bool = True,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    calendar: Calendar | None = None,
    fetched: Fetched | None = None,
) -> Fetched:
    """Fetch daily bars and reference data at one pace; an error of one lets the other go on.

    Args:
        store: The lake.
        settings: The settings in force.
        environment: Where the API key may be.
        progress: Hears about the bars.
        other_progress: Hears about the reference data.
        stop_requested: Asked between writes.
        asked: Sessions to fetch; the daily ones where not given.
        bars: Whether to fetch daily bars.
        reference: Whether to fetch reference data.
        clock: Tells the instant.
        calendar: The exchange calendar; the library's where not given.
        fetched: Where to tell what was done, so that it is known after an error, too.

    Raises:
        KeyMissing: There is no key; nothing was asked for.
    """
    fetched = fetched if fetched is not None else Fetched()
    calendar = calendar or load_calendar(min(asked.first, EPOCH) if asked else EPOCH)
    client = connect(settings, environment, stop_requested)
    options = bars_options(settings)
    work: list[Callable[[], object]] = []
    if bars:
        got_bars = fetched.bars = BarsFetched()
        work.append(
            lambda: fetch_daily_bars(
                store,
                client.session,
                calendar=calendar,
                clock=clock,
                options=options,
                progress=progress,
                stop_requested=stop_requested,
                asked=asked,
                outcome=got_bars,
            )
        )
    if reference:
        got_reference = fetched.reference = ReferenceFetched()
        work.append(
            lambda: fetch_reference(
                store,
                client,
                calendar=calendar,
                now=clock(),
                details_per_run=settings.details_per_run,
                downloads=options.downloads,
                progress=other_progress,
                stop_requested=stop_requested,
                outcome=got_reference,
            )
        )
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(part) for part in work]
    for future in futures:
        err = future.exception()
        if isinstance(err, OhlcvError):
            fetched.errors.append(err)
        elif err is not None:
            raise err
    if fetched.reference is not None and not fetched.errors:
        fetched.reference.mismatch = odd = compare_tickers(store, calendar, clock())
        for told in told_mismatch(odd) if odd else ():
            fetched.reference.warnings.append(told)
            other_progress.warn(told)
    return fetched


def fetch_from_flat_files(
    store: ObjectStore,
    settings: FetchSettings,
    environment: Mapping[str, str],
    *,
    progress: Progress,
    stop_requested: StopRequested,
    asked: SessionRange | None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    calendar: Calendar | None = None,
    fetched: Fetched | None = None,
) -> Fetched:
    """Fill a range of sessions from the vendor's flat files, many at a time.

    A session counts once its file is due, the next morning. Sessions that are in the lake
    are left alone, so a run that was stopped is continued by the next one.

    Raises:
        SettingsError: No range is asked for, or there are no keys for the flat files.
        OhlcvError: As :func:`fetchers.daily_bars.fetch_daily_bars`.
    """
    if asked is None:
        raise SettingsError("--flat-files fills a range: give --date, --from or --backfill")
    fetched = fetched if fetched is not None else Fetched()
    fetched.bars = BarsFetched()
    files = FlatFiles.open(settings, find_flat_file_keys(environment))
    options = bars_options(settings)
    fetch_daily_bars(
        store,
        files.session,
        calendar=calendar or load_calendar(min(asked.first, EPOCH)),
        clock=clock,
        options=replace(
            options,
            source=FLAT_FILES,
            close_delay=max(options.close_delay, READY_AFTER),
            downloads=settings.downloads,
        ),
        progress=progress,
        stop_requested=stop_requested,
        asked=asked,
        outcome=fetched.bars,
    )
    return fetched
