"""The uploads of a folder: the files below it, and what lies there that is none."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from batch.core.errors import (
    DeliveryUnreadable,
    ObjectMissing,
    SettingsError,
    StoreDenied,
    StoreUnavailable,
)
from batch.runtime.formats import printable
from batch.storage.store import ObjectStore
from fetchers.uploads.drop import Upload, is_ignored, source_of
from fetchers.uploads.ends import has_its_end

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_KINDS: Final = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something in the folder that cannot be read as a file, and why."""

    key: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies below a folder: files in no order, and what cannot be read as one."""

    uploads: tuple[Upload, ...]
    unreadable: tuple[Unreadable, ...]


class FolderDrop:
    """The uploads of a folder; see :class:`fetchers.uploads.drop.Drop`.

    A file's version is made of its time of change, its size and its inode: of what changes when
    it is written, replaced or moved. Links to files count as files; links to folders are not
    followed.
    """

    def __init__(self, folder: Path) -> None:
        # Links in the path stay: where they lead today must not be part of an upload's identity.
        self._folder = Path(os.path.abspath(folder))  # noqa: PTH100 - resolve() follows links

    @property
    def root(self) -> str:
        """The folder's absolute path."""
        return str(self._folder)

    def require(self) -> None:
        """Require that the folder is there and can be listed.

        Raises:
            SettingsError: It is missing, a file, or may not be read.
        """
        if not self._folder.exists():
            raise SettingsError(
                f"drop folder {printable(self.root)}: no such folder; make it with"
                f" `mkdir -p {printable(self.root)}`, or check the path"
            )
        if not self._folder.is_dir():
            raise SettingsError(f"drop folder {printable(self.root)}: not a folder")
        if not _may(self._folder, os.R_OK | os.X_OK):
            raise StoreDenied(
                f"drop folder {printable(self.root)}: permission denied; check its owner and mode"
            )

    def list(self) -> Iterator[Upload]:
        """Return every file, those too that are still being written."""
        yield from self.scan().uploads

    def scan(self) -> Listing:
        """List every file, those too that are still being written, and what cannot be read.

        Raises:
            StoreUnavailable: The folder itself cannot be listed any more.
        """
        uploads: list[Upload] = []
        unreadable: list[Unreadable] = []
        folders = [""]
        while folders:
            below = folders.pop()
            try:
                with os.scandir(self._folder / below) as found:
                    entries = list(found)
            except OSError as err:
                if not below:
                    raise StoreUnavailable(
                        f"drop folder {printable(self.root)}: {err.strerror}; is it still mounted?"
                    ) from err
                if err.errno != errno.ENOENT:
                    unreadable.append(Unreadable(below, _why(err)))
                continue
            for entry in entries:
                key = f"{below}/{entry.name}" if below else entry.name
                if is_ignored(key):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(key)
                    continue
                one = self._judge(key, entry)
                if isinstance(one, Upload):
                    uploads.append(one)
                elif one:
                    unreadable.append(one)
        return Listing(tuple(uploads), tuple(sorted(unreadable, key=lambda one: one.key)))

    def _judge(self, key: str, entry: os.DirEntry[str]) -> Upload | Unreadable | None:
        try:
            found = entry.stat()
        except FileNotFoundError:
            return Unreadable(key, "a link to nothing") if entry.is_symlink() else None
        except OSError as err:
            return Unreadable(key, _why(err))
        if stat.S_ISDIR(found.st_mode):
            return Unreadable(
                key,
                "a link to a folder, which is not followed; watch that folder, or mount it here",
            )
        if not stat.S_ISREG(found.st_mode):
            kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
            return Unreadable(key, f"{kind}, not a file; remove it")
        if not _may(entry.path, os.R_OK):
            return Unreadable(key, _why(PermissionError(errno.EACCES, os.strerror(errno.EACCES))))
        return Upload(
            source_of(key),
            self.root,
            key,
            _version_of(found),
            found.st_size,
            _instant(found.st_mtime_ns, found.st_ctime_ns),
        )

    @contextmanager
    def open(self, upload: Upload) -> Iterator[Path]:
        """Give the file itself.

        Raises:
            ObjectMissing: It was removed or written again, before or while it was read.
            DeliveryUnreadable: It may not be read.
        """
        path = self._folder / upload.key
        self._require_same(upload)
        if not _may(path, os.R_OK):
            raise DeliveryUnreadable(f"{printable(upload.address)}: permission denied")
        try:
            yield path
        except OSError:
            self._require_same(upload)
            raise
        self._require_same(upload)

    def copy(self, upload: Upload, lake: ObjectStore, key: str) -> None:
        """Copy a file into the lake.

        Its own bytes are copied: a second name for the file would change it, and the store takes
        what it is given away.
        """
        with lake.scratch() as scratch:
            copied = scratch / "object"
            with self.open(upload) as path:
                shutil.copyfile(path, copied)
            lake.write(key, copied)

    def has(self, upload: Upload) -> bool:
        """Tell whether this version of a file is still there."""
        try:
            self._require_same(upload)
        except ObjectMissing:
            return False
        return True

    def is_whole(self, upload: Upload) -> bool:
        """Tell whether a file ends as one of its kind does; also no where it cannot be read."""
        try:
            with self.open(upload) as path:
                return has_its_end(path)
        except (OSError, ObjectMissing, DeliveryUnreadable):
            return False

    def _require_same(self, upload: Upload) -> None:
        try:
            found = (self._folder / upload.key).stat()
        except OSError as err:
            raise ObjectMissing(
                f"{printable(upload.address)}: taken away while it was read"
            ) from err
        if _version_of(found) != upload.version:
            raise ObjectMissing(f"{printable(upload.address)}: written again while it was read")


def require_apart(drop: FolderDrop, lake: ObjectStore) -> None:
    """Require that neither of drop folder and lake lies in the other.

    Raises:
        SettingsError: One does; what is written for an upload would be taken for uploads.
    """
    if "://" in lake.uri:
        return
    dropped, kept = Path(drop.root).resolve(), Path(lake.uri).resolve()
    if dropped == kept:
        where = "are the same folder"
    elif dropped.is_relative_to(kept):
        where = "lies inside the lake"
    elif kept.is_relative_to(dropped):
        where = "has the lake inside"
    else:
        return
    raise SettingsError(
        f"drop folder {printable(str(dropped))}: {where} ({printable(str(kept))}), so that what is"
        " written there would be taken for uploads; choose a folder beside the lake"
    )


def _may(path: str | Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _version_of(found: os.stat_result) -> str:
    return f"{found.st_ctime_ns}-{found.st_size}-{found.st_ino}"


def _instant(*instants_ns: int) -> datetime:
    """Return the first instant that there is a date for."""
    for instant_ns in instants_ns:
        try:
            return _EPOCH + timedelta(microseconds=instant_ns // 1000)
        except OverflowError:
            continue
    return _EPOCH


def _why(err: OSError) -> str:
    if err.errno == errno.ELOOP:
        return "a link that leads back to itself; remove it"
    if err.errno in (errno.EACCES, errno.EPERM):
        return "permission denied; check its owner and mode"
    return f"cannot be read: {err.strerror}"
