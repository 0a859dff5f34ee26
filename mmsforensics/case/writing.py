"""Files of a case that grow piece by piece, thousands of them at once.

Rules of this file:

* no file stays open between two pieces: there may be more of them than a process can hold open;
* media are written and hashed on threads of their own, some megabytes behind the decoding.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

THREADS: Final = 2
"""Threads that write: when sessions end, hashing their media costs more than anything else."""

BYTES_WAITING: Final = 8 << 20
"""Bytes that may wait to be written: enough that no thread is idle."""

BYTES_SPOOLED: Final = 16 << 20
"""Bytes that may wait for all spool files together."""


def append(path: Path, data: memoryview) -> None:
    """Add bytes to the end of a file, which is created with them if need be."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        done = 0
        while done < len(data):
            done += os.write(descriptor, data[done:])
    finally:
        os.close(descriptor)


class Spools:
    """Bytes for many files that wait until there are enough to be worth opening a file."""

    def __init__(self) -> None:
        self._waiting: dict[Path, list[bytes]] = {}
        self._size = 0

    def append(self, path: Path, data: bytes) -> None:
        """Add bytes to what waits for a file."""
        self._waiting.setdefault(path, []).append(data)
        self._size += len(data)
        if self._size > BYTES_SPOOLED:
            for full in list(self._waiting):
                self.flush(full)

    def flush(self, path: Path) -> None:
        """See to it that all bytes of a file lie in it."""
        parts = self._waiting.pop(path, [])
        if parts:
            data = b"".join(parts)
            self._size -= len(data)
            append(path, memoryview(data))

    def remove(self, path: Path) -> None:
        """Forget a file's bytes, and delete it."""
        self._size -= sum(len(part) for part in self._waiting.pop(path, []))
        path.unlink(missing_ok=True)


class Writers:
    """Does what it is given on threads; what fails there is raised by a later call here.

    Tasks of one lane are done in order, on one thread.
    """

    def __init__(self) -> None:
        self._lanes = [ThreadPoolExecutor(1, thread_name_prefix="media-writer") for _ in range(THREADS)]
        self._next = 0
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._size = 0

    def __enter__(self) -> Self:
        """Return it; it ends with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all is done."""
        for lane in self._lanes:
            lane.shutdown()
        if error is None:
            self.settle()

    def lane(self) -> int:
        """A lane for a file."""
        self._next += 1
        return self._next % THREADS

    def submit(self, lane: int, task: Callable[[], None], size: int) -> Future[None]:
        """Let a task be done that writes `size` bytes; waits while too many are to be written."""
        while self._waiting and self._size + size > BYTES_WAITING:
            self._wait()
        future = self._lanes[lane].submit(task)
        self._waiting.append((future, size))
        self._size += size
        return future

    def settle(self) -> None:
        """Wait until all that was given is done."""
        while self._waiting:
            self._wait()

    def _wait(self) -> None:
        future, size = self._waiting.popleft()
        self._size -= size
        future.result()


class HashedFile:
    """A file hashed as it is written.

    What is given to `write` must not change afterwards.
    """

    def __init__(self, path: Path, writers: Writers) -> None:
        self._path = path
        self._writers = writers
        self._lane = writers.lane()
        self._last: Future[None] | None = None
        self._sha256 = hashlib.sha256()
        self.size = 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, data: bytes | NDArray[np.uint8]) -> int:
        """Append bytes."""
        view = memoryview(data)  # type: ignore[arg-type]  # NumPy arrays are buffers
        self._last = self._writers.submit(self._lane, lambda: self._append(view), len(view))
        self.size += len(view)
        return len(view)

    def _append(self, view: memoryview) -> None:
        append(self._path, view)
        self._sha256.update(view)

    def hexdigest(self) -> str:
        """SHA-256 of what was written; waits for all files."""
        self._writers.settle()
        return self._sha256.hexdigest()

    def settle(self) -> None:
        """Wait until what was given is on disk."""
        if self._last is not None:
            self._last.result()
