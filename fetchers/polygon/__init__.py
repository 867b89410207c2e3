"""The vendor Polygon, now Massive: its HTTP interface and how its answers are read.

Only :mod:`fetchers.polygon.client` imports the vendor's package.
"""
