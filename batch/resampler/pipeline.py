"""Threads that pass items on in order: reading ahead, and one reader for many consumers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event, Semaphore
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _End:
    """Comes behind the last item."""


class _Stopped(Exception):
    """Another consumer failed, or drawing the items did."""


def read_ahead(items: Iterator[Item], count: int) -> Generator[Item, None, None]:
    """Draw items on a thread of its own, up to ``count`` before they are asked for.

    An error in drawing an item is raised in its place.
    """
    with ThreadPoolExecutor(1) as reader:
        waiting = deque(reader.submit(next, items, _End()) for _ in range(count))
        try:
            while not isinstance(item := waiting.popleft().result(), _End):
                waiting.append(reader.submit(next, items, _End()))
                yield item
        finally:
            for one in waiting:
                one.cancel()


def broadcast(
    items: Iterable[Item],
    consumers: Sequence[Callable[[Iterator[Item]], Result]],
    *,
    in_flight: int,
) -> list[Result]:
    """Pass every item to every consumer, each of which runs on a thread of its own.

    Items are drawn on this thread. None is drawn before the slowest consumer has fewer than
    ``in_flight`` items in work and waiting. Where a consumer or the drawing fails, the others
    are stopped at their next item, and the error is raised once all have ended. A consumer
    reads its iterator to the end; what they return comes in their order.
    """
    failed = Event()
    feeds = [_Feed[Item](in_flight, failed) for _ in consumers]
    with ThreadPoolExecutor(len(consumers)) as pool:
        ends = [pool.submit(feed.run, one) for feed, one in zip(feeds, consumers, strict=True)]
        try:
            for item in items:
                for feed in feeds:
                    feed.put(item)
                if failed.is_set():
                    break
        except BaseException:
            failed.set()
            raise
        finally:
            for feed in feeds:
                feed.end()
    errors = [error for end in ends if (error := end.exception()) is not None]
    for error in errors:
        if not isinstance(error, _Stopped):
            raise error
    return [end.result() for end in ends]


class _Feed(Generic[Item]):
    """The items on their way to one consumer."""

    def __init__(self, in_flight: int, failed: Event) -> None:
        self._items: SimpleQueue[Item | _End] = SimpleQueue()
        self._room = Semaphore(in_flight)
        self._failed = failed

    def put(self, item: Item) -> None:
        """Pass on an item once there is room for it."""
        self._room.acquire()
        self._items.put(item)

    def end(self) -> None:
        """Pass on that there are no more items."""
        self._items.put(_End())

    def run(self, consumer: Callable[[Iterator[Item]], Result]) -> Result:
        """Let the consumer read the items."""
        try:
            return consumer(self._received())
        except BaseException:
            self._failed.set()
            self._room.release()  # whoever waits for room goes on, and sees the failure
            raise

    def _received(self) -> Iterator[Item]:
        while not isinstance(item := self._items.get(), _End):
            if self._failed.is_set():
                raise _Stopped
            yield item
            del item
            self._room.release()
        if self._failed.is_set():
            raise _Stopped


def completed(result: Result) -> Future[Result]:
    """Return a future that is done."""
    future: Future[Result] = Future()
    future.set_result(result)
    return future
