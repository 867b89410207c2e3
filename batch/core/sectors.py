"""Sectors: the twelve industry groups that Fama and French make of SIC codes. Pure."""

from __future__ import annotations

from typing import Final

SECTORS: Final[dict[str, tuple[tuple[int, int], ...]]] = {
    "NoDur": (
        *((100, 999), (2000, 2399), (2700, 2749), (2770, 2799)),
        *((3100, 3199), (3940, 3989)),
    ),
    "Durbl": (
        *((2500, 2519), (2590, 2599), (3630, 3659), (3710, 3711), (3714, 3714)),
        *((3716, 3716), (3750, 3751), (3792, 3792), (3900, 3939), (3990, 3999)),
    ),
    "Manuf": (
        *((2520, 2589), (2600, 2699), (2750, 2769), (3000, 3099), (3200, 3569)),
        *((3580, 3629), (3700, 3709), (3712, 3713), (3715, 3715), (3717, 3749)),
        *((3752, 3791), (3793, 3799), (3830, 3839), (3860, 3899)),
    ),
    "Enrgy": ((1200, 1399), (2900, 2999)),
    "Chems": ((2800, 2829), (2840, 2899)),
    "BusEq": ((3570, 3579), (3660, 3692), (3694, 3699), (3810, 3829), (7370, 7379)),
    "Telcm": ((4800, 4899),),
    "Utils": ((4900, 4949),),
    "Shops": ((5000, 5999), (7200, 7299), (7600, 7699)),
    "Hlth": ((2830, 2839), (3693, 3693), (3840, 3859), (8000, 8099)),
    "Money": ((6000, 6999),),
    "Other": (),
}
"""SIC codes of each sector, first and last; ``Other`` has all that no other one has.

https://mba.tuck.dartmouth.edu/pages/faculty/ken.french/Data_Library/det_12_ind_port.html
"""


def sector_of(sic_code: str | None) -> str | None:
    """Return the sector of a SIC code of four digits; None where it is none."""
    if sic_code is None or not (sic_code.isascii() and sic_code.isdigit()):
        return None
    code = int(sic_code)
    for sector, ranges in SECTORS.items():
        if any(first <= code <= last for first, last in ranges):
            return sector
    return "Other"
