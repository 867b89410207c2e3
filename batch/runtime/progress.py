"""How a job tells what it is doing, without knowing who watches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from batch.core.errors import Interrupted


class Progress(Protocol):
    """Hears about the steps of a job; a terminal draws them, a log prints them."""

    def begin(self, step: str, total: int, unit: str) -> None:
        """Start a step of ``total`` units, such as rows or partitions."""

    def advance(self, count: int = 1) -> None:
        """Tell that ``count`` more units of the current step are done."""

    def note(self, text: str) -> None:
        """Tell something worth a line."""

    def warn(self, text: str) -> None:
        """Tell something that somebody should look at."""


class Silent:
    """Nobody watches."""

    def begin(self, step: str, total: int, unit: str) -> None:
        """Ignore the step."""

    def advance(self, count: int = 1) -> None:
        """Ignore the units."""

    def note(self, text: str) -> None:
        """Ignore the line."""

    def warn(self, text: str) -> None:
        """Ignore the warning."""


StopRequested = Callable[[], bool]


def never() -> bool:
    """Nobody asks to stop."""
    return False


def require_going(stop_requested: StopRequested) -> None:
    """Stop between two writes if somebody asked to.

    Raises:
        Interrupted: Somebody did.
    """
    if stop_requested():
        raise Interrupted(
            "stopped on request between two writes; what was published stays,"
            " the next run does the rest"
        )
