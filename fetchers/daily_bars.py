"""Fetching daily bars: plan, ask, judge, land, note what is incomplete."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from batch.core.errors import DataRefused
from batch.core.layout import Delivery, incomplete_key
from batch.core.sessions import Calendar
from batch.lake.landing import Landed, land, require_few_refused
from batch.runtime.progress import Progress, StopRequested, require_going
from batch.storage.store import ObjectStore
from fetchers.bronze import BronzeLook
from fetchers.completeness import (
    IncompleteNote,
    doubt_few_rows,
    note_incomplete,
    noted_sessions,
    read_note,
    usual_rows,
    worth_asking,
)
from fetchers.errors import VendorRefused
from fetchers.plan import (
    ASKED_AGAIN,
    BronzeSessions,
    FetchPlan,
    SessionRange,
    exchange_date,
    gaps_in_words,
    lookback_start,
    newest_due,
    nothing_due,
    plan_daily,
    plan_range,
)
from fetchers.polygon.parsing import SessionAnswer

SOURCE = "polygon"

_RETRIES_WITHIN = timedelta(hours=12)

Clock = Callable[[], datetime]

AskSession = Callable[[date], SessionAnswer]
"""Asks a source for the whole market of one session."""


@dataclass(frozen=True, slots=True)
class BarsOptions:
    """How daily bars are fetched.

    Attributes:
        close_delay: Time after a close before a session is due.
        trailing: Sessions before the newest one that are asked for again.
        lookback: Sessions that are looked through for gaps.
        incomplete_below: Share of the usual rows below which a session is incomplete.
        max_refused_share: Share of refused rows that makes a session a problem.
        downloads: Sessions asked for side by side.
        source: Name under which deliveries land.
    """

    close_delay: timedelta = timedelta(minutes=5)
    trailing: int = 5
    lookback: int = 30
    incomplete_below: float = 0.8
    max_refused_share: float = 0.01
    downloads: int = 1
    source: str = SOURCE


@dataclass(slots=True)
class BarsFetched:
    """What one fetch of daily bars did; filled as it goes, so it is true wherever it ends.

    Attributes:
        newest_due: Newest session that was closed long enough.
        asked: Sessions to ask for.
        left: Those of them that were not dealt with.
        new_sessions: Sessions of which the lake had nothing before.
        changed_sessions: Sessions that came with other rows than before.
        unchanged_sessions: How many came as they were.
        rows: Rows kept under bronze.
        refused_rows: Rows kept under rejected.
        keys: Deliveries written.
        incomplete: Sessions of which perhaps not all has come.
        problems: Sessions whose answer could not be used, and why.
        said: Why there was nothing to fetch, if there was not.
    """

    newest_due: date | None = None
    asked: list[date] = field(default_factory=list)
    left: list[date] = field(default_factory=list)
    new_sessions: list[date] = field(default_factory=list)
    changed_sessions: list[date] = field(default_factory=list)
    unchanged_sessions: int = 0
    rows: int = 0
    refused_rows: int = 0
    keys: list[str] = field(default_factory=list)
    incomplete: list[IncompleteNote] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    said: str | None = None

    @property
    def counts(self) -> dict[str, Any]:
        """What a report tells of it."""
        return {
            "newest_due": self.newest_due,
            "sessions_asked": len(self.asked),
            "sessions_left": len(self.left),
            "new_sessions": [str(session) for session in self.new_sessions],
            "changed_sessions": [str(session) for session in self.changed_sessions],
            "unchanged_sessions": self.unchanged_sessions,
            "rows": self.rows,
            "refused_rows": self.refused_rows,
            "incomplete": [note.told for note in self.incomplete],
        }

    @property
    def summary(self) -> str:
        """The outcome in one line."""
        if self.said:
            return self.said
        parts = [f"{len(self.new_sessions)} new", f"{len(self.changed_sessions)} changed"]
        parts += [f"{self.unchanged_sessions} unchanged", f"{self.rows:,} rows"]
        if self.incomplete:
            parts.append(f"{len(self.incomplete)} incomplete")
        return f"sessions: {', '.join(parts)}; newest due {self.newest_due}"


def fetch_daily_bars(
    store: ObjectStore,
    ask: AskSession,
    *,
    calendar: Calendar,
    clock: Clock,
    options: BarsOptions,
    progress: Progress,
    stop_requested: StopRequested,
    asked: SessionRange | None = None,
    outcome: BarsFetched | None = None,
) -> BarsFetched:
    """Bring the sessions that are missing, or may have changed, into bronze.

    What is missing follows from the calendar and bronze. A session lands whole or not at
    all; one that comes as it was is not kept again; one that may not be whole is kept and
    noted, and asked for again by later runs until it is. A run that is stopped is
    continued by the next one.

    Args:
        store: The lake.
        ask: Asks the vendor; must be usable by several threads.
        calendar: The exchange calendar.
        clock: Tells the instant: once for the plan, and for each delivery.
        options: How to go about it.
        progress: Hears what is going on.
        stop_requested: Asked between sessions.
        asked: Sessions to fetch; the daily ones where not given.
        outcome: Where to tell what was done, so that it is known after an error, too.

    Raises:
        VendorDenied: The key or the plan does not allow it.
        VendorUnavailable: The vendor gave no whole answer; what came before is kept.
        Interrupted: It was asked to stop.
    """
    outcome = outcome if outcome is not None else BarsFetched()
    job = _Job(store, ask, calendar, clock, options, progress, stop_requested, outcome)
    job.run(asked)
    return outcome


@dataclass(slots=True, eq=False)
class _Job:
    """One fetch into one lake."""

    store: ObjectStore
    ask: AskSession
    calendar: Calendar
    clock: Clock
    options: BarsOptions
    progress: Progress
    stop_requested: StopRequested
    outcome: BarsFetched
    bronze: BronzeLook = field(init=False)
    noted: frozenset[date] = field(init=False)

    def run(self, asked: SessionRange | None) -> None:
        """Plan from what is there now, and work the plan off."""
        self.bronze = BronzeLook(self.store, self.calendar)
        noted = noted_sessions(self.store)
        self.noted = frozenset(session for session in noted if self.calendar.is_session(session))
        self.store.delete(incomplete_key(session) for session in noted - self.noted)
        plan = self._plan(asked)
        sessions = plan.sessions
        self.outcome.asked = list(sessions)
        self.outcome.left = list(sessions)
        if not sessions:
            return
        self.bronze.look_before(sessions)
        self.progress.begin("fetching bars", len(sessions), "sessions")
        for answer in self._answers(sessions):
            require_going(self.stop_requested)
            if isinstance(answer, SessionAnswer):
                self._take(answer)
            else:
                self._problem(str(answer))
            self.outcome.left.pop(0)
            self.progress.advance()

    def _plan(self, asked: SessionRange | None) -> FetchPlan:
        now = self.clock()
        newest = newest_due(self.calendar, now, self.options.close_delay)
        self.outcome.newest_due = newest
        if asked is not None:
            self.bronze.look(asked.first, asked.last)
            plan = plan_range(self.calendar, newest, self._bronze_sessions(None, self.noted), asked)
            if not self.calendar.sessions_between(asked.first, min(asked.last, newest)):
                self.outcome.said = nothing_due(self.calendar, newest, asked)
            elif not plan.sessions:
                self.outcome.said = f"{asked.first} to {asked.last}: every session is in the lake"
            return plan
        first = self.bronze.first_session()
        if first is not None:
            start = lookback_start(self.calendar, newest, self.options.lookback)
            self.bronze.look(start, newest)
            if not self.bronze.present:
                self.bronze.look_at_all()
        plan = plan_daily(
            self.calendar,
            newest,
            self._bronze_sessions(first, worth_asking(self.store, self.noted, ASKED_AGAIN)),
            trailing=self.options.trailing,
            lookback=self.options.lookback,
        )
        self.progress.note(self._told(now, newest, first, plan))
        return plan

    def _bronze_sessions(self, first: date | None, noted: frozenset[date]) -> BronzeSessions:
        return BronzeSessions(first, self.bronze.present, noted)

    def _told(self, now: datetime, newest: date, first: date | None, plan: FetchPlan) -> str:
        """Say what the plan is, and that there is no session today where there is none."""
        today = exchange_date(now)
        holiday = "" if self.calendar.is_session(today) else f"{today}: no session; "
        if first is None:
            return (
                f"{holiday}an empty lake begins with {gaps_in_words(plan.missing)};"
                " fetch --backfill YEARS brings more"
            )
        missing = f"{gaps_in_words(plan.missing)} missing" if plan.missing else "none missing"
        return f"{holiday}newest session due {newest}, {missing}, {len(plan.again)} asked for again"

    def _answers(self, sessions: Sequence[date]) -> Iterator[SessionAnswer | VendorRefused]:
        """Ask for sessions side by side, a bounded number ahead; give them in order.

        Once an answer is an error that ends the run, no further session is asked for.
        """
        ended = threading.Event()

        def one(session: date) -> SessionAnswer | VendorRefused:
            require_going(lambda: ended.is_set() or self.stop_requested())
            try:
                return self.ask(session)
            except VendorRefused as err:
                return err
            except BaseException:
                ended.set()
                raise

        waiting: deque[Future[SessionAnswer | VendorRefused]] = deque()
        rest = iter(sessions)
        with ThreadPoolExecutor(self.options.downloads) as pool:
            try:
                for session in rest:
                    waiting.append(pool.submit(one, session))
                    if len(waiting) > self.options.downloads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _take(self, answer: SessionAnswer) -> None:
        """Judge an answer, note it if in doubt, then keep it: in this order.

        A run that is killed in between leaves a note too many, never one too few.
        """
        session = answer.session
        received_at = self.clock()
        usual = usual_rows(self.bronze.counts_before(session), session)
        few = doubt_few_rows(answer.rows.height, usual, below=self.options.incomplete_below)
        doubts = (*answer.doubts, *few)
        if doubts:
            before = read_note(self.store, session) if session in self.noted else None
            note = IncompleteNote(
                session,
                doubts,
                answer.rows.height,
                usual,
                received_at,
                asks=before.asks + 1 if before else 1,
            )
            note_incomplete(self.store, note)
            self.outcome.incomplete.append(note)
            self.progress.warn(note.told)
        if answer.rows.height:
            self._keep(answer, received_at)
        if not doubts and session in self.noted:
            self.store.delete([incomplete_key(session)])

    def _keep(self, answer: SessionAnswer, received_at: datetime) -> None:
        session = answer.session
        was_present = session in self.bronze.present
        before = self.bronze.newest_of(session, self.options.source)
        landed = land(
            self.store,
            answer.rows,
            received_at=received_at,
            source=self.options.source,
            calendar=self.calendar,
            received_before={session: before} if before else None,
        )
        self._count(session, landed, was_present=was_present)
        try:
            require_few_refused(
                landed, named=f"bars of {session}", share=self.options.max_refused_share
            )
        except DataRefused as err:
            told_before = landed.unchanged and before and _long_ago(before, received_at)
            if told_before:
                self.progress.warn(f"{err}; as it was")
            else:
                self._problem(str(err))

    def _count(self, session: date, landed: Landed, *, was_present: bool) -> None:
        if landed.unchanged:
            self.outcome.unchanged_sessions += 1
            return
        for delivery in landed.deliveries:
            self.bronze.add(delivery)
            self.bronze.counts[session] = landed.accepted_rows
        self.outcome.rows += landed.accepted_rows
        self.outcome.refused_rows += landed.refused_rows
        self.outcome.keys += landed.written
        if landed.written:
            which = self.outcome.changed_sessions if was_present else self.outcome.new_sessions
            which.append(session)

    def _problem(self, text: str) -> None:
        self.outcome.problems.append(text)
        self.progress.warn(text)


def _long_ago(delivery: Delivery, now: datetime) -> bool:
    """Tell whether the run that kept a delivery is another than this one and its retries."""
    return now - delivery.received_at > _RETRIES_WITHIN


def require_complete(outcome: BarsFetched) -> None:
    """Fail where a session is incomplete.

    Raises:
        DataRefused: Names the sessions.
    """
    if outcome.incomplete:
        told = "; ".join(note.told for note in outcome.incomplete)
        raise DataRefused(f"{told}; what came is kept, the next run asks again")
