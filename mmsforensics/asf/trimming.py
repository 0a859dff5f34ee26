"""Packets without what comes too early: pictures before the first key frame of their stream.

Rules of this file:

* a payload is taken out whole, its header included; the others stay byte for byte, and the room is padding;
* every byte of the new packet has its place in the faithful file, or is new.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.edits import Edit, edits_of
from mmsforensics.asf.packets import walk_packets
from mmsforensics.asf.padding import restore_padding
from mmsforensics.asf.salvaged import salvage


@dataclass(frozen=True, slots=True, eq=False)
class Trimmed:
    """A packet of which payloads were taken out."""

    data: NDArray[np.uint8]
    source: NDArray[np.int64]
    """For each byte its place in the faithful file, -1 where it was written anew."""

    def edits(self, data: NDArray[np.uint8], file_offset: int) -> NDArray[np.void]:
        """Stretches of the packet, dtype EDIT; where `data`, as it is written, differs it is new."""
        (head,) = walk_packets(data, len(data))
        source = np.where(data == self.data, self.source, -1)
        kind = np.where(source >= 0, Edit.COPIED, Edit.PACKET).astype(np.uint8)
        begin = len(data) - int(head["padding"])
        source[begin:], kind[begin:] = -1, Edit.PADDING
        return edits_of(source, kind, file_offset)


def trim(packet: NDArray[np.uint8], source: NDArray[np.int64], early: NDArray[np.void]) -> Trimmed | None:
    """Take payloads out of a sound packet.

    Parameters
    ----------
    packet : ndarray of uint8
        Of full size, its padding restored.
    source : ndarray of int64
        For each byte its place in the faithful file, or -1.
    early : ndarray of PAYLOAD
        The payloads to take out.

    Returns
    -------
    Trimmed or None
        None when no payload is left.
    """
    size = len(packet)
    cuts = [0, *(e for row in early for e in (int(row["at"]), int(row["at"] + row["length"]))), size]
    left = salvage(packet, list(zip(cuts[::2], cuts[1::2], strict=True)), size)
    if left is None:
        return None
    data, places = np.zeros(size, dtype=np.uint8), np.full(size, -1, dtype=np.int64)
    data[: len(left.data)] = left.data
    places[: len(left.data)] = np.where(left.source >= 0, source[left.source], -1)
    stripped = data.copy()
    (row,) = restore_padding(data, size, np.array([len(left.data)], dtype=np.int64))
    grown = int(row["inserted"])
    if grown:  # Padding Length has grown, and what is behind it has moved
        at = int(row["field_at"]) + int(row["written"]) - grown
        new = np.full(grown, -1, dtype=np.int64)
        places = np.concatenate((places[:at], new, places[at:]))[:size]
        stripped = np.concatenate((stripped[:at], new.astype(np.uint8), stripped[at:]))[:size]
    places[data != stripped] = -1
    return Trimmed(data, places)
