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


class LakeWarning(UserWarning):
    """A lake was asked for something that it does not have: a symbol, or bars of these dates."""


class StoreDenied(SettingsError):
    """The store refused access: permissions or credentials."""


class DataRefused(OhlcvError):
    """Input was read but cannot be trusted; what was refused is kept and named."""

    exit_code = ExitCode.DATA_REFUSED


class DeliveryUnreadable(DataRefused):
    """A file is empty, truncated, corrupt or has the wrong columns."""


class StateDamaged(DataRefused):
    """The file ``key`` under ``_state`` is not what was written; it can be made again."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


class CalendarMoved(DataRefused):
    """The exchange calendar disagrees with the one that published windows were cut by."""


class ObjectMissing(OhlcvError):
    """There is no object under the key."""

    exit_code = ExitCode.DATA_REFUSED


class RetryMayHelp(OhlcvError):
    """What was asked for could not be done now."""

    exit_code = ExitCode.RETRY


class StoreUnavailable(RetryMayHelp):
    """The store did not answer in time or asked to slow down."""


class StoreFull(StoreUnavailable):
    """The disk has no room left."""


class CommitConflict(RetryMayHelp):
    """Another job published first; nothing of this one was published over it."""


class SharedWorkStalled(RetryMayHelp):
    """Another process of a shared job did not do its part in time."""


class CommitUnknown(RetryMayHelp):
    """The connection broke while publishing; whether it took effect is not known."""


class Interrupted(RetryMayHelp):
    """The job was asked to stop and did so between two writes."""
