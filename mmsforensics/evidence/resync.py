"""Where a capture goes on behind damage: the compiled searches for the next sound record or block.

Rules of this file:

* one record alone proves nothing, for evidence holds captures of captures: a chain of records is asked for,
  or one that ends with the file, and times near those of the frames before;
* a search looks at each place once and a bounded number of records from there: its cost is linear.
"""

from __future__ import annotations

from typing import Any, Final

from numba import njit

from mmsforensics.evidence import compiled, pcap, pcapng, snoop
from mmsforensics.evidence.compiled import Bytes, Int, be32, fingerprint, u32

CHAIN: Final = 4
"""Records that must follow each other."""

SHORT_CHAIN: Final = 2
"""The same where the last of them runs into the end of the file."""

NEAR: Final = 86_400
"""Seconds that the time of a record may be from that of the frames before."""

MAX_WIRE: Final = pcap.MAX_WIRE

BLOCK_CHAIN: Final = 2
"""Blocks that must follow each other; each one says its length twice."""

MAX_BLOCK: Final = 1 << 26
"""Bytes of a block from which on it is not plausible."""

SHB: Final = pcapng.SHB
BLOCK_TYPES: Final = (1, 2, 3, 4, 5, 6, 9, 10, 0x0BAD, 0x40000BAD)
"""Interface, packet, simple packet, name resolution, statistics, enhanced packet, journal, secrets, custom
[draft-ietf-opsawg-pcapng 12.1]."""
BYTE_ORDER_MAGIC: Final = pcapng.BYTE_ORDER_MAGIC

lengths = pcap.lengths
SNOOP_HEADER: Final = snoop.RECORD_HEADER

NOT_PLAUSIBLE: Final = -1
CUT: Final = -2
NOWHERE: Final = -1


@njit(nogil=True)
def _near(seconds: Int, around: Int) -> Int:
    return around < 0 or abs(seconds - around) <= NEAR


@njit(nogil=True)
def _after_record(
    data: Bytes, pos: Int, big: Int, swapped: Int, fractions: Int, limit: Int, header: Int, around: Int
) -> Int:
    """Where the plausible pcap record at `pos` ends, `NOT_PLAUSIBLE`, or `CUT` by the end of the file."""
    left = len(data) - pos
    if left < header:
        return CUT
    captured, wire = lengths(data, pos, big, swapped)
    if captured > limit or captured > wire or wire == 0 or wire > MAX_WIRE:
        return NOT_PLAUSIBLE
    if u32(data, pos + 4, big) >= fractions or not _near(u32(data, pos, big), around):
        return NOT_PLAUSIBLE
    return pos + header + captured if captured <= left - header else CUT


@njit(nogil=True)
def _after_snoop(data: Bytes, pos: Int, around: Int) -> Int:
    """The same for a record of snoop, which is padded by some bytes."""
    left = len(data) - pos
    if left < SNOOP_HEADER:
        return CUT
    wire, captured, length = be32(data, pos), be32(data, pos + 4), be32(data, pos + 8)
    if wire == 0 or wire > MAX_WIRE or captured > wire:
        return NOT_PLAUSIBLE
    if length < SNOOP_HEADER + captured or length > SNOOP_HEADER + captured + 8:
        return NOT_PLAUSIBLE
    if be32(data, pos + 20) >= 1_000_000 or not _near(be32(data, pos + 16), around):
        return NOT_PLAUSIBLE
    return pos + length if length <= left else CUT


@njit(nogil=True)
def _after_block(data: Bytes, pos: Int, big: Int) -> Int:
    """The same for a block of pcapng. A section header brings its own byte order."""
    left = len(data) - pos
    if left < 12:
        return CUT
    kind = u32(data, pos, big)
    if kind == SHB:
        if u32(data, pos + 8, 0) == BYTE_ORDER_MAGIC:
            big = 0
        elif u32(data, pos + 8, 1) == BYTE_ORDER_MAGIC:
            big = 1
        else:
            return NOT_PLAUSIBLE
    elif kind not in BLOCK_TYPES:
        return NOT_PLAUSIBLE
    total = u32(data, pos + 4, big)
    if total < 12 or total & 3 or total > MAX_BLOCK:
        return NOT_PLAUSIBLE
    if total > left:
        return CUT
    return pos + total if u32(data, pos + total - 4, big) == total else NOT_PLAUSIBLE


def _entries(sources: int) -> tuple[Any, Any, Any]:
    """Build the entries; `sources` becomes part of their cache key by being closed over."""

    @njit(cache=True, nogil=True)
    def find_record(
        data: Bytes,
        start: Int,
        stop: Int,
        big: Int,
        swapped: Int,
        fractions: Int,
        limit: Int,
        header: Int,
        around: Int,
    ) -> Int:
        """First place from `start` on, before `stop`, where a chain of pcap records begins, or `NOWHERE`."""
        _ = sources
        for place in range(start, stop):
            pos, n, when = place, 0, around
            while n < CHAIN:
                after = _after_record(data, pos, big, swapped, fractions, limit, header, when)
                if after < 0:
                    break
                if when < 0:
                    when = u32(data, place, big)  # at least the records agree with each other
                pos, n = after, n + 1
                if pos == len(data) and (around >= 0 or n >= SHORT_CHAIN):
                    return place
            if n == CHAIN or (n >= SHORT_CHAIN and after == CUT and around >= 0):
                return place
        return NOWHERE

    @njit(cache=True, nogil=True)
    def find_snoop(data: Bytes, start: Int, stop: Int, around: Int) -> Int:
        """The same for snoop."""
        _ = sources
        for place in range(start, stop):
            pos, n, when = place, 0, around
            while n < CHAIN:
                after = _after_snoop(data, pos, when)
                if after < 0:
                    break
                if when < 0:
                    when = be32(data, place + 16)
                pos, n = after, n + 1
                if pos == len(data) and (around >= 0 or n >= SHORT_CHAIN):
                    return place
            if n == CHAIN or (n >= SHORT_CHAIN and after == CUT and around >= 0):
                return place
        return NOWHERE

    @njit(cache=True, nogil=True)
    def find_block(data: Bytes, start: Int, stop: Int, big: Int, only_sections: Int) -> Int:
        """First place where blocks of pcapng follow each other; if so asked, only a section header's."""
        _ = sources
        for place in range(start, stop):
            if only_sections and (len(data) - place < 12 or u32(data, place, 0) != SHB):
                continue
            pos, n = place, 0
            while n < BLOCK_CHAIN:
                after = _after_block(data, pos, big)
                if after < 0:
                    break
                pos, n = after, n + 1
                if pos == len(data):
                    return place
            if n == BLOCK_CHAIN or (n > 0 and (after == CUT or u32(data, place, 0) == SHB)):
                return place
        return NOWHERE

    return find_record, find_snoop, find_block


find_record, find_snoop, find_block = _entries(fingerprint((compiled, pcap, pcapng, snoop)))
