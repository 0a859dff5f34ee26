"""Evidence files: opened read-only, recognised by their content."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np

from mmsforensics.evidence.formats import Bytes, Format, Wrapping, describe, recognise, wrapping_of
from mmsforensics.evidence.problem import Problem

RECOGNISED = "a pcap, pcapng, snoop or Network Monitor file header"
"""What every evidence file must begin with, in the words of a problem."""

SHOWN = 16
"""Bytes of an unknown file's beginning that its problem quotes."""

HEAD = 64
"""Bytes by which a file is recognised: white space may stand before a document."""


POPULATE_READ = 22
"""Linux's MADV_POPULATE_READ, since 5.14: Python has no name for it."""

MAX_WRAPPINGS = 3
"""How often a file may be compressed again before it is given up."""


class Mapped:
    """A file mapped into memory read-only."""

    __slots__ = ("_descriptor", "_map", "_state", "data")

    def __init__(self, file: IO[bytes]) -> None:
        self._map: mmap.mmap | None = None
        self._descriptor: int | None = os.dup(file.fileno())
        self._state = _state(self._descriptor)
        self.data: Bytes = _nothing()
        """The whole file, shape (size,), read-only; pages are read when touched."""
        size = self._state[0]
        if size == 0:
            return
        self._map = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        if hasattr(mmap, "MADV_SEQUENTIAL"):
            self._map.madvise(
                mmap.MADV_SEQUENTIAL
            )  # reads further ahead: half the time where nothing is cached
        self.data = np.frombuffer(self._map, dtype=np.uint8)

    def close(self) -> None:
        """Let go of the map; arrays that still look into it keep it alive and stay sound."""
        mapped, self._map = self._map, None
        self.data = _nothing()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if mapped is not None:
            with contextlib.suppress(BufferError):
                mapped.close()

    def read_into(self, buffer: memoryview, at: int) -> int:
        """Read bytes without touching the map: at a fault of the medium this raises, and a map kills.

        Raises
        ------
        OSError
            The medium cannot be read there.
        """
        assert self._descriptor is not None
        return os.preadv(self._descriptor, [buffer], at)

    def changed(self) -> str:
        """Say what has become of the file since it was opened; empty if nothing has."""
        if self._descriptor is None:
            return ""
        (size, modified), (size_now, modified_now) = self._state, _state(self._descriptor)
        if size_now != size:
            return f"{'grew' if size_now > size else 'shrank'} from {size} to {size_now} bytes"
        return "was modified" if modified_now != modified else ""

    @property
    def size_now(self) -> int:
        """Bytes of the file at this moment."""
        assert self._descriptor is not None
        return _state(self._descriptor)[0]

    def shorten(self, size: int) -> None:
        """Believe no byte from `size` on, for they cannot be read."""
        self.data = self.data[:size]

    def bring(self, start: int, stop: int) -> None:
        """Let the system map the pages between two offsets at once, if it can, and not touch by touch.

        What can't be read is left to the touch.
        """
        start = start // mmap.PAGESIZE * mmap.PAGESIZE
        if self._map is not None and stop > start and sys.platform == "linux":
            with contextlib.suppress(OSError):
                self._map.madvise(POPULATE_READ, start, stop - start)

    def release(self, start: int, stop: int) -> None:
        """Give the whole pages between two offsets back to the system.

        They are read again if touched again: this bounds resident memory and changes no answer.
        """
        start = -(-max(start, 0) // mmap.PAGESIZE) * mmap.PAGESIZE
        stop = stop // mmap.PAGESIZE * mmap.PAGESIZE
        if self._map is not None and stop > start and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, start, stop - start)


