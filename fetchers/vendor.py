"""The vendor's client and the options of a fetch, as the settings ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from batch.runtime.progress import StopRequested
from fetchers.daily_bars import BarsOptions
from fetchers.polygon.client import PolygonClient
from fetchers.polygon.pacing import Pacer
from fetchers.polygon.transport import RetryPolicy
from fetchers.secrets import find_api_key
from fetchers.settings import FetchSettings

_PACED_DOWNLOADS = 2


def connect(
    settings: FetchSettings, environment: Mapping[str, str], stop_requested: StopRequested
) -> PolygonClient:
    """Return the vendor's client; nothing is asked of the vendor yet.

    Raises:
        KeyMissing: There is no key.
    """
    key = find_api_key(
        environment, secret=settings.polygon_secret, parameter=settings.polygon_parameter
    )
    return PolygonClient(
        key,
        base_url=settings.polygon_base_url,
        pacer=Pacer(settings.polygon_requests_per_minute),
        retry=RetryPolicy(settings.polygon_retry_s),
        timeout_s=settings.polygon_timeout_s,
        connections=settings.downloads,
        stop_requested=stop_requested,
    )


def bars_options(settings: FetchSettings) -> BarsOptions:
    """Return how daily bars are fetched; a limit per minute leaves little to do side by side."""
    paced = settings.polygon_requests_per_minute > 0
    return BarsOptions(
        close_delay=timedelta(minutes=settings.close_delay_minutes),
        trailing=settings.trailing_sessions,
        lookback=settings.lookback_sessions,
        incomplete_below=settings.incomplete_below,
        max_refused_share=settings.max_refused_share,
        downloads=min(settings.downloads, _PACED_DOWNLOADS) if paced else settings.downloads,
    )
