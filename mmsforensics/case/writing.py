"""Files of a case that grow piece by piece, thousands of them at once.

Rules of this file:

* few files stay open between two pieces: there may be more of them than a process can hold open;
* media are written and hashed on threads of their own, some megabytes behind the decoding;
* what was written is not kept in the system's cache once it is much: a case may be larger than memory, and
  pages that are used again cost a tenth of fresh ones.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from threading import Lock, RLock
from types import TracebackType
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

if sys.platform != "win32":
    import resource

THREADS: Final = 2
"""Threads that write: when sessions end, hashing their media costs more than anything else."""

BYTES_WAITING: Final = 8 << 20
"""Bytes that may wait to be written: enough that no thread is idle."""

TICKETS: Final = 16
"""Parts of it that are handed to a thread at once."""

BYTES_SPOOLED: Final = 16 << 20
"""Bytes that may wait for all spool files together."""

FILES_OPEN: Final = 160
"""Files that a thread holds open, at most: where hundreds grow by turns, opening costs as much as writing."""

DESCRIPTORS_SHARE: Final = 6
"""A thread holds no more than this part of the descriptors that the process may have."""

CACHED: Final = 64 << 20
"""Bytes of a case's media that may stay in the system's cache: a small case is there when it is looked at."""

CACHED_OF_FILE: Final = 256 << 10
"""Bytes of one file that are left in the cache before they are given back, of a larger case."""


def append(path: Path, data: memoryview) -> None:
    """Add bytes to the end of a file, which is created with them if need be."""
    descriptor = _opened(path)
    try:
        _write(path, descriptor, data)
    finally:
        os.close(descriptor)


def _opened(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)


def _write(path: Path, descriptor: int, data: memoryview) -> None:
    done = 0
    try:
        while done < len(data):
            done += os.write(descriptor, data[done:])
    except OSError as error:
        error.filename = str(path)  # the system does not say it of a descriptor
        raise


def give_back(descriptor: int) -> None:
    """Let the system forget what it holds of a file; what is not on disk yet it begins to write."""
    if sys.platform == "linux":
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def _may_be_open() -> int:
    """Files that a thread may hold open."""
    if sys.platform == "win32":
        return FILES_OPEN
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return FILES_OPEN if soft < 0 else max(min(FILES_OPEN, soft // DESCRIPTORS_SHARE), 1)


class OpenFiles:
    """Files that are added to by turns, by one thread; the one not used for longest is closed for another."""

    def __init__(self) -> None:
        self._limit = _may_be_open()
        self._open: OrderedDict[Path, int] = OrderedDict()

    def descriptor(self, path: Path) -> int:
        """Descriptor to append to a file by; good until another is asked for."""
        known = self._open.get(path)
        if known is not None:
            self._open.move_to_end(path)
            return known
        if len(self._open) >= self._limit:
            os.close(self._open.popitem(last=False)[1])
        opened = self._open[path] = _opened(path)
        return opened

    def close(self) -> None:
        """Close all."""
        while self._open:
            os.close(self._open.popitem()[1])


@dataclass(slots=True, eq=False)
class Spooled:
    """Bytes of one file that do not lie in it yet."""

    path: Path
    waiting: list[bytes] = field(default_factory=list)
    laid: list[tuple[int, int]] = field(default_factory=list)
    """Where in the common file others lie, which come before, and how many."""
    size: int = 0
    """Of all."""
    flushed: bool = False
    """Whether there is a file: to ask the system costs as much as to read some bytes."""


class Spools:
    """Bytes for many files that wait until they are asked for, most of them in one common file.

    Where hundreds of files grow by turns, to open one for each piece would cost more than to write it. Any
    thread may use it.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._waiting: dict[Spooled, None] = {}  # those of which bytes wait, in the order of their first
        self._size = 0
        self._common: FileIO | None = None
        self._end = 0

    def __enter__(self) -> Self:
        """Return it; what it holds is forgotten with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the common file."""
        if self._common is not None:
            self._common.close()

    def append(self, spooled: Spooled, data: bytes) -> None:
        """Add bytes to a file."""
        with self._lock:
            if not spooled.waiting:
                self._waiting[spooled] = None
            spooled.waiting.append(data)
            spooled.size += len(data)
            self._size += len(data)
            if self._size > BYTES_SPOOLED:
                self._lay()

    def _lay(self) -> None:
        """Write all that waits to the common file, what is of one file in one piece."""
        for spooled in self._waiting:
            if self._common is None:
                self._common = tempfile.TemporaryFile(dir=spooled.path.parent, buffering=0)  # noqa: SIM115
            data = b"".join(spooled.waiting)
            _write(spooled.path, self._common.fileno(), memoryview(data))
            spooled.laid.append((self._end, len(data)))
            spooled.waiting.clear()
            self._end += len(data)
        self._waiting.clear()
        self._size = 0

    def read(self, spooled: Spooled) -> bytes:
        """The bytes of a file that do not lie in it yet."""
        with self._lock:
            return b"".join([*self._read_laid(spooled), *spooled.waiting])

    def _read_laid(self, spooled: Spooled) -> Iterator[bytes]:
        for begin, size in spooled.laid:
            assert self._common is not None
            data = os.pread(self._common.fileno(), size, begin)
            if len(data) < size:
                raise OSError("a spool file ends before what was written to it")
            yield data

    def flush(self, spooled: Spooled) -> None:
        """See to it that all bytes of a file lie in it."""
        with self._lock:
            if not spooled.size:
                return
            spooled.flushed = True
            for data in self._read_laid(spooled):
                append(spooled.path, memoryview(data))
            rest = b"".join(spooled.waiting)
            if rest:
                append(spooled.path, memoryview(rest))
            self._forget(spooled)

    def _forget(self, spooled: Spooled) -> None:
        if spooled.waiting:
            del self._waiting[spooled]
        self._size -= sum(map(len, spooled.waiting))
        spooled.waiting.clear()
        spooled.laid.clear()
        spooled.size = 0

    def remove(self, spooled: Spooled) -> None:
        """Forget a file's bytes, and delete it."""
        with self._lock:
            if spooled.size:
                self._forget(spooled)
            flushed, spooled.flushed = spooled.flushed, False
        if flushed:
            spooled.path.unlink(missing_ok=True)


