"""The ends of a command line: errors to messages and exit codes. Imports nothing heavy."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import click

from batch.core.errors import ExitCode, OhlcvError
from batch.runtime.aws_logs import JsonLines, batch_job
from batch.runtime.environment import environment
from batch.runtime.formats import wrapped
from batch.runtime.progress import LOGGER
from batch.version import JSON_VERSION


def run_main(command: click.Command, arguments: list[str] | None = None, *, name: str) -> int:
    """Run a command line and return its exit code.

    Errors of ours become one line on stderr and their exit code; anything else is a bug: exit
    code 1. ``--debug`` shows the traceback too and changes no code. With ``--json`` the line on
    stderr is a JSON object with ``version``, ``error`` and ``exit_code``; stdout keeps the result.
    Where logs are JSON, it is a line of the log as well.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug, as_json, json_logs = "--debug" in given, "--json" in given, _wants_json_logs(given)
    LOGGER.handlers.clear()  # of a command before this one, in the same process

    def fail(text: str, code: int, err: BaseException | None = None) -> int:
        shown = err if debug else None
        if json_logs:
            return _fail_in_log(text, code, shown, as_json=as_json)
        return _fail(text, code, shown, as_json=as_json)

    try:
        command.main(given, prog_name=name, standalone_mode=False)
    except click.exceptions.Abort:
        return fail("stopped", ExitCode.RETRY)
    except click.exceptions.NoArgsIsHelpError as err:
        err.show()
        return err.exit_code
    except click.ClickException as err:
        if isinstance(err, click.UsageError) and err.ctx and not (as_json or json_logs):
            click.echo(err.ctx.get_usage(), err=True)
            click.echo(f"Try '{err.ctx.command_path} --help' for help.\n", err=True)
        return fail(err.format_message(), err.exit_code)
    except click.exceptions.Exit as err:
        return err.exit_code
    except OhlcvError as err:
        return fail(str(err), err.exit_code, err)
    except KeyboardInterrupt:
        return fail("stopped immediately; the next run will finish the work", ExitCode.RETRY)
    except BrokenPipeError:
        return ExitCode.DONE
    except Exception as err:  # noqa: BLE001 - the one place where a bug ends a command
        advice = "report the traceback" if debug else "run again with --debug for the traceback"
        return fail(f"this is a bug: {type(err).__name__}: {err}; {advice}", ExitCode.BUG, err)
    return ExitCode.DONE


def command_name() -> str:
    """Return how a user can call ``ohlcv`` from where they are: by name, or by its path."""
    if shutil.which("ohlcv"):
        return "ohlcv"
    installed = Path(sys.executable).parent / "ohlcv"
    if not installed.exists():
        return "ohlcv"
    here = Path.cwd()
    return str(installed.relative_to(here) if installed.is_relative_to(here) else installed)


def _wants_json_logs(given: Sequence[str]) -> bool:
    """Return whether an error is a line of a JSON log, also where settings cannot be read."""
    chosen = environment().get("OHLCV_LOG_FORMAT")
    for text, following in pairwise([*given, ""]):
        if text == "--log-format":
            chosen = following
        elif text.startswith("--log-format="):
            chosen = text.partition("=")[2]
    return chosen == "json" or bool(batch_job())


def _fail_in_log(text: str, code: int, err: BaseException | None, *, as_json: bool) -> int:
    lines = JsonLines.of(LOGGER) or JsonLines(batch_job())
    lines.add(**({"version": JSON_VERSION, "error": text} if as_json else {}), exit_code=int(code))
    exc_info = (type(err), err, err.__traceback__) if err else None
    record = logging.makeLogRecord({"levelname": "ERROR", "msg": text, "exc_info": exc_info})
    click.echo(lines.format(record), err=True)
    return int(code)


def _fail(text: str, code: int, err: BaseException | None, *, as_json: bool) -> int:
    if err:
        traceback.print_exception(err)
    if as_json:
        content = {"version": JSON_VERSION, "error": text, "exit_code": int(code)}
        click.echo(json.dumps(content), err=True)
        return int(code)
    plain = bool(environment().get("NO_COLOR"))
    lead = "error:" if plain else click.style("error:", fg="red", bold=True)
    if sys.stderr.isatty():
        text = wrapped(f"error: {text}", 2).removeprefix("error: ")
    click.echo(f"{lead} {text}", err=True)
    return int(code)
