"""What a fetch did: frozen results, which belong to run reports, JSON results and answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal, TypeVar

from batch.core.errors import DataRefused, OhlcvError
from batch.runtime.formats import count_text
from fetchers.incomplete import IncompleteNote
from fetchers.plan import gaps_in_words

PARTS = ("splits", "holidays", "tickers", "dividends", "details")
"""What is fetched, in this order: what corrects prices comes first."""


@dataclass(frozen=True, slots=True)
class SessionFetched:
    """What became of one session: rows kept under bronze and under rejected, deliveries written.

    ``change`` is None where nothing came or was written; ``problem`` is why its answer could
    not be used.
    """

    session: date
    change: Literal["new", "changed", "unchanged"] | None = None
    rows: int = 0
    refused_rows: int = 0
    keys: tuple[str, ...] = ()
    note: IncompleteNote | None = None
    problem: str | None = None


@dataclass(frozen=True, kw_only=True)
class BarsFetched:
    """What one fetch of daily bars did, to its end or up to the error that ended it.

    Sessions are ``planned`` and then ``done`` in ascending order; ``nothing`` is why there was
    nothing to fetch. ``newest_due`` is the newest session that was closed long enough.
    """

    newest_due: date | None = None
    planned: tuple[date, ...] = ()
    done: tuple[SessionFetched, ...] = ()
    nothing: str | None = None
    error: OhlcvError | None = None

    @property
    def left(self) -> list[date]:
        """Planned sessions that were not fetched."""
        return list(self.planned[len(self.done) :])

    @property
    def new_sessions(self) -> list[date]:
        """Sessions of which the lake had nothing before."""
        return [one.session for one in self.done if one.change == "new"]

    @property
    def changed_sessions(self) -> list[date]:
        """Sessions that came with other rows than before."""
        return [one.session for one in self.done if one.change == "changed"]

    @property
    def unchanged_sessions(self) -> int:
        """How many sessions came as they were."""
        return sum(one.change == "unchanged" for one in self.done)

    @property
    def rows(self) -> int:
        """Rows kept under bronze."""
        return sum(one.rows for one in self.done)

    @property
    def refused_rows(self) -> int:
        """Rows kept under rejected."""
        return sum(one.refused_rows for one in self.done)

    @property
    def keys(self) -> list[str]:
        """Deliveries written."""
        return [key for one in self.done for key in one.keys]

    @property
    def incomplete(self) -> list[IncompleteNote]:
        """Sessions of which perhaps not all rows have come."""
        return [one.note for one in self.done if one.note]

    @property
    def problems(self) -> list[str]:
        """Sessions whose answer could not be used, and why."""
        return [one.problem for one in self.done if one.problem]

    @property
    def counts(self) -> dict[str, object]:
        """What a run's report and the JSON result say of it."""
        return {
            "newest_due": self.newest_due,
            "sessions_asked": len(self.planned),
            "sessions_left": len(self.left),
            "new_sessions": [str(session) for session in self.new_sessions],
            "changed_sessions": [str(session) for session in self.changed_sessions],
            "unchanged_sessions": self.unchanged_sessions,
            "rows": self.rows,
            "refused_rows": self.refused_rows,
            "refused_share": self.refused_rows / max(self.rows + self.refused_rows, 1),
            "sessions_missing": sum(one.change is None for one in self.done),
            "sessions_incomplete": len(self.incomplete),
            "incomplete": [note.summary for note in self.incomplete],
        }

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        if self.nothing:
            return self.nothing
        parts = [f"{len(self.new_sessions)} new", f"{len(self.changed_sessions)} changed"]
        parts += [f"{self.unchanged_sessions} unchanged", count_text(self.rows, "rows")]
        if self.incomplete:
            parts.append(f"{len(self.incomplete)} incomplete")
        return f"sessions: {', '.join(parts)}; newest due {self.newest_due}"

    @property
    def unfinished(self) -> str:
        """The sessions left, in words; empty where none is."""
        if not self.left:
            return ""
        return (
            f"{gaps_in_words(self.left)} left; {len(self.new_sessions)} arrived and are kept;"
            " the same event continues"
        )


@dataclass(frozen=True, kw_only=True)
class ReferenceFetched:
    """What one fetch of reference data did, to its end or up to the error that ended it.

    Fields are named as the JSON result has them. ``tickers`` and ``dividends`` are all that are
    known now; what is changed may be new; ``reference_done`` are the parts that are up to date,
    in order.
    """

    tickers: int = 0
    active_tickers: int = 0
    tickers_changed: int = 0
    details_asked: int = 0
    details_never_asked: int = 0
    splits_changed: int = 0
    dividends: int = 0
    traded_not_listed: tuple[str, ...] = ()
    listed_not_traded: tuple[str, ...] = ()
    reference_done: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    error: OhlcvError | None = None

    @property
    def counts(self) -> dict[str, object]:
        """What a run's report and the JSON result say of it."""
        return {name: value for name, value in vars(self).items() if name != "error"}

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        return (
            f"reference: {count_text(self.tickers, 'tickers')} ({self.active_tickers:,} active,"
            f" {self.tickers_changed:,} changed), {count_text(self.details_asked, 'details')},"
            f" {count_text(self.splits_changed, 'splits')} new or changed,"
            f" {count_text(self.dividends, 'dividends')}"
        )

    @property
    def unfinished(self) -> str:
        """The parts left; details are not among them, each run requests only some of them."""
        left = [name for name in PARTS if name not in self.reference_done]
        if left in ([], ["details"]):
            return ""
        return f"{', '.join(left)} left; what arrived is kept, the next run continues"


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch did; a part that was not requested is None."""

    bars: BarsFetched | None = None
    reference: ReferenceFetched | None = None

    @property
    def parts(self) -> list[BarsFetched | ReferenceFetched]:
        """The parts requested."""
        return [part for part in (self.bars, self.reference) if part]

    @property
    def errors(self) -> list[OhlcvError]:
        """What ended a part before its end."""
        return [part.error for part in self.parts if part.error]

    @property
    def counts(self) -> dict[str, object]:
        """What a run's report and the JSON result say of it."""
        return {name: value for part in self.parts for name, value in part.counts.items()}

    @property
    def problems(self) -> list[str]:
        """What could not be done; what stopped both parts is there once."""
        errors = dict.fromkeys(map(str, self.errors))
        return [*(self.bars.problems if self.bars else ()), *errors]

    def require_success(self, *, strict: bool) -> None:
        """Raise the first error; where strict, an incomplete session is one.

        Raises:
            OhlcvError: The first error; the run's report has the others.
            DataRefused: A session is incomplete.
        """
        if self.errors:
            raise self.errors[0]
        if strict and self.bars and self.bars.incomplete:
            notes = "; ".join(note.summary for note in self.bars.incomplete)
            raise DataRefused(f"{notes}; what arrived is kept, the next run asks again")


Part = TypeVar("Part", BarsFetched, ReferenceFetched)


def last_result(results: Iterator[Part]) -> Part:
    """Return the last result; an error that ends them becomes its ``error``.

    ``results`` yields a part's result at its start and after each step, so that what was done
    before an error is known after it.
    """
    result = next(results)
    try:
        for step in results:
            result = step
    except OhlcvError as err:
        return replace(result, error=err)
    return result
