"""One file of a lake damaged in every way: named or made again, never a bug, never in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.damage import DAMAGES, PLACES, READERS, make_lake, wrongs

EVERY = len(DAMAGES) * len(PLACES)
STEP = len(PLACES) + 3  # every kind of damage, and all places in turn


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound lake, to be copied."""
    return Path(make_lake(tmp_path_factory.mktemp("trial") / "sound").store.uri)


@pytest.mark.parametrize("number", range(0, EVERY, STEP))
def test_no_damage_is_a_bug_or_goes_unnoticed(sound: Path, number: int) -> None:
    reader = sorted(READERS)[number % len(READERS)]

    found = list(wrongs(sound, number, [reader]))

    assert found == []
