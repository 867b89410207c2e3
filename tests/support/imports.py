"""Importing files in tests, as ``ohlcv import`` does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from batch.core.sessions import Calendar
from batch.runtime.progress import Silent, never
from batch.storage.store import ObjectStore
from fetchers.files.imports import Import, import_files
from fetchers.files.reader import find_files
from fetchers.files.reading import BY_EVIDENCE, Reading


def take_files(
    store: ObjectStore,
    place: Path | str,
    calendar: Calendar,
    *,
    source: str = "test",
    received_at: datetime | None = None,
    now: datetime | None = None,
    reading: Reading = BY_EVIDENCE,
    max_refused_share: float = 0.01,
    workers: int = 1,
    memory_limit: int | None = None,
) -> Import:
    """Import the files at a place; ``now`` is when they reach the lake, by default now."""
    return import_files(
        store,
        find_files(str(place)),
        calendar=calendar,
        source=source,
        received_at=received_at,
        now=now or datetime.now(UTC),
        reading=reading,
        max_refused_share=max_refused_share,
        workers=workers,
        memory_limit=memory_limit,
        progress=Silent(),
        stop_requested=never,
    )
