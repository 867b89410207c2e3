"""What every object store promises; objects are put and seen past the code under test."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from batch.core.errors import CommitConflict, ObjectMissing, SettingsError
from batch.storage.local import LocalStore
from batch.storage.s3 import S3Store
from batch.storage.store import Expect, ObjectStore, open_store
from tests.support.examples import fewer_examples

ODD_KEYS = (
    "a",
    "a b",
    "a+b%20c",
    "a-/x",
    "a/b",
    "a/b.c",
    "a/b/c",
    "a0",
    "b&c=d;e",
    "date=2022-03-01/x",
    "q?x#y",
    "z/'\"<>|*",
    "ß/Ж",
    "ﬁ",
    "\U0001f4c8",
)


@dataclass(frozen=True)
class Bench:
    """A store, and ways around it.

    Attributes:
        store: The one under test.
        again: Opens the same root once more, as another process would.
        put: Makes an object without the store.
        put_empty: Makes empty objects without the store, many at once.
        get: Content of an object without the store, None where there is none.
    """

    store: ObjectStore
    again: Callable[[], ObjectStore]
    put: Callable[[str, bytes], None]
    put_empty: Callable[[list[str]], None]
    get: Callable[[str], bytes | None]


@pytest.fixture(params=["local", "s3"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    if request.param == "local":
        root = tmp_path / "lake"
        root.mkdir()

        def put_file(key: str, content: bytes) -> None:
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(content)

        def get_file(key: str) -> bytes | None:
            return (root / key).read_bytes() if (root / key).is_file() else None

        def put_files(keys: list[str]) -> None:
            for key in keys:
                put_file(key, b"")

        return Bench(LocalStore(root), lambda: LocalStore(root), put_file, put_files, get_file)

    import boto3
    from moto.s3.models import s3_backends

    store = request.getfixturevalue("s3_lake")
    assert isinstance(store, S3Store)
    client = boto3.client("s3")

    def put_object(key: str, content: bytes) -> None:
        client.put_object(Bucket=store.bucket, Key=f"market/data/{key}", Body=content)

    def get_object(key: str) -> bytes | None:
        try:
            found = client.get_object(Bucket=store.bucket, Key=f"market/data/{key}")
        except client.exceptions.NoSuchKey:
            return None
        content: bytes = found["Body"].read()
        return content

    def put_objects(keys: list[str]) -> None:
        # Past HTTP, which would take seconds: the service runs in this process.
        service = s3_backends["123456789012"]["aws"]
        for key in keys:
            service.put_object(store.bucket, f"market/data/{key}", b"")

    return Bench(store, lambda: open_store(store.uri), put_object, put_objects, get_object)


def keys(bench: Bench, prefix: str = "", **bounds: str) -> list[str]:
    return [item.key for item in bench.store.list(prefix, **bounds)]


def test_what_is_written_is_what_is_there(bench: Bench) -> None:
    written = bench.store.write("a/b.parquet", b"content")

    assert bench.get("a/b.parquet") == b"content"
    assert bench.store.read("a/b.parquet") == b"content"
    assert written.size_bytes == 7


def test_write_head_and_list_agree_on_size_and_version(bench: Bench) -> None:
    written = bench.store.write("a/b.parquet", b"content")
    head = bench.store.head("a/b.parquet")
    (listed,) = bench.store.list("a/")

    assert head
    for found in (head, listed):
        assert (found.key, found.size_bytes, found.version) == (
            "a/b.parquet",
            7,
            written.version,
        )


def test_an_empty_object_is_an_object(bench: Bench) -> None:
    bench.store.write("_state/arrivals/date=2022-03-01/x", b"", expect=Expect.NOTHING)

    assert bench.get("_state/arrivals/date=2022-03-01/x") == b""
    assert keys(bench) == ["_state/arrivals/date=2022-03-01/x"]


def test_a_file_is_published_and_consumed(bench: Bench) -> None:
    with bench.store.scratch() as folder:
        (folder / "made").write_bytes(b"from a file")
        written = bench.store.write("silver/x", folder / "made")

    assert bench.get("silver/x") == b"from a file"
    assert written.size_bytes == 11
    assert not folder.exists()
    assert keys(bench) == ["silver/x"]


def test_scratch_is_hidden_and_empty_and_goes_with_an_error(bench: Bench) -> None:
    def fail() -> None:
        with bench.store.scratch() as folder:
            assert [entry for entry in folder.iterdir() if entry.name[0] != "."] == []
            (folder / "half").write_bytes(b"half")
            assert keys(bench) == []
            seen.append(folder)
            raise RuntimeError

    seen: list[Path] = []

    with pytest.raises(RuntimeError):
        fail()

    assert not seen[0].exists()


def test_a_copy_has_the_content(bench: Bench) -> None:
    bench.put("a/b", b"content")

    with bench.store.local_copy("a/b") as path:
        content = path.read_bytes()

    assert content == b"content"


@pytest.mark.parametrize("key", ["nothing", "a", "a/", "a/b/c/d", "a/b"])
def test_what_is_not_there_is_missing_and_never_empty(bench: Bench, key: str) -> None:
    bench.put("a/b/c", b"content")

    assert bench.store.head(key) is None
    with pytest.raises(ObjectMissing):
        bench.store.read(key)
    with pytest.raises(ObjectMissing), bench.store.local_copy(key):
        pass


def test_a_missing_root_has_no_objects(bench: Bench) -> None:
    assert keys(bench) == []
    assert keys(bench, "a/b") == []
    bench.store.delete([])
    bench.store.delete(["a", "a/b"])


def test_keys_with_odd_characters_come_back_as_they_are(bench: Bench) -> None:
    on_disk = [key for key in ODD_KEYS if key not in ("a", "a/b")]
    for key in on_disk:
        bench.put(key, key.encode())

    assert keys(bench) == sorted(on_disk, key=str.encode)
    for key in on_disk:
        assert bench.store.read(key) == key.encode()
        head = bench.store.head(key)
        assert head is not None
        bench.store.write(key, b"again", expect=head.version)
        assert bench.get(key) == b"again"
    bench.store.delete(on_disk)
    assert keys(bench) == []


_PART = st.text("ab-=.0/~ß", min_size=1, max_size=4)


@fewer_examples(2 / 3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    drawn=st.lists(st.lists(_PART, min_size=1, max_size=3), min_size=1, max_size=8),
    prefix=st.one_of(st.just(""), _PART),
    start_after=st.one_of(st.just(""), _PART),
)
def test_listing_is_ordered_and_bounded_like_a_sorted_list(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: list[list[str]],
    prefix: str,
    start_after: str,
) -> None:
    wanted = {
        "/".join(part for word in words for part in word.split("/") if part.strip("."))
        for words in drawn
    } - {""}
    wanted = {key for key in wanted if not any(other.startswith(f"{key}/") for other in wanted)}
    root = tmp_path_factory.mktemp("lake")
    for key in wanted:
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(b"")

    listed = [item.key for item in LocalStore(root).list(prefix, start_after=start_after)]

    assert listed == [
        key
        for key in sorted(wanted, key=str.encode)
        if key.startswith(prefix) and key.encode() > start_after.encode()
    ]


@pytest.mark.parametrize(
    ("prefix", "start_after"),
    [
        ("", ""),
        ("a", ""),
        ("a/", ""),
        ("a/", "a/b"),
        ("", "a/b"),
        ("", "a/"),
        ("", "a"),
        ("zz", ""),
    ],
)
def test_listing_by_prefix_and_start(bench: Bench, prefix: str, start_after: str) -> None:
    there = ("a-x", "a/b", "a/b-c", "a/c/d", "a.b", "aa", "b", "a/c.d", "a0/x")
    for key in there:
        bench.put(key, b"")

    listed = keys(bench, prefix, start_after=start_after)

    assert listed == [k for k in sorted(there) if k.startswith(prefix) and k > start_after]


@pytest.mark.slow
def test_listing_goes_past_one_page(bench: Bench) -> None:
    names = [f"x/{number:05}" for number in range(1005)]
    bench.put_empty(names)

    assert keys(bench, "x/") == names
    bench.store.delete(names)
    assert keys(bench) == []


def test_deleting_leaves_the_others(bench: Bench) -> None:
    for key in ("a/b", "a/c", "d"):
        bench.put(key, b"")

    bench.store.delete(["a/b", "not/there", "d"])

    assert keys(bench) == ["a/c"]


def test_expecting_nothing_writes_once(bench: Bench) -> None:
    bench.store.write("k", b"first", expect=Expect.NOTHING)

    with pytest.raises(CommitConflict, match="k: "):
        bench.store.write("k", b"second", expect=Expect.NOTHING)

    assert bench.get("k") == b"first"


def test_expecting_a_version_writes_over_that_version_only(bench: Bench) -> None:
    first = bench.store.write("k", b"first")
    second = bench.store.write("k", b"second", expect=first.version)

    with pytest.raises(CommitConflict, match="run the job again"):
        bench.store.write("k", b"third", expect=first.version)

    assert bench.get("k") == b"second"
    assert second.version != first.version


def test_expecting_a_version_of_what_is_gone_is_a_conflict(bench: Bench) -> None:
    first = bench.store.write("k", b"first")
    bench.store.delete(["k"])

    with pytest.raises(CommitConflict):
        bench.store.write("k", b"second", expect=first.version)

    assert bench.get("k") is None


def test_a_refused_file_is_not_published(bench: Bench) -> None:
    bench.put("k", b"there")
    with bench.store.scratch() as folder:
        (folder / "made").write_bytes(b"mine")
        with pytest.raises(CommitConflict):
            bench.store.write("k", folder / "made", expect=Expect.NOTHING)

    assert bench.get("k") == b"there"


def test_other_content_has_another_version_however_soon_it_comes(bench: Bench) -> None:
    rounds = 200 if isinstance(bench.store, LocalStore) else 20
    found = [bench.store.write("k", b"%05d" % number).version for number in range(rounds)]

    assert [at for at, (one, two) in enumerate(pairwise(found)) if one == two] == []


def test_files_of_one_size_and_date_have_two_versions(bench: Bench) -> None:
    found = []
    for content in (b"one", b"two"):
        with bench.store.scratch() as folder:
            (folder / "made").write_bytes(content)
            os.utime(folder / "made", (10**9, 10**9))
            found.append(bench.store.write("k", folder / "made").version)

    assert found[0] != found[1]


@pytest.mark.slow
@pytest.mark.parametrize("expecting", ["nothing", "version"])
def test_of_writers_at_once_exactly_one_wins(bench: Bench, expecting: str) -> None:
    writers = 6
    stores = [bench.again() for _ in range(writers)]
    for round_no in range(4):
        key = f"race/{round_no}"
        expect = Expect.NOTHING if expecting == "nothing" else bench.store.write(key, b"").version
        barrier = threading.Barrier(writers)

        def attempt(
            number: int,
            key: str = key,
            expect: Expect | str = expect,
            barrier: threading.Barrier = barrier,
        ) -> int | None:
            barrier.wait()
            try:
                stores[number].write(key, b"%d" % number, expect=expect)
            except CommitConflict:
                return None
            return number

        with ThreadPoolExecutor(writers) as pool:
            winners = [number for number in pool.map(attempt, range(writers)) if number is not None]

        assert len(winners) == 1
        assert bench.get(key) == b"%d" % winners[0]


def test_readers_see_whole_objects_while_they_are_rewritten(bench: Bench) -> None:
    size_bytes = 300_000
    bench.store.write("k", b"0" * size_bytes)
    done = threading.Event()
    torn: list[bytes] = []

    def watch() -> int:
        reads = 0
        while not done.is_set():
            content = bench.store.read("k")
            if len(content) != size_bytes or len(set(content)) != 1:
                torn.append(content)
            reads += 1
        return reads

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        for digit in b"123456789" * 3:
            bench.store.write("k", bytes([digit]) * size_bytes)
        done.set()
        reads = watching.result()

    assert torn == []
    assert reads > 0


def test_writing_beside_a_delete_of_the_last_neighbour_succeeds(bench: Bench) -> None:
    rounds = 300 if isinstance(bench.store, LocalStore) else 10
    barrier = threading.Barrier(2)
    other = bench.again()

    def remove() -> None:
        for number in range(rounds):
            barrier.wait()
            other.delete([f"folder/{number}"])

    with ThreadPoolExecutor(1) as pool:
        removing = pool.submit(remove)
        try:
            for number in range(rounds):
                bench.put(f"folder/{number}", b"")
                barrier.wait()
                bench.store.write(f"folder/{number + 1}", b"kept")
        finally:
            barrier.abort()
        removing.exception()

    assert bench.get(f"folder/{rounds}") == b"kept"


@pytest.mark.parametrize("uri", ["", "   ", "ftp://host/lake", "s3://", "s3:///prefix"])
def test_a_root_of_another_kind_is_refused(uri: str) -> None:
    with pytest.raises(SettingsError, match=r"lake|OHLCV_LAKE"):
        open_store(uri)
