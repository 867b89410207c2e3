"""What the other engines share: their options, the calendar, the columns of a bar."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from batch.core import schema
from batch.core.sessions import load_calendar

THREADS = 2
ROW_GROUP_ROWS = 131_072
BARS = schema.BARS.names


@dataclass(frozen=True, slots=True)
class Task:
    """What to fold: a lake's daily bars into some intervals, written below a folder."""

    lake: Path
    out: Path
    intervals: list[int]

    @property
    def daily(self) -> list[Path]:
        """The daily partitions, oldest first."""
        return sorted(self.lake.glob("silver/1d/year=*/data.parquet"))

    def path(self, width: int, year: int) -> Path:
        """Where a partition of bars goes; its folder is made."""
        path = self.out / f"silver/{width}d/year={year}/data.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def years(self) -> Iterator[int]:
        """Years in which windows may start."""
        years = [int(path.parent.name.removeprefix("year=")) for path in self.daily]
        yield from range(years[0] - 1, years[-1] + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Sessions:
    """The exchange's sessions since 1970-01-02, whose number is 0."""

    days: npt.NDArray[np.int32]

    @property
    def number_of_day(self) -> npt.NDArray[np.int32]:
        """Number of the session on each day since 1970-01-01; -1 where there is none."""
        numbers = np.full(int(self.days[-1]) + 1, -1, dtype=np.int32)
        numbers[self.days] = np.arange(len(self.days), dtype=np.int32)
        return numbers


def read_task() -> Task:
    """Read the options of a contender."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lake", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--interval", type=int, action="append", required=True)
    given = parser.parse_args()
    return Task(given.lake, given.out, given.interval)


def sessions() -> Sessions:
    """Load the calendar."""
    return Sessions(load_calendar().days)
