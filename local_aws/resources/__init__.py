"""How each resource type of a template is made, changed and removed: by the API of its service.

A type or a property that is not known here is an error, never passed over: what a
deployment did not apply must not look applied.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from local_aws.resources import (
    alerts,
    batch,
    foundations,
    functions,
    network,
    pipeline,
    storage,
)
from local_aws.resources.kinds import Client, Kind, Made, Properties, ResourceError

__all__ = ["KINDS", "Client", "Kind", "Made", "Properties", "ResourceError"]

KINDS: Final[Mapping[str, Kind]] = {
    **storage.KINDS,
    **foundations.KINDS,
    **functions.KINDS,
    **network.KINDS,
    **batch.KINDS,
    **alerts.KINDS,
    **pipeline.KINDS,
}
