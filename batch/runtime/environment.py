"""The environment of this process, read in this room and nowhere else.

Settings read ``OHLCV_*`` variables themselves; this is for the few that have other names.
"""

from __future__ import annotations

import os
from collections.abc import Mapping


def environment() -> Mapping[str, str]:
    """Return the environment variables as they are now."""
    return os.environ
