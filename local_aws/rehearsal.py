"""A rehearsal of the pipeline's worst day, on a local AWS: ``make rehearse``.

The stack is deployed by the real script, a stand-in for the vendor serves the market, the
schedule fires, and the real jobs run. Then one interval is forbidden, its job fails, the
alert arrives, and the redrive that it names repairs it. Then files are uploaded: good ones, a web
page, and one that changes too much, which is released. Last, every bar is recomputed.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from typing import Final

import click
import polars as pl
from rich.console import Console

from batch.core.errors import OhlcvError
from batch.core.sessions import load_calendar
from batch.lake.read import Lake
from batch.runtime.command import run_main
from local_aws.events import Fate
from local_aws.pipeline import STAND_IN_IMAGES, Execution, Operator
from local_aws.server import LocalAws, local_aws
from local_aws.workers import Containers, Launcher, Processes
from orchestration.cli.uploads import command as uploads_command
from orchestration.cli.verify import command as verify_command
from simulation.vendor_market import SyntheticMarket
from simulation.vendor_server import VendorServer

KEY: Final = "rehearsal-key"
_FORBIDDEN: Final = 8


class RehearsalFailed(OhlcvError):
    """An act did not end as it must."""


class Rehearsal:
    """The acts, in order, on one local AWS."""

    def __init__(self, aws: LocalAws, console: Console) -> None:
        self.aws = aws
        self.operator = Operator(aws)
        self.console = console
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line, with the seconds since the start."""
        self.console.print(
            f"[dim]{time.monotonic() - self._began:6.1f} s[/]  {text}", highlight=False
        )

    def deploy(self, vendor_url: str, images: dict[str, str]) -> None:
        """Deploy by the real script, and put the vendor's key in."""
        self.say("deploying the stack with deploy_step_functions.sh")
        settings = {"PolygonBaseUrl": vendor_url, "PolygonRequestsPerMinute": "0"}
        options = [text for item in settings.items() for text in ("--parameter", "=".join(item))]
        self.operator.deploy("--uploads", *options, images=images)
        self.operator.put_vendor_key(KEY)
        self.operator.subscribe()
        made = self.aws.stacks.find(self.operator.stack).resources
        self.say(f"{len(made)} resources of {len({r.kind for r in made.values()})} types exist")

    def run_scheduled_day(self, instant: datetime) -> Execution:
        """Let the schedule fire, and follow the pipeline to its end."""
        self.say(f"the schedule fires: {instant:%a %Y-%m-%d %H:%M} UTC")
        started = self.operator.follow(self.operator.let_schedule_fire(instant))
        return self._follow(started.output["execution"])

    def fail_one_interval(self) -> Execution:
        """Forbid the resampler one interval, and start by hand."""
        self.say(f"[yellow]forbidding the resampler to read the manifest of {_FORBIDDEN}d[/]")
        self.operator.forbid_intervals([_FORBIDDEN])
        return self._follow(self.operator.start(name="after-the-mishap"))

    def read_alert(self) -> list[str]:
        """Print the alert; returns the redrive command in it."""
        alerts = self.operator.alerts()
        if len(alerts) != 1:
            raise RehearsalFailed(f"expected one alert, found {len(alerts)}")
        self.say(f"[red]alert:[/] {alerts[0].subject}")
        self._quote(alerts[0].message)
        command = [line for line in alerts[0].message.splitlines() if line.startswith("aws ")]
        return shlex.split(command[0])

    def repair(self, command: list[str]) -> Execution:
        """Remove the cause, then run the command of the alert."""
        self.say("giving the permission back, then redriving as the alert says")
        self.operator.allow_intervals()
        given = json.loads(command[command.index("--input") + 1])
        return self._follow(self.operator.start(given))

    def upload(self, files: dict[str, bytes]) -> None:
        """Upload some files at once, and wait until the lake is up to date."""
        self.say(f"uploading {', '.join(files)}")
        self.aws.bus.fate = Fate.HELD
        for path, content in files.items():
            self.operator.upload(path, content)
        self.aws.clock.begin_minute()
        self.aws.bus.fate = Fate.ONCE
        self.aws.bus.release()
        self.let_uploads_settle()

    def let_uploads_settle(self) -> None:
        """Follow what uploads have started to its end."""
        for update in self.operator.let_uploads_settle():
            self.say(f"  {update.status}: {', '.join(update.states)}")
            require(update.status == "SUCCEEDED", f"the update failed: {update.cause}")

    def read_message(self, *expected: str) -> str:
        """Print the message about uploads, the only one since the last; returns its text."""
        messages = self.operator.alerts()
        if len(messages) != 1:
            raise RehearsalFailed(f"expected one message, found {len(messages)}")
        self.say(f"message: {messages[0].subject}")
        self._quote(messages[0].message)
        missing = [text for text in expected if text not in messages[0].message]
        require(not missing, f"the message lacks {', '.join(missing)}")
        return messages[0].message

    def release(self, message: str) -> None:
        """Release what a message says is held, with the command in it, and take it now."""
        lines = [line.strip() for line in message.splitlines()]
        (line,) = [line for line in lines if line.startswith("ohlcv uploads release")]
        self.say(f"releasing: {line}")
        with _environment(self.aws.environment):
            code = run_main(uploads_command, shlex.split(line)[2:], name="uploads")
        require(code == 0, f"it could not be released (exit code {code})")
        started = self.operator.script("--start", "--uploads")
        self._follow(started.stdout.split()[-1])
        self.let_uploads_settle()

    def verify(self) -> None:
        """Recompute every bar with the other engine, as an administrator."""
        self.say("recomputing every bar with an independent engine")
        lake = self.operator.output("Lake")
        with _environment(self.aws.environment):
            code = run_main(verify_command, ["--lake", lake], name="verify")
        if code:
            raise RehearsalFailed(f"verify found differences (exit code {code})")

    def _quote(self, text: str) -> None:
        for line in text.splitlines():
            self.console.print(f"          | {line}", highlight=False, markup=False, soft_wrap=True)

    def _follow(self, arn: str) -> Execution:
        ended = self.operator.follow(arn, on_event=self._report)
        color = "green" if ended.status == "SUCCEEDED" else "red"
        self.say(f"[{color}]{ended.status}[/] {ended.cause}")
        return ended

    def _report(self, what: str, name: str) -> None:
        quiet = {"Defaults", "ReadInput", "CheckInput", "IsJob", "Blank", "BlankContainer"}
        if what == "entered" and name not in quiet:
            self.say(f"  {name}")
        elif what == "failed":
            self.say(f"  [red]a task failed: {name}[/]")


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def require(condition: bool, message: str) -> None:
    """Stop the rehearsal if a condition does not hold.

    Raises:
        RehearsalFailed: The condition does not hold.
    """
    if not condition:
        raise RehearsalFailed(message)


