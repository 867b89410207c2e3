"""Python run in forks of a process that has imported what takes long to import.

A command, or a job of a pipeline, spends most of its time importing packages. Here a server
imports them once; ``python warm.py SOCKET -m MODULE ARGUMENT...``, or ``-c CODE``, asks it for a
fork that runs the module with the caller's arguments, environment, folder and files, and ends as
it does. A signal reaches the fork, and it does not outlive its caller. No code of the project is
imported ahead: a fork takes it from its own folder or PYTHONPATH.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from importlib import import_module

OHLCV = (
    *("polars", "numpy", "pyarrow.parquet", "pyarrow.compute", "duckdb", "boto3"),
    *("botocore.endpoint", "pydantic_settings", "click", "jinja2", "polygon", "stamina"),
    "time_machine",
)


def share_service_models(package: str = "botocore") -> None:
    """Let the clients of this process, and of its forks, share the descriptions of services.

    Each session of botocore would read its own, which is megabytes of JSON.
    """
    from functools import cache

    sessions = import_module(f"{package}.session")
    sessions.create_loader = cache(sessions.create_loader)  # type: ignore[attr-defined]


def prepare_aws() -> None:
    """Do what each command of the AWS command line begins with; it has a botocore of its own."""
    from awscli.botocore.session import Session
    from awscli.clidriver import create_clidriver

    share_service_models("awscli.botocore")
    create_clidriver()
    loader = Session().get_component("data_loader")
    for service in ("cloudformation", "ecr", "s3", "secretsmanager", "stepfunctions", "sts"):
        loader.load_service_model(service, "service-2")


def prepare_ohlcv() -> None:
    """Import what the commands and jobs import, and read what their client of S3 begins with.

    Importing Polars and Arrow starts threads that a fork lacks: those in which jemalloc gives
    memory back and Polars removes spilled files. The threads that compute start at the first use
    of either, which only the forks come to.
    """
    for name in OHLCV:
        import_module(name)
    share_service_models()
    import boto3

    boto3.client("s3", "us-east-1", aws_access_key_id="-", aws_secret_access_key="-")


def serve(address: str, prepared: str) -> None:
    """Answer requests until standard input is closed, as it is when the caller's process ends."""
    from select import select

    before = set(os.environ)
    {"aws": prepare_aws, "ohlcv": prepare_ohlcv}[prepared]()
    set_by_imports = {name: os.environ[name] for name in set(os.environ) - before}
    server = socket.socket(socket.AF_UNIX)
    server.bind(address)
    server.listen(64)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while server in select([server, sys.stdin], [], [])[0]:
        caller, _ = server.accept()
        if os.fork() == 0:
            server.close()
            _run_for(caller, set_by_imports)
        caller.close()


def _run_for(caller: socket.socket, set_by_imports: dict[str, str]) -> None:
    """Run what a caller names, in this fork, and end it."""
    import runpy
    import threading
    import traceback
    from io import TextIOWrapper
    from types import ModuleType

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
    option, named, *rest = request["arguments"]
    sys.argv = [named if option == "-m" else option, *rest]
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [request["folder"], *filter(None, paths)]
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115
    # Without a buffer, which a handler of signals may find in use.
    sys.stderr = TextIOWrapper(open(2, "wb", 0), write_through=True)  # noqa: SIM115

    def end_with_caller() -> None:
        if not caller.recv(1):
            os._exit(137)

    caller.sendall(b"%d\n" % os.getpid())
    threading.Thread(target=end_with_caller, daemon=True).start()
    code: object = 0
    try:
        if option == "-m":
            runpy.run_module(named, run_name="__main__", alter_sys=True)
        else:
            main = sys.modules["__main__"] = ModuleType("__main__")
            exec(compile(named, "<string>", "exec"), main.__dict__)
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
    """Have a module or code run, and return its exit code."""
    request = {
        "arguments": arguments,
        "environment": dict(os.environ),
        "folder": os.getcwd(),  # noqa: PTH109 - pathlib takes longer to import than the call
    }
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    text = json.dumps(request).encode() + b"\n"
    sent = socket.send_fds(connection, [text], [0, 1, 2])
    if sent < len(text):  # else the fork may have ended already, and even sending nothing fails
        connection.sendall(text[sent:])
    answers = connection.makefile()
    pid = int(answers.readline())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _frame: os.kill(pid, caught))
    code = answers.readline()
    return int(code) if code else 128 + signal.SIGKILL


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2], sys.argv[3])
    else:
        sys.exit(call(sys.argv[1], sys.argv[2:]))
