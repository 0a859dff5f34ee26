"""The pcap file format [draft-ietf-opsawg-pcap]: file header and record walk.

Rules of this file:

* numbers are in the byte order in which the magic number stands;
* the magic number also says whether fractions of a second are micro- or nanoseconds;
* a record that claims more than `captured_limit` bytes is damage; so is one that is all zero, as the holes
  of a file are that was not written to its end;
* before version 2.4 the two lengths stood in either order: the smaller one is what was captured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from numba import njit

from mmsforensics.evidence.compiled import Bytes, Int, u32
from mmsforensics.evidence.formats import ALL_PCAP_MAGICS, IXIA_MAGICS, KUZNETZOV_MAGICS, PCAP_MAGICS
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
"""Records by which a variant is told."""

MAX_CAPTURED: Final = 262_144
"""Captured bytes a record may claim: what libpcap itself allows for every network link type."""

MAX_SNAPLEN: Final = 1 << 24
"""Largest snapshot length of a file header that is believed and lifts `MAX_CAPTURED`; "unlimited" is
written as various huge numbers, which say nothing about real records."""

LINK_MASK: Final = 0xFFFF
"""Link type in the last field of the file header; above it stand flags about the frame check sequence."""

SWAPPED_BEFORE: Final = (2, 4)
"""Version of the file format from which on the order of the lengths is known [draft-ietf-opsawg-pcap 4]."""

DGUX_VERSION: Final = (543, 0)
"""What tcpdump of DG/UX writes, with the lengths in the old order."""

AIX_VERSION: Final = (2, 2)
AIX_LINKS: Final = {6: 1, 9: 6, 15: 10, 24: 0}
"""AIX writes nanoseconds under the magic number of microseconds, and for the link type the ifType of
RFC 1573: Ethernet, Token Ring, FDDI, loopback."""

IXIA_HEADER: Final = 28
"""Bytes of the file header of Ixia's variant: the length of all records stands behind it."""

OK: Final = 0
CUT_HEADER: Final = 10
CUT_DATA: Final = 11
IMPOSSIBLE_LENGTH: Final = 12
ALL_ZERO: Final = 13
MORE_THAN_WIRE: Final = 14
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
    file_header: int = FILE_HEADER
    """Bytes of the file's header."""
    swapped: bool = False
    """The two lengths stand in either order."""
    variant: str = ""
    """What is unusual about the file, in words."""

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
    big, nanosecond = ALL_PCAP_MAGICS[head[:4]]
    order: Final = "big" if big else "little"
    version = (int.from_bytes(head[4:6], order), int.from_bytes(head[6:8], order))
    header = PcapHeader(
        big=big,
        nanosecond=nanosecond,
        snaplen=int.from_bytes(head[16:20], order),
        link=int.from_bytes(head[20:24], order) & LINK_MASK,
        record_header=RECORD_HEADER,
        file_header=IXIA_HEADER if head[:4] in IXIA_MAGICS else FILE_HEADER,
        swapped=(2, 0) <= version < SWAPPED_BEFORE or version == DGUX_VERSION,
    )
    if head[:4] in PCAP_MAGICS and version == AIX_VERSION and header.link in AIX_LINKS:
        note = "written by AIX: time stamps in nanoseconds, link type by ifType"
        header = replace(header, link=AIX_LINKS[header.link], nanosecond=True, variant=note)
    if header.swapped or header.file_header != FILE_HEADER:
        return header
    choices = KUZNETZOV_HEADERS if kuznetzov else RECORD_HEADERS
    chains = [_chain(data, replace(header, record_header=n)) for n in choices]
    if max(chains) < CHAIN and not kuznetzov:  # damaged early: a variant would have to be proven
        return header
    return replace(header, record_header=choices[chains.index(max(chains))])


def _chain(data: Bytes, header: PcapHeader) -> int:
    """How many of the first records follow each other plausibly at this size of record headers."""
    order: Final = "big" if header.big else "little"
    fraction = 1_000_000_000 if header.nanosecond else 1_000_000
    at = header.file_header
    for n in range(CHAIN):
        if at == len(data):
            return CHAIN
        raw = data[at : at + RECORD_HEADER].tobytes()
        if len(raw) < RECORD_HEADER:
            return n
        _, part, captured, wire = (int.from_bytes(raw[k : k + 4], order) for k in range(0, 16, 4))
        if part >= fraction or captured > min(header.captured_limit, wire) or wire == 0:
            return n
        at += header.record_header + captured
    return CHAIN


MAX_WIRE: Final = 1 << 24
"""Bytes on the wire from which on a record is not plausible."""


@njit(nogil=True)
def lengths(data: Bytes, pos: Int, big: Int, swapped: Int) -> tuple[Int, Int]:
    """Captured length and length on the wire of the record at `pos`."""
    captured, wire = u32(data, pos + 8, big), u32(data, pos + 12, big)
    if swapped and wire < captured:
        return wire, captured
    return captured, wire


@njit(nogil=True)
def check_record(data: Bytes, pos: Int, big: Int, swapped: Int, limit: Int, header: Int) -> Int:
    """Whether a sound record [section 5] begins at `pos`: `OK` or one of the other codes."""
    left = len(data) - pos
    if left < header:
        return CUT_HEADER
    captured, wire = lengths(data, pos, big, swapped)
    if captured > limit:
        return IMPOSSIBLE_LENGTH
    if captured == 0 and wire == 0 and u32(data, pos, big) == 0 and u32(data, pos + 4, big) == 0:
        return ALL_ZERO
    if captured > left - header:
        return CUT_DATA
    # Some programs write nonsense into the length on the wire: such a record is sound if another follows it.
    if (captured > wire or wire > MAX_WIRE) and not _may_follow(
        data, pos + header + captured, big, limit, header
    ):
        return MORE_THAN_WIRE
    return OK


@njit(nogil=True)
def _may_follow(data: Bytes, pos: Int, big: Int, limit: Int, header: Int) -> Int:
    """Whether a record may begin at `pos`, or the file end there."""
    left = len(data) - pos
    if left < header:
        return left == 0
    return u32(data, pos + 4, big) < 1_000_000_000 and u32(data, pos + 8, big) <= limit


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
    if code == ALL_ZERO:
        return Problem(path, pos, frame, "a record header", "zeros")
    order: Final = "big" if header.big else "little"
    captured = int.from_bytes(data[pos + 8 : pos + 12].tobytes(), order)
    if header.swapped:
        captured = min(captured, int.from_bytes(data[pos + 12 : pos + 16].tobytes(), order))
    if code == CUT_DATA:
        left -= header.record_header
        return Problem(
            path, pos, frame, f"a record of {captured} captured bytes", f"the end of the file after {left}"
        )
    if code == MORE_THAN_WIRE:
        wire = int.from_bytes(data[pos + 12 : pos + 16].tobytes(), order)
        expected = f"a captured length of at most the {wire} bytes on the wire"
        if wire > MAX_WIRE:
            return Problem(path, pos + 12, frame, f"a length on the wire of at most {MAX_WIRE}", str(wire))
        return Problem(path, pos + 8, frame, expected, f"{captured}, and no record behind them")
    expected = f"a captured length of at most {header.captured_limit}"
    return Problem(path, pos + 8, frame, expected, f"{captured} ({captured:#x}), which is impossible")
