"""What is known of a source's files before one is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fetchers.files.stamps import DATE_ORDERS

DECIMAL_MARKS: Final = (".", ",")


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read a source's files where their own values leave it open.

    Values that contradict it are refused, never read another way.

    Attributes:
        date_order: One of :data:`DATE_ORDERS`. It holds for dates whose year stands where the
            order has it: ``month/day/year`` says nothing of ``2025-04-08``.
        decimal_mark: One of :data:`DECIMAL_MARKS`; the other one separates thousands.
        accept_adjusted: Take files whose layout is of a vendor that adjusts its prices.
    """

    date_order: str | None = None
    decimal_mark: str | None = None
    accept_adjusted: bool = False

    def __post_init__(self) -> None:
        """Raise ValueError if an order or a mark is none that is known."""
        for name, value, known in (
            ("date_order", self.date_order, DATE_ORDERS),
            ("decimal_mark", self.decimal_mark, DECIMAL_MARKS),
        ):
            if value is not None and value not in known:
                raise ValueError(f"{name} {value!r}: expected one of {', '.join(map(repr, known))}")


BY_EVIDENCE: Final = Reading()
"""Nothing is known: the values of each file decide, or it is refused."""
