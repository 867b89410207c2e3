"""Uploads: a dropped file is inspected, staged and landed, or refused with its reason."""
