"""A drop folder under a watcher: what is dropped lands, once, whatever happens meanwhile."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from batch.consolidator.job import consolidate
from batch.core.errors import (
    CommitConflict,
    Interrupted,
    ObjectMissing,
    StoreFull,
    StoreUnavailable,
)
from batch.core.layout import RECEIPTS, RUNS, UPLOAD_RULES, WATCHER
from batch.core.sessions import load_calendar
from batch.resampler.job import resample
from batch.runtime.command import run_main
from batch.runtime.progress import Silent, StopRequested, never
from batch.storage.local import LocalStore
from batch.storage.store import Expect, Expectation, ObjectStore, StoredObject
from fetchers.files.refusals import Code
from fetchers.uploads.drop import Upload
from fetchers.uploads.ends import has_its_end
from fetchers.uploads.folder import FolderDrop
from fetchers.uploads.lease import DEAD_AFTER, Holder, take
from fetchers.uploads.receipts import Receipt, State, all_receipts, release, send_back
from fetchers.uploads.stillness import PATIENCE, Stillness
from fetchers.uploads.waking import Alarm, alarm_of
from orchestration.cli.main import cli
from orchestration.cli.watcher import GATHERED_FOR_S, Pass, Watcher, WatchSettings
from tests.support.bars import bar, frame
from tests.support.command_line import MAIN, ROOT, warm_python
from tests.support.imports import take_files
from tests.support.lakes import new_lake, silver_bytes, versions
from tests.support.passing import PassingStore
from tests.support.uploads import ReadHere, csv_of

DAY, NEXT = date(2025, 1, 14), date(2025, 1, 15)
AT = datetime(2025, 1, 16, 14, tzinfo=UTC)
SETTLE_S = 2.0


class Hours(Alarm):
    """Time that passes only while somebody waits, and what happens meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0
        self.meanwhile: list[Callable[[], object]] = []

    def wait(self, seconds: float, stop_requested: StopRequested) -> None:
        self.now_s += max(seconds, 0.001)
        if self.meanwhile:
            self.meanwhile.pop(0)()


class Watch:
    """A watcher of a folder whose time passes by itself."""

    def __init__(self, lake: ObjectStore, folder: Path, *, settle_s: float = SETTLE_S) -> None:
        self.hours = Hours()
        self.stop = False
        self.drop = FolderDrop(folder)
        self.passes: list[Pass] = []
        folder.mkdir(exist_ok=True)
        self.watcher = Watcher(
            lake,
            self.drop,
            WatchSettings.model_construct(lake=lake.uri, intervals=(5,), workers=1),
            settle_s=settle_s,
            alarm=self.hours,
            lease=take(LocalStore(folder.parent / "lease"), AT),
            clock=lambda: datetime.now(UTC),
            time_s=lambda: self.hours.now_s,
            stop_requested=lambda: self.stop,
            open_jail=lambda _: nullcontext(ReadHere()),
        )

    def once(self) -> Pass:
        """Make one pass, as ``--once`` does."""
        self.watcher.has_work_left()
        return self.watcher.bring_in(Silent(), wait_for_all=True)

    def until(self, passes: int) -> None:
        """Watch until so many passes were made."""

        def bring_in() -> None:
            self.passes.append(self.watcher.bring_in(Silent(), wait_for_all=False))
            self.stop = len(self.passes) >= passes

        self.watcher.watch(bring_in)


def put(folder: Path, key: str, content: bytes, at: datetime | None = None) -> Path:
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if at:
        os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def imported(lake: LocalStore, paths: list[tuple[Path, datetime]]) -> dict[str, bytes]:
    """Return the bars of a lake that takes files one by one in this order, by `ohlcv import`."""
    for path, at in paths:
        take_files(
            lake,
            path,
            load_calendar(),
            source="vendor",
            received_at=at,
            now=at,
            max_refused_share=1,
        )
    consolidate(lake, calendar=load_calendar(), workers=1)
    resample(lake, intervals=(5,), calendar=load_calendar(), workers=1)
    return silver_bytes(lake)


