"""Scratch folders of jobs that run side by side."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from batch.storage.local import LocalStore


@pytest.mark.slow
def test_a_new_scratch_folder_is_never_taken_for_an_abandoned_one(lake: LocalStore) -> None:
    def use(_: int) -> bool:
        with lake.scratch() as folder:
            (folder / "partition").write_bytes(b"rows")
            return (folder / "partition").exists()

    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(use, range(400)))

    assert all(kept)
