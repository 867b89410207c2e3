"""How uploads are read: one door, behind which is the jail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import polars as pl

from batch.runtime.progress import StopRequested, never
from batch.storage.store import ObjectStore
from fetchers.files.jail import Jail, Limits
from fetchers.files.reading import Reading
from fetchers.files.reference import ReferenceRows
from fetchers.files.refusals import FileRefused


class ReadTable(Protocol):
    """A table that was read; see :class:`fetchers.files.jail.FileRead`."""

    @property
    def name(self) -> str | None:
        """The member of an archive; None where the file is a table itself."""

    @property
    def layout(self) -> str:
        """Which column was taken for what, in one line."""

    @property
    def adjusted(self) -> str | None:
        """How the prices are not as traded; None where nothing shows it."""

    @property
    def reference(self) -> ReferenceRows | None:
        """Rows of a reference table, where it holds such; bars otherwise."""

    def pieces(self) -> Iterator[pl.DataFrame]:
        """Return its bars one frame at a time; all rows of a date are in one."""


class Reader(Protocol):
    """What reads files, as :class:`fetchers.files.jail.Jail` does."""

    def read(
        self, path: Path, *, address: str, reading: Reading
    ) -> AbstractContextManager[Sequence[ReadTable | FileRefused]]:
        """Read a local file; the rows are there as long as the context lasts."""


@contextmanager
def jail_for_uploads(
    lake: ObjectStore, *, limits: Limits | None = None, stop_requested: StopRequested = never
) -> Iterator[Jail]:
    """Open a jail in which each file is read by a process that has seen no other."""
    with (
        lake.scratch() as scratch,
        Jail(
            limits or Limits(), scratch=scratch, files_per_child=1, stop_requested=stop_requested
        ) as jail,
    ):
        yield jail