@dataclass(slots=True, eq=False)
class Ticket:
    """Tasks of one lane that are done together."""

    lane: int
    tasks: list[Callable[[], None]] = field(default_factory=list)
    size: int = 0
    future: Future[None] | None = None
    """Set when they were handed to the lane's thread."""

    def run(self) -> None:
        """Do the tasks, and let go of what they hold."""
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            task()


class Writers:
    """Does what it is given on threads; what fails there is raised by a later call here.

    Tasks of one lane are done in order, on one thread. Small ones are handed to it together: to wake a thread
    costs as much as some of them. Any thread may give it some, but those that do them.
    """

    def __init__(self) -> None:
        self._lanes = [ThreadPoolExecutor(1, thread_name_prefix="media-writer") for _ in range(THREADS)]
        self._files = [OpenFiles() for _ in range(THREADS)]
        self._lock = Lock()
        self._next = 0
        self._written = 0
        self._open: list[Ticket | None] = [None] * THREADS
        self._waiting: deque[Ticket] = deque()
        self._size = 0

    def __enter__(self) -> Self:
        """Return it; it ends with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until all is done."""
        try:
            if error is None:
                self.settle()
        finally:
            for lane in self._lanes:
                lane.shutdown()
            for files in self._files:
                files.close()

    def lane(self) -> int:
        """A lane for a file."""
        with self._lock:
            self._next += 1
            return self._next % THREADS

    def files(self, lane: int) -> OpenFiles:
        """The files of a lane, for its tasks alone."""
        return self._files[lane]

    @property
    def much(self) -> bool:
        """Whether more was written than may stay in the system's cache."""
        return self._written > CACHED

    def submit(self, lane: int, task: Callable[[], None], size: int) -> Ticket:
        """Let a task be done that writes `size` bytes; waits while too many are to be written."""
        while True:
            with self._lock:
                if not self._waiting or self._size + size <= BYTES_WAITING:
                    return self._add(lane, task, size)
                oldest = self._waiting[0]
            self.wait(oldest)

    def _add(self, lane: int, task: Callable[[], None], size: int) -> Ticket:
        ticket = self._open[lane]
        if ticket is None:
            ticket = self._open[lane] = Ticket(lane)
            self._waiting.append(ticket)
        ticket.tasks.append(task)
        ticket.size += size
        self._size += size
        self._written += size
        if ticket.size >= BYTES_WAITING // TICKETS:
            self._hand_on(ticket)
        return ticket

    def _hand_on(self, ticket: Ticket) -> Future[None]:
        if ticket.future is None:
            self._open[ticket.lane] = None
            ticket.future = self._lanes[ticket.lane].submit(ticket.run)
        return ticket.future

    def settle(self) -> None:
        """Wait until all that was given is done."""
        while self._waiting:
            self.wait(self._waiting[0])

    def wait(self, ticket: Ticket) -> None:
        """Wait until the tasks of a ticket are done."""
        with self._lock:
            future = self._hand_on(ticket)
        try:
            future.result()
        finally:
            with self._lock:
                if self._waiting and self._waiting[0] is ticket:
                    self._waiting.popleft()
                    self._size -= ticket.size


class HashedFile:
    """A file hashed as it is written.

    What is given to `write` must not change afterwards.
    """

    def __init__(self, path: Path, writers: Writers) -> None:
        self._path = path
        self._writers = writers
        self._lane = writers.lane()
        self._last: Ticket | None = None
        self._sha256 = hashlib.sha256()
        self._cached = 0
        self.size = 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, data: bytes | NDArray[np.uint8]) -> int:
        """Append bytes."""
        view = memoryview(data)  # type: ignore[arg-type]  # NumPy arrays are buffers
        self._last = self._writers.submit(self._lane, lambda: self._append(view), len(view))
        self.size += len(view)
        return len(view)

    def _append(self, view: memoryview) -> None:
        """Write and hash; on the lane's thread."""
        descriptor = self._writers.files(self._lane).descriptor(self._path)
        _write(self._path, descriptor, view)
        self._sha256.update(view)
        self._cached += len(view)
        if self._cached >= CACHED_OF_FILE and self._writers.much:
            give_back(descriptor)
            self._cached = 0

    @property
    def behind(self) -> bool:
        """Whether its pages are given back to the system: the case is large."""
        return self._writers.much

    def hexdigest(self) -> str:
        """SHA-256 of what was written; waits for all files."""
        self._writers.settle()
        return self._sha256.hexdigest()

    def settle(self) -> None:
        """Wait until what was given is on disk."""
        if self._last is not None:
            self._writers.wait(self._last)
