"""The pace of requests to the vendor."""

from __future__ import annotations

import threading

import pytest

from batch.core.errors import Interrupted
from fetchers.polygon.pacing import Pacer


class Time:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


def starts(pacer: Pacer, time: Time, count: int) -> list[float]:
    found = []
    for _ in range(count):
        pacer.wait()
        found.append(time.now_s)
    return found


@pytest.mark.parametrize("per_minute", [1, 5, 60])
def test_no_minute_sees_more_requests_than_allowed(per_minute: int) -> None:
    time = Time()
    pacer = Pacer(per_minute, monotonic_s=time.monotonic_s, sleep=time.sleep)

    went = starts(pacer, time, 4 * per_minute + 1)

    for at, start in enumerate(went):
        assert sum(start <= other < start + 60 for other in went[at:]) <= per_minute
    assert went[per_minute - 1] == went[0]
    assert went[-1] - went[0] < 4 * 62


@pytest.mark.parametrize(
    ("per_minute", "share"), [(5, 0.2), (5, 0.8), (5, 0.5), (1, 0.2), (1, 0.8), (100, 0.29)]
)
def test_a_share_is_kept_in_any_minute_and_used(per_minute: int, share: float) -> None:
    time = Time()
    pacer = Pacer(per_minute, share, monotonic_s=time.monotonic_s, sleep=time.sleep)
    at_once = max(1, int(per_minute * share))

    went = starts(pacer, time, 4 * at_once + 1)

    most_in_60_s = max(1.0, per_minute * share)
    for at, start in enumerate(went):
        assert sum(start <= other < start + 60 for other in went[at:]) <= most_in_60_s
    assert went[at_once - 1] == went[0]
    assert went[-1] - went[0] == pytest.approx(4 * 61 / min(1, per_minute * share), abs=1)


def test_a_share_of_no_limit_is_no_limit() -> None:
    time = Time()
    pacer = Pacer(0, 0.2, monotonic_s=time.monotonic_s, sleep=time.sleep)

    assert set(starts(pacer, time, 100)) == {1000.0}


def test_without_a_limit_nobody_waits() -> None:
    time = Time()
    pacer = Pacer(0, monotonic_s=time.monotonic_s, sleep=time.sleep)

    assert set(starts(pacer, time, 1000)) == {1000.0}


def test_a_pause_that_the_vendor_asks_for_holds_every_request() -> None:
    time = Time()
    pacer = Pacer(0, monotonic_s=time.monotonic_s, sleep=time.sleep)
    pacer.hold(30)

    assert starts(pacer, time, 2) == [1030.0, 1030.0]


def test_waiting_can_be_stopped() -> None:
    time = Time()
    pacer = Pacer(1, monotonic_s=time.monotonic_s, sleep=time.sleep)
    pacer.wait()

    with pytest.raises(Interrupted):
        pacer.wait(lambda: time.now_s > 1010)

    assert time.now_s < 1011


def test_threads_share_the_limit() -> None:
    pacer = Pacer(3)
    went: list[int] = []
    stop = threading.Event()

    def work() -> None:
        try:
            while True:
                pacer.wait(stop.is_set)
                went.append(1)
        except Interrupted:
            return

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    stop.wait(0.4)
    stop.set()
    for thread in threads:
        thread.join()

    assert len(went) == 3
