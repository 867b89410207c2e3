"""The newest delivery wins: of the rows under one key, the last one received counts. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from batch.kernel.columns import Ints


def order_by_key(key: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Order rows by key, and find the newest row of each key.

    Args:
        key: One per row; the rows of one key lie in the order in which they were received.

    Returns:
        The rows' positions in ascending order of key, those of one key in the order
        received; and for each of these whether it is the newest of its key.
    """
    order = np.argsort(key, kind="stable")
    in_order = key[order]
    newest = np.ones(len(key), np.bool_)
    newest[:-1] = in_order[1:] != in_order[:-1]
    return order, newest
