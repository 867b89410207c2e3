"""The vendor Polygon, now Massive: its HTTP interface and how its answers are read."""
