"""N-session bars as columns, and the parts of bars that are carried down the years."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from batch.core import schema
from batch.core.sessions import Days
from batch.kernel.arrow import arrow_of
from batch.kernel.columns import Codes, Ints, nullable_counts, nullable_floats
from batch.kernel.fold import BarValues
from batch.kernel.windows import Rows

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """N-session bars as parallel arrays, sorted by (symbol, start).

    Attributes:
        symbols: Distinct symbols, ascending: Arrow text; some may have no bar.
        code: Place of each bar's symbol in ``symbols``.
        window: Number of the bar's window.
        start: First session of the window, days since 1970-01-01.
        end: Last session of the window.
        sessions: Daily bars in the window.
        complete: Whether the window has closed.
        values: Prices, volume and the rest.
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
                arrow_of(values.open),
                arrow_of(values.high),
                arrow_of(values.low),
                arrow_of(values.close),
                arrow_of(values.volume),
                nullable_floats(vwap),
                nullable_counts(values.trades),
                arrow_of(self.sessions.astype(np.int32)),
                arrow_of(self.complete),
                arrow_of(values.split_ratio),
            ],
            names=schema.BARS.names,
        )


@dataclass(frozen=True, slots=True, eq=False)
class PartialBars:
    """Parts of bars whose windows start in an earlier year; at most one a symbol.

    A symbol has one window at most that reaches over the start of a year.

    Attributes:
        symbols: Symbol of each part, ascending.
        window: Number of its window.
        end: Date of its last daily bar, days since 1970-01-01.
        sessions: Its daily bars.
        values: Their values.
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
    def concat(cls, lists: list[PartialBars]) -> PartialBars:
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
