"""What a disk alone can do to a store: modes, full disks, files in the way, dead owners."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import (
    ExitCode,
    OhlcvError,
    SettingsError,
    StoreDenied,
    StoreFull,
)
from batch.core.sessions import Calendar
from batch.resampler.job import resample
from batch.storage.local import LocalStore
from tests.support.bars import bar, land_rows, received_after
from tests.support.command_line import ROOT
from tests.support.lakes import silver_bytes, versions

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Run without root's right to ignore modes."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def own_lake() -> Iterator[LocalStore]:
    """A lake that belongs to whom :func:`as_nobody` makes us."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "lake"
        root.mkdir()
        if os.geteuid() == 0:
            os.chown(root, NOBODY, NOBODY)
        yield LocalStore(root)
        for path in (root, *root.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)


def test_a_folder_that_may_not_be_written_is_named(own_lake: LocalStore) -> None:
    with as_nobody():
        own_lake.write("a/b", b"there")
        (own_lake.root / "a").chmod(0o555)

        with pytest.raises(StoreDenied, match=r"lake/a") as raised:
            own_lake.write("a/b", b"mine")
        with pytest.raises(StoreDenied):
            own_lake.delete(["a/b"])

        assert own_lake.read("a/b") == b"there"
        assert [item.key for item in own_lake.list("")] == ["a/b"]
    assert raised.value.exit_code == ExitCode.USAGE


def test_a_root_that_may_not_be_written_is_named(own_lake: LocalStore) -> None:
    own_lake.root.chmod(0o555)
    with as_nobody():
        with pytest.raises(StoreDenied, match="lake"):
            own_lake.write("a/b", b"mine")
        with pytest.raises(StoreDenied, match="lake"), own_lake.scratch():
            pass


def test_what_may_not_be_read_is_denied_and_not_missing(own_lake: LocalStore) -> None:
    with as_nobody():
        own_lake.write("a/b", b"there")
        (own_lake.root / "a/b").chmod(0o000)
        with pytest.raises(StoreDenied, match=r"a/b"):
            own_lake.read("a/b")
        (own_lake.root / "a").chmod(0o444)
        for call in (
            lambda: own_lake.head("a/b"),
            lambda: own_lake.read("a/b"),
            lambda: list(own_lake.list("a/")),
        ):
            with pytest.raises(StoreDenied):
                call()
        (own_lake.root / "a").chmod(0o000)
        with pytest.raises(StoreDenied):
            list(own_lake.list(""))


@contextmanager
def full_disk(_root: Path) -> Iterator[None]:
    """Let no file grow past a few bytes, as a disk without room does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def filled_disk(root: Path) -> Iterator[None]:
    """Fill the disk up to its last byte."""
    ballast = root.parent / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size_bytes in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size_bytes))
            except OSError:
                continue
    try:
        yield
    finally:
        ballast.unlink()


@pytest.fixture(params=["a disk of its own", "a limit of file size"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A root, and whether its disk can really be filled."""
    if request.param == "a limit of file size":
        yield tmp_path, False
        return
    size = "size=600k"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "none", str(tmp_path)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("this user cannot mount a small disk")
    try:
        yield tmp_path, True
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_full_disk_publishes_nothing_and_a_run_with_room_finishes(
    small_disk: tuple[Path, bool], calendar: Calendar, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place, real = small_disk
    store = LocalStore(place / "lake")
    never_full = LocalStore(tmp_path_factory.mktemp("roomy") / "lake")
    days = [calendar.session_at(number) for number in range(13000, 13010)]
    for lake in (store, never_full):
        for no, day in enumerate(days):
            rows = [bar(f"S{n}", day, 5.0 + n + no) for n in range(40)]
            land_rows(lake, rows, calendar, received_at=received_after(day))
    run_both(never_full, calendar)
    outcomes: list[OhlcvError] = []
    full = filled_disk if real else full_disk

    for job in (consolidate, resample):
        before = versions(store)
        with full(store.root):
            try:
                job(store, calendar=calendar)  # type: ignore[operator]
            except OhlcvError as err:
                outcomes.append(err)
        assert versions(store) == before
        run_both(store, calendar) if job is resample else consolidate(store, calendar=calendar)

    assert [type(err) for err in outcomes] == [StoreFull, StoreFull]
    assert all("no space left" in str(err) for err in outcomes)
    assert silver_bytes(store) == silver_bytes(never_full)
    assert [path.name for path in (store.root / "_state/scratch").iterdir()] == []


def run_both(store: LocalStore, calendar: Calendar) -> None:
    consolidate(store, calendar=calendar)
    resample(store, calendar=calendar)


def test_a_lake_that_is_a_file_is_told_as_such(tmp_path: Path, calendar: Calendar) -> None:
    (tmp_path / "lake").write_text("not a folder")
    store = LocalStore(tmp_path / "lake")

    for call in (
        store.exists,
        lambda: store.write("a", b""),
        lambda: consolidate(store, calendar=calendar),
        lambda: resample(store, calendar=calendar),
    ):
        with pytest.raises(SettingsError, match=r"lake.*(is a file|a file stands)"):
            call()

    assert (tmp_path / "lake").read_text() == "not a folder"


def test_what_a_killed_job_left_is_removed_and_what_a_living_one_has_is_not(
    tmp_path: Path,
) -> None:
    root = tmp_path / "lake"
    store = LocalStore(root)
    left_behind = (
        "import os, sys; from pathlib import Path; from batch.storage.local import LocalStore\n"
        "with LocalStore(Path(sys.argv[1])).scratch() as folder:\n"
        "    (folder / 'half').write_bytes(b'half'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", left_behind, str(root)], check=False, cwd=ROOT)
    base = root / "_state/scratch"
    (dead,) = base.iterdir()
    young, old = base / "young", base / "old"
    young.write_bytes(b"")
    old.write_bytes(b"")
    yesterday = time.time() - 100_000
    os.utime(old, (yesterday, yesterday))

    with store.scratch() as living, store.scratch() as other:
        there = set(base.iterdir())

    assert dead not in there
    assert {living, other, young} == there