def states(lake: ObjectStore) -> dict[str, State]:
    return {kept.receipt.upload.key: kept.receipt.state for kept in all_receipts(lake)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty drop folder."""
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_bars_are_those_of_an_import_in_the_order_of_receipt(
    any_lake: ObjectStore, folder: Path, tmp_path: Path
) -> None:
    watch = Watch(any_lake, folder)
    closes = [10.0, 10.04, 10.0]
    sent = []
    for hour, close in enumerate(closes):  # A, B and A again, each under the same name
        content = csv_of(bar("A", DAY, close), bar("B", DAY, 5.0), bar(f"C{hour}", NEXT))
        at = AT + timedelta(hours=hour)
        put(folder, "vendor/bars.csv", content, at)
        sent.append((put(tmp_path / "sent", f"{hour}/bars.csv", content), at))
        assert [one.upload.uploaded_at for one in watch.once().landed] == [at]

    assert silver_bytes(any_lake) == imported(LocalStore(tmp_path / "twin"), sent)
    assert len(list(all_receipts(any_lake))) == 3


def test_a_file_is_not_read_while_it_grows(lake: LocalStore, folder: Path) -> None:
    watch = Watch(lake, folder)
    rows = csv_of(*(bar(f"S{n}", DAY) for n in range(30))).splitlines(keepends=True)
    path = put(folder, "vendor/bars.csv", rows[0])

    def grow(line: bytes) -> None:
        with path.open("ab") as file:
            file.write(line)

    watch.hours.meanwhile = [lambda line=line: grow(line) for line in rows[1:]]  # type: ignore[misc]
    watch.until(passes=1)

    (landed,) = watch.passes[0].landed
    assert landed.rows == 30
    assert len(list(all_receipts(lake))) == 1


def test_a_name_of_an_unfinished_file_is_left_alone_until_it_is_renamed(
    lake: LocalStore, folder: Path
) -> None:
    watch = Watch(lake, folder)
    path = put(folder, "vendor/bars.csv.part", csv_of(bar("A", DAY)))

    assert not watch.watcher.has_files()
    path.rename(folder / "vendor" / "bars.csv")
    done = watch.once()

    assert [one.upload.key for one in done.landed] == ["vendor/bars.csv"]


def test_a_file_without_its_end_is_waited_for_then_refused_and_taken_once_it_is_whole(
    lake: LocalStore, folder: Path
) -> None:
    watch = Watch(lake, folder)
    whole = gzip.compress(csv_of(*(bar(f"S{n}", DAY) for n in range(30))))
    path = put(folder, "vendor/bars.csv.gz", whole[:-20])
    began_s = watch.hours.now_s

    refused = watch.once()
    waited_s = watch.hours.now_s - began_s
    path.write_bytes(whole)
    taken = watch.once()

    assert [one.finding and one.finding.code for one in refused.quarantined] == [Code.TRUNCATED]
    assert waited_s >= PATIENCE * SETTLE_S
    assert [one.rows for one in taken.landed] == [30]


def test_a_text_without_a_last_line_break_is_judged_after_a_while(
    lake: LocalStore, folder: Path
) -> None:
    watch = Watch(lake, folder)
    put(folder, "vendor/bars.csv", csv_of(bar("A", DAY)).rstrip())
    other = put(folder, "vendor/other.csv", csv_of(bar("C", DAY)))

    watch.until(passes=2)

    judged = [[one.upload.key for one in (*p.landed, *p.quarantined)] for p in watch.passes]
    assert judged == [[f"vendor/{other.name}"], ["vendor/bars.csv"]]


@pytest.mark.slow
def test_a_hundred_files_at_once_are_one_consolidation(folder: Path) -> None:
    with new_lake() as made:
        hundred_files(made.store, folder)


def hundred_files(lake: ObjectStore, folder: Path) -> None:
    watch = Watch(lake, folder)
    contents = [csv_of(bar(f"S{n}", DAY), bar(f"S{n}", NEXT)) for n in range(100)]

    def copy(first: int) -> None:
        for n in range(first, first + 20):
            put(folder, f"vendor/S{n}.csv", contents[n])

    copy(0)
    watch.hours.meanwhile = [lambda first=first: copy(first) for first in range(20, 100, 20)]  # type: ignore[misc]
    watch.until(passes=1)

    assert len(watch.passes[0].landed) == 100
    assert {part.rows for part in watch.passes[0].published if part.table == "1d"} == {200}


def test_files_that_came_while_others_were_read_are_made_into_bars_with_them(
    lake: LocalStore, folder: Path
) -> None:
    watch = Watch(lake, folder)
    put(folder, "vendor/A.csv", csv_of(bar("A", DAY)))

    class ReadsForLong(Silent):
        def advance(self, count: int = 1) -> None:
            watch.hours.now_s += 2 * GATHERED_FOR_S
            if not (folder / "vendor/B.csv").exists():
                put(folder, "vendor/B.csv", csv_of(bar("B", DAY)))

    watch.watcher.has_files()
    watch.hours.now_s += SETTLE_S
    done = watch.watcher.bring_in(ReadsForLong(), wait_for_all=False)

    assert keys(done.landed) == ["vendor/A.csv", "vendor/B.csv"]


def test_files_that_keep_coming_are_gathered_for_a_minute_only(
    lake: LocalStore, folder: Path
) -> None:
    watch = Watch(lake, folder, settle_s=6)

    def one_more() -> None:
        put(folder, f"vendor/S{watch.hours.now_s}.csv", csv_of(bar("A", DAY, 10.0)))
        watch.hours.meanwhile.append(one_more)

    one_more()
    began_s = watch.hours.now_s
    watch.until(passes=1)

    assert watch.hours.now_s - began_s < GATHERED_FOR_S + 3 * 6


def test_where_nothing_is_new_nothing_is_done(lake: LocalStore, folder: Path) -> None:
    put(folder, "vendor/A.csv", csv_of(bar("A", DAY)))
    Watch(lake, folder).once()
    before = versions(lake)

    again = Watch(lake, folder)
    again.hours.meanwhile = [lambda: setattr(again, "stop", len(again.hours.meanwhile) == 0)] * 3
    again.until(passes=1)

    assert again.passes == []
    assert versions(lake) == before


def test_what_a_person_decides_is_carried_out(lake: LocalStore, folder: Path) -> None:
    watch = Watch(lake, folder)
    put(folder, "vendor/A.csv", csv_of(bar("A", DAY)))
    watch.once()
    either = csv_of(bar("B", DAY)).replace(b"2025-01-14", b"03/04/2024")
    put(folder, "vendor/B.csv", either)
    put(folder, "vendor/A.csv", csv_of(bar("A", DAY, 99.0)))
    held = {one.upload.key: one.id for one in watch.once().held}

    lake.write(UPLOAD_RULES, b"not TOML")
    send_back(lake, held["vendor/B.csv"], now=AT)
    rules = b'[sources.vendor]\ndate_order = "day/month/year"\n'
    watch.hours.meanwhile = [lambda: lake.write(UPLOAD_RULES, rules)]
    release(lake, held["vendor/A.csv"], now=AT)
    watch.until(passes=1)

    assert set(keys(watch.passes[0].landed)) == set(held)


def keys(receipts: Sequence[Receipt]) -> list[str]:
    return [one.upload.key for one in receipts]


def test_what_is_sent_back_and_gone_is_as_it_was(lake: LocalStore, folder: Path) -> None:
    path = put(folder, "vendor/page.csv", b"<html>\n")
    (refused,) = Watch(lake, folder).once().quarantined
    path.unlink()
    send_back(lake, refused.id, now=AT)

    Watch(lake, folder).watcher.has_work_left()

    assert states(lake) == {"vendor/page.csv": State.QUARANTINED}


def test_what_a_stopped_watcher_left_is_finished_by_the_next(
    lake: LocalStore, folder: Path, tmp_path: Path
) -> None:
    paths = []
    for n in range(3):
        path = put(folder, f"vendor/{n}.csv", csv_of(bar("A", DAY, 10.0 + n / 100)))
        at = AT + timedelta(minutes=n)
        os.utime(path, (at.timestamp(), at.timestamp()))
        paths.append((path, at))
    watch = Watch(lake, folder)

    class Stopping(Silent):
        def advance(self, count: int = 1) -> None:
            watch.stop = True

    with pytest.raises(Interrupted):
        watch.watcher.bring_in(Stopping(), wait_for_all=True)
    first = states(lake)
    Watch(lake, folder).until(passes=1)

    assert [*first.values()] == [State.STAGED]  # the file in hand was finished
    assert set(states(lake).values()) == {State.LANDED}
    assert silver_bytes(lake) == imported(LocalStore(tmp_path / "twin"), paths)


class FullStore(PassingStore):
    """A store whose disk has room for receipts, but not for bars."""

    is_full = True

    def write(
        self, key: str, content: bytes | Path, *, expect: Expectation = Expect.ANYTHING
    ) -> StoredObject:
        if self.is_full and key.startswith("silver/"):
            raise StoreFull(f"{key}: no space left")
        return super().write(key, content, expect=expect)


def test_a_full_disk_ends_it_and_nothing_is_lost(lake: LocalStore, folder: Path) -> None:
    put(folder, "vendor/A.csv", csv_of(bar("A", DAY)))
    full = FullStore(lake)

    with pytest.raises(StoreFull):
        Watch(full, folder).until(passes=1)
    full.is_full = False
    watch = Watch(full, folder)
    watch.until(passes=1)

    assert [one.upload.key for one in watch.passes[0].landed] == ["vendor/A.csv"]


def test_a_store_that_does_not_answer_is_asked_again(lake: LocalStore, folder: Path) -> None:
    class Away(FullStore):
        def write(
            self, key: str, content: bytes | Path, *, expect: Expectation = Expect.ANYTHING
        ) -> StoredObject:
            if self.is_full:
                self.is_full = False
                raise StoreUnavailable("no answer")
            return super().write(key, content, expect=expect)

    put(folder, "vendor/A.csv", csv_of(bar("A", DAY)))
    watch = Watch(Away(lake), folder)
    watch.until(passes=1)

    assert len(watch.passes[0].landed) == 1


def test_a_file_taken_away_or_written_again_while_it_is_read_is_said_and_the_others_go_on(
    lake: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("gone", "again", "stays"):
        put(folder, f"vendor/{name}.csv", csv_of(bar(name.upper(), DAY)))
    watch = Watch(lake, folder)
    seen = {one.key: one for one in watch.drop.list()}

    with (
        pytest.raises(ObjectMissing, match="written again while it was read"),
        watch.drop.open(seen["vendor/again.csv"]) as path,
    ):
        path.write_bytes(csv_of(bar("AGAIN", DAY, 11.0)))
    has_end = watch.drop.is_whole

    def take_away(upload: Upload) -> bool:
        (folder / "vendor/gone.csv").unlink(missing_ok=True)  # after it was listed
        return has_end(upload) or upload.key == "vendor/gone.csv"

    monkeypatch.setattr(watch.drop, "is_whole", take_away)
    done = watch.once()

    assert [one.upload.key for one in done.landed] == ["vendor/stays.csv", "vendor/again.csv"]
    assert done.problems == [f"{folder}/vendor/gone.csv: taken away while it was read"]
    assert set(states(lake).values()) == {State.LANDED}


def test_what_is_no_file_is_said_once_and_the_others_go_on(
    lake: LocalStore, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(folder / "pipe.csv")
    (folder / "loop.csv").symlink_to(folder / "loop.csv")
    (folder / "nothing.csv").symlink_to(folder / "missing")
    (folder / "back").symlink_to(folder)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket.csv"))
    original = put(folder.parent, "elsewhere.csv", csv_of(bar("LINKED", DAY)))
    (folder / "vendor").mkdir()
    (folder / "vendor" / "linked.csv").symlink_to(original)
    watch = Watch(lake, folder)

    done = watch.once()
    watch.watcher.has_files()

    assert [one.upload.key for one in done.landed] == ["vendor/linked.csv"]
    assert [text.partition(":")[0] for text in done.problems] == [
        *("back", "loop.csv", "nothing.csv", "pipe.csv", "socket.csv")
    ]


def test_files_without_permission_are_said(calendar: object) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        put(Path(name), "secret.csv", b"x").chmod(0)
        (Path(name) / "closed").mkdir(mode=0)
        drop = FolderDrop(Path(name))
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            found = drop.scan()
        finally:
            if is_root:
                os.seteuid(0)
        (Path(name) / "closed").chmod(0o755)

    assert found.uploads == ()
    assert [one.key for one in found.unreadable] == ["closed", "secret.csv"]
    assert {"permission denied" in one.sentence for one in found.unreadable} == {True}


def test_names_that_are_not_text_survive(lake: LocalStore, folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n.csv")
    put(folder, f"vendor/{name}", csv_of(bar("A", DAY)))
    watch = Watch(lake, folder)

    (landed,) = watch.once().landed
    again = Watch(lake, folder)

    assert landed.upload.key == f"vendor/{name}"
    assert not again.watcher.has_files()


def test_a_large_folder_is_listed_quickly(folder: Path) -> None:
    for n in range(2000):
        (folder / f"{n}.csv").touch()

    began_s = time.process_time()
    found = FolderDrop(folder).scan()

    assert len({one.id for one in found.uploads}) == 2000
    assert time.process_time() - began_s < 1  # 10,000 in less than 5 s of any machine


def test_a_file_touched_or_replaced_is_another_version_and_one_only_read_is_not(
    folder: Path,
) -> None:
    path = put(folder, "A.csv", b"x\n")
    drop = FolderDrop(folder)
    ids = [next(drop.list()).id]

    path.read_bytes()
    ids.append(next(drop.list()).id)
    put(folder, "new.part", b"x\n").rename(path)
    ids.append(next(drop.list()).id)

    assert (ids[0] == ids[1], ids[1] == ids[2]) == (True, False)


def upload(version: str) -> Upload:
    return Upload("vendor", "/drop", "vendor/A.csv", version, 1, AT)


def test_stillness_is_counted_from_when_a_version_was_first_seen() -> None:
    stillness = Stillness(2.0)
    asked: list[str] = []

    def is_whole(one: Upload) -> bool:
        asked.append(one.version)
        return one.version == "whole"

    seen = [
        stillness.sort([upload(version)], now_s, is_whole)
        for now_s, version in [(0, "a"), (1, "b"), (2.5, "b"), (3, "b"), (20.9, "b"), (21, "b")]
    ]
    taken = [stillness.sort([upload("whole")], now_s, is_whole) for now_s in (30.0, 32.0)]

    assert [bool(one.moving) for one in seen] == [True, True, True, False, False, False]
    assert [bool(one.ready) for one in seen] == [False] * 4 + [False, True]
    assert [one.due_s for one in seen] == [2, 3, 3, 21, 21, None]
    assert [bool(one.ready) for one in taken] == [False, True]
    assert asked == ["b", "whole"]


TEXT = b"".join(b"A,%d\n" % n for n in range(99))


def contents() -> Iterator[tuple[str, bytes]]:
    yield "gzip", gzip.compress(TEXT)
    yield "two members", gzip.compress(TEXT) * 2
    yield "zstd", pa.compress(TEXT, codec="zstd", asbytes=True)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("A.csv", TEXT)
    yield "ZIP", archive.getvalue()
    table = io.BytesIO()
    frame([bar("A", DAY)]).write_parquet(table)
    yield "Parquet", table.getvalue()


@pytest.mark.parametrize(("kind", "content"), [pytest.param(*one, id=one[0]) for one in contents()])
def test_the_end_of_a_file_is_missed_wherever_it_is_cut(
    tmp_path: Path, kind: str, content: bytes
) -> None:
    path = put(tmp_path, "file", content)
    assert has_its_end(path)

    whole = []
    for length in range(len(content) - 1, 4, -1):
        os.truncate(path, length)
        whole += [length] * has_its_end(path)

    assert whole == ([len(content) // 2] if kind == "two members" else [])


@pytest.mark.parametrize(
    ("content", "ends"),
    [
        (b"", False),
        (b"A,1", False),
        (b"A,1\n", True),
        (b"PK,1\n", True),
        ("A,1\r\n".encode("utf-16"), True),
    ],
)
def test_a_text_ends_with_a_line_break(tmp_path: Path, content: bytes, ends: bool) -> None:
    assert has_its_end(put(tmp_path, "file", content)) == ends


def test_a_second_watcher_is_refused_until_the_first_is_dead(any_lake: ObjectStore) -> None:
    lease = take(any_lake, AT)
    elsewhere = {"host": "elsewhere", "pid": 7, "since": AT, "renewed_at": AT, "token": "t"}
    any_lake.write(WATCHER, json.dumps(elsewhere, default=str).encode())

    with pytest.raises(CommitConflict, match=r"process 7 on elsewhere .* since 2025-01-16 14:00"):
        take(any_lake, AT + DEAD_AFTER / 2)
    lease.renew(AT)
    other = take(any_lake, AT + DEAD_AFTER)

    with pytest.raises(CommitConflict, match="another watcher took over"):
        lease.require()
    other.renew(AT + 2 * DEAD_AFTER)
    other.require()
    other.give_back()
    assert any_lake.head(WATCHER) is None


def test_a_process_of_this_machine_is_alive_as_long_as_it_runs() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        holder = Holder(socket.gethostname(), other.pid, AT, AT, "")
        alive = [holder.is_alive(AT), replace(holder, pid=os.getpid()).is_alive(AT)]
        other.kill()

    assert [*alive, holder.is_alive(AT)] == [True, False, False]


def test_the_system_says_when_a_file_is_dropped(folder: Path) -> None:
    with alarm_of(str(folder), poll=False) as alarm:
        rung = []
        for n in range(100):  # until the system has begun to report
            put(folder, f"{n}", b"")
            began_s = time.monotonic()
            alarm.wait(1, never)
            rung.append(time.monotonic() - began_s < 0.9)
            if rung[-1]:
                break

    assert rung[-1]


def test_without_watchfiles_it_looks_from_time_to_time_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    said: list[str] = []
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    monkeypatch.setattr("fetchers.uploads.waking.LOGGER.warning", said.append)

    with alarm_of(str(folder), poll=False) as alarm, alarm_of(str(folder), poll=True) as polling:
        words = alarm.has_word, polling.has_word

    assert words == (False, False)
    assert len(said) == 1
    assert "watchfiles is not installed" in said[0]


@pytest.mark.parametrize(
    ("drop", "lake", "says"),
    [
        ("missing", "lake", "no such folder; make it with"),
        ("file", "lake", "not a folder"),
        ("lake/drop", "lake", "lies inside the lake"),
        ("drop", "drop/lake", "has the lake inside"),
        ("drop", "drop", "are the same folder"),
        ("link", "lake", "lies inside the lake"),
    ],
)
def test_a_drop_folder_that_cannot_be_watched_is_a_usage_error(
    tmp_path: Path, drop: str, lake: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lake" / "drop").mkdir(parents=True)
    (tmp_path / "drop").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "lake" / "drop")
    before = sorted(tmp_path.rglob("*"))

    code = run_main(cli, ["watch", str(tmp_path / drop), "--lake", str(tmp_path / lake)], name="")

    assert code == 2
    assert says in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("settle", ["soon", "-1s", "2d", "1e9"])
def test_a_time_to_settle_that_is_none_is_a_usage_error(
    folder: Path, settle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(cli, ["watch", str(folder), f"--settle={settle}"], name="ohlcv") == 2
    assert "expected a time up to 1h, such as 2s" in capsys.readouterr().err


def test_one_pass_says_what_landed_and_what_was_refused(
    lake: LocalStore, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["watch", str(folder), "--once", "--settle=10ms", "--lake", lake.uri]

    codes = [run_main(cli, command, name="ohlcv")]
    put(folder, "vendor/A.csv", csv_of(bar("A", DAY)))
    codes.append(run_main(cli, command, name="ohlcv"))
    put(folder, "vendor/page.csv", b"<html>\n")
    codes.append(run_main(cli, command, name="ohlcv"))
    codes.append(run_main(cli, command, name="ohlcv"))

    assert codes == [0, 0, 3, 0]
    said = capsys.readouterr().out
    assert said.count("nothing to do: no new files in") == 2
    assert "landed 1 file: vendor/A.csv; 1 row, 0 refused" in said
    assert "a web page or XML, not a table" in said
    assert len(list(lake.list(RUNS))) == 2
    assert lake.head(WATCHER) is None


def start(folder: Path, lake: LocalStore, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*warm_python(), "-c", MAIN, "watch", str(folder), f"--lake={lake.uri}", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(happened: Callable[[], object]) -> None:
    until_s = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until_s
        time.sleep(0.05)


@pytest.mark.slow
def test_watchers_as_processes_one_at_a_time_killed_and_stopped(
    lake: LocalStore, folder: Path
) -> None:
    usual = ("--settle=50ms", "--interval=5")
    with start(folder, lake, *usual) as first:
        wait_for(lambda: lake.head(WATCHER))
        holder = json.loads(lake.read(WATCHER))
        with start(folder, lake, *usual, "--once") as second:
            refused = second.communicate()[1]
        put(folder, "vendor/A.csv", csv_of(bar("A", DAY)))
        wait_for(lambda: State.LANDED in states(lake).values())
        os.kill(holder["pid"], signal.SIGKILL)
        first.communicate()
    put(folder, "vendor/B.csv", csv_of(bar("B", DAY)))
    with start(folder, lake, *usual) as third:
        wait_for(lambda: len(list(lake.list(RECEIPTS))) == 2)
        wait_for(lambda: set(states(lake).values()) == {State.LANDED})
        third.send_signal(signal.SIGTERM)
        third.communicate()

    assert second.returncode == 75
    assert f"process {holder['pid']} on {socket.gethostname()} has watched" in refused
    assert third.returncode == 0
    assert lake.head(WATCHER) is None
