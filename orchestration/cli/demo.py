"""The command ``ohlcv demo``: a whole lake from the synthetic exchange."""

from __future__ import annotations

import shlex
from datetime import UTC, date, datetime

import click

from batch.audit.verify import verify
from batch.consolidator.command import consolidate_as_set
from batch.core.errors import DataRefused, SettingsError
from batch.core.layout import BRONZE, Delivery
from batch.core.sessions import Calendar, load_calendar
from batch.lake.landing import land
from batch.lake.partitions import TablePartitions
from batch.lake.read import Lake
from batch.lake.reference import add_dividends, add_splits
from batch.resampler.command import resample_as_set
from batch.runtime.command import command_name
from batch.runtime.formats import count_text, size_text
from batch.runtime.options import date_option, output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.progress import require_going
from batch.runtime.run import Run, job_run
from batch.runtime.run_report import RunOutcome
from batch.runtime.settings import (
    ConsolidatorSettings,
    MemorySettings,
    ResamplerSettings,
    WorkerSettings,
)
from batch.storage.store import ObjectStore, open_store
from simulation.exchange import ExchangeSpec, SyntheticExchange

SOURCE = "synthetic"


class DemoSettings(WorkerSettings, MemorySettings):
    """What the demonstration reads; all else of its jobs is as by default."""


def _require_synthetic(store: ObjectStore) -> None:
    if not store.exists():
        return
    for item in store.list(BRONZE):
        delivery = Delivery.parse(item.key)
        if delivery is None or not delivery.source.startswith(f"{SOURCE}-"):
            raise SettingsError(
                f"{store.uri}: holds deliveries that are not synthetic ({item.key});"
                " choose another --lake for the demonstration"
            )


def _deliver(store: ObjectStore, exchange: SyntheticExchange, calendar: Calendar, run: Run) -> int:
    """Land all that the exchange sends; return how many deliveries were new to the lake."""
    written = 0
    run.progress.begin("delivering", len(exchange.sessions), "sessions")
    reached = exchange.sessions[0]
    for sent in exchange.deliveries():
        require_going(run.stop_requested)
        landed = land(
            store, sent.rows, received_at=sent.received_at, source=SOURCE, calendar=calendar
        )
        written += len(landed.written)
        session = max((delivery.session for delivery in landed.deliveries), default=reached)
        if session > reached:
            run.progress.advance(len(calendar.sessions_between(reached, session)) - 1)
            reached = session
    run.progress.advance()
    add_splits(store, exchange.splits(), label="the synthetic exchange")
    add_dividends(
        store, exchange.dividends().rename({"ticker": "symbol", "ex_dividend_date": "date"})
    )
    return written


@click.command(name="demo")
@click.option(
    "--symbols",
    type=click.IntRange(1, 20_000),
    metavar="N",
    default=400,
    help="Stocks listed at any one time.",
)
@date_option("--first", "First date.  [default: three years before the last]")
@date_option("--last", "Last date.  [default: the newest closed session]")
@click.option(
    "--seed",
    type=click.IntRange(0),
    metavar="N",
    default=7,
    help="Seed of the random market; another seed gives another market.",
)
@settings_options(DemoSettings)
@output_options
def command(
    settings: DemoSettings,
    output: Output,
    symbols: int,
    first: date | None,
    last: date | None,
    seed: int,
) -> None:
    """Build a lake from a synthetic exchange: no key, no network.

    It has listings, delistings, halts, splits, early closes, late, repeated and corrected
    deliveries, and broken rows. The lake is consolidated and resampled into six
    intervals, and a second engine checks every value.

    \b
    Examples:
      ohlcv demo --lake demo-lake
      ohlcv demo --symbols 50 --first 2020-01-01 --last 2020-12-31
    """
    calendar = load_calendar()
    until = last or calendar.newest_closed(datetime.now(UTC))
    since = first or date(until.year - 3, until.month, min(until.day, 28))
    if since > until:
        raise SettingsError(f"--first {since} is after --last {until}")
    spec = ExchangeSpec(symbols=symbols, first=since, last=until, seed=seed)
    store = open_store(settings.lake)
    with job_run("demo", store, settings, output) as run:
        _require_synthetic(store)
        delivered = _deliver(store, SyntheticExchange(spec, calendar), calendar, run)
        daily = consolidate_as_set(
            ConsolidatorSettings.model_construct(**dict(settings)),
            store,
            progress=run.progress,
            stop_requested=run.stop_requested,
            calendar=calendar,
        )
        bars = resample_as_set(
            ResamplerSettings.model_construct(**dict(settings)),
            store,
            progress=run.progress,
            stop_requested=run.stop_requested,
            calendar=calendar,
        )
        verified = verify(
            store,
            progress=run.progress,
            stop_requested=run.stop_requested,
            memory_limit=settings.memory_limit,
        )
        refused_rows = Lake(store).rejected().height
        counts = {
            "new_deliveries": delivered,
            "refused_rows": refused_rows,
            "newest_session": daily.newest,
            "differences": verified.count,
        }
        published = [*daily.published, *bars.published]
        run.outcome = RunOutcome(counts, published=published, problems=daily.problems)
    tables = [
        (name, partitions, rows, TablePartitions.list(store, name).size_bytes)
        for name, partitions, rows in verified.checked
    ]
    output.result(
        {
            "lake": store.uri,
            "tables": [
                dict(zip(("table", "years", "rows", "bytes"), row, strict=True)) for row in tables
            ],
            **counts,
        }
    )
    output.table(
        ["table", "years", "bars", "size"],
        [(name, years, rows, size_text(size)) for name, years, rows, size in tables],
    )
    output.say(
        f"The lake is {store.uri}: {count_text(symbols, 'synthetic stocks')}, {since} to {until};\n"
        f"broken rows, refused and kept with their reasons: {refused_rows:,}."
    )
    if verified.count:
        raise DataRefused(f"{count_text(verified.count, 'differences')}: run `ohlcv verify`")
    where = "" if settings.lake == "./lake" else f" --lake {shlex.quote(settings.lake)}"
    output.say("All values match a second engine's recomputation. Try next:\n")
    ohlcv = command_name()
    symbol = shlex.quote(Lake(store).symbols()[0])
    output.say(f"  {ohlcv} status{where}")
    output.say(f"  {ohlcv} chart {symbol}{where}")
    output.say(f"  {ohlcv} report{where}")
    output.say(f'  {ohlcv} sql{where} "select * from bars_5d limit 5"')
