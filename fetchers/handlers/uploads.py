"""The Lambda functions of uploads: one inspects, the other settles, finishes and sweeps.

The first reads the bytes of strangers and may write receipts and the staging area alone; the
second is trusted with the lake and never reads an upload.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import AwareDatetime, Field

from batch.core.errors import Interrupted
from fetchers.handlers.shell import (
    DeadlineNear,
    FunctionEvent,
    LambdaContext,
    near_deadline,
    read_event,
    set_up_logs,
)

if TYPE_CHECKING:
    from batch.runtime.run import Run
    from batch.storage.store import ObjectStore
    from fetchers.uploads.bucket import BucketDrop
    from fetchers.uploads.drop import Upload
    from fetchers.uploads.receipts import Receipt

_LARGEST_ANSWER_BYTES: Final = 200_000
"""A state machine passes on at most 256 KiB."""

_MOST_NAMED: Final = 20

_DEAD_AFTER: Final = timedelta(hours=2)
"""Age from which an upload that left no receipt may have had an inspection that died."""


class UploadEvent(FunctionEvent):
    """A version of an object, as the state machine names it; ``id`` is that of the upload."""

    id: str = ""
    bucket: str
    key: str
    version: str
    size_bytes: int = Field(ge=0)
    uploaded_at: AwareDatetime

    @property
    def upload(self) -> Upload | None:
        """The upload; None for an object that is none."""
        from fetchers.uploads.bucket import upload_of  # noqa: PLC0415

        at = self.uploaded_at.astimezone(UTC)
        return upload_of(self.bucket, self.key, self.version, self.size_bytes, at)


class SettleEvent(FunctionEvent):
    """What to do; ``run`` names the execution that does it."""

    do: Literal["settle", "finish", "sweep"]
    run: str = ""


def inspect(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Inspect an upload; return its ``state``, or ``ignored`` for what is not an upload.

    Raises:
        OhlcvError: It could not be inspected; whatever is wrong with the file is an answer.
    """
    set_up_logs("inspect-upload", context)
    return inspect_event(read_event(UploadEvent, event))


def inspect_event(asked: UploadEvent) -> dict[str, Any]:
    """Inspect the upload of an event; see :func:`inspect`."""
    # Lambda counts the import of a handler as its start: what takes long is imported here.
    from batch.core.sessions import load_calendar  # noqa: PLC0415
    from batch.runtime.progress import LOGGER  # noqa: PLC0415
    from batch.runtime.settings import Settings  # noqa: PLC0415
    from batch.storage.store import open_store  # noqa: PLC0415
    from fetchers.uploads.bucket import BucketDrop  # noqa: PLC0415
    from fetchers.uploads.inspect import inspect as inspect_upload  # noqa: PLC0415

    upload = asked.upload
    if upload is None:
        LOGGER.info("%s: no upload: hidden, unfinished or empty", asked.key)
        return {"state": "ignored"}
    lake = open_store(Settings.read().lake)
    receipt = inspect_upload(
        lake,
        BucketDrop.named(asked.bucket),
        upload,
        calendar=load_calendar(),
        now=datetime.now(UTC),
    )
    reason = f": {receipt.finding.sentence}" if receipt.finding else ""
    LOGGER.info("%s: %s%s", upload.key, receipt.state, reason)
    return {"state": str(receipt.state), "id": receipt.id}


def settle(event: Any, context: LambdaContext) -> dict[str, Any]:
    """Settle, finish or sweep.

    ``settle`` lands what is staged and answers how many uploads ``landed``; ``finish``, once the
    bars are made, answers with a ``subject`` and a ``message``, or where there is nothing to
    report with ``news`` false; ``sweep`` answers events of the uploads that were ``missed``, how
    many uploads are ``waiting`` to be settled, and how many are ``stuck``.

    Raises:
        DeadlineNear: The function's time was about to end; the same event continues.
        OhlcvError: Something could not be done.
    """
    set_up_logs("settle-uploads", context)
    asked = read_event(SettleEvent, event)

    from batch.core.errors import SettingsError  # noqa: PLC0415
    from batch.runtime.output import Output  # noqa: PLC0415
    from batch.runtime.run import job_run  # noqa: PLC0415
    from batch.runtime.settings import MemorySettings  # noqa: PLC0415
    from batch.storage.s3 import S3Store  # noqa: PLC0415
    from batch.storage.store import open_store  # noqa: PLC0415
    from fetchers.uploads.bucket import BucketDrop  # noqa: PLC0415

    settings = MemorySettings.read()
    lake = open_store(settings.lake)
    if not isinstance(lake, S3Store):
        raise SettingsError(f"OHLCV_LAKE {settings.lake}: expected s3://bucket/prefix")
    drop = BucketDrop.named(lake.bucket)
    with job_run(f"{asked.do}-uploads", lake, settings, Output(as_json=True)) as run:
        if asked.do == "settle":
            return _settle(run, lake, drop, asked.run, context, settings.memory_limit)
        if asked.do == "finish":
            return _finish(run, lake, asked.run)
        return _sweep(run, lake, drop)


