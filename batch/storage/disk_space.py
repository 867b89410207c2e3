"""A full disk, told in one way whoever ran into it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from batch.core.errors import StoreFull

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the operating system calls a full disk."""


def no_room(path: Path) -> StoreFull:
    """Return the error that tells of a disk without room."""
    return StoreFull(
        f"{path}: no space left; nothing was published, free some and run the job again"
    )


@contextmanager
def room_watched(folder: Path) -> Iterator[None]:
    """Tell of a full disk as the store does, whatever library was writing into a folder.

    Raises:
        StoreFull: There was no room for a file.
    """
    try:
        yield
    except OSError as err:
        if err.errno in NO_ROOM:
            raise no_room(folder) from err
        raise
