"""SHA-256 of evidence, beside the reading of it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

from mmsforensics.evidence.files import Evidence

CHUNK = 1 << 20
"""Bytes read at a time where a file is hashed alone: large enough that the calls cost nothing."""

HASHED_AT_ONCE = 4 << 20
"""Bytes hashed between two looks at what the reader of the file does."""

PART = 1 << 18
"""Bytes read at a time beside the reader: few enough to lie in the processor's own cache when hashed."""

LEASH = 1 << 30
"""Bytes that the hash and the reader of the same file may be apart: few enough that what the first one
brought in is still in the system's cache for the second, many enough that neither waits for a pause of the
other."""


class BackgroundHash:
    """SHA-256 of evidence on a thread of its own; `hashlib` lets go of the interpreter meanwhile.

    It reads ahead of the reader of the map: a fault of the medium, or a file that is cut while it is read,
    is met here, where it is an error, and not there, where it would be the end of the process.
    """

    __slots__ = (
        "_changed",
        "_digest",
        "_ended",
        "_evidence",
        "_hashed",
        "_reached",
        "_stopped",
        "_thread",
        "fault",
    )

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._digest = hashlib.sha256()
        self._changed = threading.Condition()
        self._hashed = 0
        self._reached = 0
        self._stopped = False
        self._ended = False
        self.fault = ""
        """Why the file cannot be read to its end, in words; empty if it can."""
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)
        self._thread.start()

    def readable(self, stop: int) -> int:
        """Wait until the bytes before `stop` are known to be readable; returns how many are, if fewer."""
        stop = min(stop, self._evidence.size)
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._hashed >= stop)
            return min(stop, self._hashed)

    def reach(self, pos: int) -> None:
        """Say how far the reader of the file is."""
        with self._changed:
            self._reached = pos
            self._changed.notify_all()

    def finish(self) -> str | None:
        """Wait for the end of the file; returns its SHA-256, None if not all of it could be read."""
        self.reach(self._evidence.size)
        self._thread.join()
        return None if self.fault else self._digest.hexdigest()

    def stop(self) -> None:
        """End the thread, wherever it is; there is no hash then."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._hash()
        except OSError as error:
            self.fault = error.strerror or str(error)
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _hash(self) -> None:
        size = self._evidence.size
        leash = size if self._evidence.wrapping else LEASH  # unpacked bytes are others than those hashed
        buffer = memoryview(bytearray(PART))
        while self._hashed < size:
            with self._changed:
                self._changed.wait_for(lambda: self._hashed - self._reached <= leash or self._stopped)
                if self._stopped:
                    return
            done, stop = self._hashed, min(self._hashed + HASHED_AT_ONCE, size)
            while done < stop and not self.fault:
                count = self._evidence.file.read_into(buffer[: stop - done], done)
                self._digest.update(buffer[:count])
                done += count
                if count == 0:
                    self.fault = "the file ends"
            with self._changed:
                self._hashed = done
                self._changed.notify_all()
            if self.fault:
                return


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
