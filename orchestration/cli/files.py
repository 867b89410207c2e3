"""Files that commands write for people and other programs: whole, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from batch.core.errors import SettingsError
from batch.storage.disk_space import full_disk_raised


@contextmanager
def replacing(path: Path, option: str = "--output") -> Iterator[Path]:
    """Yield a new file beside ``path``, which takes its place where nothing is raised.

    What was there stays until then, and for good where something is raised. A pipe or a device
    cannot be replaced: it is yielded itself. ``option`` is what named the file.

    Raises:
        SettingsError: The file cannot be written.
        StoreFull: The disk has no room for it.
    """
    with _translated(path, option):
        target = path.resolve()
        if target.exists() and not target.is_file():
            yield path
            return
        part = target.with_name(f".{target.name}.{uuid4().hex}.part")
        try:
            part.touch(exist_ok=False)
            yield part
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def _translated(path: Path, option: str) -> Iterator[None]:
    try:
        with full_disk_raised(path):
            yield
    except OSError as err:
        raise SettingsError(f"{option} {path}: {err.strerror or err}") from err
