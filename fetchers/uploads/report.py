"""What became of some uploads, as a message to people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from batch.runtime.formats import count_text
from fetchers.uploads.receipts import SHOWN_ID, UNREAD, Receipt, State

_MOST_SHOWN: Final = 50
"""Uploads of one outcome that are named; a topic's message has at most 256 KiB."""

_LONGEST_TEXT: Final = 1000

_HEADS: Final = {
    State.LANDED: "Landed, and in the bars",
    State.NOTHING_NEW: "Nothing new: the lake has these rows already",
    State.HELD: "Held until you decide",
    State.QUARANTINED: "Quarantined",
}
_WORDS: Final = {State.NOTHING_NEW: "with nothing new"}


@dataclass(frozen=True, slots=True)
class Message:
    """A message: its subject in ASCII, of under 100 characters, and its text."""

    subject: str
    text: str


def message_of(receipts: Iterable[Receipt], *, pipeline: str, lake: str) -> Message | None:
    """Return the message about uploads that are done, or held; None where none are.

    Args:
        receipts: Of any uploads, in any order.
        pipeline: Prefix of the pipeline's names.
        lake: Root of the lake, for the commands.
    """
    groups: dict[State, list[Receipt]] = {state: [] for state in _HEADS}
    for one in sorted(receipts, key=lambda receipt: receipt.order):
        if one.state in groups:
            groups[one.state].append(one)
    counts = [
        f"{len(group):,} {_WORDS.get(state, state.value)}"
        for state, group in groups.items()
        if group
    ]
    if not counts:
        return None
    lines = [f"Uploads of {lake}: {', '.join(counts)}."]
    for state, group in groups.items():
        if group:
            lines += ["", f"{_HEADS[state]}:"]
            for one in group[:_MOST_SHOWN]:
                lines += _lines(one, lake)
            if len(group) > _MOST_SHOWN:
                more = len(group) - _MOST_SHOWN
                lines.append(f"  and {more:,} more: ohlcv uploads --lake {lake}")
    return Message(f"{pipeline} uploads: {', '.join(counts)}", "\n".join([*lines, ""]))


def _lines(receipt: Receipt, lake: str) -> Iterator[str]:
    shown_id = receipt.id[:SHOWN_ID]
    yield f"  {_cut(receipt.upload.key)} ({shown_id}){_counts(receipt)}"
    finding = receipt.finding
    if finding is None or (receipt.state is State.LANDED and receipt.released):
        return
    line = f", line {finding.line:,}" if finding.line else ""
    yield f"    {finding.code}{line}: {_cut(finding.sentence)}"
    for text in finding.lines[:3]:
        yield f"      {_cut(text)}"
    for example in receipt.examples[:3]:
        old, new = (_price(value) for value in (example.old, example.new))
        yield f"      {example.symbol} {example.session}: close {old} would become {new}"
    yield f"    what to do: {_cut(finding.remedy)}"
    if receipt.state is State.HELD:
        verb = "retry" if finding.code in UNREAD else "release"
        yield f"    ohlcv uploads {verb} {shown_id} --lake {lake}"


def _counts(receipt: Receipt) -> str:
    if not receipt.rows:
        return ""
    found = receipt.sessions
    refused = f", {receipt.refused_rows:,} refused" if receipt.refused_rows else ""
    sessions = f", sessions {found.first} to {found.last}" if found else ""
    return f": {count_text(receipt.rows, 'rows')}{refused}{sessions}"


def _price(value: float | None) -> str:
    return "none" if value is None else f"{value:g}"


def _cut(text: str) -> str:
    """Keep a text of a stranger's file to one line of a bearable length."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}..."