def _settle(
    run: Run,
    lake: ObjectStore,
    drop: BucketDrop,
    name: str,
    context: LambdaContext,
    memory_limit: int | None,
) -> dict[str, Any]:
    from batch.core.sessions import load_calendar  # noqa: PLC0415
    from batch.runtime.run_report import RunOutcome  # noqa: PLC0415
    from fetchers.uploads.news import begin_news, keep_settled  # noqa: PLC0415
    from fetchers.uploads.settle import settle as settle_uploads  # noqa: PLC0415

    begin_news(lake, name)
    try:
        settled = settle_uploads(
            lake,
            drop,
            calendar=load_calendar(),
            now=datetime.now(UTC),
            progress=run.progress,
            stop_requested=near_deadline(context),
            memory_limit=memory_limit,
        )
    except Interrupted as err:
        raise DeadlineNear("the function was about to time out; the next try goes on") from err
    keep_settled(lake, name, settled)
    counts = {
        "landed": len(settled.landed),
        "nothing_new": len(settled.nothing_new),
        "held": len(settled.held),
        "quarantined": len(settled.quarantined),
    }
    run.outcome = RunOutcome(counts)
    return counts


def _finish(run: Run, lake: ObjectStore, name: str) -> dict[str, Any]:
    from batch.runtime.environment import environment  # noqa: PLC0415
    from batch.runtime.run_report import RunOutcome  # noqa: PLC0415
    from fetchers.uploads.news import finish_news, settled_in  # noqa: PLC0415
    from fetchers.uploads.report import message_of  # noqa: PLC0415
    from fetchers.uploads.settle import finish as finish_uploads  # noqa: PLC0415

    done = finish_uploads(lake, settled_in(lake, name), now=datetime.now(UTC))
    run.outcome = RunOutcome({"landed": len(done)})
    pipeline = environment().get("OHLCV_PIPELINE", "ohlcv")
    message = message_of(finish_news(lake, name), pipeline=pipeline, lake=lake.uri)
    if message is None:
        return {"news": False}
    return {"news": True, "subject": message.subject, "message": message.text}


def _sweep(run: Run, lake: ObjectStore, drop: BucketDrop) -> dict[str, Any]:
    from batch.runtime.run_report import RunOutcome  # noqa: PLC0415
    from fetchers.uploads.receipts import read_receipts  # noqa: PLC0415
    from fetchers.uploads.sweep import OVERDUE_AFTER, sweep  # noqa: PLC0415

    now = datetime.now(UTC)
    swept = sweep(lake, drop, now=now)
    ids = [one.id for one in swept.missed]
    receipts = {kept.receipt.id: kept.receipt for kept in read_receipts(lake, ids)}
    unseen = [one for one in swept.missed if one.id not in receipts]
    stuck = [
        *(one for one in unseen if now - one.uploaded_at > OVERDUE_AFTER),
        *(one.upload for one in swept.overdue if now - one.updated_at > OVERDUE_AFTER),
    ]
    waiting = [one for one in swept.waiting if now - one.updated_at <= OVERDUE_AFTER]
    counts = {
        "uploads_missed": len(swept.missed),
        "uploads_waiting": len(waiting),
        "uploads_stuck": len(stuck),
    }
    run.outcome = RunOutcome(counts)
    for upload in stuck[:_MOST_NAMED]:
        run.progress.note(f"{upload.key} ({upload.id[:12]}) has waited for hours")
    events: list[dict[str, Any]] = []
    size_bytes = 0
    for upload in swept.missed:
        event = _event_of(upload, _another_try(upload, receipts.get(upload.id), now))
        size_bytes += len(json.dumps(event))
        if size_bytes > _LARGEST_ANSWER_BYTES:
            break  # the next sweep finds the rest
        events.append(event)
    return {"missed": events, "waiting": len(waiting), "stuck": len(stuck)}


def _another_try(upload: Upload, receipt: Receipt | None, now: datetime) -> str:
    """Return what distinguishes another inspection of an upload from the first; empty for that.

    One that a person sent back is inspected by the next sweep, one whose inspection died once
    a day. A name of an execution has eight characters left.
    """
    if receipt and receipt.updated_at > receipt.claimed_at:
        return f"{now:%y%m%d%H}"
    return f"{now:%Y%m%d}" if receipt or now - upload.uploaded_at > _DEAD_AFTER else ""


def _event_of(upload: Upload, again: str) -> dict[str, Any]:
    """Return an upload as S3's own event names it; ``again`` makes another inspection of it."""
    created = {"key": upload.key, "version-id": upload.version, "size": upload.size_bytes}
    event = {
        "time": upload.uploaded_at.isoformat(),
        "detail": {"bucket": {"name": upload.root}, "object": created},
    }
    return {**event, "again": again} if again else event
