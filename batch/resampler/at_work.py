"""What a resampling has in hand: tables, partitions being written, pieces on their way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

from batch.kernel.bars import Bars
from batch.lake.manifest import BarsRecord, Manifest
from batch.lake.partitions import TablePartitions
from batch.resampler.descent import Descent
from batch.resampler.lines import Line
from batch.resampler.plan import BarsPlan
from batch.storage.parquet import TableWriter

_PIECES_WAITING = 2
"""Pieces that may wait to be folded or written."""


@dataclass(slots=True, eq=False)
class Table:
    """One interval's table: what is published and what is to be made.

    Attributes:
        folding: Folds pieces into its bars, in the order of years and symbols.
    """

    descent: Descent
    name: str
    manifest: Manifest[BarsRecord]
    there: TablePartitions
    folding: Line
    stale: dict[int, BarsPlan] = field(default_factory=dict)
    recording: Lock = field(default_factory=Lock)

    @property
    def width(self) -> int:
        """Sessions per bar."""
        return self.descent.width

    def below(self, year: int) -> list[BarsPlan]:
        """Return the stale partitions of lower years whose windows may reach into a year."""
        return [p for y, p in self.stale.items() if y < year <= p.last_day.year]


@dataclass(slots=True, eq=False)
class Output:
    """One partition being written.

    Attributes:
        writing: Writes its bars, while the next ones are folded.
    """

    table: Table
    plan: BarsPlan
    path: Path
    writer: TableWriter
    writing: Line

    def take(self, bars: Bars) -> Future[None]:
        """Have bars written behind those taken so far."""
        return self.writing.add(partial(self._write, bars))

    def close(self) -> None:
        """Wait until all bars are written; raises what went wrong."""
        self.writing.add(self.writer.close).result()

    def _write(self, bars: Bars) -> None:
        if len(bars):
            self.writer.append(bars.to_batch())


@dataclass(slots=True, eq=False)
class Passage:
    """A table of which a year's partition stays; only what lower years need is looked for."""

    table: Table

    def take(self, bars: Bars) -> None:
        """Pass over the year's own bars: some of their rows may not have been folded."""


@dataclass(slots=True, eq=False)
class PieceAtWork:
    """What is being folded of one piece, and written of what was folded."""

    folding: list[Future[None]] = field(default_factory=list)
    writing: list[Future[None]] = field(default_factory=list)

    def finish(self) -> None:
        """Wait until all is written; raises what went wrong."""
        for done in self.folding:
            done.result()
        for done in self.writing:
            done.result()

    def settle(self) -> None:
        """Wait until nothing goes on any more, whatever went wrong."""
        wait(self.folding)
        wait(self.writing)


@dataclass(slots=True, eq=False)
class YearAtWork:
    """What is going on in the background for the partitions of one year.

    Attributes:
        above: The year that was begun before.
    """

    above: YearAtWork | None = None
    folders: ExitStack = field(default_factory=ExitStack)
    pieces: deque[PieceAtWork] = field(default_factory=deque)
    published: list[Future[None]] = field(default_factory=list)

    def __enter__(self) -> YearAtWork:
        return self

    def __exit__(self, *_: object) -> None:
        for piece in self.pieces:
            piece.settle()
        wait(self.published)
        self.folders.close()

    def fold(self, targets: Sequence[Output | Passage], fold: Callable[[Descent], Bars]) -> None:
        """Have something folded for every target, once there is room for it."""
        piece = PieceAtWork()

        def step(target: Output | Passage) -> None:
            writing = target.take(fold(target.table.descent))
            if writing:
                piece.writing.append(writing)

        self._wait_for_room()
        self.pieces.append(piece)
        piece.folding += [one.table.folding.add(partial(step, one)) for one in targets]

    def finish(self) -> None:
        """Wait until everything is published; raises what went wrong."""
        while self.pieces:
            self.pieces.popleft().finish()
        for done in self.published:
            done.result()
        self.above = None
        self.folders.close()

    def _wait_for_room(self) -> None:
        """Wait until few enough pieces are being folded; raises what went wrong in them."""
        for year in filter(None, (self.above, self)):
            while year.pieces and self._waiting() > _PIECES_WAITING:
                year.pieces[0].finish()
                year.pieces.popleft()

    def _waiting(self) -> int:
        return len(self.pieces) + (len(self.above.pieces) if self.above else 0)
