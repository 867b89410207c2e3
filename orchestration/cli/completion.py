"""The command ``completion``: the script that completes ``ohlcv`` in a shell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

SHELLS: dict[str, type[ShellComplete]] = {
    "bash": BashComplete,
    "zsh": ZshComplete,
    "fish": FishComplete,
}


Completing = Callable[[click.Context, click.Parameter, str], list[str]]


def completing(names: Sequence[str]) -> Completing:
    """Return what lets a shell complete an option's value to one of some names."""

    def completed(_context: click.Context, _option: click.Parameter, begun: str) -> list[str]:
        return [name for name in names if name.startswith(begun)]

    return completed


@click.command(name="completion")
@click.argument("shell", type=click.Choice([*SHELLS]))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    \b
    Examples:
      echo 'eval "$(ohlcv completion bash)"' >> ~/.bashrc
      echo 'eval "$(ohlcv completion zsh)"' >> ~/.zshrc    # below compinit
      ohlcv completion fish > ~/.config/fish/completions/ohlcv.fish
    """
    ohlcv = context.find_root().command
    click.echo(SHELLS[shell](ohlcv, {}, "ohlcv", "_OHLCV_COMPLETE").source())
