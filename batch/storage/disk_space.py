"""One error for a full disk, whichever library was writing."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batch.core.errors import StoreFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def full_disk_raised(path: Path) -> Iterator[None]:
    """Raise ``StoreFull`` where writing fails as disk, quota or file size are exhausted."""
    try:
        yield
    except OSError as err:
        if err.errno not in _FULL:
            raise
        raise StoreFull(
            f"{path}: no space left; nothing was published, free some and run the job again"
        ) from err
