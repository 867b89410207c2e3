"""How the columns of each source's last files were read, to notice when they change."""

from __future__ import annotations

import hashlib
import json

from batch.core.errors import ObjectMissing
from batch.core.layout import instant_text, layout_key
from batch.storage.store import ObjectStore
from fetchers.uploads.receipts import Receipt


def layout_known(lake: ObjectStore, source: str, kind: str) -> str | None:
    """Return how the columns of the last file of a source were read; None before the first."""
    try:
        found = json.loads(lake.read(_key(source, kind)))
    except ObjectMissing:
        return None
    return str(found["layout"])


def keep_layouts(lake: ObjectStore, landed: Receipt) -> None:
    """Remember the layouts of an upload that landed, unless a later one did before it."""
    order = [instant_text(landed.received_at), instant_text(landed.upload.uploaded_at)]
    for part in landed.parts:
        if part.kind is None or part.layout is None or not part.is_staged:
            continue
        key = _key(landed.upload.source, part.kind)
        try:
            before = json.loads(lake.read(key))
        except ObjectMissing:
            before = {"order": []}
        if before["order"] <= order:
            content = {"layout": part.layout, "order": order}
            lake.write(key, json.dumps(content).encode())


def _key(source: str, kind: str) -> str:
    text = f"{source}|{kind}"
    return layout_key(hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest())
