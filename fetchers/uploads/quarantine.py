"""Quarantine: an upload that is refused is kept in the lake, with the reason beside it."""

from __future__ import annotations

import json
from datetime import UTC

from batch.core.errors import ObjectMissing
from batch.core.layout import quarantine_prefix
from batch.storage.store import ObjectStore
from fetchers.uploads.drop import Drop
from fetchers.uploads.receipts import Receipt, to_json

REASON = "reason.json"
OBJECT = "object"


def quarantine(lake: ObjectStore, drop: Drop, receipt: Receipt) -> None:
    """Keep a refused upload and why it is refused.

    The names of the objects are made of its day and its id; its own name is in the reason.
    """
    day = receipt.upload.uploaded_at.astimezone(UTC).date()
    prefix = quarantine_prefix(day, receipt.id)
    kept = True
    try:
        drop.copy(receipt.upload, lake, f"{prefix}{OBJECT}")
    except ObjectMissing:
        kept = False  # removed since: the reason is all that can be kept
    finding = json.loads(to_json(receipt))["finding"]
    reason = {
        "version": 1,
        "id": receipt.id,
        "source": receipt.upload.source,
        "file": receipt.upload.address,
        "uploaded_at": receipt.upload.uploaded_at.isoformat(),
        **finding,
        "object": f"{prefix}{OBJECT}" if kept else None,
    }
    lake.write(f"{prefix}{REASON}", json.dumps(reason, indent=1).encode())
