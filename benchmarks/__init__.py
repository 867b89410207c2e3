"""Measurements side by side: our jobs, their floor, other engines, on the same lakes."""
