"""A run of a job: its progress, its stop switch, and a report that is kept however it ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import FrameType
from uuid import uuid4

from pydantic import BaseModel

from batch.core.errors import DataRefused, ExitCode, LakeMissing, OhlcvError, StoreDenied
from batch.runtime.aws_logs import JsonLines, metrics_line
from batch.runtime.output import Output
from batch.runtime.progress import LOGGER, Progress
from batch.runtime.run_report import RunOutcome, RunReport
from batch.storage.store import ObjectStore


class StopSwitch:
    """Set by SIGTERM and by the first Ctrl-C; jobs read it between two writes."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        """Return whether a stop was requested."""
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
        at_once = "; repeat to stop immediately" if number == signal.SIGINT else ""
        name = signal.Signals(number).name
        LOGGER.warning("%s: stopping after the current write%s", name, at_once)


@dataclass(slots=True, eq=False)
class Run:
    """A run under way; ``outcome`` is what was done so far, for the report."""

    progress: Progress
    stop_requested: StopSwitch
    outcome: RunOutcome = field(default_factory=RunOutcome)

    def require_no_problems(self) -> None:
        """End the run as refused where something could not be done.

        Raises:
            DataRefused: Counts the problems and names the first.
        """
        problems = self.outcome.problems
        if problems:
            more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            raise DataRefused(f"{problems[0]}{more}")


@contextmanager
def job_run(
    job: str,
    store: ObjectStore,
    settings: BaseModel,
    output: Output,
    *,
    only_reads: bool = False,
    stop: StopSwitch | None = None,
) -> Iterator[Run]:
    """Run a job with progress and signals; its report is kept once the lake exists.

    A job that ``only_reads`` may run on a lake that it may not write into: a warning says that
    there is no report. ``stop`` is a switch that is armed already, of a command that runs a job
    more than once.

    Log lines in JSON carry the ``run_id`` of the report from here on.
    """
    run_id, started_at = uuid4().hex[:8], datetime.now(UTC)
    if lines := JsonLines.of(LOGGER):
        lines.add(run_id=run_id)

    def keep_report(outcome: RunOutcome, code: int, error: str | None = None) -> None:
        finished_at = datetime.now(UTC)
        if line := metrics_line(job, outcome.counts, finished_at):
            print(line, flush=True)  # noqa: T201 - CloudWatch reads it from the log
        RunReport(
            job=job,
            run_id=run_id,
            started_at=started_at,
            settings=settings.model_dump(mode="json"),
            finished_at=finished_at,
            exit_code=int(code),
            error=error,
            counts=outcome.counts,
            partitions=outcome.published or (),
            problems=outcome.problems or (),
        ).keep(store)

    switches = nullcontext(stop) if stop else StopSwitch().armed()
    with switches as switch, output.progress() as progress:
        run = Run(progress, switch)
        try:
            yield run
        except BaseException as err:
            code = err.exit_code if isinstance(err, OhlcvError) else ExitCode.BUG
            with suppress(OhlcvError):
                if store.exists() and not isinstance(err, LakeMissing):
                    keep_report(run.outcome, code, f"{type(err).__name__}: {err}")
            raise
    try:
        keep_report(run.outcome, ExitCode.DONE)
    except StoreDenied as err:
        if not only_reads:
            raise
        LOGGER.warning("the lake keeps no report of this run: %s", err)
