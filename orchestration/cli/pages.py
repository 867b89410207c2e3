"""What the commands that write a page share: their options and the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from batch.core.errors import SettingsError

_Command = Callable[..., Any]


def page_options(file_help: str, *, default: str | None = None) -> Callable[[_Command], _Command]:
    """Add ``--theme`` and ``--output``, which pass ``theme`` and ``path``.

    Args:
        file_help: Help of ``--output``.
        default: The file where none is given; None where the command derives it.
    """

    def add(command: _Command) -> _Command:
        command = click.option(
            "-o",
            "--output",
            "path",
            type=click.Path(path_type=Path, dir_okay=False),
            default=Path(default) if default else None,
            metavar="FILE",
            help=file_help,
        )(command)
        return click.option(
            "--theme",
            type=click.Choice(["auto", "light", "dark"]),
            default="auto",
            help="Colours; auto follows the reader's system on a screen and is light elsewhere.",
        )(command)

    return add


def write_page(path: Path, content: bytes) -> None:
    """Write a page or an image.

    Raises:
        SettingsError: The file cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as err:
        raise SettingsError(f"--output {path}: {err.strerror or err}") from err
