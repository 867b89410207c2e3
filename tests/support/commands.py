"""Commands that a text names: found in it, and held against the command tree without running."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points

import click

from orchestration.cli.main import cli
from tests.support.documents import REPOSITORY

_SPAN = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_TOOLS = frozenset(
    ["aws", "bash", "curl", "docker", "git", "jq", "make", "pip", "podman", "python"]
)


def spans_of(text: str) -> Iterator[str]:
    """Find what a text sets in backticks, each on one line."""
    for found in _SPAN.finditer(text):
        yield " ".join(found[1].replace(r"\|", "|").split())


def words_of(command: str) -> list[str]:
    """Split a command as a shell does, up to a pipe or a redirection, settings left out."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words: list[str] = []
    for word in lexer:
        if word[0] in "|&<>;":
            break
        words.append(word)
    while words and re.match(r"[A-Z_]+=", words[0]):
        words.pop(0)
    return words


def program_of(span: str) -> str | None:
    """Return the program that a span calls; None where it is no command."""
    try:
        words = words_of(span)
    except ValueError:  # a quote of prose
        return None
    if not words or (words[0] in _TOOLS and len(words) == 1):
        return None
    return words[0] if words[0] in _TOOLS | _installed() else None


@cache
def _installed() -> frozenset[str]:
    return frozenset(point.name for point in entry_points(group="console_scripts"))


def require_options(words: list[str]) -> None:
    """Require that a call of ``ohlcv`` names a real command and real options.

    Values may be placeholders, and what a real call needs may be missing.

    Raises:
        click.UsageError: There is no such command or option.
    """
    if not words or words[0].startswith("-") or words[0] == "COMMAND":
        cli.make_parser(click.Context(cli)).parse_args(words)
        return
    command = _command(words[0])
    context = click.Context(command, info_name=words[0])
    command.make_parser(context).parse_args([word for word in words[1:] if word != "..."])


def require_call(words: list[str]) -> None:
    """Require that a call of ``ohlcv`` is whole: its options, their values, its arguments.

    Raises:
        click.UsageError: It would end with a usage error.
    """
    require_options(words)
    if "--help" not in words:
        _command(words[0]).make_context(words[0], words[1:])


def _command(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    if command is None:
        raise click.UsageError(f"ohlcv has no command {name!r}")
    return command


def options_of_ohlcv() -> set[str]:
    """Return every option of every command."""
    commands = [cli, *(_command(name) for name in cli.list_commands(click.Context(cli)))]
    return {
        name
        for command in commands
        for option in command.get_params(click.Context(command))
        for name in (*option.opts, *option.secondary_opts)
        if name.startswith("-")
    }


def targets_of_make() -> set[str]:
    """Return the targets that the Makefile declares."""
    declared = re.search(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert declared
    return set(declared[1].split())


def examples_of(help_text: str) -> list[str]:
    """Find the calls of ``ohlcv`` that a help text shows, without what it says of them."""
    shown = [re.split(r" {2,}", line.strip())[0] for line in help_text.splitlines()]
    calls = [line for line in shown if line.startswith("ohlcv ")]
    inside = [re.search(r"\$\((ohlcv [^)]+)\)", line) for line in shown]
    return calls + [found[1] for found in inside if found]
