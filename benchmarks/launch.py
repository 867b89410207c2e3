"""Runs one command and counts what it takes; small itself, because a child's count begins with
the memory of the process that forks it (getrusage(2), ``ru_maxrss``).

Run as a script: the limit of private memory in bytes or 0, ``tree`` or ``process`` for whose
memory counts, a file for the counts, the command.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

_SAMPLE_S = 0.02


def _tree_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants: their own, and one of the files mapped.

    They map the same libraries; memory that forks share counts once.
    """
    own_kb, mapped_kb = 0, 0
    processes = [pid]
    while processes:
        folder = Path(f"/proc/{processes.pop()}")
        try:
            told = (folder / "smaps_rollup").read_text().splitlines()[1:]
            for task in (folder / "task").iterdir():
                processes += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended meanwhile
            continue
        size_kb = {name: int(rest.split()[0]) for name, rest in (one.split(":") for one in told)}
        own_kb += size_kb["Pss_Anon"]
        mapped_kb = max(mapped_kb, size_kb["Rss"] - size_kb["Anonymous"])
    return (own_kb + mapped_kb) * 1024


def _peak_until_end(pid: int) -> int:
    peak = 0
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
        peak = max(peak, _tree_bytes(pid))
        time.sleep(_SAMPLE_S)
    return peak


def main() -> int:
    """Run the command to its end and write the counts as JSON."""
    limit_bytes, whose, counts, *command = sys.argv[1:]

    def limit_memory() -> None:
        if limit := int(limit_bytes):
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    started = time.perf_counter()
    process = subprocess.Popen(command, preexec_fn=limit_memory)  # noqa: PLW1509 - one thread
    peak_bytes = _peak_until_end(process.pid) if whose == "tree" else None
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    wall_s = time.perf_counter() - started
    # The kernel keeps its counts until somebody waits for the process.
    told = Path(f"/proc/{process.pid}/io").read_text()
    counted = dict(line.split(": ") for line in told.splitlines())
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    counted_up = {
        "wall_s": wall_s,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * 1024 if peak_bytes is None else peak_bytes,
        "read_bytes": int(counted["rchar"]),
        "written_bytes": int(counted["wchar"]),
    }
    Path(counts).write_text(json.dumps(counted_up))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
