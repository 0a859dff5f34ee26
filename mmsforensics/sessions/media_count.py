"""How many media packets of a session came between one report and the next.

Rules of this file:

* a packet belongs to a stretch by the frame that completed it, whenever it is told: behind a hole packets are
  told late, and a block of them may be told before a report that stands between them;
* of each stretch only sums are kept, of single packets only those told since `settle`: memory grows with
  reports, not with media.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Stretch:
    """What came between two reports."""

    packets: int = 0
    size: int = 0
    """Bytes."""


class MediaCount:
    """Counts packets by stretches between frames."""

    __slots__ = ("_marks", "_recent", "_stretches")

    def __init__(self) -> None:
        self._marks: list[int] = []
        self._stretches = [Stretch()]
        self._recent: list[NDArray[np.void]] = []

    def add(self, packets: NDArray[np.void]) -> None:
        """Count packets, of a dtype with ``frame`` and ``size``; they are kept until `settle` is called."""
        if not len(packets):
            return
        self._recent.append(packets)
        self._count(packets)

    def settle(self) -> None:
        """Take note that what comes lies behind what was told, but for what waited behind holes."""
        self._recent.clear()

    def mark(self, frame: int) -> None:
        """Let a stretch end at a frame."""
        at = bisect_left(self._marks, frame)
        if at < len(self._marks) and self._marks[at] == frame:
            return
        self._marks.insert(at, frame)
        self._stretches.insert(at, Stretch())
        before = self._marks[at - 1] if at else -1
        for packets in self._recent:  # counted in the stretch that is cut in two here
            moved = packets[(packets["frame"] <= frame) & (packets["frame"] > before)]
            _sum(self._stretches[at], moved, 1)
            _sum(self._stretches[at + 1], moved, -1)

    def until(self, frame: int) -> Stretch:
        """The stretch that ends at a frame that was marked."""
        return self._stretches[bisect_left(self._marks, frame)]

    @property
    def total(self) -> int:
        """Packets of all stretches."""
        return sum(s.packets for s in self._stretches)

    def _count(self, packets: NDArray[np.void]) -> None:
        if not self._marks or int(packets["frame"].min()) > self._marks[-1]:  # as nearly always
            _sum(self._stretches[-1], packets, 1)
            return
        places = np.searchsorted(np.array(self._marks, dtype=np.int64), packets["frame"], side="left")
        for place in np.unique(places).tolist():
            _sum(self._stretches[place], packets[places == place], 1)


def _sum(stretch: Stretch, packets: NDArray[np.void], sign: int) -> None:
    if not len(packets):
        return
    stretch.packets += sign * len(packets)
    stretch.size += sign * int(packets["size"].sum())
