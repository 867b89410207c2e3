"""The jail: files of strangers are parsed in child processes, each with limits.

A parser may crash on a damaged or hostile file, take all memory, or never end. In a child process
that is an outcome of the file and not of the caller. Children are forks of one server process,
:mod:`fetchers.files.jailed`, which has imported what reading needs and started no thread of it.
What a child answers is checked like any input: rows are Arrow files of a known schema, the rest is
JSON; nothing of it is executed. Children get no environment but what Python itself needs, so that
they hold no credentials.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, Self

import polars as pl
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from batch.core import schema
from batch.core.errors import DeliveryUnreadable, RetryMayHelp, StoreFull
from batch.core.frames import polars_schema
from batch.runtime.environment import environment
from batch.runtime.memory import PROCESS_BYTES
from batch.runtime.progress import StopRequested, never, require_going
from fetchers.files import jailed
from fetchers.files.jailed import rows_path
from fetchers.files.parts import PIECE_BYTES
from fetchers.files.reading import BY_EVIDENCE, Reading
from fetchers.files.reference import Kind, ReferenceRows
from fetchers.files.refusals import DOWNLOAD_AGAIN, Code, FileRefused

_INHERITED: Final = (
    *("PATH", "LANG", "LC_ALL", "PYTHONHOME"),
    *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
)
"""Variables without which an interpreter may not start; AWS Lambda's needs its library path."""

_NO_MEMORY: Final = b"memory allocation of"
"""How Rust's standard library begins its last words when the system gives no memory."""

_LONGEST_ANSWER_BYTES: Final = 64 * 1024 * 1024
_TAIL_BYTES: Final = 4096
_POLL_S: Final = 0.1
_END_S: Final = 5.0
_MIB: Final = 1024 * 1024
_CHILD_BYTES: Final = 130 * _MIB
"""Memory of a child without what it reads."""

_EXPANSION: Final = 16
"""Bytes of memory that a byte of a piece takes while it is read, and again while it lands."""

