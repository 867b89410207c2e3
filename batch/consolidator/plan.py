"""Which daily partitions must be made again, and from what. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum

import polars as pl

from batch.core.layout import Delivery
from batch.lake.manifest import DailyRecord, fingerprint
from batch.version import RESULTS_VERSION


@dataclass(frozen=True, slots=True)
class YearInputs:
    """The deliveries of one year's sessions.

    Attributes:
        year: Year of the sessions.
        deliveries: Size in bytes of each delivery that counts.
    """

    year: int
    deliveries: Mapping[Delivery, int]

    @property
    def sizes(self) -> dict[str, int]:
        """Key and size of each delivery, as manifests keep them."""
        return {delivery.key: self.deliveries[delivery] for delivery in sorted(self.deliveries)}

    @property
    def digest(self) -> str:
        """Digest of the list of deliveries."""
        return fingerprint(self.sizes)

    def known_at(self, as_of: datetime | None) -> YearInputs:
        """Leave out what was received after an instant."""
        if as_of is None:
            return self
        known = {d: size for d, size in self.deliveries.items() if d.received_at <= as_of}
        return YearInputs(self.year, known)

    def without(self, unreadable: Iterable[Delivery]) -> YearInputs:
        """Leave out some deliveries."""
        left_out = set(unreadable)
        kept = {d: size for d, size in self.deliveries.items() if d not in left_out}
        return YearInputs(self.year, kept)

    def sessions_that_differ(self, known: Mapping[str, int]) -> set[date]:
        """Return the sessions whose deliveries are not those of an earlier list."""
        mine = self.sizes
        keys = {key for key in mine.keys() | known.keys() if mine.get(key) != known.get(key)}
        return {found.session for key in keys if (found := Delivery.parse(key))}


class Verdict(Enum):
    """What has to be done for a year."""

    CURRENT = "nothing"
    RECHAIN = "hand on what earlier years hand in; its rows stay"
    REBUILD = "make it again"


def judge(
    record: DailyRecord | None,
    *,
    inputs_digest: str,
    splits_digest: str,
    carry_digest: str,
    carry_slice: Callable[[], str],
) -> Verdict:
    """Compare what a partition was made from with what it would be made from now.

    Args:
        record: What the manifest says of it; None if it was never made.
        inputs_digest: Digest of its deliveries.
        splits_digest: Digest of the splits that the year's rows wait for.
        carry_digest: Digest of all that earlier years hand in.
        carry_slice: Gives the digest of the part of that which the year depends on;
            asked only where the whole has changed.
    """
    if (
        record is None
        or record.results_version != RESULTS_VERSION
        or record.inputs_digest != inputs_digest
        or record.splits_digest != splits_digest
    ):
        return Verdict.REBUILD
    if record.carry_in_digest == carry_digest:
        return Verdict.CURRENT
    return Verdict.RECHAIN if record.carry_slice_digest == carry_slice() else Verdict.REBUILD


def splits_digest(splits: pl.DataFrame) -> str:
    """Digest of a slice of the splits."""
    return fingerprint(
        splits["symbol"].to_list(),
        [str(executed) for executed in splits["date"].to_list()],
        splits["ratio"].to_list(),
    )


def splits_of_year(
    splits: pl.DataFrame, year: int, *, after_year: int | None, as_of: datetime | None
) -> pl.DataFrame:
    """Return the splits that a year's rows wait for: its own, and those of a gap before it.

    Args:
        splits: Columns of :data:`batch.core.schema.SPLITS`, any order; where a (symbol,
            date) occurs twice the last one counts.
        year: Year of the rows.
        after_year: The year before it that has rows, which took the splits up to its end;
            None for the first one of all.
        as_of: Leave out what was executed after this instant.
    """
    first = year if after_year is None else after_year + 1
    chosen = splits.filter(pl.col("date").dt.year().is_between(first, year))
    if as_of is not None:
        chosen = chosen.filter(pl.col("date") <= as_of.astimezone(UTC).date())
    return (
        chosen.unique(["symbol", "date"], keep="last", maintain_order=True)
        .sort("symbol", "date")
        .select("symbol", "date", "ratio")
    )
