"""The versions of the objects of a bucket that keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from batch.core.errors import SettingsError
from batch.storage.objects import ObjectStore
from batch.storage.s3 import S3Store


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """One version of an object; no two of a key have the same ``modified_at``."""

    key: str
    version: str
    size_bytes: int
    modified_at: datetime


class VersionedBucket:
    """The objects of a whole bucket, each in all of its versions."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    @classmethod
    def named(cls, bucket: str) -> VersionedBucket:
        """Return the bucket of a name."""
        return cls(S3Store.from_uri(f"s3://{bucket}"))

    @property
    def name(self) -> str:
        """Its name."""
        return self._store.bucket

    def list(self, prefix: str) -> Iterator[ObjectVersion]:
        """Return every version below a prefix, ascending by key, the newest first.

        S3 reports whole seconds. Versions of a key from the same second are dated a microsecond
        apart, so that their order is kept.

        Raises:
            SettingsError: The bucket keeps no versions.
        """
        self._require_versions()
        pages = self._store.client.get_paginator("list_object_versions").paginate(
            Bucket=self.name, Prefix=prefix
        )
        same: list[Any] = []
        with self._store.translated(prefix):
            for page in pages:
                for found in page.get("Versions", ()):
                    if same and _second(same[-1]) != _second(found):
                        yield from _dated(same)
                        same = []
                    same.append(found)
        yield from _dated(same)

    @contextmanager
    def local_copy(self, key: str, version: str) -> Iterator[Path]:
        """Give a version as a local file for as long as the context lasts.

        Raises:
            ObjectMissing: It is not there.
        """
        with self._store.local_copy(key, version=version) as path:
            yield path

    def copy(self, key: str, version: str, lake: ObjectStore, target: str) -> None:
        """Copy a version to a key of another store, within S3 where that is on S3 too.

        Raises:
            ObjectMissing: It is not there.
        """
        if not isinstance(lake, S3Store):
            with self.local_copy(key, version) as path:
                lake.write(target, path)
            return
        with self._store.translated(key):
            lake.client.copy(
                {"Bucket": self.name, "Key": key, "VersionId": version},
                lake.bucket,
                lake.prefix + target,
            )

    def _require_versions(self) -> None:
        with self._store.translated(""):
            answer = self._store.client.get_bucket_versioning(Bucket=self.name)
        if answer.get("Status") != "Enabled":
            raise SettingsError(
                f"s3://{self.name}: keeps no versions, which uploads need: a file that is uploaded"
                " again under its name would take the place of one not read yet; enable them with"
                f" `aws s3api put-bucket-versioning --bucket {self.name}"
                " --versioning-configuration Status=Enabled`"
            )


def _second(found: Any) -> tuple[str, datetime]:
    return found["Key"], found["LastModified"]


def _dated(newest_first: list[Any]) -> Iterator[ObjectVersion]:
    for later, found in zip(range(len(newest_first) - 1, -1, -1), newest_first, strict=True):
        at = found["LastModified"] + timedelta(microseconds=later)
        yield ObjectVersion(found["Key"], found["VersionId"], found["Size"], at)