def play_uploads(play: Rehearsal, market: SyntheticMarket) -> None:
    """Upload good files, a bad one and one that changes too much, and release that.

    Raises:
        RehearsalFailed: One of them did not end as it must.
    """
    play.aws.clock.set_pace(_UPLOADS_PACE)
    lake = play.operator.output("Lake")
    with _environment(play.aws.environment):
        daily = Lake.open(lake).bars("1d", adjusted=False)
    old = daily.filter(pl.col("date") < daily["date"].max())
    symbol = old.group_by("symbol").len().sort("len", "symbol")["symbol"][-1]
    known = old.filter(pl.col("symbol") == symbol).tail(20)
    prices = ["open", "high", "low", "close"]
    files = {
        f"vendor/{name}.csv": _file_of(known.with_columns(pl.lit(name).alias("symbol")))
        for name in ("ALPHAX", "BETAX")
    }
    restated = known.with_columns(pl.col(prices) * 1.1)
    files |= {"vendor/login.csv": _WEB_PAGE, f"vendor/{symbol}.csv": _file_of(restated)}
    play.upload(files)
    message = play.read_message("2 landed, 1 held, 1 quarantined", "html", "restates_too_much")
    play.release(message)
    play.read_message("1 landed", f"vendor/{symbol}.csv")


_WEB_PAGE: Final = b"<!DOCTYPE html><html><body><h1>429 Too many requests</h1></body></html>"
_UPLOADS_PACE: Final = 0.2
"""A minute of the state machines takes twelve seconds, so that all files are of one minute."""


def _file_of(rows: pl.DataFrame) -> bytes:
    columns = ["symbol", "date", "open", "high", "low", "close", "volume"]
    return rows.select(columns).write_csv().encode()


def rehearse(console: Console, *, symbols: int, launcher: Launcher, images: dict[str, str]) -> None:
    """Play all acts.

    Raises:
        RehearsalFailed: One did not end as it must.
    """
    calendar = load_calendar()
    now = datetime.now(UTC)
    first = (now - timedelta(days=100)).date()
    market = SyntheticMarket(symbols=symbols, first=first, seed=7, calendar=calendar)
    stub = VendorServer(market, calendar, key=KEY)
    with local_aws(launcher=launcher, pace=0.05) as aws, stub.running() as url:
        play = Rehearsal(aws, console)
        play.say(f"a local AWS is at {aws.endpoint}, a stand-in for the vendor at {url}")
        play.deploy(url, images)
        evening = datetime.combine(now.date(), clock(21, 5), tzinfo=UTC)
        day = play.run_scheduled_day(evening)
        require(day.states[-1] == "PipelineComplete", "the first day did not complete")
        holiday = play.run_scheduled_day(evening + timedelta(days=1))
        require(holiday.states[-1] == "NothingToDo", "nothing new came, yet the jobs ran")
        failed = play.fail_one_interval()
        found = f"{failed.status} {failed.error} {failed.cause}"
        require(failed.error == "PipelineFailed", f"the mishap must fail the pipeline: {found}")
        command = play.read_alert()
        repaired = play.repair(command)
        require(repaired.states[-1] == "PipelineComplete", "the redrive did not repair it")
        play_uploads(play, market)
        play.verify()
        play.say("[green]rehearsed: a day, a holiday, a failure, its alert, its repair, uploads[/]")


@click.command()
@click.option("--symbols", type=int, default=60, show_default=True, help="Stocks of the market.")
@click.option("--containers", metavar="CLIENT", help="Run the images with this client.")
@click.option("--image", "given", multiple=True, metavar="NAME=URI", help="Image to run.")
def command(symbols: int, containers: str | None, given: tuple[str, ...]) -> None:
    """Rehearse the pipeline on a local AWS: a day, a failure, its repair, uploads."""
    launcher: Launcher = Containers(containers) if containers else Processes()
    images = {**STAND_IN_IMAGES, **dict(item.split("=", 1) for item in given)}
    rehearse(Console(stderr=True), symbols=symbols, launcher=launcher, images=images)


if __name__ == "__main__":
    sys.exit(run_main(command, name="rehearse"))
