"""A file put together of pieces: ranges of HTTP, a resumed download, reads of a file server.

Rules of this file:

* what follows the bytes handed on so far is handed on at once; what stands ahead waits, in memory up to
  `WAITING_MEMORY`, on disk beyond, and is taken when what stands before it has come, or at the end, with a
  hole before it;
* where pieces overlap the bytes handed on first are kept; differences are counted as far as the earlier bytes
  are still there (`HISTORY` bytes behind, and all that waits);
* nothing is a file of Windows Media before its first bytes, or packets of one size in it, say so.
"""

from __future__ import annotations

import tempfile
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.byteranges import at_offset
from mmsforensics.protocols.messages import At, Body
from mmsforensics.streams import PIECE

WAITING_MEMORY: Final = 4 << 20
"""Bytes that wait in memory before they are put on disk."""

HISTORY: Final = 64 << 10
"""Bytes handed on that are kept to be compared with what is sent again: a resumed download repeats some."""

Ranges = list[tuple[int, int]]
"""Stretches of a file, begin and end, in order and apart from each other."""


def add_range(ranges: Ranges, begin: int, end: int) -> None:
    """Add a stretch, in place."""
    if end <= begin:
        return
    first = bisect_left(ranges, begin, key=lambda r: r[1])
    behind = bisect_right(ranges, end, key=lambda r: r[0])
    if first < behind:
        begin, end = min(begin, ranges[first][0]), max(end, ranges[behind - 1][1])
    ranges[first:behind] = [(begin, end)]


def length_within(ranges: Ranges, begin: int, end: int) -> int:
    """Bytes of a stretch that are in some of the ranges."""
    first = bisect_left(ranges, begin, key=lambda r: r[1])
    behind = bisect_right(ranges, end, key=lambda r: r[0])
    return sum(max(min(r[1], end) - max(r[0], begin), 0) for r in ranges[first:behind])


@dataclass(slots=True)
class _Waiting:
    """A stretch that stands ahead."""

    offset: int
    length: int
    place: int
    """Where it lies in the spool: the bytes, then the pieces."""
    pieces: int
    at: At


class Assembly:
    """Puts stretches of one file in order."""

    __slots__ = ("_file", "_history", "_history_at", "_place", "_waiting", "differing", "next", "repeated")

    def __init__(self) -> None:
        self.next = 0
        """File offset behind the last byte handed on."""
        self.repeated = 0
        """Bytes that came again."""
        self.differing = 0
        """Of these, the ones known to differ from what was handed on."""
        self._waiting: list[_Waiting] = []
        self._file: IO[bytes] | None = None
        self._place = 0
        self._history = np.empty(0, dtype=np.uint8)
        self._history_at = 0

    @property
    def waits(self) -> bool:
        """Whether anything stands ahead."""
        return bool(self._waiting)

    def add(self, body: Body, *, jump: bool = False) -> Iterator[Body]:
        """Take a stretch, with offset and pieces in the coordinates of the file; yields what is in order now.

        With `jump` what is missing before it will not come any more.
        """
        if not len(body.data):
            return
        if body.offset > self.next and not jump:
            self._wait(body)
            return
        if body.offset > self.next:
            yield from self._drain(body.offset)
        part = self._fresh(body)
        if part is not None:
            yield part
        yield from self._drain(self.next)

    def finish(self) -> Iterator[Body]:
        """Yield what waits, with holes before it."""
        while self._waiting:
            yield from self._drain(self._waiting[0].offset)
        if self._file is not None:
            self._file.close()
            self._file = None

    def _fresh(self, body: Body) -> Body | None:
        """What of a stretch was not handed on before."""
        again = min(self.next - body.offset, len(body.data))
        if again > 0:
            self._compare(body.offset, body.data[:again])
        again = max(again, 0)
        data = body.data[again:]
        if not len(data):
            return None
        offset = body.offset + again
        pieces = at_offset(data, body.pieces, offset, offset) if again else body.pieces
        self._remember(offset, data)
        self.next = offset + len(data)
        return Body(at=body.at, number=body.number, offset=offset, data=data, pieces=pieces)

    def _remember(self, offset: int, data: NDArray[np.uint8]) -> None:
        if offset == self._history_at + len(self._history) and len(data) < HISTORY:
            kept = np.concatenate((self._history, data))[-HISTORY:]
        else:
            kept = data[-HISTORY:].copy()
        self._history, self._history_at = kept, offset + len(data) - len(kept)

    def _compare(self, offset: int, data: NDArray[np.uint8]) -> None:
        self.repeated += len(data)
        low = max(offset, self._history_at)
        high = min(offset + len(data), self._history_at + len(self._history))
        if low < high:
            before = self._history[low - self._history_at : high - self._history_at]
            self.differing += int(np.count_nonzero(before != data[low - offset : high - offset]))

    def _wait(self, body: Body) -> None:
        if self._file is None:
            self._file = tempfile.SpooledTemporaryFile(max_size=WAITING_MEMORY)  # noqa: SIM115
        self._file.seek(self._place)
        pieces = np.ascontiguousarray(body.pieces)
        self._file.write(body.data.tobytes())
        self._file.write(pieces.tobytes())
        waiting = _Waiting(body.offset, len(body.data), self._place, len(pieces), body.at)
        insort(self._waiting, waiting, key=lambda w: (w.offset, w.place))
        self._place += len(body.data) + pieces.nbytes

    def _read(self, waiting: _Waiting) -> Body:
        assert self._file is not None
        self._file.seek(waiting.place)
        data = np.frombuffer(self._file.read(waiting.length), dtype=np.uint8)
        pieces = np.frombuffer(self._file.read(waiting.pieces * PIECE.itemsize), dtype=PIECE).copy()
        return Body(at=waiting.at, number=0, offset=waiting.offset, data=data, pieces=pieces)

    def _drain(self, reached: int) -> Iterator[Body]:
        """Hand on what waits and begins at `reached` at the latest."""
        done = 0
        while done < len(self._waiting) and self._waiting[done].offset <= max(reached, self.next):
            part = self._fresh(self._read(self._waiting[done]))
            done += 1
            if part is not None:
                yield part
        del self._waiting[:done]
