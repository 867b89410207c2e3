"""Settings of the fetchers: options, then ``OHLCV_*`` environment variables, then defaults.

The API key is not among them: see :mod:`fetchers.secrets`.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import Field

from batch.runtime.settings import ENVIRONMENT_ONLY, Option, RefusalSettings

Value = TypeVar("Value")
FromEnvironment = Annotated[Value, ENVIRONMENT_ONLY]
"""A setting of an installation rather than of one run: it has no option."""


class FetchSettings(RefusalSettings):
    """What fetching reads once, at its start."""

    polygon_base_url: FromEnvironment[str] = Field(
        "https://api.polygon.io",
        pattern=r"^https?://[^\s?#@]+$",
        description="The vendor's HTTP interface; https://api.massive.com works as well.",
    )
    polygon_requests_per_minute: Annotated[int, Option("requests-per-minute")] = Field(
        5, ge=0, description="Maximum requests per minute; 0 for no limit (paid plans)."
    )
    polygon_share: FromEnvironment[float] = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of these requests that this process may make; the shares of processes"
        " with the same key add up to 1 at most.",
    )
    polygon_retry_s: FromEnvironment[float] = Field(
        180.0, ge=0, description="Seconds for which a request is retried before the run gives up."
    )
    polygon_timeout_s: FromEnvironment[float] = Field(
        60.0, gt=0, description="Seconds of silence after which a request is abandoned."
    )
    polygon_answer_s: FromEnvironment[float] = Field(
        60.0,
        gt=0,
        description="Seconds after which an answer that is still arriving is abandoned.",
    )
    polygon_secret: FromEnvironment[str | None] = Field(
        None, description="Name or ARN of the Secrets Manager secret that holds the API key."
    )
    polygon_parameter: FromEnvironment[str | None] = Field(
        None, description="Name of the SSM parameter that holds the API key."
    )
    close_delay_minutes: FromEnvironment[float] = Field(
        5.0, ge=0, description="Minutes after a session's close before its bars are requested."
    )
    trailing_sessions: FromEnvironment[int] = Field(
        5, ge=0, le=250, description="Sessions before the newest one that are fetched again."
    )
    lookback_sessions: FromEnvironment[int] = Field(
        30, ge=1, le=2_000, description="Sessions up to the newest in which a run fills gaps."
    )
    incomplete_below: FromEnvironment[float] = Field(
        0.8,
        ge=0,
        le=1,
        description="Share of the usual number of rows below which a session is incomplete.",
    )
    strict: bool = Field(False, description="Fail the run if a session is incomplete.")
    details_per_run: Annotated[int, Option("details")] = Field(
        20, ge=0, description="Tickers whose details are requested in one run."
    )
    downloads: FromEnvironment[int] = Field(
        8,
        ge=1,
        le=64,
        description="Concurrent requests to the vendor; at most two where their rate is limited.",
    )
    flat_files_url: FromEnvironment[str] = Field(
        "https://files.massive.com",
        pattern=r"^https?://[^\s?#@]+$",
        description="Endpoint of the vendor's flat files, which speaks S3.",
    )
    flat_files_bucket: FromEnvironment[str] = Field(
        "flatfiles", description="Bucket of the flat files."
    )
    flat_files_prefix: FromEnvironment[str] = Field(
        "us_stocks_sip/day_aggs_v1", description="Folder of the daily flat files in it."
    )
