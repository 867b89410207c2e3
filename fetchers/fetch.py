"""One fetch: bars and reference data at the same time, each to its own end."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

from batch.core.sessions import EPOCH, load_calendar
from batch.runtime.output import Output
from batch.runtime.progress import StopRequested, never
from batch.runtime.run import Run, job_run
from batch.runtime.run_report import RunOutcome
from batch.storage.store import ObjectStore, open_store
from fetchers import flat_files
from fetchers.context import FetchContext
from fetchers.daily_bars import BarsSource, fetch_daily_bars
from fetchers.polygon.client import PolygonClient
from fetchers.polygon.pacing import Pacer
from fetchers.polygon.transport import VendorHttp
from fetchers.reference import compare_tickers, fetch_reference
from fetchers.request import FetchRequest
from fetchers.results import Fetched
from fetchers.secrets import find_api_key, find_flat_file_keys
from fetchers.settings import FetchSettings

SOURCE = "polygon"


def fetch(context: FetchContext, environment: Mapping[str, str], request: FetchRequest) -> Fetched:
    """Fetch daily bars and reference data at one pace; an error of one lets the other go on.

    Raises:
        KeyMissing: There is no key; nothing was requested.
    """
    if request.flat_files:
        keys = find_flat_file_keys(environment)
        source = flat_files.bars_source(context.settings, keys)
        return Fetched(bars=fetch_daily_bars(context, source, request.sessions))
    client = _connect(context, environment)
    delay = timedelta(minutes=context.settings.close_delay_minutes)
    source = BarsSource(SOURCE, client.session, delay, context.downloads)
    both = request.bars and request.reference
    aside = replace(context, progress=context.progress.parallel()) if both else context
    with ThreadPoolExecutor(2) as pool:
        bars = (
            pool.submit(fetch_daily_bars, context, source, request.sessions)
            if request.bars
            else None
        )
        reference = pool.submit(fetch_reference, aside, client) if request.reference else None
    fetched = Fetched(bars.result() if bars else None, reference.result() if reference else None)
    if fetched.reference and not fetched.errors:
        return replace(fetched, reference=compare_tickers(aside, fetched.reference))
    return fetched


def _connect(context: FetchContext, environment: Mapping[str, str]) -> PolygonClient:
    """Return the vendor's client; nothing is requested yet."""
    settings = context.settings
    http = VendorHttp(
        key=find_api_key(
            environment, secret=settings.polygon_secret, parameter=settings.polygon_parameter
        ),
        pacer=Pacer(settings.polygon_requests_per_minute, settings.polygon_share),
        retry_s=settings.polygon_retry_s,
        timeout_s=settings.polygon_timeout_s,
        answer_s=settings.polygon_answer_s,
        connections=settings.downloads,
        stop_requested=context.stop_requested,
    )
    return PolygonClient(http, settings.polygon_base_url)


def fetch_in_run(
    run: Run,
    store: ObjectStore,
    settings: FetchSettings,
    environment: Mapping[str, str],
    request: FetchRequest,
    *,
    out_of_time: StopRequested = never,
) -> Fetched:
    """Fetch as part of a run, whose report has what was done.

    ``out_of_time`` is checked between writes, like the run's own switch.

    Raises:
        KeyMissing: There is no key; nothing was requested.
    """
    first = request.sessions.first if request.sessions else EPOCH
    context = FetchContext(
        store,
        settings,
        load_calendar(min(first, EPOCH)),
        run.progress,
        lambda: run.stop_requested() or out_of_time(),
    )
    fetched = fetch(context, environment, request)
    run.outcome = RunOutcome(fetched.counts, problems=fetched.problems)
    return fetched


def run_fetch(
    settings: FetchSettings, environment: Mapping[str, str], request: FetchRequest, output: Output
) -> None:
    """Fetch in a run of its own, print the result, and raise where something was not done.

    Raises:
        OhlcvError: The first error.
    """
    store = open_store(settings.lake)
    with job_run("fetch", store, settings, output) as run:
        fetched = fetch_in_run(run, store, settings, environment, request)
        output.result({"lake": store.uri, **run.outcome.to_json()})
        for part in fetched.parts:
            output.say(part.summary)
        fetched.require_success(strict=settings.strict)
        run.require_no_problems()
