"""Steps that must follow each other, several lines of them side by side on one pool."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import Lock

Step = Callable[[], None]


class Line:
    """Runs steps one after the other, in the order they were added.

    Other lines run on the same pool meanwhile; a worker is never kept waiting. After a
    step has failed the later ones are not run and fail with the same error.
    """

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._waiting: deque[tuple[Step, Future[None]]] = deque()
        self._lock = Lock()
        self._running = False
        self._failed: BaseException | None = None

    def add(self, step: Step) -> Future[None]:
        """Run a step after those before it."""
        done: Future[None] = Future()
        with self._lock:
            self._waiting.append((step, done))
            if self._running:
                return done
            self._running = True
        self._pool.submit(self._run_next)
        return done

    def drain(self) -> None:
        """Wait for the steps added so far; raises what went wrong in them."""
        self.add(lambda: None).result()

    def _run_next(self) -> None:
        with self._lock:
            step, done = self._waiting.popleft()
        try:
            if self._failed is not None:
                raise self._failed
            step()
        except BaseException as err:  # noqa: BLE001 - handed to whoever waits for the step
            self._failed = err
            done.set_exception(err)
        else:
            done.set_result(None)
        with self._lock:
            if not self._waiting:
                self._running = False
                return
        self._pool.submit(self._run_next)
