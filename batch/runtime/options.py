"""Command-line options: those that derive from settings, and those that every command has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import wraps
from typing import TypeVar

import click
from click.shell_completion import CompletionItem

from batch.core.instants import parse_date
from batch.runtime.output import Output
from batch.runtime.progress import LOGGER
from batch.runtime.settings import LogFormat, Setting, Settings, settings_of, unknown_variables

_UNKNOWN = "unknown %s: ignored; `ohlcv COMMAND --help` names the variables that are read"

Command = TypeVar("Command", bound=Callable[..., None])


def settings_options(kind: type[Settings]) -> Callable[[Command], Callable[..., None]]:
    """Add an option for every setting of a class; the command receives ``settings``.

    The values are validated together, so every wrong one is reported at once.
    """
    settings = [setting for setting in settings_of(kind) if not setting.option.environment_only]

    def decorate(command: Command) -> Callable[..., None]:
        @wraps(command)
        def read_settings(*arguments: object, **given: object) -> None:
            options = {setting.name: given.pop(setting.name) for setting in settings}
            command(*arguments, settings=kind.read(**options), **given)

        reading: Callable[..., None] = read_settings
        for setting in reversed(settings):
            reading = _option(setting)(reading)
        return reading

    return decorate


def output_options(command: Command) -> Callable[..., None]:
    """Add ``--json``, ``--quiet`` and ``--debug``; the command receives an ``output``.

    Stands below :func:`settings_options`, whose settings say how logs are written.

    Variables with our prefix that resemble no setting are warned of here, once logs are set up:
    Kubernetes sets such ones for a service named ``ohlcv``. Misspelled ones are an error.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
    @click.option("--quiet", is_flag=True, help="Print warnings and errors only.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @wraps(command)
    def make_output(
        *arguments: object, as_json: bool, quiet: bool, debug: bool, **given: object
    ) -> None:
        settings, context = given.get("settings"), click.get_current_context()
        json_logs = isinstance(settings, Settings) and settings.log_format is LogFormat.JSON
        output = Output(as_json, quiet, debug, json_logs)
        output.set_up_logs(str(context.command.name))
        if context.parent:  # a job by itself does not know all settings
            for name, meant in unknown_variables().items():
                if not meant:
                    LOGGER.warning(_UNKNOWN, name)
        command(*arguments, output=output, **given)

    return make_output


def date_option(name: str, help_text: str) -> Callable[[Command], Command]:
    """Add an option for a date in ISO 8601; reading one that is not raises ``SettingsError``."""

    def parse(_context: click.Context, _option: click.Parameter, text: str | None) -> date | None:
        return None if text is None else parse_date(text, label=name)

    return click.option(name, metavar="DATE", callback=parse, help=help_text)


def _option(setting: Setting) -> Callable[[Callable[..., None]], Callable[..., None]]:
    kind = setting.field.annotation
    notes = [f"env: {', else '.join(setting.variables)}"]
    if setting.default is not None:
        notes.append(f"default: {setting.default}")
    help_text = f"{setting.field.description}  [{'; '.join(notes)}]"
    if kind is bool:
        return click.option(setting.flag, setting.name, is_flag=True, default=None, help=help_text)
    return click.option(
        setting.flag,
        setting.name,
        multiple=isinstance(setting.field.default, tuple),
        metavar="|".join(setting.choices) or setting.option.metavar,
        shell_complete=_completion(setting),
        help=help_text,
    )


def _completion(
    setting: Setting,
) -> Callable[[click.Context, click.Parameter, str], list[CompletionItem]]:
    def complete(
        _context: click.Context, _parameter: click.Parameter, typed: str
    ) -> list[CompletionItem]:
        if setting.option.is_folder:
            return [CompletionItem(typed, type="dir")]
        texts = setting.choices or setting.option.usual
        return [CompletionItem(text) for text in texts if text.startswith(typed)]

    return complete
