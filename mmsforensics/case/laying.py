"""Packets without a header, laid as the faithful file would have them behind the header of another medium."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsforensics.case.borrowing import PACKETS_AT_ONCE, Lender, padded
from mmsforensics.case.spool import Spool
from mmsforensics.protocols.messages import UNKNOWN_LOCATION
from mmsforensics.sessions import MEDIA_PACKET, PROVENANCE, Origin

if TYPE_CHECKING:
    from mmsforensics.case.media_files import MediumFile


def lay(
    path: Path, origins: Spool, medium: MediumFile, lender: Lender, packet_size: int
) -> tuple[int, NDArray[np.void]]:
    """Write what the faithful file of a medium would be; returns its size and the rows of its packets."""
    size = len(lender.header_bytes)
    lent = lender.origin_rows()
    head = np.array(lent[lent["file_offset"] < size])
    head["length"] = np.minimum(head["length"], size - head["file_offset"])
    origins.append(head)
    mine = medium.origin_rows()
    starts = np.array(mine["file_offset"])
    rows = [np.empty(0, dtype=MEDIA_PACKET)]
    with path.open("wb") as file:
        file.write(lender.header_bytes)
        for part, data in padded(medium, packet_size, PACKETS_AT_ONCE):
            file.write(data.tobytes())
            begin = int(part["file_offset"][0])
            end = int(part["file_offset"][-1]) + int(part["size"][-1])
            low, high = (int(np.searchsorted(starts, offset)) for offset in (begin, end))
            origins.append(_spread(np.array(mine[low:high]), part, size, packet_size))
            part["file_offset"] = size + np.arange(len(part)) * packet_size
            if part["location"][0] == UNKNOWN_LOCATION:  # in the order of the file, each once
                part["location"] = sum(map(len, rows)) + np.arange(len(part))
            rows.append(part)
            size += len(data)
    return size, np.concatenate(rows)


def _spread(
    origins: NDArray[np.void], packets: NDArray[np.void], at: int, packet_size: int
) -> NDArray[np.void]:
    """Origins of packets that stood one behind the other, for them padded at a stride from `at` on."""
    moved = origins.copy()
    which = np.searchsorted(packets["file_offset"], origins["file_offset"], side="right") - 1
    moved["file_offset"] += at + which * packet_size - packets["file_offset"][which]
    size = packets["size"].astype(np.int64)
    short = np.flatnonzero(size < packet_size)
    padding = np.zeros(len(short), dtype=PROVENANCE)
    padding["file_offset"] = at + short * packet_size + size[short]
    padding["length"] = packet_size - size[short]
    padding["kind"] = Origin.PADDING
    both = np.concatenate((moved, padding))
    return both[np.argsort(both["file_offset"], kind="stable")]
