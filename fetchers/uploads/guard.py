"""The restatement guard: an upload that would change much of what is published is held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

import polars as pl

from batch.core import schema
from batch.core.frames import conform, empty_frame, to_arrow, to_polars
from batch.core.layout import DAILY_TABLE, TICKERS, Delivery
from batch.lake.received import Received, newest_rows
from batch.lake.reference import read_reference
from batch.lake.tables import reading_table, scan_table, table_years
from batch.runtime.formats import count_text
from batch.storage.scan import of_symbols
from batch.storage.store import ObjectStore
from fetchers.files.refusals import Code
from fetchers.uploads.receipts import SHOWN_ID, Example, Finding, Receipt
from fetchers.uploads.rules import SourceRules
from fetchers.uploads.standing import Standing, position_of

_MOST_EXAMPLES: Final = 10
_ROUNDING: Final = 1e-9
"""What a share of a number is off by for being binary: 0.5 % of 10 is not quite 0.05."""

_KEY: Final = ["symbol", "date"]
_PUBLISHED_AT: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Objection:
    """Why an upload is held, and closes that it would change."""

    finding: Finding
    examples: tuple[Example, ...]


class Guard:
    """Compares uploads with the published daily bars.

    A lake without daily bars knows nothing, and neither does one of a year that it has none of.
    """

    def __init__(self, lake: ObjectStore, standing: Standing) -> None:
        self._lake = lake
        self._standing = standing
        self._years = table_years(lake, DAILY_TABLE)

    def objection(
        self, receipt: Receipt, stretches: Iterable[pl.DataFrame], rules: SourceRules
    ) -> Objection | None:
        """Return why an upload must wait for a person's word; None where it need not.

        Args:
            receipt: The upload's.
            stretches: Its accepted rows, some sessions at a time.
            rules: Those of its source.
        """
        covered = 0
        changed = empty_frame(schema.DELIVERY).select(*_KEY, old="close", new="close")
        symbols: set[str] = set()
        published_symbols: set[str] = set()
        for rows in stretches:
            in_years = rows.filter(pl.col("date").dt.year().is_in(self._years))
            if in_years.is_empty():
                continue
            symbols.update(in_years["symbol"].unique())
            published = self._published(in_years)
            published_symbols.update(published["symbol"].unique())
            both = in_years.join(published, on=_KEY, how="semi")
            covered += both.height
            changed = changed.vstack(self._changes(both, published, receipt, rules))
        if changed.height > rules.max_restated_share * covered * (1 + _ROUNDING):
            return _restates(receipt, changed, covered, rules)
        return self._unknown(receipt, symbols, published_symbols, rules)

    def _published(self, rows: pl.DataFrame) -> pl.DataFrame:
        days: list[date] = rows["date"].unique().sort().to_list()
        scanned = scan_table(self._lake, DAILY_TABLE, self._years, days[0], days[-1])
        scanned = of_symbols(scanned, rows["symbol"].unique().to_list())
        with reading_table(self._lake, DAILY_TABLE):
            found = scanned.filter(pl.col("date").is_between(days[0], days[-1])).collect()
        return conform(found, schema.DELIVERY)

    def _changes(
        self, rows: pl.DataFrame, published: pl.DataFrame, receipt: Receipt, rules: SourceRules
    ) -> pl.DataFrame:
        """Return the closes that would change by more than allowed: symbol, date, old, new.

        What is on another split basis does not win, nor what a later delivery has already.
        """
        later = self._standing.keys_after(rows, position_of(receipt))
        winning = rows.join(later, on=_KEY, how="anti")
        if winning.is_empty():
            return empty_frame(schema.DELIVERY).select(*_KEY, old="close", new="close")
        session: date = winning["date"][0]
        tables = {
            Delivery(session, _PUBLISHED_AT, "published"): published,
            Delivery(session, receipt.received_at, "upload"): winning,
        }
        received = Received.of(
            {one: to_arrow(table, schema.DELIVERY) for one, table in tables.items()}
        )
        standing, _ = newest_rows(received, self._standing.bases)
        news = to_polars(standing.to_batch(), schema.DELIVERY).select(*_KEY, new="close")
        both = published.select(*_KEY, old="close").join(news, on=_KEY)
        allowed = rules.restated_by * pl.col("old")
        is_other = (pl.col("new") - pl.col("old")).abs() > allowed * (1 + _ROUNDING)
        return both.filter(is_other)

    def _unknown(
        self, receipt: Receipt, symbols: set[str], published: set[str], rules: SourceRules
    ) -> Objection | None:
        unknown = symbols - published
        if not _too_many_unknown(unknown, symbols, rules):
            return None
        unknown -= set(read_reference(self._lake, TICKERS, schema.TICKERS)["symbol"])
        scanned = of_symbols(scan_table(self._lake, DAILY_TABLE, self._years), sorted(unknown))
        with reading_table(self._lake, DAILY_TABLE):
            unknown -= set(scanned.select("symbol").unique().collect()["symbol"])
        if not _too_many_unknown(unknown, symbols, rules):
            return None
        named = ", ".join(sorted(unknown)[:_MOST_EXAMPLES])
        finding = Finding(
            Code.RESTATES_TOO_MUCH,
            f"{len(unknown):,} of {count_text(len(symbols), 'symbols')} are unknown to the lake,"
            f" more than {rules.max_unknown_share:.2%}: {named}",
            "see whether the symbols are written as the lake has them; if so,"
            f" `ohlcv uploads release {receipt.id[:SHOWN_ID]}`",
        )
        return Objection(finding, ())


def _too_many_unknown(unknown: set[str], symbols: set[str], rules: SourceRules) -> bool:
    # One new symbol is a listing, of however few symbols.
    allowed = rules.max_unknown_share * len(symbols) * (1 + _ROUNDING)
    return len(unknown) > max(1.0, allowed)


def _restates(
    receipt: Receipt, changed: pl.DataFrame, covered: int, rules: SourceRules
) -> Objection:
    by_size = changed.sort(
        ((pl.col("new") - pl.col("old")).abs() / pl.col("old")),
        *_KEY,
        descending=[True, False, False],
    )
    examples = tuple(Example(*row) for row in by_size.head(_MOST_EXAMPLES).iter_rows())
    first = examples[0]
    finding = Finding(
        Code.RESTATES_TOO_MUCH,
        f"it would change {changed.height:,} of {count_text(covered, 'published closes')} by more"
        f" than {rules.restated_by:.2%}, more than {rules.max_restated_share:.2%} of them:"
        f" {first.symbol} on {first.session} from {first.old:g} to {first.new:g}",
        "compare the examples with another source; if the file is right,"
        f" `ohlcv uploads release {receipt.id[:SHOWN_ID]}`",
    )
    return Objection(finding, examples)
