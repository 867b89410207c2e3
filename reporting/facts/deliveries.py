"""What deliveries changed later, and what of them was refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import polars as pl


@dataclass(frozen=True, slots=True)
class Restated:
    """What later deliveries changed.

    Attributes:
        fields: For each field: how many values, the median and the largest relative change.
        months: For each month of receipt, ``2016-03``: values changed by field.
    """

    fields: list[tuple[str, int, float | None, float | None]]
    months: list[tuple[str, dict[str, int]]]

    @property
    def count(self) -> int:
        """All values changed."""
        return sum(field[1] for field in self.fields)


def restated_of(restatements: pl.DataFrame) -> Restated:
    """Count restatements by field and by the month they were received in."""
    change = (pl.col("new") / pl.col("old") - 1).abs()
    finite = pl.when(change.is_finite()).then(change)
    by_field = (
        restatements.group_by("field")
        .agg(count=pl.len(), median=finite.median(), largest=finite.max())
        .sort("count", "field", descending=[True, False])
    )
    by_month = (
        restatements.group_by(pl.col("received_at").dt.strftime("%Y-%m").alias("month"), "field")
        .len()
        .sort("month")
    )
    months: dict[str, dict[str, int]] = {}
    for month, name, count in by_month.iter_rows():
        months.setdefault(month, {})[name] = count
    return Restated(list(by_field.iter_rows()), list(months.items()))


@dataclass(frozen=True, slots=True)
class Refused:
    """Rows that were refused.

    Attributes:
        reasons: For each reason: how often it applied, the first and last date, an example.
        rows: All rows refused.
    """

    reasons: list[tuple[str, int, date | None, date | None, str]]
    rows: int


def refused_of(rejected: pl.DataFrame) -> Refused:
    """Count refused rows by reason; a row may have several."""
    reasons = (
        rejected.with_columns(pl.col("reason").str.split("; "))
        .explode("reason")
        .group_by("reason")
        .agg(
            count=pl.len(),
            first=pl.col("date").min(),
            last=pl.col("date").max(),
            example=pl.concat_str(
                pl.col("symbol").fill_null("(none)"),
                pl.lit(" "),
                pl.col("date").cast(pl.String).fill_null("no date"),
            ).min(),
        )
        .sort("count", "reason", descending=[True, False])
    )
    return Refused(list(reasons.iter_rows()), rejected.height)
