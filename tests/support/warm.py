"""Modules run in forks of a process that has imported what takes them long to import.

A command of the AWS command line, or a job of a pipeline, spends most of its time importing.
Here a server imports that once; ``python warm.py SOCKET -m MODULE ARGUMENT...`` asks it for a
fork that runs a module with the caller's arguments, environment, folder and files, and ends as
it does. A signal reaches the fork, and it does not outlive its caller.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

AWS = ("awscli.clidriver",)
"""It has a botocore of its own, so nothing else is imported with it."""

JOBS = ("boto3", "botocore.endpoint", "numpy", "pydantic_settings", "time_machine", "click")
"""None of them starts a thread, which a fork would lose: Polars and Arrow do."""


def serve(address: str, preloaded: list[str]) -> None:
    """Answer requests for ever."""
    from importlib import import_module

    before = set(os.environ)
    for name in preloaded:
        import_module(name)
    set_by_imports = {name: os.environ[name] for name in set(os.environ) - before}
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(64)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        caller, _ = server.accept()
        if os.fork() == 0:
            server.close()
            _run_for(caller, set_by_imports)
        caller.close()


def _run_for(caller: socket.socket, set_by_imports: dict[str, str]) -> None:
    """Run the module that a caller names, in this fork, and end it."""
    import runpy
    import threading
    import traceback

    text, files, _, _ = socket.recv_fds(caller, 1 << 20, 3)
    while not text.endswith(b"\n"):
        text += caller.recv(1 << 20)
    request = json.loads(text)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(set_by_imports | request["environment"])
    os.chdir(request["folder"])
    sys.argv = request["arguments"]
    sys.path[:0] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115

    def end_with_caller() -> None:
        if not caller.recv(1):
            os._exit(137)

    caller.sendall(b"%d\n" % os.getpid())
    threading.Thread(target=end_with_caller, daemon=True).start()
    code: object = 0
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as err:
        code = err.code
    except BaseException:  # noqa: BLE001 - what Python does with it: a traceback and exit code 1
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    caller.sendall(b"%d\n" % (code or 0))
    os._exit(int(code or 0))  # type: ignore[call-overload]


def call(address: str, arguments: list[str]) -> int:
    """Have a module run, and return its exit code."""
    request = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 - pathlib takes longer to import than the call
    }
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    text = json.dumps(request).encode() + b"\n"
    sent = socket.send_fds(connection, [text], [0, 1, 2])
    connection.sendall(text[sent:])
    answers = connection.makefile()
    pid = int(answers.readline())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _frame: os.kill(pid, caught))
    code = answers.readline()
    return int(code) if code else 128 + signal.SIGKILL


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2], sys.argv[3:])
    sys.exit(call(sys.argv[1], sys.argv[3:]))
