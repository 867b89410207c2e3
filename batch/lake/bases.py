"""Splits between a session and the receipt of its values, by which later values are judged.

A vendor applies a split from the evening before it is executed. So a delivery can be on the basis
of every split up to the first session that had not closed when it was received.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.compute as pc

from batch.core.layout import Delivery
from batch.core.sessions import Calendar, Days, date_of
from batch.kernel.arrow import arrow_text, numpy_of
from batch.kernel.columns import DailyColumns
from batch.kernel.corrections import Settled, basis_ratios, settle
from batch.kernel.splits import SplitColumns
from batch.lake.manifest import DailyRecord, SplitRow, fingerprint
from batch.lake.reference import splits_digest, splits_known_at


class Contest(NamedTuple):
    """The splits on which the values of a year's sessions with several deliveries can depend.

    Those executed after one date up to another, inclusive, both ISO, and their digest; empty
    where no session has several deliveries.
    """

    after: str = ""
    upto: str = ""
    splits_digest: str = ""
    splits: Sequence[SplitRow] = ()


@dataclass(frozen=True, slots=True, eq=False)
class SplitBases:
    """The splits on record, those ahead too, and the exchange's sessions.

    What was known at an instant needs no other splits: those that count for a delivery are
    bounded by its receipt.
    """

    splits: pl.DataFrame
    calendar: Calendar

    @classmethod
    def of(cls, splits: pl.DataFrame, calendar: Calendar) -> SplitBases:
        """Take the table of splits as :func:`batch.lake.reference.read_splits` returns it."""
        return cls(splits_known_at(splits, None), calendar)

    def last_days(self, received_at: Sequence[datetime]) -> Days:
        """Return the day of the first session that had not closed at each instant."""
        instants_s = np.array([int(one.timestamp()) for one in received_at], np.int64)
        return self.calendar.next_to_close(instants_s)

    def settle(self, rows: DailyColumns, newest: npt.NDArray[np.bool_], last_days: Days) -> Settled:
        """Settle rows that :func:`batch.kernel.columns.order_by_key` has put in order.

        ``last_days`` are those of the delivery of each row.
        """
        follows = np.zeros(len(rows), np.bool_)
        follows[1:] = ~newest[:-1]
        at = np.flatnonzero(follows)
        ratios = np.ones(len(rows))
        splits = split_columns(self.splits, rows.symbols)
        ratios[at] = basis_ratios(rows.code[at], rows.day[at], last_days[at], splits)
        return settle(rows, follows, ratios)

    def contest(self, deliveries: Iterable[Delivery]) -> Contest:
        """Return the splits on which a year made from some deliveries can depend."""
        last_days = self._contested(deliveries)
        if not last_days:
            return Contest()
        after, upto = min(last_days), max(last_days.values())
        splits = self._between(after, upto)
        return Contest(after.isoformat(), upto.isoformat(), splits_digest(splits), _rows(splits))

    def changed_since(self, record: DailyRecord) -> bool:
        """Return whether the splits on which the values of a record depend have changed."""
        if not record.contested_after:
            return False
        return splits_digest(self._of_record(record)) != record.contested_splits_digest

    def sessions_affected(
        self, deliveries: Iterable[Delivery], record: DailyRecord, before: Sequence[SplitRow]
    ) -> set[date] | None:
        """Return the sessions of a year whose values splits that changed since may decide.

        ``before`` are the splits that a record depended on, as the lake keeps them. None where
        they are not: any session may be affected then.
        """
        columns = [[row[place] for row in before] for place in range(3)]
        if fingerprint(*columns) != record.contested_splits_digest:
            return None
        changed = {*before} ^ {*_rows(self._of_record(record))}
        dates = sorted({date.fromisoformat(executed) for _, executed, _ in changed})
        return {
            session
            for session, last in self._contested(deliveries).items()
            if bisect_right(dates, session) < bisect_right(dates, last)
        }

    def _contested(self, deliveries: Iterable[Delivery]) -> dict[date, date]:
        """Return the sessions with several deliveries, each with the last day of the newest."""
        received: dict[date, list[datetime]] = {}
        for one in deliveries:
            received.setdefault(one.session, []).append(one.received_at)
        newest = {session: max(found) for session, found in received.items() if len(found) > 1}
        days = self.last_days([*newest.values()])
        return {session: date_of(int(day)) for session, day in zip(newest, days, strict=True)}

    def _of_record(self, record: DailyRecord) -> pl.DataFrame:
        bounds = (record.contested_after, record.contested_upto)
        return self._between(*map(date.fromisoformat, bounds))

    def _between(self, after: date, upto: date) -> pl.DataFrame:
        executed = pl.col("date")
        return self.splits.filter((executed > after) & (executed <= upto))


def _rows(splits: pl.DataFrame) -> list[SplitRow]:
    return splits.with_columns(pl.col("date").cast(pl.String)).rows()


def split_columns(splits: pl.DataFrame, symbols: Any) -> SplitColumns:
    """Return the splits of some symbols, sorted Arrow text; both sorted by symbol and date."""
    place = numpy_of(pc.index_in(arrow_text(splits["symbol"].to_list()), value_set=symbols), -1)
    known = place >= 0
    return SplitColumns(
        place[known],
        splits["date"].cast(pl.Int32).to_numpy()[known],
        splits["ratio"].to_numpy()[known],
    )
