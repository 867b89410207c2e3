"""The command ``ohlcv``: finds its subcommands without importing them."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Final

import click
from click.shell_completion import CompletionItem

from batch.runtime.command import run_main
from batch.version import __version__

SECTIONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Fill a lake": {
        "demo": ("orchestration.cli.demo", "Build a lake from a synthetic exchange."),
        "import": ("orchestration.cli.imports", "Import deliveries from files."),
        "fetch": ("orchestration.cli.fetch", "Fetch bars and reference data from Polygon."),
        "uploads": ("orchestration.cli.uploads", "Show what became of dropped files."),
        "vendor-stub": ("simulation.vendor_stub", "Stand in for Polygon, without a key."),
    },
    "Every day": {
        "run": ("orchestration.cli.run", "Fetch, consolidate and resample: the daily run."),
        "watch": ("orchestration.cli.watch", "Bring in files that are dropped into a folder."),
    },
    "Build bars": {
        "consolidate": ("batch.consolidator.command", "Merge deliveries into daily bars."),
        "resample": ("batch.resampler.command", "Fold daily bars into bars of N sessions."),
    },
    "Inspect it": {
        "status": ("orchestration.cli.status", "Show how fresh and complete the lake is."),
        "chart": ("orchestration.cli.chart", "Draw the candles of a symbol."),
        "report": ("orchestration.cli.report", "Write a one-page report on the lake."),
        "sql": ("orchestration.cli.sql", "Run a DuckDB query over the lake."),
        "export": ("orchestration.cli.export", "Write bars to a file: CSV or Parquet."),
    },
    "Check it": {
        "quality": ("orchestration.cli.quality", "Find bars that look wrong."),
        "verify": ("orchestration.cli.verify", "Recompute every bar with another engine."),
    },
    "Maintain it": {
        "vacuum": ("orchestration.cli.vacuum", "Remove deliveries that newer ones supersede."),
        "completion": ("orchestration.cli.completion", "Complete commands in your shell."),
    },
}


_COMMANDS: Final = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class LazyGroup(click.Group):
    """Imports a subcommand when it is called; its one-line help stands here."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names in the order of the sections."""
        return list(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Import the module that holds a subcommand, as its ``command``."""
        if cmd_name not in _COMMANDS:
            return None
        module, _ = _COMMANDS[cmd_name]
        import_module("fetchers.settings")  # so that its variables are known to every command
        command: click.Command = import_module(module).command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete names of subcommands, without importing them, and own options."""
        return [
            CompletionItem(name, help=text)
            for name, (_, text) in _COMMANDS.items()
            if name.startswith(incomplete)
        ] + click.Command.shell_complete(self, ctx, incomplete)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the subcommand, or fail with the names that are near."""
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], _COMMANDS, n=2, cutoff=0.6)
            meant = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the sections without importing anything, their columns aligned."""
        widest = max(map(len, _COMMANDS))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(widest), text) for name, (_, text) in section.items()]
                )


@click.command(
    cls=LazyGroup,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 80,
        "show_default": True,
    },
    epilog="""\b
Start here, without a key or a network:
  ohlcv demo --lake demo-lake
  ohlcv chart NUD --lake demo-lake
  ohlcv COMMAND --help              what a command does, with examples

\b
An option that names an environment variable can be set there instead:
  export OHLCV_LAKE=s3://bucket/market

\b
Exit codes: 0 done, 1 bug, 2 usage or settings, 3 data refused, 75 try again.
Shell completion: ohlcv completion --help""",
)
@click.version_option(__version__, prog_name="ohlcv")
def cli() -> None:
    """Turn daily US stock bars into trustworthy bars of N sessions."""


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(run_main(cli, name="ohlcv"))
