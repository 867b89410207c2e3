"""How many examples a property is tried with."""

from __future__ import annotations

from typing import Any

from hypothesis import settings


def fewer_examples(share: float, **more: Any) -> settings:
    """Try a property, of which an example takes long, with a share of the profile's examples.

    Args:
        share: More than 0, up to 1.
        more: Other settings of the property.
    """
    return settings(max_examples=max(1, round(settings.default.max_examples * share)), **more)
