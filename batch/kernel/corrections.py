"""Which values of later deliveries win, and which stand on the basis of another split.

A vendor that sends a session again after a split may send its values on the scale after it.
Such a value is no correction: the split is on record, and readers would apply it twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from batch.core import schema
from batch.core.sessions import Days
from batch.kernel.columns import Codes, DailyColumns, Floats
from batch.kernel.splits import SplitColumns

VOLUME_SHARE: Final = 0.02
VOLUME_SHARES: Final = 100.0
"""A volume is on another basis within this share, or this many shares, of the known one on it."""

PRICE_SHARE: Final = 0.005
"""A price is on another basis within this share of the known one on it."""

OTHER_BASIS: Final = "other split basis"
CONTRADICTORY: Final = "contradicts prices kept"
REASONS: Final = (None, OTHER_BASIS, CONTRADICTORY)
"""Why a value did not win, by its code; null where it did."""

_PRICES: Final = (*schema.PRICES, "vwap")

Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Settled:
    """What stands after each row was received, and which of its values did not win.

    ``reasons`` has, of the fields of which any value did not win, the place in
    :data:`REASONS` of every row.
    """

    standing: DailyColumns
    reasons: Mapping[str, npt.NDArray[np.int8]]


def basis_ratios(code: Codes, day: Days, upto: Days, splits: SplitColumns) -> Floats:
    """Multiply the ratios of the splits of each row's symbol after its day up to another day.

    ``upto`` is inclusive and may lie before ``day``. Returns 1.0 where there is no split.
    """
    ratios = np.ones(len(code))
    rows = np.flatnonzero(np.isin(code, splits.code))
    if not len(rows):
        return ratios
    low = int(splits.day.min()) - 1
    high = int(splits.day.max())
    span = high - low + 1

    def keys(codes: Codes, days: Days) -> npt.NDArray[np.int64]:
        return codes.astype(np.int64) * span + (np.clip(days, low, high) - low)

    split_key = keys(splits.code, splits.day)
    first = np.searchsorted(split_key, keys(code[rows], day[rows]), side="right")
    counts = np.searchsorted(split_key, keys(code[rows], upto[rows]), side="right") - first
    for nth in range(int(counts.max())):
        has = counts > nth
        ratios[rows[has]] *= splits.ratio[first[has] + nth]
    return ratios


def settle(rows: DailyColumns, follows: Bools, ratios: Floats) -> Settled:
    """Let each row override the one before it under the same key, but for other split bases.

    A value does not win where it is nearer to the known one brought to the basis at its receipt
    than to the known one itself, and within the tolerances above of the first. The known one is
    the last that won. Where prices kept and prices taken would contradict each other (a high
    below a close), all prices of the row are kept, ``vwap`` among them.

    Args:
        rows: One key's rows after another's, each in the order in which they were received.
        follows: Of each row, whether the one before it has the same key.
        ratios: Of each row, those of the splits between its session and its receipt.
    """
    concerned = follows & (ratios != 1.0)
    if not concerned.any():
        return Settled(rows, {})
    starts = np.flatnonzero(~follows)
    key = np.cumsum(~follows) - 1
    is_concerned = np.zeros(len(starts), np.bool_)
    is_concerned[key[concerned]] = True
    at = np.flatnonzero(is_concerned[key])  # whole keys, so a row's predecessor is beside it
    depth = at - starts[key[at]]
    received = {name: getattr(rows, name)[at] for name in (*_PRICES, "volume")}
    standing = {name: values.copy() for name, values in received.items()}
    reasons = {name: np.zeros(len(at), np.int8) for name in received}
    by_depth = np.split(np.argsort(depth, kind="stable"), np.cumsum(np.bincount(depth))[:-1])
    for later in by_depth[1:]:
        known = later - 1
        for name, values in standing.items():
            is_other = _on_other_basis(name, values[known], values[later], ratios[at[later]])
            values[later[is_other]] = values[known[is_other]]
            reasons[name][later[is_other]] = REASONS.index(OTHER_BASIS)
        open_, high, low, close = (standing[name][later] for name in schema.PRICES)
        wrong = (high < np.maximum(np.maximum(open_, close), low)) | (
            low > np.minimum(open_, close)
        )
        for name in _PRICES if wrong.any() else ():
            taken = later[wrong & (reasons[name][later] == 0)]
            standing[name][taken] = standing[name][taken - 1]
            reasons[name][taken] = REASONS.index(CONTRADICTORY)
    kept = {name: codes for name, codes in reasons.items() if codes.any()}
    changed, codes_of_all = {}, {}
    for name, codes in kept.items():
        changed[name] = getattr(rows, name).copy()
        changed[name][at] = standing[name]
        codes_of_all[name] = np.zeros(len(rows), np.int8)
        codes_of_all[name][at] = codes
    return Settled(replace(rows, **changed), codes_of_all)


def _on_other_basis(field: str, known: Floats, received: Floats, ratio: Floats) -> Bools:
    with np.errstate(all="ignore"):  # a product of ratios may leave the range of a double
        if field == "volume":
            rebased = known * ratio
            allowed = np.maximum(VOLUME_SHARE * rebased, VOLUME_SHARES)
        else:
            rebased = known / ratio
            allowed = PRICE_SHARE * rebased
        distance = np.abs(received - rebased)
        is_near = (distance <= allowed) & (distance < np.abs(received - known))
    is_other: Bools = is_near & (ratio != 1.0)
    return is_other
