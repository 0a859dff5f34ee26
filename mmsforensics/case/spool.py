"""Rows that wait on disk until the medium, or the case, to which they belong is finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsforensics.case.writing import Spooled, Spools

SPOOL_ROWS = 1 << 16
"""Rows of a spool file handled at once."""

SPOOL_READ = 4 << 20
"""Bytes of a spool file that are read rather than mapped."""


class Spool:
    """Rows of one dtype on disk."""

    def __init__(self, path: Path, dtype: np.dtype[np.void], spools: Spools) -> None:
        self._spooled = Spooled(path)
        self._dtype = dtype
        self._spools = spools

    def append(self, rows: NDArray[np.void]) -> None:
        """Add rows."""
        if len(rows):
            self._spools.append(self._spooled, rows.tobytes())

    def rows(self) -> NDArray[np.void]:
        """All rows, mapped from disk where they are many."""
        spooled = self._spooled
        if spooled.size <= SPOOL_READ and not spooled.flushed:
            return np.frombuffer(self._spools.read(spooled), dtype=self._dtype)
        self._spools.flush(spooled)
        return np.memmap(spooled.path, dtype=self._dtype, mode="r")

    def batches(self) -> Iterator[NDArray[np.void]]:
        """All rows, some at a time."""
        return batches(self.rows())

    def remove(self) -> None:
        """Delete the file."""
        self._spools.remove(self._spooled)


def batches(rows: NDArray[np.void]) -> Iterator[NDArray[np.void]]:
    """Rows that may be mapped from disk, some at a time, in memory; to be read only."""
    mapped = isinstance(rows, np.memmap)
    for begin in range(0, len(rows), SPOOL_ROWS):
        part = rows[begin : begin + SPOOL_ROWS]
        yield np.array(part) if mapped else part
