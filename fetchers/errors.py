"""What a fetch can run into, besides the errors of the lake."""

from __future__ import annotations

from reprlib import Repr

from batch.core.errors import DataRefused, ExitCode, OhlcvError, SettingsError

_MOST_SHOWN = 200

_OUTLINE = Repr()
_OUTLINE.maxlevel = 2  # never deep: the repr of a deeply nested document is a RecursionError
_OUTLINE.maxstring = _OUTLINE.maxlong = _MOST_SHOWN


def shown(sent: object) -> str:
    """Return what a vendor sent as a message may show it: short, printable, on one line."""
    text = sent if isinstance(sent, str) else _OUTLINE.repr(sent)
    line = " ".join("".join(at if at.isprintable() else " " for at in text).split())
    return f"{line[:_MOST_SHOWN]}..." if len(line) > _MOST_SHOWN else line


class KeyMissing(SettingsError):
    """There is no API key, or it is not usable as given."""


class VendorDenied(SettingsError):
    """The vendor refused the key, or the plan behind it does not include what was requested."""


class VendorUnavailable(OhlcvError):
    """The vendor did not give a whole answer within the retry budget; a later run may succeed."""

    exit_code = ExitCode.RETRY


class VendorRefused(DataRefused):
    """The vendor answered something that cannot be used, and would again."""


class NotListed(VendorRefused):
    """The vendor has nothing under the name requested."""
