"""The read API: bars, reference tables and SQL over a lake, as Polars frames."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from datetime import UTC, date, datetime
from os import PathLike, fspath

import polars as pl

from batch.core import schema
from batch.core.errors import DataRefused, LakeWarning, ObjectMissing, SettingsError
from batch.core.frames import empty_frame
from batch.core.layout import (
    DAILY_TABLE,
    DIVIDENDS,
    REJECTED,
    RESTATEMENTS_TABLE,
    TICKERS,
    Anchor,
    table_prefix,
)
from batch.core.sessions import calendar_from
from batch.lake.absence import explain_dates, explain_unknown
from batch.lake.arguments import (
    Adjusted,
    BarsRequest,
    read_dates,
    read_switch,
    read_texts,
)
from batch.lake.manifest import load_daily_manifest
from batch.lake.panel import require_field, widen
from batch.lake.partitions import list_tables, table_schema
from batch.lake.reference import read_reference, read_splits
from batch.lake.select import select_bars
from batch.lake.tables import reading_table, scan_table, table_years
from batch.lake.universe import UniverseRules, choose, window_of
from batch.storage.scan import REBUILD, of_symbols, reading, scan_objects
from batch.storage.store import ObjectStore, open_store, require_lake

Interval = int | str
Day = date | str


class Lake:
    """A lake to read from; nothing here ever writes.

    Frames are Polars; ``frame.to_pandas()`` makes them pandas. Every call looks at what
    is published at that moment.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    @classmethod
    def open(cls, uri: str | PathLike[str]) -> Lake:
        """Open the lake at a folder or at ``s3://bucket/prefix``.

        Raises:
            LakeMissing: There is none, or what is there is something else.
            SettingsError: The root is of another kind.
        """
        store = open_store(fspath(uri))
        require_lake(store)
        return cls(store)

    def __repr__(self) -> str:
        return f"Lake.open({self.store.uri!r})"

    def bars(
        self,
        interval: Interval,
        symbols: Sequence[str] | str | None = None,
        start: Day | None = None,
        end: Day | None = None,
        adjusted: Adjusted = True,
        complete: bool | None = True,
        anchor: Anchor | str = Anchor.CALENDAR,
        as_of: datetime | str | None = None,
    ) -> pl.DataFrame:
        """Return daily or N-session bars, sorted by (symbol, date) or (symbol, start).

        Args:
            interval: ``"1d"`` for daily bars, ``"5d"`` or ``5`` for bars of 5 sessions; ``"1w"``
                and ``"1mo"`` for bars of ISO weeks, Monday to Sunday, and of months.
            symbols: One or several, exact and case-sensitive; all where None.
            start: First date, inclusive; a bar whose window begins before it is left out.
            end: Last date, inclusive; a bar that knows anything of a later session is
                left out.
            adjusted: Bring each symbol's series to the shares of its newest bar, splits
                outside the dates asked for included. ``"dividends"`` also takes the cash
                dividends out of the prices before their ex-dates, so that returns are total
                returns: :func:`batch.lake.adjust.dividend_events` has the formula. False
                returns prices as traded, as the files have them.
            complete: True leaves the open bars out, so that you do not look ahead by
                accident; False or None returns them too. Daily bars are always complete.
            anchor: What windows are counted from: ``calendar`` or ``listing``.
            as_of: Return the bars as they were known at this instant, such as
                ``2025-01-10T09:00Z`` (a bare date is its end in UTC): from the
                deliveries received, the splits executed and the dividends gone ex by then.

        Bars of weeks and months are always made from daily bars, those of N sessions where
        ``as_of`` or ``"dividends"`` is given: any interval will do then, published or not.

        Warns:
            LakeWarning: The lake does not know one of the symbols, or has no bars of these
                dates: the message says what was probably meant, and what there is. Or a
                dividend could not be adjusted for, or there are none.

        Raises:
            SettingsError: An argument is wrong, the interval has not been made, or none of
                the symbols is known.
            DataRefused: A file of the lake is damaged.
            StoreUnavailable: The store does not answer.
        """
        return self._read(
            BarsRequest.read(interval, symbols, start, end, adjusted, complete, anchor, as_of)
        )

    def lazy(
        self,
        interval: Interval,
        symbols: Sequence[str] | str | None = None,
        start: Day | None = None,
        end: Day | None = None,
        adjusted: Adjusted = True,
        complete: bool | None = True,
        anchor: Anchor | str = Anchor.CALENDAR,
        as_of: datetime | str | None = None,
    ) -> pl.LazyFrame:
        """Return what :meth:`bars` returns, not yet read; the arguments are the same.

        Bars that no table has, such as those of weeks, are made at once. Symbols are not looked up:
        one that the lake does not know has no rows.
        """
        asked = BarsRequest.read(interval, symbols, start, end, adjusted, complete, anchor, as_of)
        rows, warning = select_bars(self.store, asked)
        if warning:
            warnings.warn(warning, LakeWarning, stacklevel=2)
        return rows

    def panel(
        self,
        field: str,
        interval: Interval,
        symbols: Sequence[str] | str | None = None,
        start: Day | None = None,
        end: Day | None = None,
        adjusted: Adjusted = True,
        complete: bool | None = True,
        anchor: Anchor | str = Anchor.CALENDAR,
        as_of: datetime | str | None = None,
    ) -> pl.DataFrame:
        """Return one field of many symbols side by side, for backtests on whole columns.

        The bars are those of :meth:`bars`; the arguments after ``field`` are the same, and so
        are the warnings and errors.

        Args:
            field: A column of the bars, such as ``close`` or ``volume``.
            interval: As in :meth:`bars`.
            symbols: One column for each, in this order, all null for one without bars; where
                None, every symbol that has a bar, sorted.
            start: As in :meth:`bars`, like the arguments after it.

        Returns:
            A row for each date on which any of the symbols has a bar, ascending: ``date`` of
            daily bars, ``end`` of others, so that a row holds what was known at its close. Then
            a column per symbol, null where it has no bar.

        Raises:
            SettingsError: The bars have no such field, and what :meth:`bars` raises.
            DataRefused: A symbol has the name of the column of dates, such as ``end``; and what
                :meth:`bars` raises.
        """
        asked = BarsRequest.read(interval, symbols, start, end, adjusted, complete, anchor, as_of)
        columns = table_schema(asked.table).names
        require_field(field, columns)
        index = "end" if "end" in columns else "date"
        rows = self._read(asked, ["symbol", index, field])
        return widen(rows, field, index, asked.symbols)

    def universe(
        self,
        on: Day | None = None,
        *,
        types: Sequence[str] | str | None = None,
        sectors: Sequence[str] | str | None = None,
        min_price: float = 0.0,
        min_dollar_volume: float = 0.0,
        sessions: int = 21,
        size: int | None = None,
        hindsight: bool = False,
        as_of: datetime | str | None = None,
    ) -> pl.DataFrame:
        """Return the symbols that keep some rules on a session, by what was known at its close.

        They come from the bars of the session, so that those delisted since are among them.

        Args:
            on: The session; the newest one where None.
            types: The vendor's kinds of security, such as ``CS`` and ``ETF``, as the tickers had
                them on that day. A symbol of which none is known is left out.
            sectors: Fama and French's industries, :data:`batch.core.sectors.SECTORS`, by the SIC
                code that the tickers had; left out as with ``types``.
            min_price: Least close of the session in USD, as traded.
            min_dollar_volume: Least median of close times volume over the window, in USD. A
                session of the window without a bar of the symbol counts as zero.
            sessions: Exchange sessions in the window, ``on`` being the last one.
            size: Most symbols, those of the largest dollar volume.
            hindsight: Let a symbol's first row in the tickers stand in on days before it was
                learnt, as in history that was fetched later.
            as_of: Use the bars and the tickers known at this instant, as :meth:`bars` does;
                otherwise bars have the values of later corrections.

        Returns:
            ``symbol``, ``close``, ``dollar_volume`` (the median), ``sessions`` (with a bar, of
            the window), ``type``, ``sector`` and ``name`` (null where not known). The largest
            dollar volume first, equal ones by symbol.

        Warns:
            LakeWarning: The lake does not have all sessions of the window; medians are over those
                that it has.

        Raises:
            SettingsError: An argument is wrong, ``on`` is no session that the lake has, or nothing
                is known of types or sectors on that day.
            DataRefused: A file of the lake is damaged.
            StoreUnavailable: The store does not answer.
        """
        rules = UniverseRules(
            types=read_texts(types, "types", "CS"),
            sectors=read_texts(sectors, "sectors", "Hlth"),
            min_price=min_price,
            min_dollar_volume=min_dollar_volume,
            sessions=sessions,
            size=size,
            hindsight=read_switch(hindsight, "hindsight"),
        )
        last = read_dates(on, None)[0] or self.newest_session()
        if last is None:
            raise SettingsError(
                f"{self.store.uri} has no daily bars: make them with `ohlcv consolidate`"
            )
        calendar = calendar_from(last)
        first = window_of(last, sessions, calendar)
        asked = BarsRequest.read(1, None, first, last, False, True, Anchor.CALENDAR, as_of)
        bars, _ = self._collect(asked, ["symbol", "date", "close", "volume"])
        if bars.filter(pl.col("date") == last).is_empty():
            reason = f"no daily bars of {last} in {self.store.uri}"
            newest = self.newest_session()
            raise SettingsError(f"{reason}: its newest session is {newest}" if newest else reason)
        had, wanted = bars["date"].n_unique(), len(calendar.sessions_between(first, last))
        if had < wanted:
            warnings.warn(
                f"{self.store.uri} has {had} of the {wanted} sessions from {first} to {last}:"
                " dollar volumes are medians over those",
                LakeWarning,
                stacklevel=2,
            )
        tickers = self.tickers()
        if asked.as_of is not None:
            tickers = tickers.filter(pl.col("valid_from") <= asked.as_of.astimezone(UTC).date())
        return choose(bars, tickers, last, rules, label=self.store.uri)

    def _read(self, asked: BarsRequest, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the bars, or some columns of them; warn the caller's caller of missing ones."""
        try:
            rows, warning = self._collect(asked, columns)
        except (ObjectMissing, DataRefused):
            # A job may have replaced a partition between its listing and its reading.
            rows, warning = self._collect(asked, columns)
        missing = self._what_is_missing(asked, rows)
        for message in filter(None, (missing, warning)):
            warnings.warn(message, LakeWarning, stacklevel=3)
        return rows

    def _collect(
        self, asked: BarsRequest, columns: Sequence[str] | None
    ) -> tuple[pl.DataFrame, str | None]:
        rows, warning = select_bars(self.store, asked)
        with reading_table(self.store, asked.table):
            return (rows if columns is None else rows.select(columns)).collect(), warning

    def _what_is_missing(self, asked: BarsRequest, rows: pl.DataFrame) -> str | None:
        """Return why bars that were asked for are missing; None where that needs no words.

        Raises:
            SettingsError: The lake knows none of the symbols.
        """
        if asked.symbols == [] or (asked.symbols is None and rows.height):
            return None
        found = set(rows["symbol"].unique().to_list())
        absent = [symbol for symbol in dict.fromkeys(asked.symbols or ()) if symbol not in found]
        if rows.height and not absent:
            return None
        spans = self._spans(absent or None)
        known = set(spans["symbol"].to_list())
        unknown = [symbol for symbol in absent if symbol not in known]
        if spans.is_empty() and self.newest_session() is None:
            return (
                f"{self.store.uri} has no daily bars: check the path, or make them with"
                " `ohlcv consolidate` from what was delivered"
            )
        if unknown:
            text = explain_unknown(self.store.uri, unknown, self._turnovers_usd())
            if known or found:
                return text
            raise SettingsError(text)
        if rows.height:
            return None  # among several symbols, one without bars of these dates is usual
        return explain_dates(
            self.store.uri, str(asked), asked.symbols, asked.first, asked.last, spans
        )

    def _spans(self, symbols: Sequence[str] | None) -> pl.DataFrame:
        """Return the first and last date of the daily bars of some symbols, all where None."""
        years = table_years(self.store, DAILY_TABLE)
        rows = of_symbols(scan_table(self.store, DAILY_TABLE, years), symbols)
        spans = rows.group_by("symbol").agg(first=pl.col("date").min(), last=pl.col("date").max())
        with reading_table(self.store, DAILY_TABLE):
            return spans.collect()

    def _turnovers_usd(self) -> dict[str, float]:
        """Return every symbol, with what was traded of it in the newest year."""
        years = table_years(self.store, DAILY_TABLE)
        turnover = (pl.col("close") * pl.col("volume")).sum()
        newest = scan_table(self.store, DAILY_TABLE, years[-1:]).group_by("symbol").agg(turnover)
        with reading_table(self.store, DAILY_TABLE):
            traded = dict(newest.collect().rows())
        return {symbol: traded.get(symbol, 0.0) for symbol in self.symbols()}

    def tables(self) -> list[str]:
        """Return the names of the silver tables: ``1d``, ``3d``, ..., ``restatements``."""
        return [*list_tables(self.store)]

    def symbols(self) -> list[str]:
        """Return every symbol that has a daily bar, sorted."""
        rows = scan_table(self.store, DAILY_TABLE, table_years(self.store, DAILY_TABLE))
        with reading_table(self.store, DAILY_TABLE):
            found = rows.select(pl.col("symbol").unique()).collect()
        if found["symbol"].null_count():
            where = f"{self.store.uri}/{table_prefix(DAILY_TABLE)}"
            raise DataRefused(f"{where}: a bar has no symbol; {REBUILD}")
        return found["symbol"].sort().to_list()

    def newest_session(self) -> date | None:
        """Return the newest consolidated session, None in a lake without any."""
        return load_daily_manifest(self.store).newest

    def tickers(self) -> pl.DataFrame:
        """Return what was known of each symbol, and when: :data:`batch.core.schema.TICKERS`.

        The rows without ``valid_to`` hold today. No rows where none were fetched.
        """
        return read_reference(self.store, TICKERS, schema.TICKERS)

    def splits(self) -> pl.DataFrame:
        """Return the splits, sorted by (symbol, date): :data:`batch.core.schema.SPLITS`."""
        return read_splits(self.store)

    def dividends(self) -> pl.DataFrame:
        """Return the cash dividends: :data:`batch.core.schema.DIVIDENDS`.

        No rows where none were fetched.
        """
        return read_reference(self.store, DIVIDENDS, schema.DIVIDENDS)

    def restatements(self) -> pl.DataFrame:
        """Return values of later deliveries that differ: :data:`batch.core.schema.RESTATEMENTS`."""
        years = table_years(self.store, RESTATEMENTS_TABLE)
        with reading_table(self.store, RESTATEMENTS_TABLE):
            return scan_table(self.store, RESTATEMENTS_TABLE, years).collect()

    def rejected(self) -> pl.DataFrame:
        """Return the refused rows as received, each with its reason and where it came from.

        Columns of :data:`batch.core.schema.REJECTED` and ``delivery``, the path of the
        delivery below ``bronze/rejected/``.
        """
        keys = [item.key for item in self.store.list(REJECTED) if item.key.endswith(".parquet")]
        if not keys:
            return empty_frame(schema.REJECTED).with_columns(delivery=pl.lit("", pl.String))
        rows = scan_objects(self.store, keys, schema.REJECTED, include_file_paths="delivery")
        with reading(self.store, REJECTED, schema.REJECTED):
            received = rows.collect()
        return received.with_columns(
            pl.col("delivery").str.split(f"/{REJECTED}").list.last().alias("delivery")
        )

    def sql(self, query: str) -> pl.DataFrame:
        """Run a DuckDB query over the lake.

        There is a view of every table there is (``bars_1d``, ``bars_3d``, ...,
        ``restatements``) and of ``splits``, ``tickers`` and ``dividends``. Prices are as
        traded; the views ``adjusted.bars_1d``, ``adjusted.bars_3d``, ... have them adjusted for
        splits, as :meth:`bars` returns them. Open bars are in the views: ask for ``WHERE
        complete``. Bars of N sessions have ``window_end`` beside ``end``, which is a reserved
        word. A query can write nothing and read no other file.

        Raises:
            SettingsError: The query is wrong.
            DataRefused: A table that the query names is damaged.
            StoreUnavailable: The store does not answer.
        """
        from batch.lake.query import run_query  # noqa: PLC0415 - brings DuckDB

        return run_query(self.store, query)
