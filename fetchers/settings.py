"""Settings of the fetchers: options, then ``OHLCV_*`` environment variables, then defaults.

The API key is not among them: see :mod:`fetchers.secrets`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from batch.runtime.settings import Settings


class FetchSettings(Settings):
    """What fetching reads once, at its start."""

    OPTIONS: ClassVar[Mapping[str, str]] = {
        "polygon_requests_per_minute": "requests-per-minute",
        "details_per_run": "details",
    }

    polygon_base_url: str = Field(
        "https://api.polygon.io",
        pattern=r"^https?://[^\s?#@]+$",
        description="Where the vendor's HTTP interface is.",
    )
    polygon_requests_per_minute: int = Field(
        5, ge=0, description="Most requests in any minute; 0 for no limit."
    )
    polygon_retry_s: float = Field(
        180.0, ge=0, description="Seconds that one request is tried again before the run gives up."
    )
    polygon_timeout_s: float = Field(
        60.0, gt=0, description="Seconds of silence after which a request is given up."
    )
    polygon_secret: str | None = Field(
        None, description="Name or ARN of the Secrets Manager secret that holds the API key."
    )
    polygon_parameter: str | None = Field(
        None, description="Name of the SSM parameter that holds the API key."
    )
    close_delay_minutes: float = Field(
        5.0, ge=0, description="Minutes after a session's close before its bars are asked for."
    )
    trailing_sessions: int = Field(
        5, ge=0, le=250, description="Sessions before the newest one that are asked for again."
    )
    lookback_sessions: int = Field(
        30, ge=1, le=2_000, description="How far back a run looks for sessions that are missing."
    )
    incomplete_below: float = Field(
        0.8,
        ge=0,
        le=1,
        description="Share of the usual number of rows below which a session is incomplete.",
    )
    strict: bool = Field(False, description="Fail the run where a session is incomplete.")
    details_per_run: int = Field(
        20, ge=0, description="Tickers whose details are asked for in one run."
    )
    downloads: int = Field(
        8, ge=1, le=64, description="Requests to the vendor under way side by side."
    )
    flat_files_url: str = Field(
        "https://files.massive.com",
        pattern=r"^https?://[^\s?#@]+$",
        description="Endpoint of the vendor's flat files, which speaks S3.",
    )
    flat_files_bucket: str = Field("flatfiles", description="Bucket of the flat files.")
    flat_files_prefix: str = Field(
        "us_stocks_sip/day_aggs_v1", description="Folder of the daily flat files in it."
    )
