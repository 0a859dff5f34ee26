"""Files of a case that grow piece by piece, thousands of them at once.

Rules of this file:

* no file stays open between two pieces: there may be more of them than a process can hold open;
* media are written and hashed on a thread of their own, some megabytes behind the decoding.
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

BYTES_WAITING: Final = 8 << 20
"""Bytes that may wait to be written: enough that the thread is never idle."""

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


class WriterThread:
    """Does what it is given, in order, on one thread; what fails there is raised by a later call here."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="media-writer")
        self._waiting: deque[tuple[Future[None], int]] = deque()
        self._size = 0

    def __enter__(self) -> Self:
        """Return it; it ends with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all is done."""
        self._executor.shutdown()

    def submit(self, task: Callable[[], None], size: int) -> None:
        """Let a task be done that writes `size` bytes; waits while too many are to be written."""
        while self._waiting and self._size + size > BYTES_WAITING:
            self._wait()
        self._waiting.append((self._executor.submit(task), size))
        self._size += size

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

    def __init__(self, path: Path, writer: WriterThread) -> None:
        self._path = path
        self._writer = writer
        self._sha256 = hashlib.sha256()
        self.size = 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, data: bytes | NDArray[np.uint8]) -> int:
        """Append bytes."""
        view = memoryview(data)  # type: ignore[arg-type]  # NumPy arrays are buffers
        self._writer.submit(lambda: self._append(view), len(view))
        self.size += len(view)
        return len(view)

    def _append(self, view: memoryview) -> None:
        append(self._path, view)
        self._sha256.update(view)

    def hexdigest(self) -> str:
        """SHA-256 of what was written."""
        self.settle()
        return self._sha256.hexdigest()

    def settle(self) -> None:
        """Wait until what was given is on disk."""
        self._writer.settle()
