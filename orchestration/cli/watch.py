"""The command ``ohlcv watch``."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from batch.core.errors import DataRefused, RetryMayHelp
from batch.runtime.formats import count_text, listed_text, printable
from batch.runtime.options import output_options, settings_options
from batch.runtime.output import Output
from batch.runtime.run import StopSwitch, job_run
from batch.runtime.run_report import RunOutcome, summary_by_table
from batch.storage.store import ObjectStore, open_store
from fetchers.uploads.folder import FolderDrop, require_apart
from fetchers.uploads.lease import sole_watcher
from fetchers.uploads.receipts import SHOWN_ID, Receipt
from fetchers.uploads.waking import alarm_of
from orchestration.cli.uploads import to_json
from orchestration.cli.watcher import Pass, Watcher, WatchSettings

_UNITS_S: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0}
_LONGEST_S: Final = 3600.0


class FilesRefused(DataRefused):
    """Something of a pass was held, quarantined or not read; it was reported."""


def _seconds(_context: click.Context, _option: click.Parameter, text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(ms|s|min|h|)", text.strip())
    seconds = float(found[1]) * _UNITS_S[found[2]] if found else -1.0
    if not 0 <= seconds <= _LONGEST_S:
        raise click.BadParameter(f"{text!r}: expected a time up to 1h, such as 2s, 500ms or 1min")
    return seconds


@click.command(name="watch")
@click.argument("drop", metavar="DROP", type=click.Path())
@click.option("--once", is_flag=True, help="Bring in what is there, then end.")
@click.option(
    "--settle",
    "settle_s",
    metavar="TIME",
    default="2s",
    callback=_seconds,
    help="How long a file must hold still before it is read; one that lacks its end ten times as"
    " long.",
)
@click.option(
    "--poll",
    is_flag=True,
    help="List the folder from time to time instead of waiting for the system to report changes,"
    " which it does not on NFS, CIFS and WSL mounts.",
)
@settings_options(WatchSettings)
@output_options
def command(
    settings: WatchSettings, output: Output, drop: str, once: bool, settle_s: float, poll: bool
) -> None:
    """Bring in the files that are dropped into a folder, and update the bars.

    A file below DROP/NAME/ counts as sent by NAME. It is read once it is no longer being
    written, and becomes deliveries, as by `ohlcv import`; then the bars are made. A file that
    cannot be trusted is held or quarantined, with the reason. Nothing in DROP is moved or
    removed: the lake remembers what was done. Names that begin with . or ~ or end in .part,
    .tmp or .crdownload are left alone. One process at a time may watch for a lake.

    \b
    Examples:
      ohlcv watch drop
      ohlcv watch drop --once --lake s3://bucket/market
      ohlcv watch /mnt/nas/drop --poll --settle 30s
    """
    store, folder = open_store(settings.lake), FolderDrop(Path(drop))
    folder.require()
    require_apart(folder, store)
    store.exists()
    with (
        StopSwitch().armed() as stop_requested,
        sole_watcher(store, _now) as lease,
        alarm_of(folder.root, poll=poll or once) as alarm,
    ):
        watcher = Watcher(
            store,
            folder,
            settings,
            settle_s=settle_s,
            alarm=alarm,
            lease=lease,
            clock=_now,
            time_s=time.monotonic,
            stop_requested=stop_requested,
        )

        def bring_in() -> None:
            with job_run("watch", store, settings, output, stop=stop_requested) as run:
                done = watcher.bring_in(run.progress, wait_for_all=once)
                run.outcome = _outcome(done)
                _report(output, store, folder, done)
                _require_success(done)

        def bring_in_and_go_on() -> None:
            try:
                bring_in()
            except FilesRefused as err:
                output.say(f"{err}; still watching")

        if not once:
            output.say(f"watching {printable(folder.root)} for {store.uri}; Ctrl-C ends it")
            watcher.watch(bring_in_and_go_on)
        elif watcher.has_work_left() or watcher.has_files():
            bring_in()
        else:
            _report(output, store, folder, Pass())


def _now() -> datetime:
    return datetime.now(UTC)


def _outcome(done: Pass) -> RunOutcome:
    return RunOutcome(
        {
            "landed": len(done.landed),
            "nothing_new": len(done.nothing_new),
            "held": len(done.held),
            "quarantined": len(done.quarantined),
            "rows": sum(one.rows for one in done.landed),
            "refused_rows": sum(one.refused_rows for one in done.landed),
            "newest_session": done.newest,
        },
        published=done.published,
        problems=done.problems,
    )


def _report(output: Output, store: ObjectStore, folder: FolderDrop, done: Pass) -> None:
    uploads = [*done.landed, *done.nothing_new, *done.held, *done.quarantined]
    output.result(
        {
            "lake": store.uri,
            "drop": folder.root,
            "uploads": [to_json(one) for one in uploads],
            **_outcome(done).to_json(),
        }
    )
    if done.landed:
        rows = sum(one.rows for one in done.landed)
        refused = sum(one.refused_rows for one in done.landed)
        output.say(
            f"landed {count_text(len(done.landed), 'files')}: {_names(done.landed)};"
            f" {count_text(rows, 'rows')}, {refused:,} refused"
        )
    if done.nothing_new:
        output.say(
            f"nothing new in {count_text(len(done.nothing_new), 'files')}:"
            f" {_names(done.nothing_new)}"
        )
    for word, receipts in (("held", done.held), ("quarantined", done.quarantined)):
        for one in receipts:
            output.say(f"{word} {_name(one)} ({one.id[:SHOWN_ID]}): {_why(one)}", hanging=2)
    if tables := summary_by_table(done.published):
        output.table(["table", "years written", "rows", "size"], tables)
    if done.newest:
        output.say(f"newest session {done.newest} in {store.uri}")
    if done == Pass():
        output.say(f"nothing to do: no new files in {printable(folder.root)}")


def _require_success(done: Pass) -> None:
    refused = [*done.held, *done.quarantined]
    parts = [
        f"{count_text(len(receipts), 'files')} {word}: {_names(receipts)}"
        for word, receipts in (("held", done.held), ("quarantined", done.quarantined))
        if receipts
    ]
    if refused or done.problems:
        raise FilesRefused("; ".join([*parts, *done.problems[:1], *_more(done.problems[1:])]))
    if done.moving:
        named = listed_text([printable(one.key) for one in done.moving], 3)
        raise RetryMayHelp(f"still being written: {named}; run it again later")


def _more(problems: Sequence[str]) -> list[str]:
    return [f"and {len(problems)} more"] if problems else []


def _names(receipts: Sequence[Receipt]) -> str:
    return listed_text([_name(one) for one in receipts], 3)


def _name(receipt: Receipt) -> str:
    return printable(receipt.upload.key)


def _why(receipt: Receipt) -> str:
    finding = receipt.finding
    if finding is None:
        return "no reason was kept"
    where = f"line {finding.line}: " if finding.line else ""
    return f"{where}{finding.sentence}; {finding.remedy}"