@dataclass(slots=True, eq=False)
class Evidence:
    """One evidence file, mapped into memory read-only. A context manager: the map is closed with it."""

    path: str
    """The file, as the caller named it."""
    format: Format
    """Of the content."""
    file: Mapped
    """The file itself, which is what its hash is of."""
    content: Mapped
    """What is in it: the same, unless the file is compressed."""
    problems: tuple[Problem, ...] = ()
    """Why the file cannot be read (to its end), if so."""
    wrapping: tuple[Wrapping, ...] = ()
    """How it is compressed, from the outside in."""
    sha256: str | None = None
    """Lower-case hexadecimal, set when a scan has gone through the whole file."""
    size: int = field(init=False)
    """Bytes of the file, when it was opened."""

    def __post_init__(self) -> None:
        """Keep the size: the maps forget it when they are closed."""
        self.size = len(self.file.data)

    @property
    def data(self) -> Bytes:
        """The content."""
        return self.content.data

    @property
    def label(self) -> str:
        """The file, and that offsets in it are those of the unpacked content if they are."""
        return f"{self.path} (unpacked)" if self.wrapping else self.path

    def __enter__(self) -> Self:
        """Return the evidence."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Let go of the maps."""
        self.file.close()
        self.content.close()


def open_evidence(
    path: str | os.PathLike[str], *, spool: str | os.PathLike[str] | None = None, name: str | None = None
) -> Evidence:
    """Open an evidence file for reading.

    Parameters
    ----------
    path : str or path-like
        A regular file. Its name plays no part in what it is taken for.
    spool : str or path-like, optional
        Folder in which compressed evidence is unpacked, into a file without a name.
    name : str, optional
        What the evidence is called in problems and tables, if not by its path.

    Returns
    -------
    Evidence
        With format ``empty`` or ``unknown`` and a problem if the content is not a capture.

    Raises
    ------
    FileNotFoundError, PermissionError, IsADirectoryError, OSError
        The file cannot be opened, or is not a regular file; there is no room to unpack it.
    """
    place = Path(path)
    name = os.fspath(path) if name is None else name
    if not stat.S_ISREG(place.stat().st_mode) and not place.is_dir():  # opening a pipe would block
        raise OSError(errno.EINVAL, "not a regular file", str(place))
    with place.open("rb") as file:
        mapped = content = Mapped(file)
    wrappings: list[Wrapping] = []
    problems: list[Problem] = []
    while (kind := wrapping_of(_head(content))) is not None and len(wrappings) < MAX_WRAPPINGS:
        content, found = _unpacked(place, content, kind, spool, first=not wrappings)
        found = [replace(problem, path=f"{name} (unpacked)") for problem in found]
        wrappings.append(kind)
        problems += found
    head = _head(content)
    form = recognise(head)
    label = f"{name} (unpacked)" if wrappings else name
    if form == "empty":
        problems.append(Problem(label, 0, None, RECOGNISED, "an empty file"))
    elif form == "unknown":
        problems.append(Problem(label, 0, None, RECOGNISED, describe(head[:SHOWN])))
    return Evidence(name, form, mapped, content, tuple(problems), tuple(wrappings))


def is_capture(path: str | os.PathLike[str]) -> bool:
    """Whether a file begins like a capture or a document, or like compressed data that may hold one."""
    with Path(path).open("rb", buffering=0) as file:
        head = file.read(HEAD)
    return wrapping_of(head) is not None or recognise(head) not in ("empty", "unknown")


def _state(descriptor: int) -> tuple[int, int]:
    """Size and time of modification (ns)."""
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns


def _head(content: Mapped) -> bytes:
    return content.data[:HEAD].tobytes()


def _unpacked(
    path: Path, content: Mapped, kind: Wrapping, spool: str | os.PathLike[str] | None, *, first: bool
) -> tuple[Mapped, list[Problem]]:
    """Unpack one layer."""
    from mmsforensics.evidence.wrapping import unpack  # loaded only where it is needed

    if first:
        file, problems = unpack(str(path), kind, spool)
    else:
        with tempfile.NamedTemporaryFile(dir=spool) as layer:  # decompressors want a file with a name
            layer.write(content.data.data)
            layer.flush()
            file, problems = unpack(layer.name, kind, spool)
        content.close()
    with file:
        return Mapped(file), problems


def _nothing() -> Bytes:
    """Return an empty array of the same type as a mapped one."""
    return np.frombuffer(b"", dtype=np.uint8)
