"""Backfilling from the vendor's flat files: one compressed CSV file per session, on S3.

https://polygon.io/docs/flat-files/stocks/day-aggregates
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial

from batch.core import schema
from batch.core.errors import DeliveryUnreadable, StoreDenied
from batch.core.frames import empty_frame
from batch.storage.s3 import S3Store
from batch.storage.store import ObjectStore
from fetchers.daily_bars import BarsSource
from fetchers.errors import VendorDenied, VendorRefused
from fetchers.files.reader import SourceFile, read_file
from fetchers.polygon.parsing import SessionAnswer
from fetchers.secrets import FlatFileKeys
from fetchers.settings import FetchSettings

SOURCE = "polygon-flat"

READY_AFTER = timedelta(hours=19)
"""A session's file is there from about 11:00 New York time of the next day."""


def bars_source(settings: FetchSettings, keys: FlatFileKeys) -> BarsSource:
    """Return the flat files as a source of daily bars; nothing is requested yet.

    They are never adjusted for splits and have no vwap.
    """
    store = S3Store.at_endpoint(
        settings.flat_files_url,
        settings.flat_files_bucket,
        settings.flat_files_prefix,
        access_key_id=keys.access_key_id.get_secret_value(),
        secret_key=keys.secret_access_key.get_secret_value(),
    )
    delay = max(timedelta(minutes=settings.close_delay_minutes), READY_AFTER)
    return BarsSource(SOURCE, partial(read_session, store), delay, settings.downloads)


def read_session(store: ObjectStore, session: date) -> SessionAnswer:
    """Return the bars of one session; none, and a doubt, where there is no file.

    Raises:
        VendorRefused: The file is damaged or holds another day.
        VendorDenied: The keys or the plan do not allow it.
        StoreUnavailable: The vendor's store does not answer.
    """
    file = SourceFile(store, f"{session:%Y/%m}/{session}.csv.gz", datetime.now(UTC))
    try:
        if store.head(file.key) is None:
            return SessionAnswer(session, empty_frame(schema.DELIVERY), ("no file",))
        rows = read_file(file).rows
    except StoreDenied as err:
        raise VendorDenied(
            f"{file.uri}: refused; check the S3 keys shown under Flat Files in the"
            " vendor's dashboard, and that the plan reaches back that far"
        ) from err
    except DeliveryUnreadable as err:
        raise VendorRefused(str(err)) from err
    days = rows["date"].unique().to_list()
    if rows.height and days != [session]:
        raise VendorRefused(f"{file.uri}: expected bars of {session} alone, found {days[:3]}")
    return SessionAnswer(session, rows, () if rows.height else ("no rows",))
