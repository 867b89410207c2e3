"""N-session bars as columns, and the parts of bars that are carried down the years."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch.core import schema
from batch.core.sessions import Days
from batch.kernel.arrow import arrow_of
from batch.kernel.columns import Codes, Ints
from batch.kernel.fold import BarValues
from batch.kernel.windows import Rows

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """N-session bars as parallel arrays, sorted by (symbol, start).

    ``symbols`` are Arrow text, distinct and ascending; some may have no bar. ``code`` is the
    place of each bar's symbol among them. ``start`` and ``end`` are the first and last session
    of the window, days since 1970-01-01; ``sessions`` counts the daily bars in it.
    """

    symbols: Any
    code: Codes
    window: Ints
    start: Days
    end: Days
    sessions: Ints
    complete: Flags
    values: BarValues

    def __len__(self) -> int:
        return len(self.code)

    def to_batch(self) -> Any:
        """Return the bars as a record batch of :data:`batch.core.schema.BARS`."""
        values = self.values
        with np.errstate(invalid="ignore"):  # 0 / 0 where nothing traded
            vwap = values.paid_usd / values.volume
        return pa.record_batch(
            [
                pa.DictionaryArray.from_arrays(arrow_of(self.code), self.symbols),
                arrow_of(self.start, pa.date32()),
                arrow_of(self.end, pa.date32()),
                *(arrow_of(getattr(values, name)) for name in (*schema.PRICES, "volume")),
                arrow_of(vwap, valid=~np.isnan(vwap)),
                arrow_of(values.trades, valid=values.trades >= 0),
                arrow_of(self.sessions.astype(np.int32)),
                arrow_of(self.complete),
                arrow_of(values.split_ratio),
            ],
            names=schema.BARS.names,
        )


@dataclass(frozen=True, slots=True, eq=False)
class PartialBars:
    """Parts of bars whose windows start in an earlier year, ascending by symbol.

    A symbol has one at most, as only one window reaches over the start of a year. ``end`` is
    the date of its last daily bar, days since 1970-01-01; ``sessions`` counts its daily bars.
    """

    symbols: list[str]
    window: Ints
    end: Days
    sessions: Ints
    values: BarValues

    def __len__(self) -> int:
        return len(self.symbols)

    @classmethod
    def empty(cls) -> PartialBars:
        """Return no parts."""
        none = np.empty(0, np.int64)
        return cls([], none, np.empty(0, np.int32), none, BarValues.empty())

    @classmethod
    def concat(cls, lists: Sequence[PartialBars]) -> PartialBars:
        """Put lists behind each other."""
        lists = lists or [cls.empty()]
        return cls(
            [symbol for one in lists for symbol in one.symbols],
            np.concatenate([one.window for one in lists]),
            np.concatenate([one.end for one in lists]),
            np.concatenate([one.sessions for one in lists]),
            BarValues.concat([one.values for one in lists]),
        )

    def take(self, parts: Rows) -> PartialBars:
        """Return some parts, in the order given."""
        return PartialBars(
            [self.symbols[part] for part in parts.tolist()],
            self.window.take(parts),
            self.end.take(parts),
            self.sessions.take(parts),
            self.values.take(parts),
        )

    def where(self, chosen: Flags) -> PartialBars:
        """Return the parts that are chosen."""
        return self if chosen.all() else self.take(np.flatnonzero(chosen))

    def between(self, after: str | None, upto: str | None) -> PartialBars:
        """Return the parts of the symbols after one and up to another; None bounds nothing."""
        low = 0 if after is None else bisect_right(self.symbols, after)
        high = len(self) if upto is None else bisect_right(self.symbols, upto)
        return self.take(np.arange(low, high))

    def merged(self, others: PartialBars) -> PartialBars:
        """Merge the parts of other symbols into these."""
        if not len(others):
            return self
        together = PartialBars.concat([self, others])
        order = sorted(range(len(together)), key=together.symbols.__getitem__)
        return together.take(np.array(order, np.int64))

    def digest(self) -> str:
        """Digest of everything that the bars completed by these parts depend on."""
        digest = hashlib.sha256("\n".join(self.symbols).encode())
        for column in (self.window, self.end, self.sessions, *self.values.columns()):
            digest.update(np.ascontiguousarray(column).data)
        return digest.hexdigest()[:16]
