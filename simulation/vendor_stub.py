"""The command ``ohlcv vendor-stub``; ``python -m simulation.vendor_stub`` inside the image."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from batch.core.errors import SettingsError
from batch.core.sessions import load_calendar
from batch.runtime.command import run_main
from batch.runtime.formats import count_text
from batch.runtime.options import output_options
from batch.runtime.output import Output
from batch.runtime.run import StopSwitch
from simulation.vendor_market import FolderMarket, SyntheticMarket
from simulation.vendor_server import Fault, FaultKind, VendorServer


@click.command(name="vendor-stub", context_settings={"show_default": True})
@click.option("--port", type=int, metavar="PORT", default=8321, help="Port on this machine.")
@click.option("--symbols", type=int, metavar="N", default=500, help="Stocks listed.")
@click.option(
    "--years", type=float, metavar="YEARS", default=2, help="Years of history that it serves."
)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=7,
    help="Seed of the random market; another seed gives another market.",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Serve deliveries from files instead, one per day with the date in its name.",
)
@click.option(
    "--requests-per-minute",
    type=int,
    metavar="N",
    default=0,
    help="Requests per minute, above which it answers 429.",
)
@click.option("--key", help="Accept this key only; any by default.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[:TIMES[:PATH]]",
    help=f"Go wrong: {', '.join(FaultKind)}.",
)
@output_options
def command(
    output: Output,
    port: int,
    symbols: int,
    years: float,
    seed: int,
    folder: Path | None,
    requests_per_minute: int,
    key: str | None,
    faults: tuple[str, ...],
) -> None:
    """Stand in for Polygon's HTTP API, so that anybody can try a daily run.

    It serves the synthetic exchange's market up to the newest closed session, with
    Polygon's field names and the faults that --fault names. Ctrl-C stops it.

    \b
    Examples:
      ohlcv vendor-stub &
      export OHLCV_POLYGON_BASE_URL=http://127.0.0.1:8321 POLYGON_API_KEY=any
      ohlcv run --requests-per-minute 0
    """
    if symbols < 1 or years <= 0:
        raise SettingsError(f"--symbols {symbols}, --years {years:g}: both must be above zero")
    calendar = load_calendar()
    first = (datetime.now(UTC) - timedelta(days=365.25 * years)).date()
    server = VendorServer(
        FolderMarket(folder)
        if folder
        else SyntheticMarket(symbols=symbols, first=first, seed=seed, calendar=calendar),
        calendar,
        key=key,
        requests_per_minute=requests_per_minute,
        faults=[Fault.parse(text) for text in faults],
    )
    with StopSwitch().armed() as stop_requested, server.running(port) as url:
        output.say(
            f"serving on {url};"
            f" export OHLCV_POLYGON_BASE_URL={url} POLYGON_API_KEY={'...' if key else 'any'}"
        )
        while not stop_requested():
            time.sleep(0.1)
    output.say(f"{count_text(len(server.asked), 'requests')} answered")


if __name__ == "__main__":
    sys.exit(run_main(command, name="vendor-stub"))
