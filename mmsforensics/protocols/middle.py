"""Connections whose beginning was not captured, known by their structure.

Rules of this file:

* one place proves nothing: only a chain counts, units that each begin where the one before ends and agree
  with it. Among random bytes four Data packets in a row are one chance in 2^108, three packets of WMSP one
  in 2^88;
* ASF packets of a download have a fixed size, and their send times never fall: six of them make a chain;
* at the end of the bytes fewer will do, since there may be no more: two whole units that end with the bytes,
  or three of which the last is cut.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.protocols.wmsp_framing import PUSH

LINKS = 4
"""Data packets in a row that make a chain."""

LARGEST_STEP = 4096
"""LocationIds between two packets sent one behind the other: streams not selected leave some out."""

FRAMED_LINKS = 3
"""Packets of WMSP in a row that make a chain."""

PUSHED_LINKS = 4
"""Pushed packets in a row that make a chain: each must begin as encoders write ASF packets."""

STRIDES = 6
"""ASF packets in a row, of one size, that make a chain."""

LEAST_STRIDE = 64
"""Size of the smallest ASF packet looked for; no encoder makes smaller ones."""

LONGEST_STEP_MS = 60_000
"""Send times between two packets of a chain at most."""

STRIDE_BUDGET = 1 << 24
"""Places compared before the search for packets of one size is given up: hostile bytes have no more."""

CHUNKS = 3
"""HTTP chunks in a row, each with its line ends, that make a chain."""

_CHUNK_LINE = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})\r\n")


@dataclass(frozen=True, slots=True)
class Framing:
    """Framed media found in the middle of an HTTP body."""

    chunked: bool
    start: int
    """Bytes before the chain; of a chunked body, bytes left of the chunk at hand."""


@njit(cache=True, nogil=True)
def _links(data, at, wanted):
    """Number of Data packets that follow each other from `at` on; -1 when there are too few."""
    links = 0
    incarnation = sequence = location = np.int64(-1)
    while links < wanted:
        if at + 16 > len(data):
            # A chain that the end of the bytes cuts: the last unit whole, or cut with its header seen.
            return links if (links >= 2 and at <= len(data)) or links >= 3 else -1
        size = np.int64(data[at + 6]) | (np.int64(data[at + 7]) << 8)
        head = data[at + 8]
        if size < 16 or (head & 0x80 and (head & 0x60 or (head & 0x0F) > 2)):
            return -1
        here = np.int64(0)
        for k in range(4):
            here |= np.int64(data[at + k]) << (8 * k)
        if links:
            if data[at + 4] != incarnation or data[at + 5] != (sequence + 1) % 256:
                return -1
            if here <= location or here > location + LARGEST_STEP:
                return -1
        incarnation, sequence, location = np.int64(data[at + 4]), np.int64(data[at + 5]), here
        links += 1
        at += size
    return links


@njit(cache=True, nogil=True)
def _find_chain(data, wanted):
    end = np.uint64(len(data))
    for at in range(np.uint64(max(len(data) - 16, 0))):
        # Nearly all places fail here: the header behind the packet counts on.
        size = np.uint64(data[at + np.uint64(6)]) | (np.uint64(data[at + np.uint64(7)]) << np.uint64(8))
        following = at + size + np.uint64(4)
        if following + np.uint64(1) >= end or data[following] != data[at + np.uint64(4)]:
            continue
        if data[following + np.uint64(1)] != np.uint8(data[at + np.uint64(5)] + np.uint8(1)):
            continue
        if _links(data, np.int64(at), wanted) > 0:
            return np.int64(at)
    return np.int64(-1)


@njit(cache=True, nogil=True)
def _framed_links(data, at, wanted):
    """Whether packets of WMSP follow each other from `at` on; of one kind, those with data must count up."""
    links = agreed = 0
    kind = incarnation = location = np.int64(-1)
    while links < wanted or agreed < 1:
        if at == len(data) and links >= 2:
            break
        if at + 12 > len(data):
            return False
        pid = np.int64(data[at + 1])
        size = np.int64(data[at + 2]) | (np.int64(data[at + 3]) << 8)
        if (data[at] & 0x7F) != 0x24:
            return False
        if pid == 0x44 or pid == 0x48 or pid == 0x4D:
            if size < 8 or size != np.int64(data[at + 10]) | (np.int64(data[at + 11]) << 8):
                return False
            here = np.int64(0)
            for k in range(4):
                here |= np.int64(data[at + 4 + k]) << (8 * k)
            if pid == kind:
                if data[at + 8] != incarnation or here <= location or here > location + LARGEST_STEP:
                    return False
                agreed += 1
            kind, incarnation, location = pid, np.int64(data[at + 8]), here
        elif (pid == 0x45 or pid == 0x43) and size == 4:
            kind = np.int64(-1)
        else:
            return False
        links += 1
        at += 4 + size
    return agreed >= 1


@njit(cache=True, nogil=True)
def _find_framed(data, wanted):
    for at in range(max(len(data) - 12, 0)):
        if (data[at] & 0x7F) == 0x24 and _framed_links(data, at, wanted):
            return at
    return -1


@njit(cache=True, nogil=True)
def _asf_time(data, at):
    """Send time of the ASF packet at `at`, -1 where none begins as encoders write it [ASF 5.2.1]."""
    if data[at] != 0x82 or data[at + 1] != 0 or data[at + 2] != 0 or data[at + 3] & 0x80:
        return np.int64(-1)
    flags = np.int64(data[at + 3])
    time = at + 5
    for shift in (5, 1, 3):  # packet length, sequence, padding length: absent, 1, 2 or 4 bytes
        kind = (flags >> shift) & 3
        time += 4 if kind == 3 else kind
    value = np.int64(0)
    for k in range(4):
        value |= np.int64(data[time + k]) << (8 * k)
    return value


@njit(cache=True, nogil=True)
def _find_stride(data, wanted, least, longest_step, budget):
    """Position of the first of `wanted` ASF packets of one size, and that size; (-1, 0) for none."""
    end = len(data) - 24
    for at in range(max(end, 0)):
        if _asf_time(data, at) < 0:
            continue
        for size in range(least, 65536):
            budget -= 1
            if budget < 0:
                return -1, 0
            if at + size * (wanted - 1) >= end:
                break
            links, before, first = 1, _asf_time(data, at), _asf_time(data, at)
            while links < wanted:
                here = at + links * size
                time = _asf_time(data, here)
                if time < before or time > before + longest_step or data[here + 4] != data[at + 4]:
                    break
                before = time
                links += 1
            if links == wanted and before > first:
                return at, size
    return -1, 0


def find_asf_packets(data: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Find ASF packets of one size, in the middle of a download of a file.

    Returns
    -------
    start, size : int
        Position of the first packet found, and the size of each; None where there are none.
    """
    start, size = _find_stride(data, STRIDES, LEAST_STRIDE, LONGEST_STEP_MS, STRIDE_BUDGET)
    return (int(start), int(size)) if size else None


