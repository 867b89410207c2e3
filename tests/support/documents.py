"""Running what a Markdown document shows, as its reader would.

Fenced ``python`` and ``sh`` blocks run in the order of the page, in
one folder, with one Python namespace and one shell environment. A fenced ``text`` block that
follows a block is what it prints. ``DOCS=update`` writes what was printed into the
page instead of comparing.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(?P<language>\w*)[^\n]*\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL)
_SETS_UP = ("make ", "pip install")
"""Lines that install the project: they ran before any test could."""


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a document.

    Attributes:
        language: What stands behind the fence.
        content: The lines between the fences.
        line: Line of the opening fence, from 1.
        start: Position of the content in the document.
        gap: Text between the block before and this one.
    """

    language: str
    content: str
    line: int
    start: int
    gap: str


def blocks_of(text: str) -> Iterator[Block]:
    """Find the fenced blocks of a document, in order."""
    end = 0
    for found in _FENCE.finditer(text):
        yield Block(
            found["language"],
            found["content"],
            text.count("\n", 0, found.start()) + 1,
            found.start("content"),
            text[end : found.start()],
        )
        end = found.end()


class Reader:
    """Somebody who types everything that a document shows, in a folder of their own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = {**environment, "PYTHONPATH": str(REPOSITORY)}
        self.namespace: dict[str, Any] = {"__name__": "__document__"}
        commands = folder / ".commands"
        commands.mkdir()
        ohlcv = commands / "ohlcv"
        ohlcv.write_text(
            f'#!/bin/sh\nexec {sys.executable} -c "from orchestration.cli.main import main;'
            ' main()" "$@"\n'
        )
        ohlcv.chmod(0o755)
        self.environment["PATH"] = f"{commands}:{self.environment['PATH']}"

    def run(self, block: Block, named: str) -> str:
        """Run a block and return what it printed on standard output."""
        if block.language == "python":
            return self._run_python(block, named)
        return self._run_shell(block, named)

    def _run_python(self, block: Block, named: str) -> str:
        source = "\n" * block.line + block.content
        printed = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(printed):
            exec(compile(source, named, "exec"), self.namespace)
        return printed.getvalue()

    def _run_shell(self, block: Block, named: str) -> str:
        lines = block.content.splitlines(keepends=True)
        script = "".join(line for line in lines if not line.startswith(_SETS_UP))
        kept = self.folder / ".environment"
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"{script}\nenv -0 > {kept}"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert ran.returncode == 0, (
            f"{named}:{block.line}: exit code {ran.returncode}\n{script}\n{ran.stdout}{ran.stderr}"
        )
        pairs = kept.read_text().rstrip("\0").split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs)
        return ran.stdout


def run_document(path: Path, reader: Reader) -> int:
    """Run every block of a document and compare what it prints with what it shows.

    Returns:
        How many blocks ran.
    """
    named = path.name
    update = os.environ.get("DOCS") == "update"
    text = path.read_text()
    blocks = list(blocks_of(text))
    shown: list[tuple[Block, str]] = []
    count = 0
    for place, block in enumerate(blocks):
        if block.language not in {"python", "sh"}:
            continue
        printed = _tidy(reader.run(block, named))
        count += 1
        after = blocks[place + 1] if place + 1 < len(blocks) else None
        if after is None or after.language != "text" or after.gap.strip():
            continue
        if update:
            shown.append((after, printed))
        else:
            assert printed == _tidy(after.content), (
                f"{named}:{after.line}: it shows\n{after.content}\nbut it prints\n{printed}"
            )
    for block, printed in reversed(shown):
        text = text[: block.start] + printed + text[block.start + len(block.content) :]
    if update:
        path.write_text(text)
    return count


def _tidy(text: str) -> str:
    """Drop spaces at the ends of lines, and empty lines around them all."""
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return lines.strip("\n") + "\n"
