"""The environment of this process, read here alone; settings read ``OHLCV_*`` themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping


def environment() -> Mapping[str, str]:
    """Return the environment variables as they are now."""
    return os.environ
