"""The one place that holds the version."""

__version__ = "0.1.0"

RESULTS_VERSION = "3"
"""Raised when a change of the code changes the bytes of a partition.

It is part of every fingerprint and of every table's metadata, so a release that
leaves it alone rewrites nothing.
"""

JSON_VERSION = 1
"""The ``version`` of every document that ``--json`` prints, see docs/json.md.

Raised when a field goes or changes its name, type or meaning; a new field leaves it alone.
"""
