"""Fetching daily bars: plan, request, judge, land, note what is incomplete."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

from batch.core.errors import DataRefused
from batch.core.layout import incomplete_key
from batch.lake.landing import land, require_few_refused
from batch.runtime.formats import count_text
from batch.runtime.progress import require_going
from fetchers.bronze import BronzeListing
from fetchers.context import FetchContext
from fetchers.errors import VendorRefused
from fetchers.incomplete import (
    IncompleteNote,
    noted_sessions,
    read_note,
    usual_rows,
    worth_requesting,
)
from fetchers.plan import (
    FetchPlan,
    exchange_date,
    gaps_in_words,
    lookback_start,
    plan_daily,
    plan_range,
)
from fetchers.polygon.parsing import SessionAnswer
from fetchers.request import SessionRange
from fetchers.results import BarsFetched, SessionFetched, last_result

_RETRIES_WITHIN = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class BarsSource:
    """Where the bars of whole sessions come from; deliveries land under its name.

    ``session`` is called by several threads, ``downloads`` at a time; ``close_delay`` is the
    time after a close before a session is due.
    """

    name: str
    session: Callable[[date], SessionAnswer]
    close_delay: timedelta
    downloads: int


def fetch_daily_bars(
    context: FetchContext, source: BarsSource, wanted: SessionRange | None = None
) -> BarsFetched:
    """Bring the sessions that are missing, or may have changed, into bronze.

    ``wanted`` is None for the daily run. What is missing follows from the calendar and bronze.
    A session lands whole or not at all; one that comes as it was is not kept again; one that
    may not be whole is kept and noted, and later runs request it again until it is. A run that
    is stopped is continued by the next one.

    The result's ``error`` is what ended it: ``VendorDenied`` where the key or the plan does not
    allow it, ``VendorUnavailable`` where the vendor gave no whole answer, ``Interrupted`` where
    a stop was requested; what came before is kept.
    """
    return last_result(_fetch(context, source, wanted))


def _fetch(
    context: FetchContext, source: BarsSource, wanted: SessionRange | None
) -> Iterator[BarsFetched]:
    now = context.clock()
    newest = context.calendar.newest_closed(now - source.close_delay)
    fetched = BarsFetched(newest_due=newest)
    yield fetched
    bronze = BronzeListing(context.store, context.calendar)
    noted = noted_sessions(context.store, context.calendar)
    if wanted is None:
        plan = _plan_daily(context, bronze, noted, newest, exchange_date(now))
    else:
        bronze.list_range(wanted.first, wanted.last)
        plan = plan_range(
            context.calendar, newest, wanted, present=bronze.present, incomplete=noted
        )
    fetched = replace(fetched, planned=plan.sessions, nothing=plan.nothing)
    yield fetched
    if not plan.sessions:
        return
    bronze.list_before(plan.sessions)
    context.progress.begin("fetching bars", len(plan.sessions), "sessions")
    landing = _Landing(context, source.name, bronze, noted)
    # Closed here: an error is kept in the result, and would keep the requests ahead alive.
    with closing(_answers(context, source, plan.sessions)) as answers:
        for session, answer in zip(plan.sessions, answers, strict=True):
            context.require_going()
            if isinstance(answer, SessionAnswer):
                one = landing.take(answer)
            else:
                one = SessionFetched(session, problem=str(answer))
            if one.problem:
                context.progress.warn(one.problem)
            fetched = replace(fetched, done=(*fetched.done, one))
            yield fetched
            context.progress.advance()


def _plan_daily(
    context: FetchContext,
    bronze: BronzeListing,
    noted: frozenset[date],
    newest: date,
    today: date,
) -> FetchPlan:
    """Plan the daily run, and report the plan, or that today has no session."""
    calendar, settings = context.calendar, context.settings
    first = bronze.first_session()
    if first is not None:
        bronze.list_range(lookback_start(calendar, newest, settings.lookback_sessions), newest)
        if not bronze.present:
            bronze.list_all()
    plan = plan_daily(
        calendar,
        newest,
        first=first,
        present=bronze.present,
        incomplete=worth_requesting(context.store, noted),
        trailing=settings.trailing_sessions,
        lookback=settings.lookback_sessions,
    )
    holiday = "" if calendar.is_session(today) else f"{today}: no session; "
    gaps = gaps_in_words(plan.missing)
    if first is None:
        found = f"an empty lake begins with {gaps}; fetch --backfill YEARS brings more"
    else:
        missing = f"{gaps} missing" if plan.missing else "none missing"
        found = f"newest session due {newest}, {missing}, {len(plan.again)} fetched again"
    context.progress.note(f"{holiday}{found}")
    return plan


def _answers(
    context: FetchContext, source: BarsSource, sessions: Sequence[date]
) -> Generator[SessionAnswer | VendorRefused, None, None]:
    """Request sessions side by side, a bounded number ahead; yield the answers in order.

    Once an answer is an error that ends the run, no further session is requested.
    """
    ended = threading.Event()

    def request(session: date) -> SessionAnswer | VendorRefused:
        require_going(lambda: ended.is_set() or context.stop_requested())
        try:
            return source.session(session)
        except VendorRefused as err:
            return err
        except BaseException:
            ended.set()
            raise

    waiting: deque[Future[SessionAnswer | VendorRefused]] = deque()
    pool = ThreadPoolExecutor(source.downloads)
    try:
        for session in sessions:
            waiting.append(pool.submit(request, session))
            if len(waiting) > source.downloads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Landing:
    """How the answers of one fetch are judged and kept."""

    context: FetchContext
    source_name: str
    bronze: BronzeListing
    noted: frozenset[date]

    def take(self, answer: SessionAnswer) -> SessionFetched:
        """Judge an answer, note it if in doubt, then keep it: in this order.

        A run that is killed in between leaves a note too many, never one too few.
        """
        session, rows, store = answer.session, answer.rows.height, self.context.store
        received_at = self.context.clock()
        usual = usual_rows(self.bronze.rows_before(session))
        below = self.context.settings.incomplete_below
        doubts = answer.doubts
        if usual is not None and 0 < rows < below * usual:
            doubts += (
                f"{count_text(rows, 'rows')}, less than {below:.0%} of the usual {usual:,.0f}",
            )
        note = None
        if doubts:
            before = read_note(store, session) if session in self.noted else None
            asks = before.asks + 1 if before else 1
            note = IncompleteNote(session, doubts, rows, usual, received_at, asks)
            note.keep(store)
            self.context.progress.warn(note.summary)
        kept = self._keep(answer, received_at) if rows else SessionFetched(session)
        if note is None and session in self.noted:
            store.delete([incomplete_key(session)])
        return replace(kept, note=note)

    def _keep(self, answer: SessionAnswer, received_at: datetime) -> SessionFetched:
        session, context = answer.session, self.context
        was_present = session in self.bronze.present
        before = self.bronze.newest_sent(session, self.source_name)
        landed = land(
            context.store,
            answer.rows,
            received_at=received_at,
            source=self.source_name,
            calendar=context.calendar,
            received_before={session: before} if before else None,
        )
        problem = None
        try:
            require_few_refused(
                landed, label=f"bars of {session}", share=context.settings.max_refused_share
            )
        except DataRefused as err:
            # A retry of the run that kept these rows reports the problem again.
            by_another_run = before and received_at - before.received_at > _RETRIES_WITHIN
            if landed.unchanged and by_another_run:
                context.progress.warn(f"{err}; the lake has them already")
            else:
                problem = str(err)
        if landed.unchanged:
            return SessionFetched(session, "unchanged", problem=problem)
        for delivery in landed.deliveries:
            self.bronze.add(delivery, landed.accepted_rows)
        return SessionFetched(
            session,
            ("changed" if was_present else "new") if landed.written else None,
            landed.accepted_rows,
            landed.refused_rows,
            landed.written,
            problem=problem,
        )
