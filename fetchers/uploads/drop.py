"""Where files are dropped: a folder or the uploads of a bucket, and what each upload is called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from batch.storage.store import ObjectStore
from fetchers.files.names import instant_in_name

NO_SOURCE: Final = "drop"
"""The source of what lies in no folder of its own."""

_UNFINISHED: Final = (".part", ".tmp", ".crdownload")


@dataclass(frozen=True, slots=True)
class Upload:
    """One version of a dropped file. A file written again under its name is another upload.

    Attributes:
        source: The first folder below the drop: who the file is from.
        root: The bucket's name, or the folder's absolute path.
        key: The whole key in the bucket, or the path below the folder.
        version: The object's version; of a file in a folder what changes when it is written.
        size_bytes: As it lies there, compressed or not.
        uploaded_at: The event's time, or the file's time of modification.
    """

    source: str
    root: str
    key: str
    version: str
    size_bytes: int
    uploaded_at: datetime

    @property
    def id(self) -> str:
        """64 hexadecimal digits, as Step Functions computes them in ``States.Hash``."""
        text = f"{self.root}|{self.key}|{self.version}"
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

    @property
    def is_in_bucket(self) -> bool:
        """Whether it lies in a bucket; in a folder otherwise."""
        return not self.root.startswith("/")

    @property
    def address(self) -> str:
        """Where it lies, for messages and for what its name and its folders stand for."""
        return f"{'s3://' * self.is_in_bucket}{self.root}/{self.key}"

    @property
    def name(self) -> str:
        """Its path below the folder of its source."""
        below_the_drop = self.key.partition("/")[2] if self.is_in_bucket else self.key
        return below_the_drop.removeprefix(f"{self.source}/")

    @property
    def received_at(self) -> datetime:
        """When its rows were received: the instant in its name, else when it was uploaded.

        A date stands for its end, but never for an instant after the upload.
        """
        named = instant_in_name(PurePosixPath(self.key).name)
        if named is None:
            return self.uploaded_at
        ends_that_day = named.date() == self.uploaded_at.date() and named > self.uploaded_at
        return self.uploaded_at if ends_that_day else min(named, self.uploaded_at)


class Drop(Protocol):
    """A place where files are dropped. Its listing is the truth; events are hints.

    Raises:
        StoreDenied: Permissions or credentials do not allow the call.
        StoreUnavailable: The place does not answer.
    """

    @property
    def root(self) -> str:
        """The root of its uploads."""

    def list(self) -> Iterator[Upload]:
        """Return every upload that is there whole, in any order."""

    def open(self, upload: Upload) -> AbstractContextManager[Path]:
        """Give an upload as a local file for as long as the context lasts.

        Raises:
            ObjectMissing: It is not there any more.
        """

    def copy(self, upload: Upload, lake: ObjectStore, key: str) -> None:
        """Copy an upload into the lake, under a key.

        Raises:
            ObjectMissing: It is not there any more.
        """


def source_of(path: str) -> str:
    """Return the source of a path below the drop."""
    folder, slash, _ = path.partition("/")
    return folder if slash else NO_SOURCE


def is_ignored(path: str) -> bool:
    """Tell whether a path below the drop is hidden, or of a file that is still being written."""
    *folders, name = path.split("/")
    is_hidden = any(part.startswith(".") for part in (*folders, name))
    return is_hidden or not name or name.startswith("~") or name.lower().endswith(_UNFINISHED)
