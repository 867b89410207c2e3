"""The command ``ohlcv vendor-stub``; ``python -m simulation.vendor_stub`` inside the image."""

from __future__ import annotations

import sys

import click

from batch.runtime.command import run_main
from batch.runtime.options import output_options
from batch.runtime.output import Output


@click.command(name="vendor-stub")
@click.option(
    "--port",
    type=int,
    metavar="PORT",
    default=8321,
    show_default=True,
    help="Port on this machine.",
)
@click.option(
    "--symbols", type=int, metavar="N", default=500, show_default=True, help="Stocks listed."
)
@click.option(
    "--years",
    type=float,
    metavar="YEARS",
    default=2,
    show_default=True,
    help="How far it goes back.",
)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=7,
    show_default=True,
    help="Another seed, another market.",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False),
    help="Serve deliveries in files, one per day with the date in its name, instead.",
)
@click.option(
    "--requests-per-minute",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="Answer 429 above it.",
)
@click.option("--key", help="Accept this key only; any by default.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="KIND[:TIMES[:PATH]]",
    help="Go wrong: delayed, empty, fewer, miscounted, too-many, retry-after, server-error,"
    " html, cut-off, cut-json, no-results, slow, hang-up, unauthorized, forbidden.",
)
@output_options
def command(
    output: Output,
    port: int,
    symbols: int,
    years: float,
    seed: int,
    folder: str | None,
    requests_per_minute: int,
    key: str | None,
    faults: tuple[str, ...],
) -> None:
    """Stand in for Polygon's HTTP interface, so that anybody can try a daily run.

    It tells the market of the synthetic exchange up to the newest closed session, with the
    true field names, and with the faults that are asked for. It stops on Ctrl-C.

    \b
    Examples:
      ohlcv vendor-stub &
      export OHLCV_POLYGON_BASE_URL=http://127.0.0.1:8321 POLYGON_API_KEY=any
      ohlcv run --requests-per-minute 0
    """
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - help stays quick
    from pathlib import Path  # noqa: PLC0415

    from batch.core.errors import SettingsError  # noqa: PLC0415
    from batch.core.sessions import load_calendar  # noqa: PLC0415
    from batch.runtime.run import StopSwitch  # noqa: PLC0415
    from simulation.vendor_market import FolderMarket, SyntheticMarket  # noqa: PLC0415
    from simulation.vendor_server import Fault, VendorStub, serve_until  # noqa: PLC0415

    calendar = load_calendar()
    if symbols < 1 or years <= 0:
        raise SettingsError(f"--symbols {symbols}, --years {years:g}: both must be above zero")
    first = (datetime.now(UTC) - timedelta(days=365.25 * years)).date()
    market = (
        FolderMarket(Path(folder))
        if folder
        else SyntheticMarket(symbols=symbols, first=first, seed=seed, calendar=calendar)
    )
    stub = VendorStub(
        market,
        calendar,
        key=key,
        requests_per_minute=requests_per_minute,
        faults=[Fault.parse(text) for text in faults],
    )
    with StopSwitch().armed() as stop_requested:
        server = stub.server(port)
        output.say(
            f"serving on http://127.0.0.1:{server.server_address[1]};"
            f" export OHLCV_POLYGON_BASE_URL=http://127.0.0.1:{server.server_address[1]}"
            f" POLYGON_API_KEY={'...' if key else 'any'}"
        )
        serve_until(server, stop_requested)
    output.say(f"{len(stub.asked):,} requests answered")


if __name__ == "__main__":
    sys.exit(run_main(command, name="vendor-stub"))
