"""Files that take their reader down, or would not let it end: an outcome, never our own crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from batch.core.errors import DeliveryUnreadable, Interrupted, RetryMayHelp
from batch.runtime.progress import StopRequested, never
from fetchers.files import jail as jail_module
from fetchers.files.jail import FileRead, Jail, Limits
from fetchers.files.reading import Reading
from fetchers.files.reference import Kind
from fetchers.files.refusals import Code, FileRefused
from tests.support.command_line import ROOT

HEAD = "symbol,date,open,high,low,close,volume\n"
BARS = HEAD + "A,2025-04-08,10.5,12.5,9.25,11.25,1000\nA,2025-04-09,x,12.5,9.25,11.25,1000\n"
SPLITS = "ticker,execution_date,split_from,split_to\nA,2025-04-08,1,2\nB,2025-04-08,0,2\n"
MIB = 1024 * 1024

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


def descendants(pid: int) -> list[int]:
    """Return the processes below one, as Linux knows them."""
    found: list[int] = []
    with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def is_jailed(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return "fetchers.files.jailed" in Path(f"/proc/{pid}/cmdline").read_text()
    return False


def jailed(since: Iterable[int] = (), caller: int | None = None) -> list[int]:
    """Return the server of a caller's jail, by default this process's, and its children."""
    found = filter(is_jailed, descendants(caller or os.getpid()))
    return [pid for pid in found if pid not in since]


@contextmanager
def jail(
    folder: Path,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    *,
    files_per_child: int | None = 1,
    stop_requested: StopRequested = never,
) -> Iterator[Jail]:
    """Give a jail, and see that nothing is left of it."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    before = set(descendants(os.getpid()))
    with Jail(
        limits, scratch=scratch, files_per_child=files_per_child, stop_requested=stop_requested
    ) as jail:
        yield jail
    assert set(descendants(os.getpid())) <= before
    assert not list(scratch.iterdir())


OWN_SERVER = jail_module.Server


@pytest.fixture(scope="module", autouse=True)
def _servers_of_their_own() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jail_module, "Server", OWN_SERVER)
        yield


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jail]:
    """Give a jail with a child per file, which takes half a second to start."""
    with jail(tmp_path_factory.mktemp("shared")) as one:
        yield one


def outcome(jail: Jail, path: Path, reading: Reading = Reading()) -> FileRead | FileRefused:  # noqa: B008
    with jail.read(path, address=f"vendor/{path.name}", reading=reading) as (found,):
        return found


def slow_file(folder: Path) -> Path:
    """Write a file that takes long to read: each of its dates is another text."""
    path = folder / "slow.csv"
    lines = (f"A,2025-04-08 16:00:00.{no:06},1,1,1,1,1" for no in range(500_000))
    path.write_text(HEAD + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return slow_file(tmp_path_factory.mktemp("slow"))


@contextmanager
def done_to_child(action: Callable[[int], object]) -> Iterator[None]:
    """Do something to the first child that a server forks meanwhile."""

    before = jailed()

    def wait_and_act() -> None:
        for _ in range(3000):
            time.sleep(0.01)
            for pid in jailed(before):
                action(pid)
                return

    thread = threading.Thread(target=wait_and_act)
    thread.start()
    yield
    thread.join()


def test_bars_and_reference_tables_come_back_as_they_are_in_the_file(
    tmp_path: Path, shared: Jail
) -> None:
    (tmp_path / "bars.csv").write_text(BARS)
    (tmp_path / "splits.csv").write_text(SPLITS)

    with shared.read(tmp_path / "bars.csv", address="vendor/bars.csv") as (bars,):
        assert isinstance(bars, FileRead)
        (rows,) = bars.pieces()
    splits = outcome(shared, tmp_path / "splits.csv")

    assert rows["open"].to_list() == [10.5, None]
    assert rows["date"].to_list() == [date(2025, 4, 8), date(2025, 4, 9)]
    assert (bars.address, bars.adjusted, bars.reference) == ("vendor/bars.csv", None, None)
    assert bars.layout.startswith("symbol from 'symbol', date from 'date'")
    assert isinstance(splits, FileRead)
    assert splits.reference is not None
    assert splits.reference.kind is Kind.SPLITS
    assert splits.reference.rows.rows() == [("A", date(2025, 4, 8), 1.0, 2.0)]
    assert splits.reference.refused_rows == sum(splits.reference.reasons.values()) == 1
    assert "'ticker': 'B'" in splits.reference.first_refused


def test_a_refusal_is_that_of_the_reader_and_what_is_known_in_advance_counts(
    tmp_path: Path, shared: Jail
) -> None:
    path = tmp_path / "A.csv"
    path.write_text("Date,Open,High,Low,Close,Adj Close,Volume\n2025-04-08,10,12,9,11,10.5,9\n")

    refused = outcome(shared, path)
    taken = outcome(shared, path, Reading(accept_adjusted=True))

    assert isinstance(refused, FileRefused)
    assert refused.code is Code.ADJUSTED_PRICES
    assert refused.label == "vendor/A.csv"
    assert isinstance(taken, FileRead)
    assert taken.adjusted == refused.sentence


def test_a_file_that_needs_more_memory_than_it_may_is_refused(tmp_path: Path, slow: Path) -> None:
    with jail(tmp_path, Limits(memory_bytes=160 * MIB)) as one:
        found = outcome(one, slow)

    assert isinstance(found, FileRefused)
    assert found.code is Code.PARSER_CRASHED
    assert "more than 160 MiB of memory" in found.sentence


def test_a_file_that_takes_too_long_is_refused(tmp_path: Path, slow: Path) -> None:
    with jail(tmp_path, Limits(cpu_s=0, seconds_per_mib=0)) as one:
        busy = outcome(one, slow)
    with jail(tmp_path, Limits(wall_s=0.01, seconds_per_mib=0)) as one:
        late = outcome(one, slow)

    for found, limit in ((busy, "0 s of processor time"), (late, "0 s")):
        assert isinstance(found, FileRefused)
        assert found.code is Code.TIMED_OUT
        assert f"more than {limit}" in found.sentence


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL])
def test_a_crash_of_the_parser_is_the_outcome_of_its_file_alone(
    tmp_path: Path, shared: Jail, slow: Path, number: signal.Signals
) -> None:
    (tmp_path / "bars.csv").write_text(BARS)

    with done_to_child(lambda pid: os.kill(pid, number)):
        crashed = outcome(shared, slow)
    after = outcome(shared, tmp_path / "bars.csv")

    assert isinstance(crashed, FileRefused)
    assert crashed.code is Code.PARSER_CRASHED
    assert number.name in crashed.sentence
    assert isinstance(after, FileRead)


