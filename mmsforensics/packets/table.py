"""The packet table: one row for each frame, whatever became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

NO_TIME = int(np.iinfo(np.int64).min)
"""`ts` of a frame whose record has no time stamp."""


def known_time(ts: int) -> int | None:
    """A time stamp, or none for a frame that had none."""
    return ts if ts > NO_TIME else None


class Status(IntEnum):
    """What was made of a frame."""

    DECODED = 0
    """A TCP or UDP header was decoded."""
    OTHER = 1
    """Understood, or of a link type that is not; neither TCP nor UDP."""
    SLOW = 2
    """Inside the pass only: left to dpkt."""
    MALFORMED = 3
    """Headers that are impossible or cut."""
    FRAGMENT = 4
    """A fragment of an IP packet; `mmsforensics.packets.fragments` puts them together."""
    AGGREGATE = 5
    """A frame of 802.11 that holds several; `mmsforensics.packets.aggregates` takes them apart."""


PACKET = np.dtype(
    [
        ("ts", "i8"),  # ns since 1970-01-01 UTC, or NO_TIME
        ("frame", "u8"),  # 1-based number in the capture
        ("offset", "u8"),  # file offset of the first captured byte of the frame
        ("src_hi", "u8"),  # IPv6: upper 64 bits of the address; IPv4: 0
        ("src_lo", "u8"),  # IPv6: lower 64 bits of the address; IPv4: the address
        ("dst_hi", "u8"),
        ("dst_lo", "u8"),
        ("caplen", "u4"),  # captured bytes of the frame
        ("wirelen", "u4"),  # bytes of the frame on the wire
        ("seq", "u4"),  # TCP; FRAGMENT: identification
        ("ack", "u4"),  # TCP; FRAGMENT: offset of the payload in that of the whole packet, bytes
        ("network", "u4"),  # offset in the frame of the IP header
        ("transport", "u4"),  # offset in the frame of the TCP or UDP header; 0 if it is in none (see below)
        ("payload", "u4"),  # offset in the frame of the payload of TCP or UDP (of IP: OTHER, FRAGMENT)
        ("payload_len", "u4"),  # captured bytes of it
        ("payload_wire", "u4"),  # bytes of it on the wire by the length of IP (0, off-loaded: by wirelen)
        ("src_port", "u2"),
        ("dst_port", "u2"),
        ("window", "u2"),  # TCP only, as it stands in the header, not scaled
        ("link", "u2"),  # link type (DLT)
        ("version", "u1"),  # of IP: 4, 6, or 0 if there is none
        ("proto", "u1"),  # IP protocol number of the innermost header read
        ("flags", "u1"),  # TCP: the lower eight; FRAGMENT: 1 if more follow
        ("status", "u1"),  # Status
    ],
    align=True,
)
"""A frame. Tunnels are followed: addresses and offsets are those of the innermost IP header. A MALFORMED row
has the addresses of the last IP header that was whole, and no payload. What was put together from fragments
has no headers in one frame: `network` and `transport` are 0. Both are set where the status is DECODED."""


@dataclass(frozen=True, slots=True, eq=False)
class PacketBatch:
    """Consecutive frames of a capture and the stretch of the file they stand in."""

    rows: NDArray[np.void]
    """Dtype `PACKET`, in order of the file; owned by the batch."""
    data: NDArray[np.uint8]
    """The stretch of the file, read-only, in which the rows' frames lie whole."""
    base: int
    """File offset of ``data[0]``."""
    rare: bool = True
    """Whether there may be rows that are to be put together or taken apart (FRAGMENT, AGGREGATE)."""

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Return the captured bytes of the frame of row `index`, a view."""
        row = self.rows[index]
        start = int(row["offset"]) - self.base
        return self.data[start : start + int(row["caplen"])]

    def payload(self, index: int) -> NDArray[np.uint8]:
        """Return the captured payload bytes of row `index`, a view."""
        row = self.rows[index]
        start = int(row["offset"]) - self.base + int(row["payload"])
        return self.data[start : start + int(row["payload_len"])]