def find_data_packets(data: NDArray[np.uint8]) -> int:
    """Position of the first Data packet of a chain [MS-MMSP 2.2.2], or -1."""
    return int(_find_chain(data, LINKS))


def find_framing(data: NDArray[np.uint8]) -> Framing | None:
    """Find packets of WMSP [MS-WMSP 2.2.3] in the middle of an HTTP body, chunked or not."""
    chunk = _first_chunk(data.tobytes())
    if chunk is not None:
        end, content = chunk
        return Framing(chunked=True, start=end) if _find_framed(content, FRAMED_LINKS) >= 0 else None
    found = int(_find_framed(data, FRAMED_LINKS))
    return Framing(chunked=False, start=found) if found >= 0 else None


def find_pushed(data: NDArray[np.uint8]) -> int:
    """Position of the first pushed packet of a chain [MS-WMHTTP 2.2.3], or -1."""
    return int(PUSH.resync(data, PUSHED_LINKS, False))


def _first_chunk(raw: bytes) -> tuple[int, NDArray[np.uint8]] | None:
    """Where the chunk at hand ends, and the content of the chunks behind it with what stands before."""
    for first in _CHUNK_LINE.finditer(raw):
        parts: list[bytes] = []
        line: re.Match[bytes] | None = first
        while line is not None:
            end = line.end() + int(line[1], 16)
            parts.append(raw[line.end() : end])
            last = end == line.end()
            line = _CHUNK_LINE.match(raw, end)
            if line is None and not last and end + 12 < len(raw) and len(parts) < CHUNKS:
                break
        else:
            content = b"".join((raw[: first.start()], *parts))
            return first.start(), np.frombuffer(content, dtype=np.uint8)
    return None
