"""One file of a lake damaged in every way: named or made again, never a bug, never in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.damage import DAMAGES, PLACES, READERS, make_lake, wrongs

pytestmark = pytest.mark.slow

# Every kind of damage, at all places in turn.
NUMBERS = [kind * len(PLACES) + kind * 3 % len(PLACES) for kind in range(len(DAMAGES))]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound lake, to be copied."""
    return Path(make_lake(tmp_path_factory.mktemp("trial") / "sound").store.uri)


@pytest.mark.parametrize("number", NUMBERS)
def test_no_damage_is_a_bug_or_goes_unnoticed(sound: Path, number: int) -> None:
    reader = sorted(READERS)[number % len(READERS)]

    found = list(wrongs(sound, number, [reader]))

    assert found == []
