"""Rows of a large file put in order of their dates, on disk, without having all in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from io import BytesIO
from typing import Self

import polars as pl


class Stretches:
    """Sorts rows into stretches of whole dates that follow one another.

    Their order within a date is kept. The file that holds them has no name; it is there as long as
    the context lasts.
    """

    def __init__(self, rows_of_dates: pl.DataFrame, stretch_rows: int) -> None:
        """Divide the dates.

        Args:
            rows_of_dates: ``date``, ascending, and how many ``rows`` of it are expected.
            stretch_rows: How many rows a stretch should have.
        """
        numbers = (rows_of_dates["rows"].cum_sum() - rows_of_dates["rows"]) // stretch_rows
        begins = rows_of_dates["date"].filter(numbers.is_first_distinct())
        self._begins = begins.slice(1)
        self._stretch_rows = stretch_rows
        self._places: dict[int, list[tuple[int, int]]] = {}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
        self._empty = pl.DataFrame()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the rows."""
        self._file.close()

    def add(self, rows: pl.DataFrame) -> None:
        """Put rows where they belong; those without a date before all others."""
        self._empty = rows.clear()
        number = self._begins.search_sorted(rows["date"], side="right")
        number = pl.select(pl.when(rows["date"].is_not_null()).then(number)).to_series()
        parts = rows.with_columns(number.fill_null(-1).cast(pl.Int64).alias("stretch"))
        for part in parts.partition_by("stretch", maintain_order=True):
            buffer = BytesIO()
            part.drop("stretch").write_ipc_stream(buffer, compression="lz4")
            place = self._file.seek(0, 2), len(buffer.getbuffer())
            self._file.write(buffer.getbuffer())
            self._places.setdefault(part["stretch"][0], []).append(place)

    def in_order(self) -> Iterator[pl.DataFrame]:
        """Return the stretches; at least one."""
        if not self._places:
            yield self._empty
        for number in sorted(self._places):
            waiting: list[pl.DataFrame] = []
            for at, size_bytes in self._places[number]:
                self._file.seek(at)
                waiting.append(pl.read_ipc_stream(BytesIO(self._file.read(size_bytes))))
                # Rows without a date need not stay together.
                if number < 0 and sum(rows.height for rows in waiting) >= self._stretch_rows:
                    yield pl.concat(waiting)
                    waiting = []
            if waiting:
                yield pl.concat(waiting)
