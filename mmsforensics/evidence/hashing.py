"""SHA-256 of evidence, beside the reading of it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from mmsforensics.evidence.files import Evidence

CHUNK = 1 << 20
"""Bytes read at a time where a file is hashed alone: large enough that the calls cost nothing."""

MAPPED_CHUNK = 4 << 20
"""Bytes of a mapped file hashed at a time, and resident for it."""

LEASH = 1 << 30
"""Bytes that the hash and the reader of the same file may be apart: few enough that what the first one
brought in is still in the system's cache for the second, many enough that neither waits for a pause of the
other."""


class BackgroundHash:
    """SHA-256 of mapped evidence on a thread of its own; `hashlib` lets go of the interpreter meanwhile.

    Pages are given back as soon as they are hashed; a reader that comes later finds them in the cache.
    """

    __slots__ = ("_changed", "_digest", "_error", "_evidence", "_hashed", "_reached", "_stopped", "_thread")

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._digest = hashlib.sha256()
        self._changed = threading.Condition()
        self._hashed = 0
        self._reached = 0
        self._stopped = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def reach(self, pos: int) -> None:
        """Say how far the reader of the file is; waits if the hash is more than `LEASH` behind."""
        with self._changed:
            self._reached = pos
            self._changed.notify_all()
            if not self._evidence.wrapping:
                self._changed.wait_for(lambda: self._stopped or pos - self._hashed <= LEASH)

    def finish(self) -> str:
        """Wait for the end of the file and return its SHA-256 in lower-case hexadecimal."""
        self.reach(self._evidence.size)
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._digest.hexdigest()

    def stop(self) -> None:
        """End the thread, wherever it is; there is no hash then."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._hash()
        except BaseException as error:
            self._error = error
            with self._changed:
                self._stopped = True
                self._changed.notify_all()

    def _hash(self) -> None:
        evidence, data = self._evidence, self._evidence.file.data
        leash = evidence.size if evidence.wrapping else LEASH  # unpacked bytes are others than those hashed
        for start in range(0, evidence.size, MAPPED_CHUNK):
            stop = min(start + MAPPED_CHUNK, evidence.size)
            with self._changed:
                while start - self._reached > leash and not self._stopped:
                    self._changed.wait()
                if self._stopped:
                    return
            self._digest.update(data[start:stop].data)
            evidence.file.release(start, stop)
            with self._changed:
                self._hashed = stop
                self._changed.notify_all()


def hash_file(path: str | Path, progress: Callable[[int], None] | None = None) -> str:
    """Hash a file.

    Parameters
    ----------
    path : str or Path
        The file; it is opened for reading only.
    progress : callable, optional
        Called with the number of bytes read since its last call.

    Returns
    -------
    str
        SHA-256 in lower-case hexadecimal.

    Raises
    ------
    OSError
        The file cannot be opened or read.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(CHUNK))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            if progress is not None:
                progress(count)
    return digest.hexdigest()
