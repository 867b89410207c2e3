"""The state that consolidation carries from year to year, and the splits attached by it.

A split goes to its symbol's first row on or after its date, and one dated before the symbol's
very first row is dropped. Either row may lie in another year than the split, so every year
passes on which symbols have had rows and which ratios still wait for one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import polars as pl

from batch.core import schema
from batch.core.errors import CommitConflict, DeliveryUnreadable, ObjectMissing, StateDamaged
from batch.core.frames import empty_frame, to_arrow, to_polars
from batch.core.layout import CARRY, carry_key
from batch.kernel.arrow import arrow_text
from batch.kernel.columns import DailyColumns, union_symbols
from batch.kernel.splits import attach_splits
from batch.lake.bases import split_columns
from batch.lake.manifest import fingerprint
from batch.storage.parquet import read_table, table_bytes
from batch.storage.store import ObjectStore


@dataclass(frozen=True, eq=False)
class Carry:
    """What the years up to some point pass on to the next one.

    ``digest`` is empty text before the first year. ``load`` is called only where a rule needs
    more of the state than its digest.
    """

    digest: str
    load: Callable[[], pl.DataFrame]

    @cached_property
    def state(self) -> pl.DataFrame:
        """Columns of :data:`batch.core.schema.CARRY`, sorted by symbol."""
        return self.load()

    @classmethod
    def of(cls, state: pl.DataFrame) -> Carry:
        """Return a state that is in memory."""
        return cls(_digest(state), lambda: state)

    @classmethod
    def none(cls) -> Carry:
        """Return the state before the first year."""
        return cls.of(empty_frame(schema.CARRY))

    @classmethod
    def stored(cls, store: ObjectStore, year: int, digest: str) -> Carry:
        """Return what a year passed on, as the lake keeps it."""
        return cls(digest, partial(_read, store, year, digest))

    def keep(self, store: ObjectStore, year: int) -> None:
        """Write what a year passes on, under a key that holds its digest."""
        content = table_bytes(to_arrow(self.state, schema.CARRY))
        store.write(carry_key(year, self.digest), content)

    def slice_digest(self, splits: pl.DataFrame) -> str:
        """Digest of the part on which the rows of a year with these splits depend.

        That is which of the splits' symbols had rows before, and every waiting ratio. The
        counts of rows are left out: they change with each correction that adds an old row,
        and do not touch later years' rows.
        """
        seen = self.state.filter(pl.col("symbol").is_in(splits["symbol"].implode()))["symbol"]
        pending = self.state.filter(pl.col("pending_ratio") != 1.0)
        return fingerprint(
            seen.to_list(), pending["symbol"].to_list(), pending["pending_ratio"].to_list()
        )

    def after(self, year: pl.DataFrame) -> Carry:
        """Return the state after one more year.

        ``year`` has ``symbol``, ``rows`` (its daily bars, 0 or more) and ``pending_ratio`` (after
        the year; 1.0 for symbols that it lacks).
        """
        state = (
            self.state.select("symbol", rows_before=pl.col("rows_before") + pl.col("rows"))
            .join(year, on="symbol", how="full", coalesce=True)
            .with_columns(
                pl.col("rows_before", "rows").fill_null(0).cast(pl.Int64),
                pl.col("pending_ratio").fill_null(1.0),
            )
            .filter((pl.col("rows_before") > 0) | (pl.col("rows") > 0))
        )
        return Carry.of(state.select(schema.CARRY.names).sort("symbol"))


def attach_carried_splits(
    bars: DailyColumns, splits: pl.DataFrame, carry: Carry
) -> tuple[DailyColumns, Carry]:
    """Give splits, and those that still wait, to the rows of a stretch of time.

    ``bars`` are all daily bars of the stretch, such as a year, and ``splits`` its splits
    (``symbol``, ``date``, ``ratio``; one per symbol and date), both sorted by (symbol, date).
    Returns the bars with their ``split_ratio``, and the state after the stretch.
    """
    state = carry.state
    symbols, (own_place, carried_place) = union_symbols(
        [bars.symbols, arrow_text(state["symbol"].to_list())]
    )
    seen_before = np.zeros(len(symbols), np.bool_)
    seen_before[carried_place] = True
    pending_before = np.ones(len(symbols))
    pending_before[carried_place] = state["pending_ratio"].to_numpy()
    code = own_place[bars.code]
    split_ratio, pending = attach_splits(
        code,
        bars.day,
        split_columns(splits, symbols),
        seen_before=seen_before,
        pending_before=pending_before,
    )
    after = pl.DataFrame(
        {
            "symbol": pl.Series(symbols.to_pylist(), dtype=pl.String),
            "rows": np.bincount(code, minlength=len(symbols)),
            "pending_ratio": pending,
        }
    )
    return replace(bars, split_ratio=split_ratio), carry.after(after)


def _digest(state: pl.DataFrame) -> str:
    if state.is_empty():
        return ""
    return hashlib.sha256(state.write_csv().encode()).hexdigest()[:16]


def _read(store: ObjectStore, year: int, digest: str) -> pl.DataFrame:
    key = carry_key(year, digest)
    advice = f"{store.uri}/{key}: damaged; rebuild with `ohlcv consolidate --full`"
    try:
        table = read_table(store.read(key), schema.CARRY.names, label=key)
    except ObjectMissing as err:
        raise CommitConflict(f"{store.uri}/{key}: another job has replaced it; run again") from err
    except DeliveryUnreadable as err:
        raise StateDamaged(advice, key) from err
    state = to_polars(table, schema.CARRY)
    if _digest(state) != digest:
        raise StateDamaged(advice, key)
    return state


def symbols_seen(store: ObjectStore) -> list[str]:
    """Return every symbol that has had a daily bar, sorted, without reading any bars.

    They are those of the newest state kept; none in a lake without one.

    Raises:
        DataRefused: The state is not readable.
    """
    states = sorted(
        (item for item in store.list(CARRY) if item.modified_at),
        key=lambda item: (item.key.rpartition("-")[0], item.modified_at),
    )
    if not states:
        return []
    key = states[-1].key
    symbols: list[str] = read_table(store.read(key), ["symbol"], label=key)["symbol"].to_pylist()
    return symbols
