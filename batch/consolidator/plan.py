"""What a consolidation works from, and which years it must make again. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import polars as pl

from batch.core.layout import Delivery, carry_key, inputs_key
from batch.core.sessions import Calendar
from batch.lake.bases import SplitBases
from batch.lake.carry import Carry
from batch.lake.inputs import YearInputs
from batch.lake.manifest import DailyRecord, Manifest
from batch.lake.partitions import TablePartitions
from batch.lake.reference import splits_digest
from batch.version import RESULTS_VERSION


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What the lake held when an attempt began.

    Attributes:
        manifest: Of the daily partitions.
        calendar: Reaches from the oldest delivery and the oldest published session on.
        inputs: The deliveries, known at the instant asked for, of every year that may have
            news; a year that is not in it has those of its record.
        splits: Those known at that instant, as ``splits_known_at`` returns them.
        bases: Of all splits on record, by which later values of a session are judged.
        daily: Partitions that are there.
        restated: Those of restatements.
        kept: Keys of the carried states and lists of deliveries beside the manifest.
        arrivals: Keys of the announcements.
        repeats: Deliveries that count for nothing, as the same rows arrived before.
        before_close: Deliveries that count for nothing, as their session had not closed when
            they were received.
        problems: Objects under bronze that count for nothing: key and reason.
    """

    manifest: Manifest[DailyRecord]
    calendar: Calendar
    inputs: Mapping[int, YearInputs]
    splits: pl.DataFrame
    bases: SplitBases
    daily: TablePartitions
    restated: TablePartitions
    kept: frozenset[str]
    arrivals: tuple[str, ...]
    repeats: frozenset[Delivery]
    before_close: tuple[Delivery, ...]
    problems: tuple[str, ...]

    @property
    def years(self) -> list[int]:
        """Every year of which there is anything, ascending."""
        records = self.manifest.partitions
        return sorted({*records, *self.inputs, *self.daily.objects, *self.restated.objects})

    def splits_for(self, year: int, *, after_year: int | None) -> pl.DataFrame:
        """Return the splits that a year's rows wait for: its own, and those of a gap before it.

        ``after_year`` is the year before it that has rows, which took the splits up to its
        end; None for the first one of all.
        """
        first = year if after_year is None else after_year + 1
        return self.splits.filter(pl.col("date").dt.year().is_between(first, year))


class Verdict(Enum):
    """What has to be done for a year."""

    CURRENT = "nothing"
    RECHAIN = "pass on the changed state of earlier years; its rows stay as they are"
    REBUILD = "rebuild it; sessions without new deliveries stay as published"
    REMERGE = "rebuild it from its deliveries alone"


def judge(
    record: DailyRecord,
    inputs: YearInputs | None,
    splits: pl.DataFrame,
    carry: Carry,
    bases: SplitBases,
) -> Verdict:
    """Compare what a partition was made from with what it would be made from now.

    Without ``inputs`` the deliveries are those of the record. What earlier years pass on is
    read only where its digest has changed.
    """
    if record.results_version != RESULTS_VERSION:
        return Verdict.REMERGE
    has_news = inputs is not None and record.inputs_digest != inputs.digest
    has_news |= bases.changed_since(record)
    if has_news or record.splits_digest != splits_digest(splits):
        return Verdict.REBUILD
    if record.carry_in_digest == carry.digest:
        return Verdict.CURRENT
    unchanged = record.carry_slice_digest == carry.slice_digest(splits)
    return Verdict.RECHAIN if unchanged else Verdict.REBUILD


def kept_keys(year: int, record: DailyRecord | None) -> set[str]:
    """Return the keys of what a record refers to beside the manifest."""
    if record is None:
        return set()
    return {carry_key(year, record.carry_digest), inputs_key(year, record.inputs_digest)}
