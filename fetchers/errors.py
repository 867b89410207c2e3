"""What a fetch can run into, besides the errors of the lake."""

from __future__ import annotations

from batch.core.errors import DataRefused, ExitCode, OhlcvError, SettingsError


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
