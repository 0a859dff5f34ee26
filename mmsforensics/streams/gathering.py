"""Packets of wanted flows gathered over several batches, so that each flow is decoded in long runs.

Where hundreds of flows share a capture, a batch holds little of each; what decoding costs for each flow and
batch would then be more than what its bytes cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.packets import PACKET, PacketBatch
from mmsforensics.streams import keeping, tracking

SHARE: Final = 1 << 18
"""Bytes of a flow, on average, that are enough to be handed on: few flows do not wait."""

PART: Final = 16 << 20
"""Bytes of one flow handed on at once, at most: putting them in order takes some times as much memory."""

ROW_ROOM: Final = 512
"""Bytes gathered for each row that there is room for: packets of media are larger."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """Packets of one flow, in order of capture; good until the next are gathered."""

    uid: int
    rows: NDArray[np.void]
    """Dtype `PACKET`."""
    direction: NDArray[np.uint8]
    data: NDArray[np.uint8]
    start: NDArray[np.int64]
    """Position of each payload in `data`, behind the headers of its frame; shape as `rows`."""


class Gathering:
    """A buffer of packets with the bytes of their frames, used again and again.

    Parameters
    ----------
    limit : int
        Bytes of frames to gather; with 0, each batch is ready at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._rows = np.empty(0, dtype=PACKET)
        self._uids = np.empty(0, dtype=np.int64)
        self._direction = np.empty(0, dtype=np.uint8)
        self._start = np.empty(0, dtype=np.int64)
        self._data = np.empty(0, dtype=np.uint8)
        self._flows: set[int] = set()
        self._count = 0
        self._size = 0
        self._last = (0, 0)  # packets added last, and bytes

    def ready(self, others: int) -> bool:
        """Whether there is enough to be handed on, or no room for as much again as was added last.

        `others` is the number of flows of which something is handed on, too.
        """
        if not self._count:
            return False
        enough = min(self._limit, SHARE * (len(self._flows) + others))
        return self._size >= enough or not self.holds(*self._last)

    def rest(self) -> None:
        """Let go of the memory, if nothing waits."""
        if not self._count:
            self._rows, self._data = self._rows[:0].copy(), self._data[:0].copy()

    def has(self, uid: int) -> bool:
        """Whether packets of a flow wait."""
        return uid in self._flows

    def holds(self, count: int, size: int) -> bool:
        """Whether so many more packets with so many bytes fit; where there are none yet, any do."""
        if not self._count:
            return True
        return self._count + count <= len(self._rows) and self._size + size <= len(self._data)

    def add(
        self,
        batch: PacketBatch,
        uids: NDArray[np.int64],
        direction: NDArray[np.uint8],
        action: NDArray[np.uint8],
        count: int,
        size: int,
    ) -> None:
        """Copy the packets to deliver: `count`, with `size` bytes of frames, which must fit (`holds`)."""
        if not self._count:
            self._make_room(count, size)
        rows = slice(self._count, self._count + count)
        keeping.keep(
            batch.rows,
            uids,
            direction,
            action,
            tracking.DELIVER,
            batch.data,
            batch.base,
            self._rows[rows],
            self._uids[rows],
            self._direction[rows],
            self._data,
            self._size,
            self._start[rows],
        )
        self._flows.update(np.unique(self._uids[rows]).tolist())
        self._count += count
        self._size += size
        self._last = (count, size)

    def _make_room(self, count: int, size: int) -> None:
        if len(self._data) < size:
            self._data = np.empty(max(size, self._limit), dtype=np.uint8)
        if len(self._rows) < count:
            room = max(count, self._limit // ROW_ROOM)
            self._rows = np.empty(room, dtype=PACKET)
            self._uids = np.empty(room, dtype=np.int64)
            self._direction = np.empty(room, dtype=np.uint8)
            self._start = np.empty(room, dtype=np.int64)

    def hand_on(self) -> list[Gathered]:
        """What was gathered, flow by flow in order of uid; what comes is gathered anew."""
        count, self._count, self._size = self._count, 0, 0
        self._flows.clear()
        order = np.argsort(self._uids[:count], kind="stable")
        uids = self._uids[order]
        # Of rows, `take` is several times as fast as indexing.
        rows, direction, start = self._rows.take(order), self._direction[order], self._start[order]
        return [
            Gathered(int(uids[begin]), rows[begin:end], direction[begin:end], self._data, start[begin:end])
            for begin, end in pairwise(_cuts(uids, rows["payload_len"].astype(np.int64)))
        ]


def _cuts(uids: NDArray[np.int64], sizes: NDArray[np.int64]) -> list[int]:
    """Bounds between flows, and between parts of a flow that has more than `PART` bytes."""
    first = np.concatenate(([True], uids[1:] != uids[:-1]))[: len(uids)]
    total = np.cumsum(sizes)
    before = (total - sizes)[first][np.cumsum(first) - 1]
    part = (total - before) // PART
    first[1:] |= part[1:] != part[:-1]
    return [*np.flatnonzero(first).tolist(), len(uids)]
