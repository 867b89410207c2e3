"""What ``fetch`` and ``run`` are told of the vendor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def strict_option(command: Decorated) -> Decorated:
    """Add ``--strict``."""
    return click.option(
        "--strict",
        is_flag=True,
        default=None,
        help="Fail on incomplete sessions.  [env: OHLCV_STRICT]",
    )(command)


def pace_options(command: Decorated) -> Decorated:
    """Add how much is asked of the vendor, and how fast."""
    for option in (
        click.option(
            "--details",
            "details_per_run",
            type=int,
            metavar="N",
            help="Tickers whose details are asked for.  [env: OHLCV_DETAILS_PER_RUN; default: 20]",
        ),
        click.option(
            "--requests-per-minute",
            "polygon_requests_per_minute",
            type=int,
            metavar="N",
            help="Pace; 0 for no limit.  [env: OHLCV_POLYGON_REQUESTS_PER_MINUTE; default: 5]",
        ),
    ):
        command = option(command)
    return command
