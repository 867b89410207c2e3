"""What S3 alone can do to a store: lost answers, throttles, refusals, missing buckets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from botocore.httpsession import URLLib3Session

from batch.consolidator.job import consolidate
from batch.core.errors import (
    CommitConflict,
    CommitUnknown,
    ExitCode,
    LakeMissing,
    StoreDenied,
    StoreUnavailable,
)
from batch.core.sessions import Calendar
from batch.storage.s3 import S3Store
from batch.storage.store import Expect, ObjectStore, open_store
from tests.support.bars import bar, land_rows, received_after

Answer = Callable[[Any], AWSResponse | None]


@pytest.fixture
def store(s3_lake: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """An empty lake whose client repeats at once."""
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    assert isinstance(s3_lake, S3Store)
    return s3_lake


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self._content


def says(status: int, code: str) -> Answer:
    """Answer with an error in the place of S3."""
    content = f"<Error><Code>{code}</Code><Message>told so</Message></Error>".encode()

    def answer(request: Any) -> AWSResponse:
        return AWSResponse(request.url, status, {}, _Body(content))

    return answer


def answered_then_lost(request: Any) -> AWSResponse | None:
    """Let S3 do what was asked, and lose its answer."""
    URLLib3Session().send(request)
    raise ConnectionClosedError(endpoint_url=request.url)


def lost(request: Any) -> AWSResponse | None:
    """Lose the request before S3 sees it."""
    raise ConnectionClosedError(endpoint_url=request.url)


def timed_out(request: Any) -> AWSResponse | None:
    """Hear nothing, whatever S3 does."""
    raise ReadTimeoutError(endpoint_url=request.url)


def far_side(
    store: S3Store, operation: str, *answers: Answer, always: Answer | None = None
) -> None:
    """Let the next calls of an operation be answered in the place of S3."""
    waiting = list(answers)

    def before_send(request: Any, **_: Any) -> AWSResponse | None:
        if waiting:
            return waiting.pop(0)(request)
        return always(request) if always else None

    store.client.meta.events.register(f"before-send.s3.{operation}", before_send)


@pytest.mark.parametrize("expecting", ["nothing", "version"])
def test_a_write_whose_answer_was_lost_is_known_to_be_ours(store: S3Store, expecting: str) -> None:
    expect = Expect.NOTHING if expecting == "nothing" else store.write("k", b"old").version
    far_side(store, "PutObject", answered_then_lost)

    written = store.write("k", b"mine", expect=expect)

    assert store.read("k") == b"mine"
    head = store.head("k")
    assert head is not None
    assert (written.size_bytes, written.version) == (4, head.version)


def test_a_lost_answer_does_not_make_another_writers_object_ours(store: S3Store) -> None:
    def other_first(request: Any) -> AWSResponse | None:
        boto3.client("s3").put_object(Bucket=store.bucket, Key="market/data/k", Body=b"theirs")
        raise ConnectionClosedError(endpoint_url=request.url)

    far_side(store, "PutObject", other_first)

    with pytest.raises(CommitConflict):
        store.write("k", b"mine", expect=Expect.NOTHING)

    assert store.read("k") == b"theirs"


@pytest.mark.parametrize(
    ("status", "code"), [(409, "ConditionalRequestConflict"), (412, "PreconditionFailed")]
)
def test_refused_conditions_are_lost_races(store: S3Store, status: int, code: str) -> None:
    store.write("k", b"theirs")
    far_side(store, "PutObject", always=says(status, code))

    with pytest.raises(CommitConflict, match="another job wrote it first") as raised:
        store.write("k", b"mine", expect=Expect.NOTHING)

    assert raised.value.exit_code == ExitCode.RETRY
    assert store.read("k") == b"theirs"


UNDECIDED = says(409, "ConditionalRequestConflict")


@pytest.fixture(params=["nothing", "version"])
def expect(store: S3Store, request: pytest.FixtureRequest) -> Expect | str:
    """What a write of ``k`` expects, and what is there."""
    return Expect.NOTHING if request.param == "nothing" else store.write("k", b"old").version


def test_a_write_is_made_again_where_s3_did_not_decide_its_condition(
    store: S3Store, expect: Expect | str
) -> None:
    far_side(store, "PutObject", UNDECIDED, UNDECIDED)

    written = store.write("k", b"mine", expect=expect)

    assert store.read("k") == b"mine"
    assert store.head("k") == written


def test_a_condition_that_s3_never_decides_is_not_a_lost_race(
    store: S3Store, expect: Expect | str
) -> None:
    before = [(item.key, item.version) for item in store.list("")]
    far_side(store, "PutObject", always=UNDECIDED)

    with pytest.raises(StoreUnavailable, match=r"market/data/k: S3 answered .*run the job again"):
        store.write("k", b"mine", expect=expect)

    assert [(item.key, item.version) for item in store.list("")] == before


def test_an_object_that_contradicts_an_undecided_condition_is_a_lost_race(
    store: S3Store, expect: Expect | str
) -> None:
    other = boto3.client("s3")

    def other_writes(request: Any) -> AWSResponse | None:
        other.put_object(Bucket=store.bucket, Key="market/data/k", Body=b"theirs")
        return UNDECIDED(request)

    far_side(store, "PutObject", always=other_writes)

    with pytest.raises(CommitConflict, match="another job wrote it first"):
        store.write("k", b"mine", expect=expect)

    assert store.read("k") == b"theirs"


@pytest.mark.slow
def test_an_upload_in_parts_starts_again_where_s3_did_not_decide_its_condition(
    store: S3Store, expect: Expect | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batch.storage.s3.PART_BYTES", 5 * 1024 * 1024)
    far_side(store, "CompleteMultipartUpload", UNDECIDED, UNDECIDED)
    started: list[str] = []
    far_side(store, "CreateMultipartUpload", always=lambda request: started.append(request.url))
    content = bytes(21 * 1024 * 1024)

    with store.scratch() as folder:
        (folder / "large").write_bytes(content)
        written = store.write("k", folder / "large", expect=expect)

    assert len(started) == 3
    assert store.head("k") == written
    assert written.size_bytes == len(content)
    assert not store.client.list_multipart_uploads(Bucket=store.bucket).get("Uploads")


def test_an_upload_that_s3_has_forgotten_starts_again_too(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batch.storage.s3.PART_BYTES", 5 * 1024 * 1024)
    far_side(store, "CompleteMultipartUpload", UNDECIDED)
    far_side(store, "AbortMultipartUpload", says(404, "NoSuchUpload"))

    with store.scratch() as folder:
        (folder / "large").write_bytes(bytes(21 * 1024 * 1024))
        written = store.write("k", folder / "large", expect=Expect.NOTHING)

    assert store.head("k") == written


def test_a_delivery_is_never_taken_for_landed_without_being_there(
    store: S3Store, calendar: Calendar
) -> None:
    day = calendar.session_at(13000)

    def undecided_delivery(request: Any) -> AWSResponse | None:
        return UNDECIDED(request) if "/bronze/daily/" in request.url else None

    throttled = open_store(store.uri)
    assert isinstance(throttled, S3Store)
    far_side(throttled, "PutObject", always=undecided_delivery)

    with pytest.raises(StoreUnavailable):
        land_rows(throttled, [bar("A", day)], calendar, received_at=received_after(day))

    assert [*store.list("bronze/daily/")] == []


@pytest.mark.parametrize("breaks", [lost, timed_out])
def test_a_connection_that_stays_broken_leaves_a_doubt_only_where_there_is_one(
    store: S3Store, breaks: Answer
) -> None:
    far_side(store, "PutObject", always=breaks)

    with pytest.raises(CommitUnknown, match="next run finds out"):
        store.write("k", b"mine", expect=Expect.NOTHING)
    with pytest.raises(StoreUnavailable):
        store.write("k", b"mine")


def test_a_throttle_is_waited_out(store: S3Store) -> None:
    store.write("k", b"there")
    slow = says(503, "SlowDown")
    far_side(store, "ListObjectsV2", slow, slow)
    far_side(store, "GetObject", slow, slow, slow)

    assert [item.key for item in store.list("")] == ["k"]
    assert store.read("k") == b"there"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "call"),
    [
        ("ListObjectsV2", lambda store: list(store.list(""))),
        ("HeadObject", lambda store: store.head("k")),
        ("GetObject", lambda store: store.read("k")),
        ("PutObject", lambda store: store.write("k", b"x")),
        ("DeleteObjects", lambda store: store.delete(["k"])),
        ("HeadBucket", lambda store: store.exists()),
    ],
)
@pytest.mark.parametrize(
    ("status", "code", "outcome"),
    [
        (503, "SlowDown", StoreUnavailable),
        (500, "InternalError", StoreUnavailable),
        (403, "AccessDenied", StoreDenied),
        (400, "ExpiredToken", StoreDenied),
    ],
)
def test_refusals_and_throttles_are_never_an_empty_lake(
    store: S3Store,
    operation: str,
    call: Callable[[S3Store], object],
    status: int,
    code: str,
    outcome: type[Exception],
) -> None:
    far_side(store, operation, always=says(status, code))

    with pytest.raises(outcome):
        call(store)


def test_a_delete_that_is_refused_is_told(store: S3Store) -> None:
    store.write("k", b"x")
    refusal = (
        b"<DeleteResult><Error><Key>market/data/k</Key><Code>AccessDenied</Code>"
        b"<Message>Access Denied</Message></Error></DeleteResult>"
    )
    far_side(
        store,
        "DeleteObjects",
        always=lambda request: AWSResponse(request.url, 200, {}, _Body(refusal)),
    )

    with pytest.raises(StoreDenied, match=r"market/data/k"):
        store.delete(["k"])


def test_a_missing_bucket_is_a_missing_lake(
    store: S3Store, s3_endpoint: str, calendar: Calendar
) -> None:
    missing = open_store("s3://no-such-bucket-here/lake")

    assert not missing.exists()
    for call in (
        lambda: list(missing.list("")),
        lambda: missing.read("k"),
        lambda: missing.write("k", b"x"),
        lambda: missing.write("k", b"x", expect=Expect.NOTHING),
        lambda: consolidate(missing, calendar=calendar),
    ):
        with pytest.raises(LakeMissing, match="no-such-bucket-here"):
            call()


def test_no_credentials_are_told_as_such(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))

    with pytest.raises(StoreDenied, match="no AWS credentials found"):
        open_store("s3://bucket/lake").exists()


def test_an_endpoint_that_is_not_there_may_be_there_later(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    unreachable = open_store("s3://bucket/lake")

    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        list(unreachable.list(""))
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        unreachable.write("k", b"x", expect=Expect.NOTHING)


def test_a_large_object_goes_in_parts_under_the_same_conditions(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batch.storage.s3.PART_BYTES", 5 * 1024 * 1024)
    content = bytes(range(256)) * (21 * 4096)

    def write(expect: Expect | str) -> str:
        with store.scratch() as folder:
            (folder / "large").write_bytes(content)
            return store.write("large", folder / "large", expect=expect).version

    version = write(Expect.NOTHING)
    with pytest.raises(CommitConflict):
        write(Expect.NOTHING)
    again = write(version)

    with store.local_copy("large") as path:
        assert path.read_bytes() == content
    head = store.head("large")
    assert head is not None
    assert (head.size_bytes, head.version) == (len(content), again)
    uploads = store.client.list_multipart_uploads(Bucket=store.bucket)
    assert "Uploads" not in uploads or uploads["Uploads"] == []


def test_a_part_that_fails_leaves_neither_object_nor_parts(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batch.storage.s3.PART_BYTES", 5 * 1024 * 1024)
    far_side(store, "UploadPart", always=says(503, "SlowDown"))

    with store.scratch() as folder:
        (folder / "large").write_bytes(bytes(21 * 1024 * 1024))
        with pytest.raises(StoreUnavailable):
            store.write("large", folder / "large")

    assert store.head("large") is None
    assert not store.client.list_multipart_uploads(Bucket=store.bucket).get("Uploads")


def test_a_throttled_consolidation_changes_nothing_and_says_to_retry(
    store: S3Store, calendar: Calendar
) -> None:
    day = calendar.session_at(13000)
    land_rows(store, [bar("A", day)], calendar, received_at=received_after(day))
    consolidate(store, calendar=calendar)
    before = [(item.key, item.version) for item in store.list("")]
    throttled = open_store(store.uri)
    assert isinstance(throttled, S3Store)
    far_side(throttled, "ListObjectsV2", always=says(503, "SlowDown"))

    with pytest.raises(StoreUnavailable) as raised:
        consolidate(throttled, calendar=calendar, full=True)

    assert raised.value.exit_code == ExitCode.RETRY
    assert [(item.key, item.version) for item in store.list("")] == before
