"""Fixtures of the fetchers' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from batch.core.sessions import Calendar
from tests.fetchers.support import FRIDAY, Vendor, new_york, vendor


@pytest.fixture
def polygon(calendar: Calendar) -> Iterator[Vendor]:
    """A vendor on a Friday, 21 minutes after the close."""
    with vendor(calendar, new_york(FRIDAY, 16, 21)) as running:
        yield running
