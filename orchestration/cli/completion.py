"""The command ``completion``: the script that completes ``ohlcv`` in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(name="completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes commands and options in SHELL.

    \b
    Examples:
      echo 'eval "$(ohlcv completion bash)"' >> ~/.bashrc
      echo 'eval "$(ohlcv completion zsh)"' >> ~/.zshrc    # below compinit
      ohlcv completion fish > ~/.config/fish/completions/ohlcv.fish
    """
    from orchestration.cli.main import cli  # noqa: PLC0415 - main finds this module by its name

    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101 - click has all three
    click.echo(completion(cli, {}, "ohlcv", "_OHLCV_COMPLETE").source())
