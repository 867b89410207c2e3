"""All that the report tells of a lake."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

from reporting.facts.coverage import Coverage
from reporting.facts.deliveries import Refused, Restated
from reporting.facts.moves import Moves
from reporting.facts.runs import RunFact


@dataclass(frozen=True, slots=True)
class TableSize:
    """One silver table.

    Attributes:
        table: Its name.
        size_bytes: Bytes of each year's partition.
        rows: Rows, where the manifest tells.
    """

    table: str
    size_bytes: Mapping[int, int]
    rows: int | None

    @property
    def total_bytes(self) -> int:
        """Bytes of all its partitions."""
        return sum(self.size_bytes.values())


@dataclass(frozen=True, slots=True)
class LakeFacts:
    """All that the report tells.

    Attributes:
        uri: Root of the lake.
        made_at: When the facts were gathered.
        newest_closed: Newest session that had closed by then.
        behind: Sessions that closed since the newest one in the lake.
        coverage: Sessions and symbols.
        moves: Changes of price without a split on record.
        splits: How many splits are on record.
        restated: What later deliveries changed.
        refused: Rows refused.
        tables: Silver tables.
        runs: Runs, newest first.
        waiting: Deliveries announced and not yet consolidated.
    """

    uri: str
    made_at: datetime
    newest_closed: date
    behind: int
    coverage: Coverage
    moves: Moves
    splits: int
    restated: Restated
    refused: Refused
    tables: list[TableSize]
    runs: list[RunFact]
    waiting: int
