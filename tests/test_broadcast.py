"""One reader and several consumers: order, room, and what a failure does to the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from batch.resampler.pipeline import broadcast, read_ahead


class Broken(Exception):
    """What a consumer or a source fails with here."""


def test_every_consumer_gets_every_item_in_order() -> None:
    results = broadcast(range(50), [list, sum, list], in_flight=1)

    assert results == [[*range(50)], sum(range(50)), [*range(50)]]


def test_no_item_is_drawn_before_the_slowest_consumer_has_room() -> None:
    drawn: list[int] = []
    ahead: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            drawn.append(number)
            yield number

    def slow(items: Iterator[int]) -> None:
        for number in items:
            threading.Event().wait(0.002)
            ahead.append(len(drawn) - number)

    broadcast(source(), [slow, list], in_flight=2)

    assert max(ahead) <= 2 + 1  # two given to the consumer, one drawn for it


@pytest.mark.parametrize("at", [0, 3, 19])
def test_a_failing_consumer_stops_the_others_and_its_error_is_raised(at: int) -> None:
    finished: list[str] = []

    def failing(items: Iterator[int]) -> None:
        for number in items:
            if number == at:
                raise Broken("consumer")

    def other(items: Iterator[int]) -> None:
        for number in items:
            assert number < at + 3
        finished.append("other")

    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    with pytest.raises(Broken, match="consumer"):
        broadcast(endless(), [other, failing, other], in_flight=1)

    assert finished == []


def test_a_failing_source_stops_all_consumers_before_they_take_it_for_the_end() -> None:
    finished: list[str] = []

    def source() -> Iterator[int]:
        yield 1
        raise Broken("source")

    def consumer(items: Iterator[int]) -> None:
        for _ in items:
            pass
        finished.append("end")

    with pytest.raises(Broken, match="source"):
        broadcast(source(), [consumer, consumer], in_flight=2)

    assert finished == []


def test_reading_ahead_keeps_the_order_and_raises_an_error_in_its_place() -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        raise Broken("source")

    seen: list[int] = []
    with pytest.raises(Broken):
        seen.extend(read_ahead(source(), 2))
    items = read_ahead(iter(range(100)), 2)

    assert seen == [*range(5)]
    assert next(items) == 0
    items.close()
