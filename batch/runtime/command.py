"""The ends of a command line: errors to messages and exit codes. Imports nothing heavy."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import traceback
from pathlib import Path

import click

from batch.core.errors import ExitCode, OhlcvError
from batch.runtime.aws_logs import JsonLines, batch_job
from batch.runtime.environment import environment
from batch.runtime.formats import wrapped
from batch.version import JSON_VERSION


def run_main(command: click.Command, arguments: list[str] | None = None, *, name: str) -> int:
    """Run a command line and return its exit code.

    Errors of ours become one line on stderr and their exit code; anything else is a bug: exit
    code 1. ``--debug`` shows the traceback too and changes no code. With ``--json`` the line on
    stderr is a JSON object with ``version``, ``error`` and ``exit_code``; stdout keeps the result.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug, as_json = "--debug" in given, "--json" in given

    def fail(text: str, code: int) -> int:
        return _fail(text, code, as_json=as_json)

    try:
        command.main(given, prog_name=name, standalone_mode=False)
    except click.exceptions.Abort:
        return fail("stopped", ExitCode.RETRY)
    except click.exceptions.NoArgsIsHelpError as err:
        err.show()
        return err.exit_code
    except click.ClickException as err:
        if isinstance(err, click.UsageError) and err.ctx and not (as_json or batch_job()):
            click.echo(err.ctx.get_usage(), err=True)
            click.echo(f"Try '{err.ctx.command_path} --help' for help.\n", err=True)
        return fail(err.format_message(), err.exit_code)
    except click.exceptions.Exit as err:
        return err.exit_code
    except OhlcvError as err:
        if debug:
            traceback.print_exception(err)
        return fail(str(err), err.exit_code)
    except KeyboardInterrupt:
        return fail("stopped at once; the next run does the rest", ExitCode.RETRY)
    except BrokenPipeError:
        return ExitCode.DONE
    except Exception as err:  # noqa: BLE001 - the one place where a bug ends a command
        if debug:
            traceback.print_exception(err)
        advice = "report the traceback" if debug else "run again with --debug for the traceback"
        return fail(f"this is a bug: {type(err).__name__}: {err}; {advice}", ExitCode.BUG)
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


def _fail(text: str, code: int, *, as_json: bool) -> int:
    if job := batch_job():
        record = logging.makeLogRecord({"levelname": "ERROR", "msg": text})
        click.echo(JsonLines({**job, "exit_code": str(int(code))}).format(record), err=True)
        return int(code)
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
