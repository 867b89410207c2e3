"""Reading ahead of those who use what was read."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")


class _End:
    """Comes behind the last item."""


def read_ahead(items: Iterator[Item], count: int) -> Generator[Item, None, None]:
    """Draw items on a thread of its own, up to some before they are asked for.

    Args:
        items: What to draw from; an error in it is raised where its item would have come.
        count: Items that may wait, at least 1.
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
