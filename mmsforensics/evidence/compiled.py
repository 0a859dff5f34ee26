"""What the compiled passes share: names for their types, byte access, and a sound cache key.

Only the entries that Python calls are cached (``cache=True``); what they call is compiled into them, and a
cache of its own would only cost time and files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numba.core import event

from mmsforensics.evidence.formats import Bytes

__all__ = [
    "Bytes",
    "Int",
    "Row",
    "be16",
    "be32",
    "fingerprint",
    "le16",
    "le32",
    "told_of_compiling",
    "u16",
    "u32",
]

Int: TypeAlias = Any
"""An integer inside compiled code, where it is a 64-bit machine integer."""

Row: TypeAlias = Any
"""A record of a structured array inside compiled code."""


# The indices below are unsigned: signed ones may be negative and mean "from the end", which costs a test
# for each byte and keeps the compiler from joining the bytes into one load.


@njit(nogil=True)
def be16(data: Bytes, at: Int) -> Int:
    """Big-endian 16-bit integer at index `at`."""
    i = np.uint64(at)
    return np.int64((np.uint32(data[i]) << np.uint32(8)) | np.uint32(data[i + np.uint64(1)]))


@njit(nogil=True)
def be32(data: Bytes, at: Int) -> Int:
    """Big-endian 32-bit integer at index `at`."""
    i = np.uint64(at)
    return np.int64(
        (np.uint32(data[i]) << np.uint32(24))
        | (np.uint32(data[i + np.uint64(1)]) << np.uint32(16))
        | (np.uint32(data[i + np.uint64(2)]) << np.uint32(8))
        | np.uint32(data[i + np.uint64(3)])
    )


@njit(nogil=True)
def le16(data: Bytes, at: Int) -> Int:
    """Little-endian 16-bit integer at index `at`."""
    i = np.uint64(at)
    return np.int64((np.uint32(data[i + np.uint64(1)]) << np.uint32(8)) | np.uint32(data[i]))


@njit(nogil=True)
def le32(data: Bytes, at: Int) -> Int:
    """Little-endian 32-bit integer at index `at`."""
    i = np.uint64(at)
    return np.int64(
        (np.uint32(data[i + np.uint64(3)]) << np.uint32(24))
        | (np.uint32(data[i + np.uint64(2)]) << np.uint32(16))
        | (np.uint32(data[i + np.uint64(1)]) << np.uint32(8))
        | np.uint32(data[i])
    )


@njit(nogil=True)
def u16(data: Bytes, at: Int, big: Int) -> Int:
    """16-bit integer at index `at` in the byte order of the file, big-endian if `big`."""
    return be16(data, at) if big else le16(data, at)


@njit(nogil=True)
def u32(data: Bytes, at: Int, big: Int) -> Int:
    """32-bit integer at index `at` in the byte order of the file, big-endian if `big`."""
    return be32(data, at) if big else le32(data, at)


def fingerprint(modules: Iterable[ModuleType]) -> int:
    """Hash of the modules' sources, to be closed over by a compiled function that calls into them.

    Numba keys its cache by the calling function and the file it stands in, and does not see a change
    in what it calls; a value it closes over is part of the key.
    """
    digest = hashlib.sha256()
    for module in modules:
        if module.__file__ is not None:
            digest.update(Path(module.__file__).read_bytes())
    return int.from_bytes(digest.digest()[:7], "big")


class _Compiling(event.Listener):
    """Hears of the first function that is really compiled; loading one from the cache is no such event."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell: Callable[[], None] | None = tell

    def on_start(self, event: event.Event) -> None:
        """See `Listener`."""
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    def on_end(self, event: event.Event) -> None:
        """See `Listener`."""


@contextmanager
def told_of_compiling(tell: Callable[[], None] | None) -> Iterator[None]:
    """Call `tell` once if anything is compiled meanwhile."""
    if tell is None:
        yield
        return
    with event.install_listener("numba:compile", _Compiling(tell)):
        yield
