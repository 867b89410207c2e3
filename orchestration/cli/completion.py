"""The command ``completion``: the script that completes ``ohlcv`` in a shell."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
from click.shell_completion import BashComplete, FishComplete, ShellComplete, ZshComplete

from batch.core.errors import OhlcvError
from batch.core.layout import INTERVALS, Period
from batch.lake.arguments import interval_name
from batch.runtime.settings import Settings
from batch.storage.local import LocalStore
from batch.storage.store import open_store

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


completing_intervals = completing([*map(interval_name, (1, *INTERVALS)), *Period])


def completing_symbols(
    context: click.Context, _parameter: click.Parameter, begun: str
) -> list[str]:
    """Complete to a symbol of the lake that the command would read, where that is a folder.

    What goes wrong is passed over: a shell shows nothing but names while somebody types.
    """
    from batch.lake.carry import symbols_seen  # noqa: PLC0415 - brings Polars, at the Tab key alone

    try:
        store = open_store(Settings.read(lake=context.params.get("lake")).lake)
        seen = symbols_seen(store) if isinstance(store, LocalStore) else []
    except OhlcvError:
        return []
    return [symbol for symbol in seen if symbol.startswith(begun)]


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
