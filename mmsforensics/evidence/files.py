"""Evidence files: opened read-only, recognised by their content."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from mmsforensics.evidence.formats import Bytes, Format, describe, recognise
from mmsforensics.evidence.problem import Problem

RECOGNISED = "a pcap, pcapng, snoop or Network Monitor file header"
"""What every evidence file must begin with, in the words of a problem."""

SHOWN = 16
"""Bytes of an unknown file's beginning that its problem quotes."""


@dataclass(slots=True, eq=False)
class Evidence:
    """One evidence file, mapped into memory read-only. A context manager: the map is closed with it."""

    path: str
    """The file, as the caller named it."""
    size: int
    """Bytes, when it was opened."""
    format: Format
    data: Bytes
    """The whole file, shape (size,), read-only; pages are read when touched."""
    problems: tuple[Problem, ...] = ()
    """Why the file cannot be read at all, if so."""
    sha256: str | None = None
    """Lower-case hexadecimal, set when a scan has gone through the whole file."""
    _map: mmap.mmap | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        """Return the evidence."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Let go of the map; arrays that still look into it keep it alive and stay sound."""
        mapped, self._map = self._map, None
        self.data = _nothing()
        if mapped is not None:
            with contextlib.suppress(BufferError):
                mapped.close()

    def release(self, start: int, stop: int) -> None:
        """Give the whole pages between two offsets back to the system.

        They are read again if touched again: this bounds resident memory and changes no answer.
        """
        start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        stop = stop // mmap.PAGESIZE * mmap.PAGESIZE
        if self._map is not None and stop > start and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, start, stop - start)


def open_evidence(path: str | os.PathLike[str]) -> Evidence:
    """Open an evidence file for reading.

    Parameters
    ----------
    path : str or path-like
        A regular file. Its name plays no part in what it is taken for.

    Returns
    -------
    Evidence
        With format ``empty`` or ``unknown`` and a problem if the content is not a capture.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError, OSError
        The file cannot be opened, or is not a regular file.
    """
    name = os.fspath(path)
    if not stat.S_ISREG(Path(name).stat().st_mode) and not Path(name).is_dir():  # opening a pipe would block
        raise OSError(errno.EINVAL, "not a regular file", name)
    with Path(name).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            problem = Problem(name, 0, None, RECOGNISED, "an empty file")
            return Evidence(name, 0, "empty", _nothing(), (problem,))
        mapped = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_SEQUENTIAL"):
        mapped.madvise(mmap.MADV_SEQUENTIAL)  # reads further ahead: half the time where nothing is cached yet
    data = np.frombuffer(mapped, dtype=np.uint8)
    head = data[:SHOWN].tobytes()
    kind = recognise(head)
    problems: tuple[Problem, ...] = ()
    if kind == "unknown":
        problems = (Problem(name, 0, None, RECOGNISED, describe(head)),)
    return Evidence(name, size, kind, data, problems, None, mapped)


def _nothing() -> Bytes:
    """Return an empty array of the same type as a mapped one."""
    return np.frombuffer(b"", dtype=np.uint8)
