"""Running a command: shared options, errors to exit codes, signals, the run's report."""

from __future__ import annotations

import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar, cast
from uuid import uuid4

import click
from click.shell_completion import CompletionItem

from batch.core.errors import DataRefused, ExitCode, OhlcvError
from batch.runtime.environment import environment
from batch.runtime.formats import wrapped
from batch.runtime.output import LOGGER, Output
from batch.runtime.progress import Progress

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def lake_option(command: Decorated) -> Decorated:
    """Add ``--lake``; a shell completes folders, and a URI may stand there all the same."""
    return click.option(
        "--lake",
        metavar="URI",
        shell_complete=lambda _context, _option, typed: [CompletionItem(typed, type="dir")],
        help="Root of the lake: a folder or s3://bucket/prefix."
        "  [env: OHLCV_LAKE; default: ./lake]",
    )(command)


def sharing_options(command: Decorated) -> Decorated:
    """Add what both jobs are told of memory and of shared work."""
    for option in (
        click.option(
            "--shard",
            type=int,
            metavar="I",
            help="Which part this process does, from 0."
            "  [env: OHLCV_SHARD, else AWS_BATCH_JOB_ARRAY_INDEX]",
        ),
        click.option(
            "--shards",
            type=int,
            metavar="N",
            help="Share the work among N processes, each with its own --shard."
            "  [env: OHLCV_SHARDS]",
        ),
        click.option(
            "--memory-limit",
            metavar="SIZE",
            help="Stay under this, such as 1GiB.  [env: OHLCV_MEMORY_LIMIT]",
        ),
    ):
        command = option(command)
    return command


def output_options(command: Decorated) -> Decorated:
    """Add ``--json``, ``--quiet`` and ``--debug``; the command receives an ``output``."""

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option("--quiet", is_flag=True, help="Print warnings and errors only.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    def wrapped(*args: Any, as_json: bool, quiet: bool, debug: bool, **kwargs: Any) -> Any:
        output = Output(as_json, quiet, debug)
        output.set_up_logs()
        return command(*args, output=output, **kwargs)

    wrapped.__name__ = command.__name__
    wrapped.__doc__ = command.__doc__
    wrapped.__click_params__ = [  # type: ignore[attr-defined]
        *wrapped.__click_params__,  # type: ignore[attr-defined]
        *getattr(command, "__click_params__", []),
    ]
    return cast("Decorated", wrapped)


class StopSwitch:
    """Set by SIGTERM and by the first Ctrl-C; jobs ask it between two writes."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        """Tell whether somebody asked to stop."""
        return self._event.is_set()

    @contextmanager
    def armed(self) -> Iterator[StopSwitch]:
        """Listen for signals; a second Ctrl-C ends the process at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
        for number in before:
            signal.signal(number, self._on_signal)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._event.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._event.set()
        at_once = "; once more stops at once" if number == signal.SIGINT else ""
        name = signal.Signals(number).name
        LOGGER.warning("%s: stopping after the current write%s", name, at_once)


@dataclass(slots=True, eq=False)
class Run:
    """One run of a job, from its start to its report."""

    report: Any
    progress: Progress
    stop_requested: StopSwitch

    def require_no_problems(self) -> None:
        """End the run as refused where something could not be done.

        Raises:
            DataRefused: Counts the problems and names the first.
        """
        problems = self.report.problems
        if problems:
            more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            raise DataRefused(f"{problems[0]}{more}")


@contextmanager
def job_run(job: str, store: Any, settings: Any, output: Output) -> Iterator[Run]:
    """Run a job with progress, signals and a report that is kept however it ends.

    Args:
        job: Name of the job.
        store: The lake that keeps the report, once it exists.
        settings: The settings in force; a pydantic model.
        output: How to speak.
    """
    from batch.runtime.run_report import RunReport  # noqa: PLC0415 - commands start without the lake

    report = RunReport(
        job=job,
        run_id=uuid4().hex[:8],
        started_at=datetime.now(UTC),
        settings=settings.model_dump(mode="json"),
    )
    try:
        with StopSwitch().armed() as switch, output.progress() as progress:
            yield Run(report, progress, switch)
        report.exit_code = ExitCode.DONE
    except BaseException as err:
        report.exit_code = err.exit_code if isinstance(err, OhlcvError) else ExitCode.BUG
        report.error = f"{type(err).__name__}: {err}"
        report.finished_at = datetime.now(UTC)
        with suppress(OhlcvError):
            if store.exists():
                report.keep(store)
        raise
    report.finished_at = datetime.now(UTC)
    report.keep(store)


def run_main(command: click.Command, arguments: list[str] | None = None, *, name: str) -> int:
    """Run a command line and return its exit code.

    Errors of ours become one line on stderr and their exit code; ``--debug`` shows the
    traceback. Anything else is a bug: exit code 1.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        command.main(given, prog_name=name, standalone_mode=False)
    except click.exceptions.Abort:
        return _tell("stopped", ExitCode.RETRY)
    except click.exceptions.NoArgsIsHelpError as err:
        err.show()
        return err.exit_code
    except click.ClickException as err:
        _tell_usage(err)
        return _tell(err.format_message(), err.exit_code)
    except click.exceptions.Exit as err:
        return err.exit_code
    except OhlcvError as err:
        if debug:
            raise
        return _tell(str(err), err.exit_code)
    except KeyboardInterrupt:
        return _tell("stopped at once; the next run does the rest", ExitCode.RETRY)
    except BrokenPipeError:
        return ExitCode.DONE
    except Exception as err:
        if debug:
            raise
        return _tell(
            f"this is a bug: {type(err).__name__}: {err}; run again with --debug for the traceback",
            ExitCode.BUG,
        )
    return ExitCode.DONE


def command_name() -> str:
    """Return how a user can call ``ohlcv`` from where they are: by name, or by its path."""
    if shutil.which("ohlcv"):
        return "ohlcv"
    beside = Path(sys.executable).parent / "ohlcv"
    if not beside.exists():
        return "ohlcv"
    here = Path.cwd()
    return str(beside.relative_to(here) if beside.is_relative_to(here) else beside)


def _tell_usage(err: click.ClickException) -> None:
    context = err.ctx if isinstance(err, click.UsageError) else None
    if context is not None:
        click.echo(context.get_usage(), err=True)
        click.echo(f"Try '{context.command_path} --help' for help.\n", err=True)


def _tell(text: str, code: int) -> int:
    plain = bool(environment().get("NO_COLOR"))
    lead = "error:" if plain else click.style("error:", fg="red", bold=True)
    if sys.stderr.isatty():
        text = wrapped(f"error: {text}", 2).removeprefix("error: ")
    click.echo(f"{lead} {text}", err=True)
    return int(code)
