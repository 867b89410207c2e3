"""Consolidation and resampling of daily bars over a market-data lake."""

from batch.version import __version__

__all__ = ["__version__"]
