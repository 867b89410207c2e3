"""What runs in the jail: a server that forks children, each of which reads files.

``python -m fetchers.files.jailed FD`` is started by :class:`fetchers.files.jail.Jail` with its end
of a socket. Each byte that comes over it carries two files: a socket and a file for stderr, both
of a new child. A child answers each line of its socket, a request, with one line. When it ends,
the server adds a line that says how. Whoever hangs up on a child has it killed.

Nothing here may use Polars or Arrow before a fork: their threads would be missing in the child.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import pyarrow as pa

from batch.core.frames import to_arrow
from batch.core.sessions import load_calendar
from fetchers.files.parts import Part, parts_of
from fetchers.files.reading import Reading
from fetchers.files.refusals import FileRefused

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def rows_path(folder: Path, part: int, piece: int) -> Path:
    """Return where a piece of the rows of a part lies, both counted from 0."""
    return folder / f"{part}-{piece}.arrow"


def main() -> None:
    """Serve until the other end of the socket is closed."""
    control = socket.socket(fileno=int(sys.argv[1]))
    load_calendar()
    gc.freeze()
    _serve(control)


def _serve(control: socket.socket) -> None:
    wakes, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    events = select.poll()
    events.register(control, select.POLLIN)
    events.register(wakes, select.POLLIN)
    ends: dict[int, socket.socket] = {}
    while True:
        for number, _ in events.poll():
            if number == wakes:
                os.read(wakes, 4096)
                for pid, status in _ended():
                    end = ends.pop(pid)
                    with suppress(KeyError):
                        events.unregister(end)
                    with suppress(OSError), end:  # nobody may listen any more
                        end.sendall(b'\n{"died": %d}\n' % status)
            elif number == control.fileno():
                message, files, _, _ = socket.recv_fds(control, 1, 2)
                if not message:
                    for pid in ends:
                        os.kill(pid, signal.SIGKILL)
                    for pid in ends:  # what it took counts as ours only if someone waits for it
                        os.waitpid(pid, 0)
                    return
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    for end in (control, *ends.values()):
                        end.close()
                    os.close(wakes)
                    os.close(wake)
                    _work(socket.socket(fileno=files[0]), stderr=files[1])
                ends[pid] = socket.socket(fileno=files[0])
                os.close(files[1])
                events.register(files[0], 0)  # only that the other end hung up
            else:
                events.unregister(number)
                os.kill(next(pid for pid, end in ends.items() if end.fileno() == number), 9)


def _ended() -> Iterator[tuple[int, int]]:
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def _work(end: socket.socket, *, stderr: int) -> NoReturn:
    """Answer requests until the other end is closed, or until one fails."""
    try:
        os.dup2(stderr, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with suppress(OSError):  # of all processes, the system should end this one first
            Path("/proc/self/oom_score_adj").write_text("1000")
        for line in end.makefile("rb"):
            request = json.loads(line)
            os.putenv("POLARS_MAX_THREADS", str(request["threads"]))  # read at its first use
            pa.set_cpu_count(request["threads"])
            reply = _answer(request)
            _limit(resource.RLIMIT_DATA, sys.maxsize)
            end.sendall(json.dumps(reply).encode() + b"\n")
            if "failed" in reply:
                break
    finally:
        os._exit(0)


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    path, folder = Path(request["path"]), Path(request["folder"])
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = int(used.ru_utime + used.ru_stime + request["cpu_s"]) + 1
    _limit(resource.RLIMIT_CPU, cpu_s)
    _limit(resource.RLIMIT_DATA, request["memory_bytes"])
    tempfile.tempdir = str(folder)
    os.chdir(request["working_folder"])  # which a relative address counts from
    try:
        found = parts_of(
            path,
            address=request["address"],
            reading=Reading(**request["reading"]),
            piece_bytes=request["piece_bytes"],
        )
        return {"parts": [_read(part, number, folder) for number, part in enumerate(found)]}
    except BaseException as err:  # noqa: BLE001 - any failure, a panic too, is the file's outcome
        _limit(resource.RLIMIT_DATA, sys.maxsize)  # an answer takes memory too
        return _failure(err, path)


def _failure(err: BaseException, path: Path) -> dict[str, Any]:
    match err:
        case MemoryError():
            return {"failed": "out of memory", "out_of_memory": True}
        case OSError() if err.errno in _FULL:
            return {"disk_full": True}
        case OSError() if err.filename == str(path):
            return {"unreadable": err.strerror}
        case _:
            return {"failed": _in_words(err)}


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _read(part: Part, number: int, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"name": part.name, "address": part.address}
    pieces = 0
    try:
        if kind := part.kind:
            reference = part.reference(kind)
            _write(rows_path(folder, number, 0), to_arrow(reference.rows))
            counts = {
                "refused_rows": reference.refused_rows,
                "reasons": dict(reference.reasons),
                "first_refused": reference.first_refused,
                "first_refused_line": reference.first_refused_line,
            }
            return {**found, "layout": str(kind), "kind": str(kind), "counts": counts, "pieces": 1}
        bars = part.bars()
        for rows in bars.pieces:
            _write(rows_path(folder, number, pieces), to_arrow(rows))
            pieces += 1
        return {
            **found,
            "layout": bars.columns.summary,
            "adjusted": bars.adjusted,
            "pieces": pieces,
        }
    except FileRefused as err:
        refused = {
            "code": str(err.code),
            "sentence": err.sentence,
            "remedy": err.remedy,
            "line": err.line,
        }
        return {**found, "refused": refused}


def _write(path: Path, table: Any) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _in_words(err: BaseException) -> str:
    lines = str(err).strip().splitlines()
    return ": ".join([type(err).__name__, *lines[:1]])


if __name__ == "__main__":
    main()
