"""What the commands that write a page share: their options and the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from batch.runtime.options import Command
from orchestration.cli.files import replacing

theme_option = click.option(
    "--theme",
    type=click.Choice(["auto", "light", "dark"]),
    default="auto",
    show_default=False,
    help="Colour theme; auto follows the reader's system on a screen and is light elsewhere.",
)


def file_option(text: str, *, default: str | None = None) -> Callable[[Command], Command]:
    """Add ``--output`` with its help text; the command receives ``path``."""
    return click.option(
        "-o",
        "--output",
        "path",
        type=click.Path(path_type=Path, dir_okay=False),
        default=default,
        show_default=False,
        metavar="FILE",
        help=text,
    )


def write_page(path: Path, content: bytes) -> None:
    """Write a page or an image, whole or not at all.

    Raises:
        SettingsError: The file cannot be written.
        StoreFull: The disk has no room for it.
    """
    with replacing(path) as part:
        part.write_bytes(content)
