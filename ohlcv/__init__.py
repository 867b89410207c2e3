"""What programs and notebooks use of this package: the lake's read API, charts and errors.

>>> from ohlcv import Lake
>>> Lake.open("lake").bars("5d", "AAPL")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from batch.core.errors import (
    DataRefused,
    LakeMissing,
    LakeWarning,
    OhlcvError,
    RetryMayHelp,
    SettingsError,
)
from batch.core.layout import INTERVALS
from batch.version import __version__

if TYPE_CHECKING:
    from batch.lake.read import Lake
    from reporting.chart import load_chart

__all__ = [
    "INTERVALS",
    "DataRefused",
    "Lake",
    "LakeMissing",
    "LakeWarning",
    "OhlcvError",
    "RetryMayHelp",
    "SettingsError",
    "__version__",
    "load_chart",
]

_LAZY: Final = {"Lake": "batch.lake.read", "load_chart": "reporting.chart"}


if not TYPE_CHECKING:  # a type checker would take every name for one of the module's

    def __getattr__(name: str) -> Any:
        """Import the read API and the charts on first use: they bring Polars and Jinja2."""
        if name in _LAZY:
            return getattr(import_module(_LAZY[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
