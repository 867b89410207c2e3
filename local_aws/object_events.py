"""S3's part: an event for every object that is created, in the shape that AWS sends it.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
"""

from __future__ import annotations

import secrets
import string
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final
from xml.etree.ElementTree import SubElement, fromstring, tostring

from local_aws.events import event_of
from local_aws.interpreter import patch

SOURCE_ADDRESS: ContextVar[str] = ContextVar("SOURCE_ADDRESS", default="127.0.0.1")
"""Where the request that is answered came from."""

_REASONS: Final = {
    "s3:ObjectCreated:Put": "PutObject",
    "s3:ObjectCreated:Post": "POST Object",
    "s3:ObjectCreated:Copy": "CopyObject",
    "s3:ObjectCreated:CompleteMultipartUpload": "CompleteMultipartUpload",
}


def install(send: Callable[[dict[str, Any]], None]) -> None:
    """Send events of buckets whose notifications go to EventBridge.

    moto 5.2 calls the ETag ``eTag``, gives every event one id, one sequencer and the reason
    ``ObjectCreated``, sends two for an upload in parts, names a version where a bucket has none,
    leaves EventBridge out of the configuration that it returns, and starts no state machine.
    """
    from moto.s3 import notifications
    from moto.s3.responses import S3Response

    sends_others = notifications._send_event_bridge_message

    def send_event(account_id: str, bucket: Any, event_name: Any, key: Any) -> None:
        name = str(getattr(event_name, "value", event_name))
        if name not in _REASONS:
            sends_others(account_id, bucket, event_name, key)
        elif name != "s3:ObjectCreated:Put" or key.multipart is None:
            # An upload in parts is put together by a put of its own.
            send(object_created(account_id, bucket, _REASONS[name], key))

    gets = S3Response.get_bucket_notification

    def get(response: Any) -> Any:
        status, headers, body = gets(response)
        found = response.backend.get_bucket_notification_configuration(response.bucket_name)
        if found and found.event_bridge is not None:
            root = fromstring(body)  # noqa: S314 - moto wrote it
            namespace = root.tag.removesuffix("NotificationConfiguration")
            SubElement(root, f"{namespace}EventBridgeConfiguration")
            body = tostring(root)
        return status, headers, body

    patch(notifications, _send_event_bridge_message=send_event)
    patch(S3Response, get_bucket_notification=get)


def object_created(account_id: str, bucket: Any, reason: str, key: Any) -> dict[str, Any]:
    """Return the event of an object that was created."""
    created = {
        "key": key.name,
        "size": key.size,
        "etag": key.etag.replace('"', ""),
        "sequencer": f"{time.time_ns():016X}",
    }
    if bucket.is_versioned:
        created["version-id"] = key.version_id
    letters = string.ascii_uppercase + string.digits
    detail = {
        "version": "0",
        "bucket": {"name": bucket.name},
        "object": created,
        "request-id": "".join(secrets.choice(letters) for _ in range(16)),
        "requester": account_id,
        "source-ip-address": SOURCE_ADDRESS.get(),
        "reason": reason,
    }
    head = event_of("aws.s3", "Object Created", account_id, bucket.region_name, bucket.arn)
    return {**head, "detail": detail}
