"""The outcomes that a caller treats differently, each with its exit code.

A message says what happened, where, what was expected and found, and the next step.
"""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status means."""

    DONE = 0
    BUG = 1
    USAGE = 2
    DATA_REFUSED = 3
    RETRY = 75


class OhlcvError(Exception):
    """Root of every error that this package raises on purpose."""

    exit_code = ExitCode.BUG


class SettingsError(OhlcvError):
    """An option, an environment variable or a path is not usable as given."""

    exit_code = ExitCode.USAGE


class LakeMissing(SettingsError):
    """There is no lake at the given root."""


class StoreDenied(SettingsError):
    """The store refused access: permissions or credentials."""


class DataRefused(OhlcvError):
    """Input was read but cannot be trusted; what was refused is kept and named."""

    exit_code = ExitCode.DATA_REFUSED


class DeliveryUnreadable(DataRefused):
    """A file is empty, truncated, corrupt or has the wrong columns."""


class StateDamaged(DataRefused):
    """A file under ``_state`` is not what was written; consolidation can make it again.

    Attributes:
        key: Which file.
    """

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


class CalendarMoved(DataRefused):
    """The exchange calendar disagrees with the one that published windows were cut by."""


class ObjectMissing(OhlcvError):
    """There is no object under the key."""


class StoreUnavailable(OhlcvError):
    """The store did not answer in time or asked to slow down; a retry may help."""

    exit_code = ExitCode.RETRY


class StoreFull(StoreUnavailable):
    """The disk has no room left."""


class CommitConflict(OhlcvError):
    """Another job published first; nothing of this one was published over it."""

    exit_code = ExitCode.RETRY


class SharedWorkStalled(OhlcvError):
    """Another process of a shared job did not do its part in time."""

    exit_code = ExitCode.RETRY


class CommitUnknown(OhlcvError):
    """The connection broke while publishing; whether it took effect is not known."""

    exit_code = ExitCode.RETRY


class Interrupted(OhlcvError):
    """The job was asked to stop and did so between two writes."""

    exit_code = ExitCode.RETRY
