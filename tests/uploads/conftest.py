"""An empty drop for the tests of uploads."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.uploads import MadeDrop


@pytest.fixture
def drop(tmp_path: Path) -> MadeDrop:
    """An empty drop."""
    folder = tmp_path / "dropped"
    folder.mkdir()
    return MadeDrop(folder)
