"""How each resource type of a template is created, updated and deleted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from local_aws.resources import alerts, compute, network, pipeline, storage
from local_aws.resources.api import Client, Kind, Made, Properties, ResourceError

__all__ = ["KINDS", "Client", "Kind", "Made", "Properties", "ResourceError"]

KINDS: Final[Mapping[str, Kind]] = {
    **storage.KINDS,
    **network.KINDS,
    **compute.KINDS,
    **alerts.KINDS,
    **pipeline.KINDS,
}
