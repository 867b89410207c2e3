"""Days of a real calendar on the local AWS: a late vendor, Thanksgiving, an early close."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from batch.core import schema
from batch.core.frames import empty_frame
from batch.core.sessions import Calendar
from local_aws.pipeline import STAND_IN_IMAGES, Execution, Operator
from local_aws.server import LocalAws
from simulation.vendor_market import LATE_PRINTS_AFTER, SyntheticMarket
from simulation.vendor_server import VendorServer
from tests.aws.conftest import KEY, Clock, Deployed

pytestmark = pytest.mark.slow

PREFIX = "november"


class SettledMarket(SyntheticMarket):
    """Tells each session's bars once and for all, without late prints to correct them."""

    def rows(self, session: date, now: datetime) -> pl.DataFrame:
        is_closed = self._calendar.is_session(session) and self._calendar.close_of(session) <= now
        if not is_closed:
            return empty_frame(schema.DELIVERY)
        return super().rows(session, now + LATE_PRINTS_AFTER)


class November(Deployed):
    """A pipeline of its own in November 2025, whose clock is set by hand."""

    clock: Clock

    def at(self, instant: str, *, vendor_late: timedelta = timedelta()) -> None:
        now = datetime.fromisoformat(instant).replace(tzinfo=UTC)
        self.clock.now = now
        self.stub.clock = lambda: now - vendor_late

    def fire(self) -> Execution:
        """Let the schedule fire now, and follow the pipeline."""
        assert self.clock.now is not None
        started = self.operator.follow(self.operator.let_schedule_fire(self.clock.now))
        return self.operator.follow(started.output["execution"])

    def jobs(self) -> int:
        """Count the jobs that were ever submitted."""
        batch = self.aws.client("batch")
        return sum(
            len(batch.list_jobs(jobQueue=f"{PREFIX}-{queue}", jobStatus=status)["jobSummaryList"])
            for queue in ("consolidator", "resampler")
            for status in ("RUNNING", "SUCCEEDED", "FAILED")
        )

    def sessions(self) -> set[str]:
        return {key.split("/")[2].removeprefix("date=") for key in self.keys("bronze/daily/")}


@pytest.fixture(scope="module")
def november(running_aws: LocalAws, clock: Clock, calendar: Calendar) -> Iterator[November]:
    market = SettledMarket(symbols=10, first=date(2025, 11, 3), seed=7, calendar=calendar)
    stub = VendorServer(market, calendar, key=KEY)
    with stub.running() as url:
        operator = Operator(running_aws, stack=f"{PREFIX}-ohlcv-pipeline")
        settings = ["--parameter", f"PolygonBaseUrl={url}"]
        settings += ["--parameter", "PolygonRequestsPerMinute=0", "--prefix", PREFIX]
        images = {name: uri.replace("condvest", PREFIX) for name, uri in STAND_IN_IMAGES.items()}
        operator.deploy(*settings, images=images)
        operator.put_vendor_key(KEY)
        operator.subscribe()
        made = November(running_aws, operator, stub)
        made.clock = clock
        made.at("2025-11-25T21:05")
        first = made.run(intervals=[5])
        assert first.states[-1] == "PipelineComplete", first.cause
        yield made
        clock.now = None


@pytest.mark.troubleshooting("`NothingToDo` on a trading day")
def test_a_vendor_that_is_late_is_asked_again_by_a_later_start(november: November) -> None:
    november.at("2025-11-26T21:05", vendor_late=timedelta(minutes=30))
    before = november.jobs()
    scheduled = november.fire()
    jobs_of_schedule = november.jobs() - before
    november.at("2025-11-26T22:05")

    later = november.run(intervals=[5])

    assert (scheduled.status, scheduled.states[-1]) == ("SUCCEEDED", "NothingToDo")
    assert jobs_of_schedule == 0
    assert later.states[-1] == "PipelineComplete"
    assert max(november.sessions()) == "2025-11-26"
    assert november.operator.alerts() == []


def test_a_holiday_ends_as_a_success_without_jobs_or_alerts(november: November) -> None:
    if max(november.sessions()) < "2025-11-26":
        november.at("2025-11-26T22:05")
        november.run(intervals=[5])
    before, sessions = november.jobs(), november.sessions()
    november.at("2025-11-27T21:05")

    thanksgiving = november.fire()

    assert thanksgiving.arn.endswith(":session-2025-11-27")
    assert (thanksgiving.status, thanksgiving.states[-1]) == ("SUCCEEDED", "NothingToDo")
    assert november.jobs() == before > 0
    assert november.sessions() == sessions
    assert november.operator.alerts() == []


def test_an_early_close_is_a_day_like_any_other(november: November) -> None:
    november.at("2025-11-28T21:05")

    ended = november.fire()

    assert ended.arn.endswith(":session-2025-11-28")
    assert ended.states[-1] == "PipelineComplete", ended.cause
    assert max(november.sessions()) == "2025-11-28"
    assert "2025-11-27" not in november.sessions()
    assert november.operator.alerts() == []
