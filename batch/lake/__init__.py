"""What a lake holds: deliveries, partitions, manifests, reference tables; and the read API."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batch.lake.read import Lake

__all__ = ["Lake"]


def __getattr__(name: str) -> Any:
    """Import the read API on first use; jobs import this room without it."""
    if name == "Lake":
        return import_module("batch.lake.read").Lake
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
