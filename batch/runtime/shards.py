"""Which years are a process's where several share a job, as in an AWS Batch array job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several processes over the same lake; ``index`` counts from 0."""

    index: int = 0
    count: int = 1

    @property
    def is_all(self) -> bool:
        """Tell whether one process does everything."""
        return self.count == 1

    def owns(self, year: int) -> bool:
        """Tell whether a year is this process's, years being dealt out in turn."""
        return year % self.count == self.index

    def stretch(self, years: Sequence[int]) -> set[int]:
        """Return this process's years where each takes neighbouring ones; ascending."""
        low, high = (at * len(years) // self.count for at in (self.index, self.index + 1))
        return set(years[low:high])
