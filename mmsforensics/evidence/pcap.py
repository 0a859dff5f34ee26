"""The pcap file format [draft-ietf-opsawg-pcap]: file header and record walk.

Rules of this file:

* numbers are in the byte order in which the magic number stands;
* the magic number also says whether fractions of a second are micro- or nanoseconds;
* a record that claims more than `captured_limit` bytes is damage, and nothing behind it is believed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from numba import njit

from mmsforensics.evidence.compiled import Bytes, Int, u32
from mmsforensics.evidence.formats import KUZNETZOV_MAGICS, PCAP_MAGICS
from mmsforensics.evidence.problem import Problem

FILE_HEADER: Final = 24
"""Bytes of the file header [section 4]."""

RECORD_HEADER: Final = 16
"""Bytes of a packet record's header [section 5]."""

RECORD_HEADERS: Final = (RECORD_HEADER, 20, 24, 28)
"""The same in variants: Nokia's has 4 bytes more; Kuznetzov's, in two versions, 8 and 12 (interface index,
protocol, packet type). Of these only Kuznetzov's has a magic number of its own, and not everywhere."""

KUZNETZOV_HEADERS: Final = (24, 28)

CHAIN: Final = 5
"""Records that must follow each other for a variant to be believed."""

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
    record_header: int
    """Bytes of each record's header."""

    @property
    def captured_limit(self) -> int:
        """Captured bytes from which on a record is damage."""
        return self.snaplen if MAX_CAPTURED < self.snaplen <= MAX_SNAPLEN else MAX_CAPTURED


def read_header(path: str, data: Bytes) -> PcapHeader | Problem:
    """Read the file header [section 4] of a file that begins with one of the magic numbers.

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
    kuznetzov = head[:4] in KUZNETZOV_MAGICS
    big, nanosecond = (KUZNETZOV_MAGICS if kuznetzov else PCAP_MAGICS)[head[:4]]
    order: Final = "big" if big else "little"
    header = PcapHeader(
        big=big,
        nanosecond=nanosecond,
        snaplen=int.from_bytes(head[16:20], order),
        link=int.from_bytes(head[20:24], order) & LINK_MASK,
        record_header=RECORD_HEADER,
    )
    choices = KUZNETZOV_HEADERS if kuznetzov else RECORD_HEADERS
    fitting = (n for n in choices if _chains(data, replace(header, record_header=n)))
    return replace(header, record_header=next(fitting, choices[0]))


def _chains(data: Bytes, header: PcapHeader) -> bool:
    """Whether the first records follow each other with plausible fields at this size of record headers."""
    order: Final = "big" if header.big else "little"
    fraction = 1_000_000_000 if header.nanosecond else 1_000_000
    at = FILE_HEADER
    for _ in range(CHAIN):
        if at == len(data):
            break
        raw = data[at : at + RECORD_HEADER].tobytes()
        if len(raw) < RECORD_HEADER:
            return False
        _, part, captured, wire = (int.from_bytes(raw[k : k + 4], order) for k in range(0, 16, 4))
        if part >= fraction or captured > min(header.captured_limit, wire):
            return False
        at += header.record_header + captured
    return at <= len(data)


@njit(nogil=True)
def check_record(data: Bytes, pos: Int, big: Int, limit: Int, header: Int) -> Int:
    """Whether a sound record [section 5] begins at `pos`: `OK` or one of the other codes."""
    left = len(data) - pos
    if left < header:
        return CUT_HEADER
    captured = u32(data, pos + 8, big)
    if captured > limit:
        return IMPOSSIBLE_LENGTH
    if captured > left - header:
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
            path,
            pos,
            frame,
            f"a record header of {header.record_header} bytes",
            f"the end of the file after {left}",
        )
    order: Final = "big" if header.big else "little"
    captured = int.from_bytes(data[pos + 8 : pos + 12].tobytes(), order)
    if code == CUT_DATA:
        left -= header.record_header
        return Problem(
            path, pos, frame, f"a record of {captured} captured bytes", f"the end of the file after {left}"
        )
    expected = f"a captured length of at most {header.captured_limit}"
    return Problem(path, pos + 8, frame, expected, f"{captured} ({captured:#x}), which is impossible")
