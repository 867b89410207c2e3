"""The uploads of a bucket: what lies under its ``uploads/``, in all versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Final

from batch.storage.s3_versions import VersionedBucket
from batch.storage.store import ObjectStore
from fetchers.uploads.drop import Upload, is_ignored, source_of

UPLOADS: Final = "uploads/"
"""Where uploads lie in their bucket; nothing that a lake writes may lie there."""


class BucketDrop:
    """The uploads of a versioned bucket; see :class:`fetchers.uploads.drop.Drop`."""

    def __init__(self, bucket: VersionedBucket) -> None:
        self._bucket = bucket

    @classmethod
    def named(cls, bucket: str) -> BucketDrop:
        """Return the uploads of the bucket of a name."""
        return cls(VersionedBucket.named(bucket))

    @property
    def root(self) -> str:
        """The bucket's name."""
        return self._bucket.name

    def list(self) -> Iterator[Upload]:
        """Return all versions, those of deleted objects too.

        Raises:
            SettingsError: The bucket keeps no versions.
        """
        for one in self._bucket.list(UPLOADS):
            found = upload_of(self.root, one.key, one.version, one.size_bytes, one.modified_at)
            if found:
                yield found

    def open(self, upload: Upload) -> AbstractContextManager[Path]:
        """Fetch a version into a temporary file."""
        return self._bucket.local_copy(upload.key, upload.version)

    def copy(self, upload: Upload, lake: ObjectStore, key: str) -> None:
        """Copy a version, within S3 where the lake is on S3 too."""
        self._bucket.copy(upload.key, upload.version, lake, key)


def upload_of(
    bucket: str, key: str, version: str, size_bytes: int, uploaded_at: datetime
) -> Upload | None:
    """Return the upload that an event or a listing names; None where it is not one.

    That is what lies elsewhere, what has a name for files that are still being written, and what
    has no bytes: such objects stand for folders.
    """
    path = key.removeprefix(UPLOADS)
    if path == key or not size_bytes or is_ignored(path):
        return None
    return Upload(source_of(path), bucket, key, version, size_bytes, uploaded_at)
