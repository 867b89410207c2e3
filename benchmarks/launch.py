"""Runs one command and counts what it takes; small itself, because a child's count begins with
the memory of the process that forks it (getrusage(2), ``ru_maxrss``).

Run as a script: the limit of private memory in bytes or 0, a file for the counts, the command.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path


def main() -> int:
    """Run the command to its end and write the counts as JSON."""
    limit_bytes, counts, *command = sys.argv[1:]

    def limit_memory() -> None:
        if limit := int(limit_bytes):
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    started = time.perf_counter()
    process = subprocess.Popen(command, preexec_fn=limit_memory)  # noqa: PLW1509 - one thread
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
        "peak_bytes": usage.ru_maxrss * 1024,
        "read_bytes": int(counted["rchar"]),
        "written_bytes": int(counted["wchar"]),
    }
    Path(counts).write_text(json.dumps(counted_up))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
