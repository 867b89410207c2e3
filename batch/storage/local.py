"""The object store on a local folder."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from batch.core import errors
from batch.core.layout import STATE
from batch.storage.disk_space import full_disk_raised
from batch.storage.objects import Expect, Expectation, StoredObject

_LOCK = f"{STATE}lock"
_SCRATCH = f"{STATE}scratch"
_ABANDONED_AFTER_S = 86_400


class LocalStore:
    """Objects as files below one folder, which the first write makes.

    A write goes to a scratch file, is flushed to the disk and takes its place by a rename,
    which no reader can see half done. Comparing what is there with what was expected and
    renaming are one step because both happen under an exclusive lock.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def uri(self) -> str:
        """The folder as it was given."""
        return str(self.root)

    def exists(self) -> bool:
        """Return whether the folder is there.

        Raises:
            SettingsError: The path is a file.
        """
        with _translated(self.root):
            if self.root.is_dir():
                return True
            if self.root.exists():
                raise errors.SettingsError(f"lake {self.root}: is a file, expected a folder")
        return False

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """Walk the folders that can hold the prefix; see :class:`ObjectStore`."""
        folder = prefix.rpartition("/")[0]
        yield from self._walk(folder, prefix, start_after)

    def _walk(self, folder: str, prefix: str, start_after: str) -> Iterator[StoredObject]:
        path = self.root / folder
        with _translated(path):
            try:
                entries = [(entry, entry.is_dir()) for entry in os.scandir(path)]
            except (FileNotFoundError, NotADirectoryError):
                return
        base = f"{folder}/" if folder else ""
        # Folders sort by their name with the slash, so that keys ascend as S3 lists them:
        # "a-b/x" before "a/x".
        keyed = sorted((f"{base}{entry.name}{'/' * is_dir}", entry) for entry, is_dir in entries)
        for key, entry in keyed:
            if key.endswith("/"):
                reaches = key.startswith(prefix) or prefix.startswith(key)
                passed = key <= start_after and not start_after.startswith(key)
                if reaches and not passed and key != f"{_SCRATCH}/":
                    yield from self._walk(key[:-1], prefix, start_after)
            elif key.startswith(prefix) and key > start_after and key != _LOCK:
                with _translated(self.root / key):
                    try:
                        found = _stored(key, entry.stat())
                    except FileNotFoundError:
                        continue
                yield found

    def head(self, key: str) -> StoredObject | None:
        """Return the file's size and version; see :class:`ObjectStore`."""
        path = self.root / key
        with _translated(path):
            try:
                found = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
        return None if stat.S_ISDIR(found.st_mode) else _stored(key, found)

    def read(self, key: str) -> bytes:
        """Return the file's content; see :class:`ObjectStore`."""
        path = self.root / key
        with _translated(path):
            try:
                _require_regular(path)
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as err:
                raise errors.ObjectMissing(f"{path}: no such file") from err

    @contextmanager
    def local_copy(self, key: str) -> Iterator[Path]:
        """Give the file itself; see :class:`ObjectStore`."""
        path = self.root / key
        if self.head(key) is None:
            raise errors.ObjectMissing(f"{path}: no such file")
        with _translated(path):
            _require_regular(path)
        yield path

    def write(
        self, key: str, content: bytes | Path, *, expect: Expectation = Expect.ANYTHING
    ) -> StoredObject:
        """Publish a file by a rename; see :class:`ObjectStore`."""
        path = self.root / key
        with _translated(path):
            written = content if isinstance(content, Path) else self._scratch_base() / uuid4().hex
            try:
                if not isinstance(content, Path):
                    written.write_bytes(content)
                _flush(written)
                with self._locked():
                    self._require(key, expect)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    _date_after(written, path)
                    written.replace(path)
                    _flush(path.parent)  # the rename survives a power cut only from here on
                    return _stored(key, path.stat())
            except BaseException:
                written.unlink(missing_ok=True)
                raise

    def delete(self, keys: Iterable[str]) -> None:
        """Remove files and the folders left empty; see :class:`ObjectStore`."""
        for key in keys:
            path = self.root / key
            with _translated(path):
                if not path.exists():
                    continue
                with self._locked():
                    path.unlink(missing_ok=True)
                    with suppress(OSError):
                        path.parent.rmdir()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder on the lake's own disk, from which a rename can publish.

        Its owner holds a lock on it as long as it lives, so a folder whose lock is free
        was left by a job that was killed.
        """
        with _translated(self.root):
            base = self._scratch_base()
            with self._locked():  # else a job could find the folder before its owner locks it
                for path in _abandoned(base):
                    if path.is_dir():
                        shutil.rmtree(path, ignore_errors=True)
                    else:
                        path.unlink(missing_ok=True)
                folder = Path(tempfile.mkdtemp(dir=base))
                owner = (folder / ".owner").open("w")
                fcntl.flock(owner, fcntl.LOCK_EX)
        try:
            with full_disk_raised(folder):
                yield folder
        finally:
            owner.close()
            shutil.rmtree(folder, ignore_errors=True)

    def abandoned_scratch(self) -> tuple[Path, ...]:
        """Return what killed jobs left behind; the next :meth:`scratch` removes it."""
        base = self.root / _SCRATCH
        with _translated(base):
            return tuple(_abandoned(base)) if base.is_dir() else ()

    def location(self, key: str) -> str:
        """Return the path of the file."""
        return str(self.root / key)

    def polars_options(self) -> dict[str, Any]:
        """Return no options: Polars opens local paths as they are."""
        return {}

    def arrow_filesystem(self) -> Any:
        """Return Arrow's file system of local paths."""
        from pyarrow.fs import LocalFileSystem  # noqa: PLC0415 - only SQL needs it

        return LocalFileSystem()

    def _scratch_base(self) -> Path:
        base = self.root / _SCRATCH
        base.mkdir(parents=True, exist_ok=True)
        return base

    @contextmanager
    def _locked(self) -> Iterator[None]:
        lock_path = self.root / _LOCK
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        with lock_path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _require(self, key: str, expect: Expectation) -> None:
        if expect is Expect.ANYTHING:
            return
        there = self.head(key)
        found = there.version if there else None
        wanted = None if expect is Expect.NOTHING else expect
        if found != wanted:
            raise errors.CommitConflict(
                f"{self.root / key}: expected {wanted or 'nothing'}, found {found or 'nothing'};"
                " nothing was published over it, run the job again"
            )