def test_a_crash_of_a_used_child_is_tried_again_in_a_new_one(tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text(BARS)
    before = jailed()

    with jail(tmp_path, files_per_child=None) as one:
        outcome(one, tmp_path / "bars.csv")
        _, child = jailed(before)
        os.kill(child, signal.SIGSEGV)
        found = outcome(one, tmp_path / "bars.csv")

    assert isinstance(found, FileRead)


def test_a_stop_ends_what_is_being_read_at_once(tmp_path: Path, slow: Path) -> None:
    stop = threading.Event()

    with (
        jail(tmp_path, stop_requested=stop.is_set) as one,
        done_to_child(lambda _: stop.set()),
        pytest.raises(Interrupted),
    ):
        outcome(one, slow)


def test_an_end_of_the_server_is_not_the_files_fault(tmp_path: Path) -> None:
    (tmp_path / "bars.csv").write_text(BARS)
    before = jailed()

    with jail(tmp_path) as one:
        while not (server := jailed(before)):
            time.sleep(0.01)
        os.kill(*server, signal.SIGKILL)
        with pytest.raises(RetryMayHelp, match="ended with status -9"):
            outcome(one, tmp_path / "bars.csv")


def test_no_process_outlives_a_caller_that_is_killed(tmp_path: Path, slow: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fetchers.files.jail import Jail, Limits\n"
        f"with Jail(Limits(), scratch=Path({str(tmp_path)!r}), files_per_child=1) as jail:\n"
        f"    with jail.read(Path({str(slow)!r}), address='x'): pass\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not (found := jailed(caller=caller.pid))[1:]:
        time.sleep(0.01)

    caller.kill()
    caller.wait()

    until = time.monotonic() + 5
    while any(map(is_running, found)) and time.monotonic() < until:
        time.sleep(0.01)
    assert not list(filter(is_running, found))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_children_hold_no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (tmp_path / "bars.csv").write_text(BARS)
    before = jailed()

    with jail(tmp_path, files_per_child=None) as one:
        outcome(one, tmp_path / "bars.csv")
        seen = [Path(f"/proc/{pid}/environ").read_bytes() for pid in jailed(before)]

    assert len(seen) == 2
    assert not any(b"AWS_" in one for one in seen)


def test_what_cannot_be_opened_is_not_the_files_fault(tmp_path: Path, shared: Jail) -> None:
    os.mkfifo(tmp_path / "pipe.csv")

    for name, why in (("gone.csv", "No such file"), ("pipe.csv", "not a regular file")):
        with pytest.raises(DeliveryUnreadable, match=why) as caught:
            outcome(shared, tmp_path / name)
        assert not isinstance(caught.value, FileRefused)


def test_rows_other_than_agreed_are_refused(tmp_path: Path) -> None:
    pl.DataFrame({"symbol": ["A"], "date": ["2025-04-08"]}).write_ipc(tmp_path / "other.arrow")
    (tmp_path / "cut.arrow").write_bytes((tmp_path / "other.arrow").read_bytes()[:-9])

    for name in ("other.arrow", "cut.arrow"):
        read = FileRead(None, "x.csv", "", None, None, (tmp_path / name,))
        with pytest.raises(FileRefused) as caught:
            list(read.pieces())
        assert caught.value.code is Code.PARSER_CRASHED
