"""What a year hands to the next one, and the splits that wait for their row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from batch.core.sessions import date_of
from batch.kernel.columns import DailyColumns
from batch.kernel.splits import AttachedSplits, SplitColumns, attach_splits
from batch.lake.carry import carry_digest, read_carry
from batch.lake.manifest import DailyRecord, fingerprint
from batch.storage.store import ObjectStore


@dataclass(frozen=True, slots=True, eq=False)
class Carry:
    """What the years up to some point hand to the next one.

    Attributes:
        state: Columns of :data:`batch.core.schema.CARRY`, sorted by symbol.
    """

    state: pl.DataFrame

    @classmethod
    def none(cls) -> Carry:
        """Return the state before the first year."""
        return cls(
            pl.DataFrame(
                schema={
                    "symbol": pl.String,
                    "rows_before": pl.Int64,
                    "rows": pl.Int64,
                    "pending_ratio": pl.Float64,
                }
            )
        )

    @property
    def digest(self) -> str:
        """Digest of the whole state; empty text for the state before the first year."""
        return carry_digest(self.state)

    def slice_digest(self, splits: pl.DataFrame) -> str:
        """Digest of the part that attaching some splits depends on."""
        seen = self.state.filter(pl.col("symbol").is_in(splits["symbol"].implode()))["symbol"]
        pending = self.state.filter(pl.col("pending_ratio") != 1.0)
        return fingerprint(
            seen.to_list(), pending["symbol"].to_list(), pending["pending_ratio"].to_list()
        )

    def after(self, rows: pl.DataFrame, pending: pl.DataFrame | None = None) -> Carry:
        """Hand on to the end of the next year.

        Args:
            rows: ``symbol`` and ``rows``: how many daily bars each symbol has in that year.
            pending: ``symbol`` and ``pending_ratio`` after that year; None leaves them 1.0.
        """
        totals = self.state.select("symbol", rows_before=pl.col("rows_before") + pl.col("rows"))
        state = totals.join(rows, on="symbol", how="full", coalesce=True)
        if pending is None:
            pending = pl.DataFrame(schema={"symbol": pl.String, "pending_ratio": pl.Float64})
        state = state.join(pending, on="symbol", how="left").with_columns(
            pl.col("rows_before", "rows").fill_null(0).cast(pl.Int64),
            pl.col("pending_ratio").fill_null(1.0),
        )
        return Carry(state.select(self.state.columns).sort("symbol"))


def attach_year_splits(
    bars: DailyColumns, splits: pl.DataFrame, carry: Carry
) -> tuple[AttachedSplits, Carry]:
    """Give a year's splits, and those still waiting, to the year's rows.

    Args:
        bars: The year's daily bars, sorted by (symbol, date).
        splits: The year's splits.
        carry: What earlier years hand in.

    Returns:
        The ratio of each row, and what the year hands on.
    """
    symbols = pl.DataFrame({"symbol": pl.Series(bars.symbols.to_pylist(), dtype=pl.String)})
    known = (
        symbols.join(carry.state.select("symbol"), on="symbol", how="full", coalesce=True)
        .sort("symbol")
        .with_row_index("place")
        .join(carry.state, on="symbol", how="left")
        .sort("place")
        .with_columns(pl.col("pending_ratio").fill_null(1.0))
    )
    own_place = symbols.join(known.select("symbol", "place"), on="symbol", how="left")["place"]
    code = own_place.to_numpy().astype(np.int32)[bars.code]
    placed = splits.join(known.select("symbol", "place"), on="symbol", how="inner").sort(
        "place", "date"
    )
    attached = attach_splits(
        code,
        bars.day,
        SplitColumns(
            placed["place"].to_numpy().astype(np.int32),
            placed["date"].cast(pl.Int32).to_numpy(),
            placed["ratio"].to_numpy(),
        ),
        seen_before=known["rows_before"].is_not_null().to_numpy(),
        pending_before=known["pending_ratio"].to_numpy().copy(),
    )
    counts = np.bincount(code, minlength=len(known))
    rows = known.select("symbol").with_columns(rows=pl.Series(counts, dtype=pl.Int64))
    pending = known.select("symbol").with_columns(pending_ratio=pl.Series(attached.pending))
    return attached, carry.after(rows.filter(pl.col("rows") > 0), pending)


def with_split_digests(digests: Mapping[int, str], bars: DailyColumns) -> dict[str, str]:
    """Fold the splits on rows into the digests of their sessions.

    Returns:
        ISO date and digest of each session, ascending.
    """
    marked = np.flatnonzero(bars.split_ratio != 1.0)
    by_day: dict[int, list[tuple[str, float]]] = {}
    for row in marked:
        ratio = (bars.symbols[int(bars.code[row])].as_py(), float(bars.split_ratio[row]))
        by_day.setdefault(int(bars.day[row]), []).append(ratio)
    return {
        date_of(day).isoformat(): (
            fingerprint(digest, by_day[day])[:16] if day in by_day else digest
        )
        for day, digest in sorted(digests.items())
    }


class CarryChain:
    """What has been handed on so far; read from the lake only where somebody looks.

    Attributes:
        year: The last year gone past, None before the first.
        digest: Digest of the state after it.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.year: int | None = None
        self._state: Carry | None = Carry.none()
        self.digest = ""

    def state(self) -> Carry:
        """Return the state itself."""
        if self._state is None:
            assert self.year is not None  # noqa: S101 - set together with the digest
            self._state = Carry(read_carry(self._store, self.year, self.digest))
        return self._state

    def pass_over(self, year: int, record: DailyRecord) -> None:
        """Go past a year whose state is in the lake."""
        self.year, self._state, self.digest = year, None, record.carry_digest

    def hand_on(self, year: int, state: Carry) -> None:
        """Go past a year whose state was just made."""
        self.year, self._state, self.digest = year, state, state.digest