_TABLES: Final = {
    Kind.SPLITS: schema.SPLITS,
    Kind.DIVIDENDS: schema.DIVIDENDS,
    Kind.TICKERS: schema.TICKERS,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one file may take.

    Attributes:
        memory_bytes: Private memory of the child (``RLIMIT_DATA``, beyond which allocations
            fail; Linux enforces it, macOS does not).
        piece_bytes: How much of a table the child reads at a time.
        cpu_s: Processor time of all its threads.
        wall_s: Time from asking to answer.
        seconds_per_mib: What a file's size adds to both times.
    """

    memory_bytes: int = 2 * 1024 * _MIB
    piece_bytes: int = PIECE_BYTES
    cpu_s: float = 60
    wall_s: float = 240
    seconds_per_mib: float = 2

    @classmethod
    def within(cls, memory_limit: int | None, *, children: int) -> Limits:
        """Return limits with which so many children and this process stay under some bytes."""
        if memory_limit is None:
            return cls()
        of_child = (memory_limit - PROCESS_BYTES) // children - _CHILD_BYTES
        return cls(piece_bytes=min(max(of_child // _EXPANSION, _MIB), PIECE_BYTES))

    def of_size(self, size_bytes: int) -> Limits:
        """Return the limits for a file of so many bytes."""
        more = self.seconds_per_mib * size_bytes / _MIB
        return replace(self, cpu_s=self.cpu_s + more, wall_s=self.wall_s + more)


@dataclass(frozen=True, slots=True)
class FileRead:
    """A part of a file that was read: the file itself, or a member of an archive.

    Attributes:
        name: The member of an archive; None where the file is a table itself.
        address: For messages: the file's, with the member behind it.
        layout: Which column was taken for what, in one line.
        adjusted: How the prices are not as traded; None where nothing shows it.
        reference: Rows of a reference table, where it holds such; bars otherwise.
    """

    name: str | None
    address: str
    layout: str
    adjusted: str | None
    reference: ReferenceRows | None
    _pieces: tuple[Path, ...] = ()

    def pieces(self) -> Iterator[pl.DataFrame]:
        """Return its bars one frame at a time: :data:`batch.core.schema.STAGED`, dirty rows too.

        All rows of a date are in one frame.

        Raises:
            FileRefused: They are not what was agreed on.
        """
        for path in self._pieces:
            try:
                rows = _read_rows(path, _BARS)
            except _Broken as err:
                raise _crash(err, self.address) from err
            yield rows.select(_BARS.names())


_BARS: Final = polars_schema(schema.STAGED)


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Refused(_Answer):
    code: str
    sentence: str
    remedy: str
    line: int | None


class _Counts(_Answer):
    refused_rows: int
    reasons: dict[str, int]
    first_refused: str
    first_refused_line: int | None


class _Part(_Answer):
    name: str | None
    address: str
    kind: str | None = None
    layout: str = ""
    adjusted: str | None = None
    pieces: int = 0
    counts: _Counts | None = None
    refused: _Refused | None = None


class _Reply(_Answer):
    """One line of the socket: parts of a file, why it could not be opened, or how a child ended."""

    parts: list[_Part] = []
    unreadable: str | None = None
    disk_full: bool = False
    failed: str | None = None
    out_of_memory: bool = False
    died: int | None = None


class Jail:
    """Child processes that read files; a context manager that threads may share.

    When it is left, its processes end, whatever they do. They end too if this process dies.

    Args:
        limits: Of each file.
        scratch: An empty folder for the rows; its owner removes it.
        files_per_child: How many files a child may read before a new one takes its place: 1
            where no file shall be read by a process that has seen another, None for no bound. A
            file on which a used child ends is tried once more in a new one.
        children: How many threads call :meth:`read` at a time.
        stop_requested: Ends what is being read, at once.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        scratch: Path,
        files_per_child: int | None,
        children: int = 1,
        stop_requested: StopRequested = never,
    ) -> None:
        self._limits = limits
        self._scratch = scratch
        self._files_per_child = files_per_child
        self._threads = max(1, (os.cpu_count() or 1) // children)
        self._stop_requested = stop_requested
        self._server = Server()

    def __enter__(self) -> Self:
        """Return itself; its processes are starting meanwhile."""
        return self

    def __exit__(self, *_: object) -> None:
        """End its processes."""
        self._server.end()

    @contextmanager
    def read(
        self, path: Path, *, address: str, reading: Reading = BY_EVIDENCE
    ) -> Iterator[list[FileRead | FileRefused]]:
        """Read a local file in a child; its rows are there as long as the context lasts.

        Args:
            path: The file, under any name.
            address: Where it comes from: for messages, and for what its name and its folders
                stand for.
            reading: What is known of it before it is read.

        Raises:
            DeliveryUnreadable: It cannot be opened; nothing is known of its content.
            StoreFull: There is no room for its rows.
            Interrupted: A stop was requested.
            RetryMayHelp: The processes of the jail were ended by someone else.
        """
        limits = self._limits.of_size(_size_of_regular(path, address))
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        request = {
            "path": str(path.absolute()),
            "folder": str(folder.absolute()),
            "working_folder": str(Path.cwd()),
            "address": address,
            "reading": asdict(reading),
            "threads": self._threads,
            "memory_bytes": limits.memory_bytes,
            "piece_bytes": limits.piece_bytes,
            "cpu_s": limits.cpu_s,
        }
        try:
            try:
                reply = self._ask(request, limits)
            except _Broken as err:
                yield [_crash(err, address)]
                return
            if reply.disk_full:
                raise StoreFull(f"{folder}: no space left for the rows of {address}")
            if reply.unreadable is not None:
                raise DeliveryUnreadable(f"{address}: cannot be read: {reply.unreadable}")
            yield [_outcome(part, number, folder) for number, part in enumerate(reply.parts)]
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _ask(self, request: dict[str, Any], limits: Limits) -> _Reply:
        while True:
            require_going(self._stop_requested)
            child = self._server.child()
            is_used = child.files > 0
            try:
                reply = child.ask(request, limits, self._stop_requested)
            except _Broken:
                child.end()
                self._server.require_alive()
                if is_used:  # what other files left in it may be to blame
                    continue
                raise
            except BaseException:
                child.end()
                raise
            if child.files == self._files_per_child:
                child.end()
            else:
                self._server.keep(child)
            return reply


class _Broken(Exception):
    """A child gave no answer; says why, and what to do."""

    def __init__(self, code: Code, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.remedy = remedy


class _Child:
    """One process that reads files, at the other end of a socket."""

    def __init__(self, end: socket.socket, stderr: IO[bytes]) -> None:
        self._socket = end
        self._stderr = stderr
        self.files = 0

    def ask(self, request: dict[str, Any], limits: Limits, stop_requested: StopRequested) -> _Reply:
        """Send a request and return the answer; raise ``_Broken`` where there is none."""
        self.files += 1
        until = time.monotonic() + limits.wall_s
        with suppress(OSError):  # it has ended: what is left to receive says how
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        events = select.poll()
        events.register(self._socket, select.POLLIN)
        answer = bytearray()
        while True:
            require_going(stop_requested)
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise _timed_out(f"{limits.wall_s:,.0f} s")
            if not events.poll(1000 * min(left_s, _POLL_S)):
                continue
            received = b""
            with suppress(ConnectionResetError):
                received = self._socket.recv(1 << 20)
            answer += received
            is_over = not received or len(answer) > _LONGEST_ANSWER_BYTES
            if not (is_over or received.endswith(b"\n")):
                continue
            try:  # of a child that was ended while it answered, the last line is the server's
                reply = _Reply.model_validate_json(bytes(answer).strip().rpartition(b"\n")[2])
            except ValidationError:
                if is_over:
                    raise _crashed("its parser gave no answer that can be read") from None
                continue
            if reply.died is not None:
                raise self._death(reply.died, limits)
            if reply.out_of_memory:
                raise _out_of_memory(limits)
            if reply.failed is not None:
                raise _crashed(f"its parser failed: {reply.failed}")
            return reply

    def _death(self, status: int, limits: Limits) -> _Broken:
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGXCPU:
            return _timed_out(f"{limits.cpu_s:,.0f} s of processor time")
        self._stderr.seek(max(self._stderr.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
        if _NO_MEMORY in self._stderr.read():
            return _out_of_memory(limits)
        how = f"ended with {signal.Signals(-code).name}" if code < 0 else "ended early"
        return _crashed(f"its parser {how}")

    def end(self) -> None:
        """Hang up, upon which the server kills it."""
        self._socket.close()
        self._stderr.close()


class Server:
    """The process that children are forks of, and the children that wait for more to do."""

    def __init__(self) -> None:
        self._idle: list[_Child] = []
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        inherited = {name: environment()[name] for name in _INHERITED if name in environment()}
        places = [place or str(Path.cwd()) for place in sys.path]
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - of its own life
        with theirs:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-W", "ignore", "-m", jailed.__name__),
                    str(theirs.fileno()),
                ],
                env={
                    **inherited,
                    "PYTHONPATH": os.pathsep.join(places),
                },
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,  # a terminal's Ctrl-C is ours to pass on
            )

    def child(self) -> _Child:
        """Return a child that has nothing to do, else a new one, which may still be starting."""
        with self._lock:
            return self._idle.pop() if self._idle else self._fork()

    def keep(self, child: _Child) -> None:
        """Take a child back that has answered."""
        with self._lock:
            self._idle.append(child)

    def _fork(self) -> _Child:
        ours, theirs = socket.socketpair()
        stderr = tempfile.TemporaryFile()  # noqa: SIM115 - the child's to close
        child = _Child(ours, stderr)
        with theirs:
            try:
                socket.send_fds(self._control, [b"."], [theirs.fileno(), stderr.fileno()])
            except OSError:
                child.end()
                self.require_alive()
                raise
        return child

    def require_alive(self) -> None:
        """Raise where the server has ended: a file is not to blame for what its child lacked.

        Raises:
            RetryMayHelp: With the last line of what it wrote.
        """
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(_POLL_S)
            self._stderr.seek(max(self._stderr.seek(0, os.SEEK_END) - _TAIL_BYTES, 0))
            lines = self._stderr.read().decode(errors="replace").strip().splitlines()
            reason = f": {lines[-1]}" if lines else ""
            raise RetryMayHelp(
                f"the process that reads files ended with status {code}{reason}; run it again"
            )

    def end(self) -> None:
        """End it and all children."""
        self._control.close()
        for child in self._idle:
            child.end()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stderr.close()


def _outcome(part: _Part, number: int, folder: Path) -> FileRead | FileRefused:
    if part.refused:
        refused = part.refused
        if refused.code not in list(Code):
            return _crash(_crashed(f"its parser gave the code {refused.code!r}"), part.address)
        return FileRefused(
            Code(refused.code),
            part.address,
            refused.sentence,
            refused.remedy,
            line=refused.line,
        )
    pieces = tuple(rows_path(folder, number, piece) for piece in range(part.pieces))
    reference = None
    try:
        if part.kind is not None and part.counts:
            kind, counts = Kind(part.kind), part.counts
            reference = ReferenceRows(
                kind=kind,
                rows=_read_rows(pieces[0], polars_schema(_TABLES[kind])),
                refused_rows=counts.refused_rows,
                reasons=Counter(counts.reasons),
                first_refused=counts.first_refused,
                first_refused_line=counts.first_refused_line,
            )
            pieces = ()
    except (_Broken, ValueError, IndexError) as err:
        return _crash(_crashed(f"its parser gave other rows than agreed: {err}"), part.address)
    return FileRead(part.name, part.address, part.layout, part.adjusted, reference, pieces)


def _read_rows(path: Path, expected: pl.Schema) -> pl.DataFrame:
    """Read rows that a child wrote; their columns are some of the expected ones."""
    try:
        table = pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all()
        table.validate(full=True)
        rows = pl.DataFrame(table)
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as err:
        raise _crashed(f"its rows cannot be read: {err}") from err
    wrong = {name: kind for name, kind in rows.schema.items() if expected.get(name) != kind}
    if wrong:
        raise _crashed(f"its rows have the columns {wrong}")
    return rows


def _crash(err: _Broken, address: str) -> FileRefused:
    return FileRefused(err.code, address, err.sentence, err.remedy)


def _crashed(sentence: str) -> _Broken:
    return _Broken(
        Code.PARSER_CRASHED, sentence, f"{DOWNLOAD_AGAIN}, or write it anew as plain CSV"
    )


def _timed_out(limit: str) -> _Broken:
    return _Broken(
        Code.TIMED_OUT, f"reading it took more than {limit}", "split it into smaller files"
    )


def _out_of_memory(limits: Limits) -> _Broken:
    return _Broken(
        Code.PARSER_CRASHED,
        f"reading it took more than {limits.memory_bytes / _MIB:,.0f} MiB of memory",
        "split it into smaller files, or give more memory",
    )


def _size_of_regular(path: Path, address: str) -> int:
    """Return a file's size; a pipe or a device might never end."""
    try:
        found = path.stat()
    except OSError as err:
        raise DeliveryUnreadable(f"{address}: cannot be read: {err.strerror}") from err
    if not stat.S_ISREG(found.st_mode):
        raise DeliveryUnreadable(f"{address}: not a regular file; remove it or replace it")
    return found.st_size
