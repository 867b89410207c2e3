"""What a process takes of its memory limit."""

from __future__ import annotations

from typing import Final

PROCESS_BYTES: Final = 340 * 1024 * 1024
"""Memory of the interpreter, its libraries and what lies around the data of a job."""
