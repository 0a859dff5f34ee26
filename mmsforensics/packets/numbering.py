"""One count of frames over several captures, and the way back to the frame of a capture.

Rules of this file:

* numbers run from 1 in the order in which frames are handed on, so that a later frame has the higher one;
* captures that follow each other cost one entry each; where they are interleaved, two bytes a frame.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIXED = -1
"""In the place of a capture: the stretch is interleaved."""

Frames = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Mixture:
    """An interleaved stretch: the capture of each frame, and each capture's first frame in it."""

    captures: NDArray[np.uint16]
    first: dict[int, int]

    def locate(self, at: Frames) -> tuple[Frames, Frames]:
        captures = self.captures[at].astype(np.int64)
        local = np.empty(len(at), dtype=np.int64)
        for capture, first in self.first.items():
            mine = captures == capture
            rank = np.cumsum(self.captures == capture)
            local[mine] = first + rank[at[mine]] - 1
        return captures, local


class Numbering:
    """Numbers of a case's frames."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._captures: list[int] = []
        self._locals: list[int] = []
        self._mixtures: dict[int, _Mixture] = {}
        self.total = 0
        """Frames numbered so far."""

    def add(self, capture: int, first: int, count: int) -> int:
        """Number `count` frames of a capture from its frame `first` on; returns the first one's number."""
        start = self.total + 1
        follows = bool(self._captures) and self._captures[-1] == capture
        if not follows or self._locals[-1] + start - self._starts[-1] != first:
            self._begin(capture, first)
        self.total += count
        return start

    def add_mixed(self, captures: NDArray[np.uint16], first: dict[int, int]) -> int:
        """Number interleaved frames.

        Parameters
        ----------
        captures : ndarray of uint16
            Capture of each frame; the frames of each follow each other without hole.
        first : dict
            Number in its capture of each one's first frame here.
        """
        start = self.total + 1
        self._mixtures[len(self._starts)] = _Mixture(captures, first)
        self._begin(MIXED, 0)
        self.total += len(captures)
        return start

    def _begin(self, capture: int, first: int) -> None:
        self._starts.append(self.total + 1)
        self._captures.append(capture)
        self._locals.append(first)

    def locate(self, frames: NDArray[np.integer]) -> tuple[Frames, Frames]:
        """Return the capture and the frame number in it of each number.

        Parameters
        ----------
        frames : ndarray of integers
            Numbers that were given out.

        Returns
        -------
        captures, frames : ndarray of int64
        """
        numbers = np.asarray(frames, dtype=np.int64)
        if len(self._starts) == 1 and self._captures[0] != MIXED:
            return np.full(len(numbers), self._captures[0]), numbers + (self._locals[0] - self._starts[0])
        at = np.searchsorted(np.array(self._starts), numbers, side="right") - 1
        captures = np.array(self._captures)[at]
        local = np.array(self._locals)[at] + numbers - np.array(self._starts)[at]
        for entry in np.unique(at[captures == MIXED]).tolist():
            mine = at == entry
            captures[mine], local[mine] = self._mixtures[entry].locate(numbers[mine] - self._starts[entry])
        return captures, local

    def locate_one(self, frame: int) -> tuple[int, int]:
        """Return the capture of one number and the frame number in it."""
        at = bisect.bisect_right(self._starts, frame) - 1
        if self._captures[at] != MIXED:
            return self._captures[at], self._locals[at] + frame - self._starts[at]
        captures, local = self._mixtures[at].locate(np.array([frame - self._starts[at]]))
        return int(captures[0]), int(local[0])
