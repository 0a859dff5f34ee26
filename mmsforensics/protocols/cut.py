"""A unit of known length put together around the holes in it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.messages import At, CutPacket, Direction, StreamBuffer, slice_pieces

DATA_HEADER = 8
"""Header of a Data packet [MS-MMSP 2.2.2, MS-WMSP 2.2.3.1.2]."""


class CutUnit:
    """A Data packet that a hole has hurt, as far as its bytes come.

    Parameters
    ----------
    offset : int
        Stream offset of the unit.
    size : int
        Bytes of it, all headers included.
    lead : int
        Bytes before the payload.
    """

    __slots__ = ("_data", "_known", "_lead", "_offset", "_pieces")

    def __init__(self, offset: int, size: int, lead: int) -> None:
        self._offset = offset
        self._lead = lead
        self._data = np.zeros(size, dtype=np.uint8)
        self._known: list[tuple[int, int]] = []
        self._pieces: list[NDArray[np.void]] = []

    def add(self, offset: int, data: NDArray[np.uint8], pieces: NDArray[np.void]) -> None:
        """Lay down bytes at a stream offset, behind those before; `pieces` are in the same coordinates."""
        begin = offset - self._offset
        end = min(begin + len(data), len(self._data))
        if end <= begin:
            return
        self._data[begin:end] = data[: end - begin]
        if self._known and self._known[-1][1] == begin:
            begin = self._known.pop()[0]
        self._known.append((begin, end))
        self._pieces.append(slice_pieces(pieces, offset, end + self._offset - offset))

    def packet(
        self, direction: Direction, kind: Literal["", "H", "D", "M"], *, location: int | None = None
    ) -> CutPacket | None:
        """What came of it; None where its header was not seen whole.

        A unit without a header of its own is told its `location`.
        """
        lead = self._lead
        if not self._known:
            return None
        if location is None and (self._known[0][0] > 0 or self._known[0][1] < lead):
            return None
        head = self._data[lead - DATA_HEADER : lead].tobytes() if location is None else bytes(DATA_HEADER)
        pieces = np.concatenate(self._pieces)
        first, last = pieces[0], pieces[-1]
        payload = slice_pieces(pieces, self._offset + lead, len(self._data) - lead)
        payload["offset"] -= self._offset + lead
        known = [(max(begin - lead, 0), end - lead) for begin, end in self._known]
        return CutPacket(
            at=At(direction=direction, offset=self._offset, frame=int(last["frame"]), ts=int(last["ts"])),
            kind=kind,
            location=int.from_bytes(head[:4], "little") if location is None else location,
            incarnation=head[4],
            flags=head[5],
            data=self._data[lead:],
            known=tuple((begin, end) for begin, end in known if end > begin),
            pieces=payload,
            first_frame=int(first["frame"]),
        )


def pass_over(buffer: StreamBuffer, size: int, unit: CutUnit | None) -> int:
    """Take the rest of a hurt unit off a buffer, into `unit` if it is kept; returns what is still to come."""
    n = min(size, len(buffer.data))
    if unit is not None:
        unit.add(buffer.offset, buffer.data[:n], buffer.pieces)
    buffer.consume(n)
    return size - n
