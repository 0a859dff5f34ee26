"""Media that are finished while the next ones are decoded.

Rules of this file:

* what reads and writes files runs on threads, some media at a time; what adds rows to tables runs where it
  was asked for, in the order in which it was: the same evidence gives the same tables;
* few wait, since each holds rows of its medium in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final, Self, TypeVar

MAKERS: Final = 2
"""Threads: each reads and walks packets in compiled code most of its time."""

AHEAD: Final = 4
"""Media that may wait to have their rows written."""

Made = TypeVar("Made")


class Closings:
    """Does the work of closing media on threads; what fails there is raised by a later call here."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(MAKERS, thread_name_prefix="media-maker")
        self._waiting: deque[Callable[[], None]] = deque()

    def __enter__(self) -> Self:
        """Return it; its threads end with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what waits, unless something has failed."""
        try:
            if error is None:
                self.settle()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def add(self, make: Callable[[], Made], then: Callable[[Made], None]) -> None:
        """Let `make` be called on a thread, and `then` with what it returns, here, by a later call."""
        future = self._pool.submit(make)
        self._waiting.append(lambda: _told(future, then))
        while len(self._waiting) > AHEAD:
            self._waiting.popleft()()

    def settle(self) -> None:
        """Finish all."""
        while self._waiting:
            self._waiting.popleft()()


def _told(future: Future[Made], then: Callable[[Made], None]) -> None:
    then(future.result())
