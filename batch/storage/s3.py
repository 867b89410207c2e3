"""The object store on S3 and whatever speaks its API with conditional writes."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import boto3
from botocore import exceptions
from botocore.config import Config

from batch.core import errors
from batch.storage.disk_space import full_disk_raised
from batch.storage.objects import Expect, Expectation, StoredObject

PART_BYTES = 16 * 1024 * 1024
"""Objects above this are read and written in parts of this size, side by side."""

ATTEMPTS = 6
"""How often a request is sent before the store counts as unavailable, by whichever client."""

_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60
_WRITER = "ohlcv-writer"
_MISSING = {"404", "NoSuchKey", "NotFound"}
_DENIED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"}
_CONFLICT = {"412", "PreconditionFailed"}
_UNDECIDED = {"409", "ConditionalRequestConflict", "OperationAborted"}
_PAUSES_S = (0.1, 0.2, 0.4, 0.8)
"""Longest pauses between the tries of a write whose condition S3 did not decide."""


class _ConditionUndecided(errors.StoreUnavailable):
    """S3 answered 409: others write or delete the key, so the condition was not decided."""


class S3Store:
    """Objects below ``s3://bucket/prefix``.

    Conditional writes are S3's own (``If-Match``, ``If-None-Match``); a version is an ETag.
    The SDK repeats a write whose answer was lost, and the repetition of a write that took
    effect fails its own condition. So every write carries a random id in the object's
    metadata: a conflict with an object of that id is a success. A failed condition (412) is a
    lost race; 409 says that S3 decided nothing because others write or delete the key, so the
    write is made again.
    Credentials, region and endpoint come from where every AWS tool takes them.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    """

    def __init__(self, bucket: str, prefix: str, client: Any, *, requests: int = 8) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.client = client
        self._requests = requests

    @classmethod
    def from_uri(cls, uri: str) -> S3Store:
        """Return the store of ``s3://bucket/prefix``.

        Raises:
            SettingsError: There is no bucket in it, or no region and endpoint can be found.
        """
        parts = urlsplit(uri)
        if not parts.netloc:
            raise errors.SettingsError(f"lake {uri!r}: no bucket, expected s3://bucket/prefix")
        return cls(parts.netloc, parts.path, _client())

    @classmethod
    def at_endpoint(
        cls, endpoint_url: str, bucket: str, prefix: str, *, access_key_id: str, secret_key: str
    ) -> S3Store:
        """Return a store with an endpoint and keys of its own, such as a vendor's.

        Raises:
            SettingsError: The endpoint is not usable.
        """
        keys = {"aws_access_key_id": access_key_id, "aws_secret_access_key": secret_key}
        client = _client(endpoint_url=endpoint_url, region_name="us-east-1", **keys)
        return cls(bucket, prefix, client)

    @property
    def uri(self) -> str:
        """The root as ``s3://bucket/prefix``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def exists(self) -> bool:
        """Return whether the bucket answers; a prefix need not be made."""
        try:
            with self.translated(""):
                self.client.head_bucket(Bucket=self.bucket)
        except (errors.LakeMissing, errors.ObjectMissing):
            return False
        return True

    def list(self, prefix: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """List 1,000 objects a request; see :class:`ObjectStore`."""
        bounds = {"StartAfter": self.prefix + start_after} if start_after else {}
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix + prefix, **bounds
        )
        with self.translated(prefix):
            for page in pages:
                for found in page.get("Contents", ()):
                    key = found["Key"].removeprefix(self.prefix)
                    yield StoredObject(key, found["Size"], _etag(found), found["LastModified"])

    def head(self, key: str, *, writer: str | None = None) -> StoredObject | None:
        """Ask for an object, or that of one writer alone; see :class:`ObjectStore`."""
        try:
            with self.translated(key):
                found = self.client.head_object(**self._at(key))
        except errors.ObjectMissing:
            return None
        if writer and found.get("Metadata", {}).get(_WRITER) != writer:
            return None
        return StoredObject(key, found["ContentLength"], _etag(found))

    def read(self, key: str) -> bytes:
        """Fetch a whole object; see :class:`ObjectStore`."""
        with self.translated(key):
            answer = self.client.get_object(**self._at(key))
            content: bytes = answer["Body"].read()
        return content

    @contextmanager
    def local_copy(self, key: str, *, version: str | None = None) -> Iterator[Path]:
        """Fetch an object, or one of its versions, into a temporary file, parts side by side."""
        from boto3.s3.transfer import TransferConfig  # noqa: PLC0415 - not needed by readers of bytes

        transfer = TransferConfig(
            multipart_threshold=PART_BYTES,
            multipart_chunksize=PART_BYTES,
            max_concurrency=self._requests,
        )
        with self.scratch() as folder:
            path = folder / "object"
            with self.translated(key), path.open("wb") as file:
                self.client.download_fileobj(
                    self.bucket,
                    self.prefix + key,
                    file,
                    ExtraArgs={"VersionId": version} if version else None,
                    Config=transfer,
                )
            yield path

    def write(
        self, key: str, content: bytes | Path, *, expect: Expectation = Expect.ANYTHING
    ) -> StoredObject:
        """Put an object under S3's own condition; see :class:`ObjectStore`."""
        writer = uuid4().hex
        for longest_s in (*_PAUSES_S, None):
            try:
                return self._put(key, content, writer, _condition(expect))
            except errors.CommitConflict:
                # An object of this writer is the write whose answer was lost.
                if ours := self.head(key, writer=writer):
                    return ours
                raise
            except _ConditionUndecided as err:
                undecided = err
            if longest_s is not None:
                time.sleep(random.uniform(longest_s / 2, longest_s))  # noqa: S311 - keeps writers apart
        return self._decide(key, expect, writer, undecided)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove up to 1,000 objects a request; see :class:`ObjectStore`."""
        waiting = list(keys)
        for at in range(0, len(waiting), 1000):
            names = [{"Key": self.prefix + key} for key in waiting[at : at + 1000]]
            with self.translated(waiting[at]):
                answer = self.client.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": names, "Quiet": True}
                )
            for failed in answer.get("Errors", ()):
                where = f"s3://{self.bucket}/{failed['Key']}: not deleted"
                raise self._refusal(where, str(failed.get("Code")), str(failed.get("Message")))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder in the system's temporary space."""
        made = tempfile.TemporaryDirectory(prefix="ohlcv-", ignore_cleanup_errors=True)
        with made as name, full_disk_raised(Path(name)):
            yield Path(name)

    def abandoned_scratch(self) -> tuple[Path, ...]:
        """Return nothing: the system clears its temporary space."""
        return ()

    def location(self, key: str) -> str:
        """Return the object's URI."""
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def polars_options(self) -> dict[str, Any]:
        """Return the credentials that boto3 finds, renewed before they expire."""
        credentials: Any = boto3.session.Session().get_credentials()

        def current() -> tuple[dict[str, str], int | None]:
            frozen = credentials.get_frozen_credentials()
            found = {
                "aws_access_key_id": frozen.access_key,
                "aws_secret_access_key": frozen.secret_key,
                "aws_session_token": frozen.token,
            }
            expiry: datetime | None = getattr(credentials, "_expiry_time", None)
            given = {name: value for name, value in found.items() if value}
            return given, int(expiry.timestamp()) if expiry else None

        endpoint = str(self.client.meta.endpoint_url)
        storage: dict[str, Any] = {
            "aws_region": str(self.client.meta.region_name),
            "aws_endpoint_url": endpoint,
            "max_retries": ATTEMPTS - 1,
            "connect_timeout": f"{_CONNECT_TIMEOUT_S}s",
            "timeout": f"{_READ_TIMEOUT_S}s",
        }
        if endpoint.startswith("http://"):
            storage["aws_allow_http"] = "true"
        return {
            "storage_options": storage,
            "credential_provider": None if credentials is None else current,
        }

    def arrow_filesystem(self) -> Any:
        """Return Arrow's S3 file system with the credentials that boto3 finds."""
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem  # noqa: PLC0415 - only SQL needs it

        credentials = boto3.session.Session().get_credentials()
        frozen = credentials.get_frozen_credentials() if credentials else None
        scheme, _, host = str(self.client.meta.endpoint_url).partition("://")
        return S3FileSystem(
            access_key=frozen.access_key if frozen else None,
            secret_key=frozen.secret_key if frozen else None,
            session_token=frozen.token if frozen else None,
            anonymous=frozen is None,
            region=self.client.meta.region_name,
            scheme=scheme,
            endpoint_override=host,
            connect_timeout=_CONNECT_TIMEOUT_S,
            request_timeout=_READ_TIMEOUT_S,
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        )

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + key}

    def _put(
        self, key: str, content: bytes | Path, writer: str, condition: dict[str, str]
    ) -> StoredObject:
        size_bytes = content.stat().st_size if isinstance(content, Path) else len(content)
        with self.translated(key, condition):
            if isinstance(content, Path) and size_bytes > 4 * PART_BYTES:
                answer = self._put_parts(key, content, writer, condition)
            else:
                whole = content if isinstance(content, bytes) else content.open("rb")
                with nullcontext(whole) if isinstance(whole, bytes) else whole as body:
                    answer = self.client.put_object(
                        **self._at(key), Body=body, Metadata={_WRITER: writer}, **condition
                    )
        return StoredObject(key, size_bytes, _etag(answer))

    def _decide(
        self, key: str, expect: Expectation, writer: str, undecided: _ConditionUndecided
    ) -> StoredObject:
        """Look at what is under a key whose condition S3 never decided.

        Only an object that contradicts the condition is a lost race.
        """
        if ours := self.head(key, writer=writer):
            return ours
        there = self.head(key)
        found = there.version if there else None
        if expect is Expect.ANYTHING or found == (None if expect is Expect.NOTHING else expect):
            raise undecided
        raise _lost_race(self.location(key)) from undecided

    def _put_parts(self, key: str, path: Path, writer: str, condition: dict[str, str]) -> Any:
        where = self._at(key)
        upload = self.client.create_multipart_upload(**where, Metadata={_WRITER: writer})
        where["UploadId"] = upload["UploadId"]

        def put_part(number: int) -> dict[str, Any]:
            with path.open("rb") as file:
                file.seek((number - 1) * PART_BYTES)
                body = file.read(PART_BYTES)
            answer = self.client.upload_part(**where, PartNumber=number, Body=body)
            return {"PartNumber": number, "ETag": answer["ETag"]}

        try:
            count = -(-path.stat().st_size // PART_BYTES)
            with ThreadPoolExecutor(self._requests) as pool:
                parts = list(pool.map(put_part, range(1, count + 1)))
            return self.client.complete_multipart_upload(
                **where, MultipartUpload={"Parts": parts}, **condition
            )
        except BaseException:
            # S3 keeps, and charges for, the parts of an upload that is not aborted.
            with suppress(self.client.exceptions.NoSuchUpload):
                self.client.abort_multipart_upload(**where)
            raise

    @contextmanager
    def translated(self, key: str, condition: Mapping[str, str] | None = None) -> Iterator[None]:
        """Turn the SDK's errors into the store's.

        Where the connection breaks after a conditional write was sent, nobody knows whether
        it took effect. Where a version is expected and there is no object at all, S3 answers
        404: a lost race like any other.
        """
        where = f"{self.uri}/{key}" if key else self.uri
        try:
            yield
        except errors.OhlcvError:
            raise
        except exceptions.ClientError as err:
            answer = err.response.get("Error", {})
            code = str(answer.get("Code", "unknown"))
            if code in _CONFLICT or (condition and "IfMatch" in condition and code in _MISSING):
                raise _lost_race(where) from err
            if code in _UNDECIDED:
                raise _ConditionUndecided(
                    f"{where}: S3 answered {code} again and again because others write or delete"
                    " it; nothing was published, run the job again"
                ) from err
            raise self._refusal(where, code, answer.get("Message", code)) from err
        except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError) as err:
            raise errors.StoreDenied(
                f"{where}: no AWS credentials found; log in or set a profile"
            ) from err
        except (exceptions.BotoCoreError, OSError) as err:
            if condition and not isinstance(
                err, exceptions.EndpointConnectionError | exceptions.ConnectTimeoutError
            ):
                raise errors.CommitUnknown(
                    f"{where}: the connection broke while publishing ({err});"
                    " the next run finds out whether it took effect"
                ) from err
            raise errors.StoreUnavailable(f"{where}: S3 cannot be reached: {err}") from err

    def _refusal(self, where: str, code: str, message: str) -> errors.OhlcvError:
        if code == "NoSuchBucket":
            return errors.LakeMissing(
                f"s3://{self.bucket}: no such bucket; create it or correct OHLCV_LAKE"
            )
        if code in _MISSING:
            return errors.ObjectMissing(f"{where}: no such object")
        if code in _DENIED:
            return errors.StoreDenied(
                f"{where}: S3 refused access ({code}: {message});"
                " check the credentials and the role's policy"
            )
        return errors.StoreUnavailable(f"{where}: S3 answered {code}: {message}; run the job again")


def _client(**access: Any) -> Any:
    config = Config(
        retries={"mode": "standard", "max_attempts": ATTEMPTS},
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        max_pool_connections=32,
        user_agent_extra="ohlcv-batch",
    )
    try:
        return boto3.session.Session().client("s3", config=config, **access)
    except (exceptions.NoRegionError, ValueError, exceptions.BotoCoreError) as err:
        raise errors.SettingsError(f"S3: {err}") from err


def _condition(expect: Expectation) -> dict[str, str]:
    if expect is Expect.ANYTHING:
        return {}
    if expect is Expect.NOTHING:
        return {"IfNoneMatch": "*"}
    return {"IfMatch": str(expect)}


def _lost_race(where: str) -> errors.CommitConflict:
    return errors.CommitConflict(
        f"{where}: another job wrote it first; nothing was published over it, run the job again"
    )


def _etag(answer: Any) -> str:
    return str(answer["ETag"]).strip('"')
