"""Running what a Markdown document shows, as its reader would.

Fenced ``python`` and ``sh`` blocks run in the order of the page, in
one folder, with one Python namespace and one shell environment. A fenced ``text`` block that
follows a block is what it prints. ``DOCS=update`` writes what was printed into the
page instead of comparing. No line is passed over: where one cannot run as it stands, a table
of the test says what runs in its place, and why.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.command_line import put_on_path

REPOSITORY = Path(__file__).parents[2]

RUNS = frozenset({"python", "sh"})
"""Languages of the blocks that run."""

_FENCE = re.compile(
    r"^```(?P<language>[^\s`]*)[^\n]*\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL
)


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


def prose_of(text: str) -> str:
    """Return a document without its fenced blocks."""
    return _FENCE.sub("", text)


@dataclass(frozen=True, slots=True)
class StandIn:
    """What runs in the place of a line that cannot run in a test as it stands.

    Attributes:
        runs: The line that runs.
        because: Why the line itself does not.
    """

    runs: str
    because: str


@dataclass(eq=False)
class Reader:
    """Somebody who types everything that a document shows, in a folder of their own.

    Attributes:
        folder: Where they are.
        environment: The environment of their shell.
        stand_ins: Lines that they type otherwise.
        installed: Whether ``ohlcv`` is on their path already; else it is this repository's.
    """

    folder: Path
    environment: dict[str, str]
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)
    installed: bool = False
    namespace: dict[str, Any] = field(default_factory=lambda: {"__name__": "__document__"})
    _groups: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.installed:
            return
        self.environment["PYTHONPATH"] = str(REPOSITORY)
        commands = put_on_path(self.folder / ".commands")
        self.environment["PATH"] = f"{commands}:{self.environment['PATH']}"

    def run(self, block: Block, named: str) -> str:
        """Run a block and return what it printed on standard output."""
        if block.language == "python":
            return self._run_python(block, named)
        return self._run_shell(block, named)

    def leave(self) -> None:
        """End what a page has left running in the background."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)

    def _run_python(self, block: Block, named: str) -> str:
        source = "\n" * block.line + block.content
        printed = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(printed):
            exec(compile(source, named, "exec"), self.namespace)
        return printed.getvalue()

    def _run_shell(self, block: Block, named: str) -> str:
        script = "".join(map(self._typed, block.content.splitlines(keepends=True)))
        kept = self.folder / ".environment"
        out, err = self.folder / ".out", self.folder / ".err"
        # Files, not pipes: what runs in the background would hold a pipe open.
        with out.open("w") as stdout, err.open("w") as stderr:
            shell = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", f"{script}\nenv -0 > {kept}"],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            self._groups.append(shell.pid)
            code = shell.wait(timeout=300)
        printed = out.read_text()
        assert code == 0, (
            f"{named}:{block.line}: exit code {code}\n{script}\n{printed}{err.read_text()}"
        )
        pairs = kept.read_text().rstrip("\0").split("\0")
        self.environment = dict(pair.split("=", 1) for pair in pairs)
        return printed

    def _typed(self, line: str) -> str:
        stand_in = self.stand_ins.get(command_of(line))
        return f"{stand_in.runs}\n" if stand_in else line


def command_of(line: str) -> str:
    """Return a line of a shell block without the comment behind it."""
    return re.sub(r"\s+#\s.*$", "", line.rstrip())


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
        if block.language not in RUNS:
            continue
        printed = _tidy(reader.run(block, named))
        count += 1
        after = printed_by(blocks, place)
        if after is None:
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


def printed_by(blocks: list[Block], place: int) -> Block | None:
    """Return the ``text`` block that shows what the block at a place prints, if there is one."""
    after = blocks[place + 1] if place + 1 < len(blocks) else None
    if after is None or after.language != "text" or after.gap.strip():
        return None
    return after


def _tidy(text: str) -> str:
    """Drop spaces at the ends of lines, and empty lines around them all."""
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return lines.strip("\n") + "\n"
