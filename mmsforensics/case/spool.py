"""Rows that wait on disk until the medium, or the case, to which they belong is finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsforensics.case.writing import Spools

SPOOL_ROWS = 1 << 16
"""Rows of a spool file handled at once."""

SPOOL_READ = 4 << 20
"""Bytes of a spool file that are read rather than mapped."""


class Spool:
    """Rows of one dtype on disk."""

    def __init__(self, path: Path, dtype: np.dtype[np.void], spools: Spools) -> None:
        self._path = path
        self._dtype = dtype
        self._spools = spools

    def append(self, rows: NDArray[np.void]) -> None:
        """Add rows."""
        if len(rows):
            self._spools.append(self._path, rows.tobytes())

    def rows(self) -> NDArray[np.void]:
        """All rows, mapped from disk where they are many."""
        if self._spools.size(self._path) <= SPOOL_READ and not self._spools.flushed(self._path):
            return np.frombuffer(self._spools.read(self._path), dtype=self._dtype)
        self._spools.flush(self._path)
        return np.memmap(self._path, dtype=self._dtype, mode="r")

    def batches(self) -> Iterator[NDArray[np.void]]:
        """All rows, some at a time."""
        rows = self.rows()
        for begin in range(0, len(rows), SPOOL_ROWS):
            yield np.array(rows[begin : begin + SPOOL_ROWS])

    def remove(self) -> None:
        """Delete the file."""
        self._spools.remove(self._path)
