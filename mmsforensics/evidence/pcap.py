"""The pcap file format [draft-ietf-opsawg-pcap]: file header and record walk.

Rules of this file:

* numbers are in the byte order in which the magic number stands;
* the magic number also says whether fractions of a second are micro- or nanoseconds;
* a record that claims more than `captured_limit` bytes is damage, and nothing behind it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from numba import njit

from mmsforensics.evidence.compiled import Bytes, Int, u32
from mmsforensics.evidence.formats import PCAP_MAGICS
from mmsforensics.evidence.problem import Problem

FILE_HEADER: Final = 24
"""Bytes of the file header [section 4]."""

RECORD_HEADER: Final = 16
"""Bytes of a packet record's header [section 5]."""

MAX_CAPTURED: Final = 262_144
"""Captured bytes a record may claim: what libpcap itself allows for every network link type."""

MAX_SNAPLEN: Final = 1 << 24
"""Largest snapshot length of a file header that is believed and lifts `MAX_CAPTURED`; "unlimited" is
written as various huge numbers, which say nothing about real records."""

LINK_MASK: Final = 0xFFFF
"""Link type in the last field of the file header; above it stand flags about the frame check sequence."""

OK: Final = 0
CUT_HEADER: Final = 10
CUT_DATA: Final = 11
IMPOSSIBLE_LENGTH: Final = 12
"""What the walk says about the record at a position."""


@dataclass(frozen=True, slots=True)
class PcapHeader:
    """What the file header says."""

    big: bool
    """Numbers are big-endian."""
    nanosecond: bool
    """Fractions are nanoseconds, else microseconds."""
    snaplen: int
    """Bytes kept of each packet, as declared."""
    link: int
    """Link type (DLT)."""

    @property
    def captured_limit(self) -> int:
        """Captured bytes from which on a record is damage."""
        return self.snaplen if MAX_CAPTURED < self.snaplen <= MAX_SNAPLEN else MAX_CAPTURED


def read_header(path: str, data: Bytes) -> PcapHeader | Problem:
    """Read the file header [section 4] of a file that begins with one of `PCAP_MAGICS`.

    Parameters
    ----------
    path : str
        Name for the problem.
    data : ndarray of uint8
        The file from its first byte on.
    """
    head = data[:FILE_HEADER].tobytes()
    if len(head) < FILE_HEADER:
        return Problem(path, 0, None, f"a pcap file header of {FILE_HEADER} bytes", f"only {len(head)} bytes")
    big, nanosecond = PCAP_MAGICS[head[:4]]
    order: Final = "big" if big else "little"
    return PcapHeader(
        big=big,
        nanosecond=nanosecond,
        snaplen=int.from_bytes(head[16:20], order),
        link=int.from_bytes(head[20:24], order) & LINK_MASK,
    )


@njit(nogil=True)
def check_record(data: Bytes, pos: Int, big: Int, limit: Int) -> Int:
    """Whether a sound record [section 5] begins at `pos`: `OK` or one of the other codes."""
    left = len(data) - pos
    if left < RECORD_HEADER:
        return CUT_HEADER
    captured = u32(data, pos + 8, big)
    if captured > limit:
        return IMPOSSIBLE_LENGTH
    if captured > left - RECORD_HEADER:
        return CUT_DATA
    return OK


@njit(nogil=True)
def record_time(data: Bytes, pos: Int, big: Int, tick: Int) -> Int:
    """Time stamp of the record at `pos` in ns since 1970; `tick` is the ns of one unit of its fraction."""
    return u32(data, pos, big) * 1_000_000_000 + u32(data, pos + 4, big) * tick


def explain(path: str, data: Bytes, pos: int, frame: int, code: int, header: PcapHeader) -> Problem:
    """Put into words what `check_record` said about the record at `pos`, which would be `frame`."""
    left = len(data) - pos
    if code == CUT_HEADER:
        return Problem(
            path, pos, frame, f"a record header of {RECORD_HEADER} bytes", f"the end of the file after {left}"
        )
    order: Final = "big" if header.big else "little"
    captured = int.from_bytes(data[pos + 8 : pos + 12].tobytes(), order)
    if code == CUT_DATA:
        left -= RECORD_HEADER
        return Problem(
            path, pos, frame, f"a record of {captured} captured bytes", f"the end of the file after {left}"
        )
    expected = f"a captured length of at most {header.captured_limit}"
    return Problem(path, pos + 8, frame, expected, f"{captured} ({captured:#x}), which is impossible")
