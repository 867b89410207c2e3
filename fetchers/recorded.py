"""A fetch as part of a run of a command or a function: told in its report however it ends."""

from __future__ import annotations

from collections.abc import Mapping

from batch.runtime.command import Run
from batch.runtime.output import beside
from batch.runtime.progress import StopRequested, never
from batch.storage.store import ObjectStore
from fetchers.plan import SessionRange
from fetchers.settings import FetchSettings
from fetchers.side_by_side import Fetched, fetch_from_flat_files, fetch_side_by_side


def fetch_recorded(
    run: Run,
    store: ObjectStore,
    settings: FetchSettings,
    environment: Mapping[str, str],
    *,
    asked: SessionRange | None = None,
    bars: bool = True,
    reference: bool = True,
    flat_files: bool = False,
    out_of_time: StopRequested = never,
) -> Fetched:
    """Fetch with a run's progress until somebody stops it; the run's report has what was done.

    Args:
        run: The run that this belongs to.
        store: The lake.
        settings: The settings in force.
        environment: Where the keys may be.
        asked: Sessions to fetch; the daily ones where not given.
        bars: Whether to fetch daily bars.
        reference: Whether to fetch reference data.
        flat_files: Whether to read daily bars, and nothing else, from flat files.
        out_of_time: Asked between writes, like the run's own switch.

    Returns:
        What was done, and the errors that ended one of the two parts.

    Raises:
        OhlcvError: As :func:`fetch_side_by_side` and :func:`fetch_from_flat_files`.
    """
    fetched = Fetched()

    def stop_requested() -> bool:
        return run.stop_requested() or out_of_time()

    try:
        if flat_files:
            return fetch_from_flat_files(
                store,
                settings,
                environment,
                progress=run.progress,
                stop_requested=stop_requested,
                asked=asked,
                fetched=fetched,
            )
        return fetch_side_by_side(
            store,
            settings,
            environment,
            progress=run.progress,
            other_progress=beside(run.progress) if bars and reference else run.progress,
            stop_requested=stop_requested,
            asked=asked,
            bars=bars,
            reference=reference,
            fetched=fetched,
        )
    finally:
        run.report.counts = fetched.counts
        run.report.problems = fetched.problems
