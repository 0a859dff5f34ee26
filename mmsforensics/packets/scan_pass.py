"""The one compiled pass over a capture: record walk and header decode fused for the common file formats.

Of the rare ones the records are found first (`RECORD`), and decoded in a pass of their own.

Rules of this file:

* the pass stops, and says why, at the end of the window, when its table is full, at what Python must
  read, and at damage; where it goes on behind damage `mmsforensics.evidence.resync` says;
* `PASS_SOURCES` names the modules compiled into the entries: Numba's cache follows a change in them.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.evidence import compiled, pcap, pcapng
from mmsforensics.evidence.compiled import Bytes, Int, fingerprint, u32
from mmsforensics.packets import decode, links, table

PASS_SOURCES = (compiled, pcap, pcapng, decode, links, table)

DONE: Final = 0
"""The end of the window was reached."""
FULL: Final = 1
"""The table is full."""
CONTROL: Final = pcapng.CONTROL
"""A block that Python must read. Higher numbers are the codes of damage of the two formats."""

PCAP_OK: Final = pcap.OK
PCAPNG_OK: Final = pcapng.OK
OTHER_BLOCK: Final = pcapng.OTHER_BLOCK

check_record = pcap.check_record
record_time = pcap.record_time
lengths = pcap.lengths
check_block = pcapng.check_block
packet_fields = pcapng.packet_fields
packet_time = pcapng.packet_time
block_tally = pcapng.block_tally
has_comment = pcapng.has_comment
decode_frame = decode.decode_frame

_SOURCES: Final = fingerprint(PASS_SOURCES)


def _entries(sources: int) -> tuple[Any, Any, Any]:
    """Build the entries; `sources` becomes part of their cache key by being closed over."""

    @njit(cache=True, nogil=True)
    def pcap_pass(
        data: Bytes,
        pos: Int,
        stop: Int,
        rows: NDArray[np.void],
        frames: Int,
        big: Int,
        swapped: Int,
        tick: Int,
        limit: Int,
        link: Int,
        header: Int,
    ) -> tuple[Int, Int, Int]:
        """Walk pcap records from `pos` on while they begin before `stop`.

        Returns
        -------
        count, pos, code
            Rows written, where the walk stands, and why.
        """
        _ = sources
        n = 0
        while pos < stop:
            if n == len(rows):
                return n, pos, FULL
            code = check_record(data, pos, big, swapped, limit, header)
            if code != PCAP_OK:
                return n, pos, code
            start = pos + header
            captured, wire = lengths(data, pos, big, swapped)
            row = rows[n]
            row.ts = record_time(data, pos, big, tick)
            row.frame = frames + n + 1
            row.offset = start
            decode_frame(data, start, captured, wire, link, row)
            n += 1
            pos = start + captured
        return n, pos, DONE

    @njit(cache=True, nogil=True)
    def pcapng_pass(
        data: Bytes,
        pos: Int,
        stop: Int,
        rows: NDArray[np.void],
        frames: Int,
        big: Int,
        interfaces: NDArray[np.void],
        count: Int,
        tallies: NDArray[np.int64],
        comments: NDArray[np.int64],
    ) -> tuple[Int, Int, Int]:
        """Walk pcapng blocks from `pos` on while they begin before `stop`.

        Blocks passed over are counted in `tallies`, packets with comments in its last place; of as many as
        `comments` has rows, frame number and offset of the block are written there.

        Returns
        -------
        count, pos, code
            Rows written, where the walk stands, and why.
        """
        _ = sources
        n = 0
        while pos < stop:
            if n == len(rows):
                return n, pos, FULL
            code = check_block(data, pos, big)
            if code == OTHER_BLOCK:
                tallies[block_tally(u32(data, pos, big))] += 1
            elif code != PCAPNG_OK:
                return n, pos, code
            else:
                code, index, start, captured, wire = packet_fields(data, pos, big, interfaces, count)
                if code != PCAPNG_OK:
                    return n, pos, code
                interface = interfaces[index]
                row = rows[n]
                row.ts = packet_time(data, pos, big, interface)
                row.frame = frames + n + 1
                row.offset = start
                decode_frame(data, start, captured, wire, np.int64(interface.link), row)
                n += 1
                if has_comment(data, pos, big, start + captured):
                    if tallies[-1] < len(comments):
                        comments[tallies[-1], 0], comments[tallies[-1], 1] = frames + n, pos
                    tallies[-1] += 1
            pos += u32(data, pos + 4, big)
        return n, pos, DONE

    @njit(cache=True, nogil=True)
    def indexed_pass(data: Bytes, index: NDArray[np.void], rows: NDArray[np.void], frames: Int) -> None:
        """Decode frames whose places are known (dtype `RECORD`) into as many rows."""
        _ = sources
        for i in range(len(index)):
            record, row = index[i], rows[i]
            row.ts = record.ts
            row.frame = frames + i + 1
            row.offset = record.start
            decode_frame(
                data,
                record.start,
                np.int64(record.captured),
                np.int64(record.wire),
                np.int64(record.link),
                row,
            )

    return pcap_pass, pcapng_pass, indexed_pass


pcap_pass, pcapng_pass, indexed_pass = _entries(_SOURCES)
