"""The market behind the stand-in for the vendor: a synthetic exchange, or a folder of files."""

from __future__ import annotations

import threading
from datetime import date, datetime, time, timedelta
from pathlib import Path

import polars as pl

from batch.core import schema
from batch.core.errors import DeliveryUnreadable, SettingsError
from batch.core.frames import empty_frame
from batch.core.sessions import Calendar
from fetchers.files.names import instant_in_name
from fetchers.files.reader import SourceFile, find_files, open_parts, read_file
from fetchers.files.reference import Kind
from fetchers.plan import NEW_YORK
from fetchers.polygon.parsing import SPLITS_LISTED
from simulation.exchange import ExchangeSpec, SyntheticExchange

LATE_PRINTS_AFTER = timedelta(hours=20)
"""How long after its close a session lacks its late prints."""

_UNLISTED_EVERY = 40


class SyntheticMarket:
    """The synthetic exchange, growing by a session a day.

    For some hours after a close one bar in fifty lacks its late prints. One ticker in
    forty trades without being listed, and one that never traded is listed.
    """

    def __init__(self, *, symbols: int, first: date, seed: int, calendar: Calendar) -> None:
        self._symbols = symbols
        self._first = first
        self._seed = seed
        self._calendar = calendar
        self._exchange: SyntheticExchange | None = None
        self._lock = threading.Lock()

    def rows(self, session: date, now: datetime) -> pl.DataFrame:
        """Return a session's bars, none before its close: columns of a delivery."""
        closed = session >= self._first and self._calendar.is_session(session)
        if not closed or self._calendar.close_of(session) > now:
            return empty_frame(schema.DELIVERY)
        with self._lock:
            final = self._until(now).session_rows(session)
        if now - self._calendar.close_of(session) >= LATE_PRINTS_AFTER:
            return final
        early = pl.int_range(pl.len()) % 50 == 7
        return final.with_columns(
            pl.when(early).then((pl.col("volume") * 0.97).floor()).otherwise(pl.col("volume"))
        )

    def tickers(self, now: datetime) -> pl.DataFrame:
        """Return most tickers: ``ticker``, ``name``, ``active`` and what else is known."""
        with self._lock:
            known = self._until(now).tickers()
        listed = known.filter(pl.int_range(pl.len()) % _UNLISTED_EVERY != _UNLISTED_EVERY - 1)
        phantom = listed.head(1).with_columns(
            ticker=pl.lit("ZZZQ"),
            name=pl.lit("Listed But Never Traded Inc."),
            active=pl.lit(value=True),
            delisted_date=pl.lit(None, dtype=pl.Date),
        )
        return pl.concat([listed, phantom]).sort("ticker")

    def splits(self, now: datetime) -> pl.DataFrame:
        """Return ``symbol``, ``date``, ``split_from``, ``split_to``."""
        with self._lock:
            return self._until(now).splits()

    def dividends(self, now: datetime) -> pl.DataFrame:
        """Return ``ticker``, ``ex_dividend_date``, ``cash_amount`` and what else is known."""
        with self._lock:
            return self._until(now).dividends()

    def _until(self, now: datetime) -> SyntheticExchange:
        """Return the exchange up to the newest closed session; a later one adds to it only."""
        newest = self._calendar.newest_closed(now)
        if self._exchange is None or self._exchange.spec.last < newest:
            spec = ExchangeSpec(
                symbols=self._symbols, first=self._first, last=newest, seed=self._seed
            )
            self._exchange = SyntheticExchange(spec, self._calendar)
        return self._exchange


class FolderMarket:
    """Deliveries in files, one per day on which they were received, as they were received.

    A delivery may hold earlier sessions again; the newest file received by then counts.
    Splits are those of a file ``splits.csv`` in the folder or beside it.
    """

    def __init__(self, folder: Path) -> None:
        self._files: list[tuple[date, SourceFile]] = []
        for file in find_files(str(folder)):
            if "splits" in file.key:
                continue
            instant = instant_in_name(file.key.rpartition("/")[2])
            if instant is None:
                raise SettingsError(f"{file.uri}: no date in its name, such as 2016-03-31.csv.gz")
            self._files.append((instant.date(), file))
        self._files.sort(key=lambda item: item[0])
        places = (folder / "splits.csv", folder.parent / "splits.csv")
        found = [file for path in places if path.is_file() for file in find_files(str(path))]
        self._splits = pl.DataFrame(schema=SPLITS_LISTED)
        if found:
            with open_parts(found[0]) as parts:
                self._splits = next(parts).reference(Kind.SPLITS).rows

    def rows(self, session: date, now: datetime) -> pl.DataFrame:
        """Return a session's rows as the newest file with them has them."""
        week_later = session + timedelta(days=7)
        near = [file for day, file in self._received(now) if session <= day <= week_later]
        found = empty_frame(schema.DELIVERY)
        for file in near[:2]:
            rows = _rows(file).filter(pl.col("date") == session)
            found = rows if rows.height else found
        return found

    def tickers(self, now: datetime) -> pl.DataFrame:
        """Return the symbols of the newest file."""
        received = [file for _, file in self._received(now)]
        newest = _rows(received[-1]) if received else empty_frame(schema.DELIVERY)
        symbols = newest["symbol"].unique().drop_nulls().sort()
        return pl.DataFrame({"ticker": symbols}).with_columns(
            name=pl.col("ticker"),
            market=pl.lit("stocks"),
            locale=pl.lit("us"),
            active=pl.lit(value=True),
        )

    def splits(self, now: datetime) -> pl.DataFrame:
        """Return the splits of the file."""
        return self._splits.filter(pl.col("date") <= now.date())

    def dividends(self, now: datetime) -> pl.DataFrame:  # noqa: ARG002 - files have none
        """Return no dividends."""
        return pl.DataFrame(
            schema={"ticker": pl.String, "ex_dividend_date": pl.Date, "cash_amount": pl.Float64}
        )

    def _received(self, now: datetime) -> list[tuple[date, SourceFile]]:
        return [
            (day, file)
            for day, file in self._files
            if datetime.combine(day, time(17), NEW_YORK) <= now
        ]


VendorMarket = SyntheticMarket | FolderMarket
"""A market as its vendor knows it at an instant; nothing later is in it."""


def _rows(file: SourceFile) -> pl.DataFrame:
    """Return a file's rows; none where it is empty or damaged, as some are."""
    try:
        return read_file(file).rows.select(schema.DELIVERY.names)
    except DeliveryUnreadable:
        return empty_frame(schema.DELIVERY)