def _stored(key: str, found: os.stat_result) -> StoredObject:
    modified_at = datetime.fromtimestamp(found.st_mtime, tz=UTC)
    return StoredObject(key, found.st_size, f"{found.st_mtime_ns}-{found.st_size}", modified_at)


def _require_regular(path: Path) -> None:
    """Refuse a pipe, a socket or a device, which a reader might wait on for ever."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise errors.DeliveryUnreadable(f"{path}: not a regular file; remove it or replace it")


def _date_after(written: Path, path: Path) -> None:
    # A version is made of date and size, so two writes must never share a date, which the
    # clock alone does not guarantee.
    now_ns = time.time_ns()
    with suppress(FileNotFoundError):
        now_ns = max(now_ns, path.stat().st_mtime_ns + 1000)
    os.utime(written, ns=(now_ns, now_ns))


def _flush(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _abandoned(base: Path) -> Iterator[Path]:
    """Find what killed jobs left: folders whose lock is free, files older than a day."""
    for path in sorted(base.iterdir()):
        try:
            if path.is_file():
                if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S:
                    yield path
                continue
            with (path / ".owner").open("r") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path
        except OSError:
            continue


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        with full_disk_raised(path):
            yield
    except errors.OhlcvError:
        raise
    except PermissionError as err:
        raise errors.StoreDenied(
            f"{err.filename2 or err.filename or path}: permission denied;"
            " check the owner and mode of the file and of its folder"
        ) from err
    except IsADirectoryError as err:
        raise errors.DataRefused(
            f"{err.filename2 or err.filename or path}: a folder stands where a file is needed;"
            " remove it and run the job again"
        ) from err
    except (NotADirectoryError, FileExistsError) as err:
        raise errors.SettingsError(
            f"{err.filename or path}: a file stands where a folder is needed; choose another lake"
        ) from err
    except OSError as err:
        if err.errno == errno.EROFS:
            raise errors.StoreDenied(f"{path}: the file system is read-only") from err
        raise errors.StoreUnavailable(f"{path}: {err.strerror or err}") from err
