"""The command ``ohlcv uploads``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

import click

from batch.core.errors import DataRefused, SettingsError
from batch.runtime.formats import count_text, printable
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.settings import WorkerSettings
from batch.storage.store import ObjectStore, open_store, require_lake
from fetchers.uploads.receipts import (
    SHOWN_ID,
    Receipt,
    State,
    all_receipts,
    find_receipt,
    needing_attention,
    release,
    send_back,
)

_ACTIONS = ("show", "retry", "release")
_NEXT = "the watcher of the drop folder, or on AWS the next update, does the rest"


@click.command(name="uploads")
@click.argument("action", required=False, type=click.Choice(_ACTIONS))
@click.argument("ids", nargs=-1, metavar="[ID]...")
@settings_options(WorkerSettings)
@output_options
def command(
    settings: WorkerSettings, output: Output, action: str | None, ids: tuple[str, ...]
) -> None:
    """List dropped files and what became of them, the newest first.

    Ends with exit code 3 while a file is held or quarantined and no later version of it was
    taken. An upload is named by the first digits of its id, at least four.

    \b
    show     all that is known of an upload: reason, remedy, examples, parts
    release  take a held upload as it is
    retry    read an upload again, after uploads.toml has changed

    \b
    Examples:
      ohlcv uploads
      ohlcv uploads show 3f9a12c4
      ohlcv uploads release 3f9a12c4 77b0
      ohlcv uploads retry 3f9a --lake s3://bucket/market
    """
    store = open_store(settings.lake)
    require_lake(store)
    if action is None:
        _list(store, settings, output)
        return
    if not ids:
        raise SettingsError(
            f"uploads {action}: name at least one upload; `ohlcv uploads` lists them"
        )
    found = [find_receipt(store, digits).receipt for digits in ids]
    if action == "show":
        _print(store, output, found)
        for one in found:
            _show(output, one)
        return
    now = datetime.now(UTC)
    change = release if action == "release" else send_back
    changed = [change(store, one.id, now=now) for one in found]
    _print(store, output, changed)
    done = "released" if action == "release" else "to be read again"
    output.say(f"{count_text(len(changed), 'uploads')} {done}; {_NEXT}")


def _list(store: ObjectStore, settings: WorkerSettings, output: Output) -> None:
    kept = all_receipts(store, workers=settings.workers)
    receipts = sorted((one.receipt for one in kept), key=lambda one: one.order, reverse=True)
    receipts.sort(key=lambda one: one.upload.uploaded_at, reverse=True)
    _print(store, output, receipts)
    if not receipts:
        output.say("no uploads")
        return
    output.table(
        ["id", "uploaded", "source", "file", "rows", "state", "reason"],
        [
            (
                one.id[:SHOWN_ID],
                f"{one.upload.uploaded_at.astimezone(UTC):%Y-%m-%d %H:%M}",
                printable(one.upload.source),
                printable(one.upload.name),
                f"{one.rows:,}",
                one.state,
                one.finding.code.replace("_", " ") if one.finding else "",
            )
            for one in receipts
        ],
    )
    waiting = needing_attention(receipts)
    if waiting:
        first = waiting[0]
        reason = printable(first.finding.sentence) if first.finding else str(first.state)
        raise DataRefused(
            f"{count_text(len(waiting), 'uploads')} held or quarantined:"
            f" {printable(first.upload.key)}: {reason};"
            f" `ohlcv uploads show {first.id[:SHOWN_ID]}` says what to do"
        )


def _print(store: ObjectStore, output: Output, receipts: Sequence[Receipt]) -> None:
    output.result({"lake": store.uri, "uploads": [to_json(one) for one in receipts]})


def to_json(receipt: Receipt) -> dict[str, object]:
    """Return a receipt as ``--json`` prints it."""
    finding, sessions = receipt.finding, receipt.sessions
    return {
        "id": receipt.id,
        "state": receipt.state,
        "source": receipt.upload.source,
        "file": receipt.upload.address,
        "version": receipt.upload.version,
        "size_bytes": receipt.upload.size_bytes,
        "uploaded_at": receipt.upload.uploaded_at,
        "received_at": receipt.received_at,
        "updated_at": receipt.updated_at,
        "attempts": receipt.attempts,
        "rows": receipt.rows,
        "refused_rows": receipt.refused_rows,
        "first": sessions.first if sessions else None,
        "last": sessions.last if sessions else None,
        "deliveries": receipt.deliveries,
        "released": receipt.released,
        "code": finding.code if finding else None,
        "sentence": finding.sentence if finding else None,
        "remedy": finding.remedy if finding else None,
        "line": finding.line if finding else None,
        "lines": list(finding.lines) if finding else [],
        "examples": [asdict(one) for one in receipt.examples],
        "parts": [
            {
                "name": part.name,
                "kind": part.kind,
                "layout": part.layout,
                "rows": part.rows,
                "refused_rows": part.refused_rows,
                "code": part.finding.code if part.finding else None,
                "sentence": part.finding.sentence if part.finding else None,
            }
            for part in receipt.parts
        ],
    }


def _show(output: Output, receipt: Receipt) -> None:
    for name, text in _facts(receipt):
        output.say(f"{name:<10}{printable(text)}", hanging=10)
    output.say("")


def _facts(receipt: Receipt) -> Iterator[tuple[str, str]]:
    upload = receipt.upload
    yield "id", receipt.id
    yield "file", f"{upload.address} ({count_text(upload.size_bytes, 'bytes')})"
    yield "source", upload.source
    yield "uploaded", _instant(upload.uploaded_at)
    yield "received", _instant(receipt.received_at)
    released = ", released" if receipt.released else ""
    yield "state", f"{receipt.state}{released}, since {_instant(receipt.updated_at)}"
    refused = f", {receipt.refused_rows:,} refused" if receipt.refused_rows else ""
    yield "rows", f"{receipt.rows:,}{refused}"
    if receipt.sessions:
        yield "sessions", f"{receipt.sessions.first} to {receipt.sessions.last}"
    if receipt.state is State.LANDED:
        yield "landed", count_text(receipt.deliveries or 0, "deliveries")
    if receipt.finding:
        line = f", line {receipt.finding.line}" if receipt.finding.line else ""
        yield "reason", f"{receipt.finding.code}{line}: {receipt.finding.sentence}"
        yield "remedy", receipt.finding.remedy
        for text in receipt.finding.lines:
            yield "row", text
    for one in receipt.examples:
        yield "example", f"{one.symbol} {one.session}: close {one.old:g} would become {one.new:g}"
    for part in receipt.parts:
        if part.name is not None:
            what = f"{part.finding.code}: {part.finding.sentence}" if part.finding else "read"
            yield "part", f"{part.name}: {part.rows:,} rows of {part.kind or 'nothing'}, {what}"
        if part.layout:
            yield "columns", part.layout


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
