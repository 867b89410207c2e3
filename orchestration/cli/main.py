"""The command ``ohlcv``: finds its subcommands without importing them."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

import click

from batch.console.command import run_main
from batch.version import __version__

SECTIONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Fill a lake": {
        "demo": ("orchestration.cli.demo", "Make a whole lake from a synthetic exchange."),
        "import": ("orchestration.cli.imports", "Bring in deliveries from files."),
    },
    "Make bars": {
        "consolidate": ("batch.consolidator.command", "Merge deliveries into daily bars."),
        "resample": ("batch.resampler.command", "Fold daily bars into bars of N sessions."),
    },
    "Look at it": {
        "status": ("orchestration.cli.status", "Tell how fresh and whole the lake is."),
        "quality": ("orchestration.cli.quality", "Look for bars that are not what they seem."),
        "sql": ("orchestration.cli.sql", "Run a DuckDB query over the lake."),
        "vacuum": ("orchestration.cli.vacuum", "Remove deliveries that newer ones supersede."),
    },
    "Trust them": {
        "verify": ("batch.verifier.command", "Recompute every bar with another engine."),
    },
}


class LazyGroup(click.Group):
    """Imports a subcommand when it is called; its one-line help stands here."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the sections."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import the module that holds a subcommand, as its ``command``."""
        for section in SECTIONS.values():
            if cmd_name in section:
                command = import_module(section[cmd_name][0]).command
                assert isinstance(command, click.Command)  # noqa: S101 - tells the type checker
                return command
        return None

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the sections without importing anything."""
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in section.items()])


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog="Try `ohlcv demo`: it needs no key and no network.",
)
@click.version_option(__version__, prog_name="ohlcv")
def cli() -> None:
    """Turn daily US stock bars into trustworthy bars of N sessions."""


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run_main(cli, name="ohlcv"))
