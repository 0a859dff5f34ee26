"""The framing of MMS over TCP (MS-MMSP), compiled: units, their headers, and where it is found again.

Rules of this file:

* a unit is a record (TcpMessageHeader and its messages) or a Data packet; the eight first bytes tell
  which, and how long it is [3.1.5.2]. chunkCount and timeSent are never used: real peers fill them
  wrongly;
* noise reads as a Data packet, whose size may be anything. A packet that does not follow from the one before,
  has a record inside and no unit behind it is none.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.protocols.cut import DATA_HEADER
from mmsforensics.protocols.messages import DATA_PACKET, At, DataPackets, Direction
from mmsforensics.streams import spans

MAX_MESSAGE_LENGTH = 65536 + 64
"""Largest messageLength taken for one: the longest message is bounded by a 16-bit length [2.2.4.9]."""

RECORD, DATA = 0, 1


@njit(cache=True, nogil=True)
def _u32(data, at):
    return (
        np.uint32(data[at])
        | np.uint32(data[at + 1]) << np.uint32(8)
        | np.uint32(data[at + 2]) << np.uint32(16)
        | np.uint32(data[at + 3]) << np.uint32(24)
    )


@njit(cache=True, nogil=True)
def is_record(data, at):
    """The sessionId stands at +4; the seal, when captured, at +12."""
    if not (data[at + 4] == 0xCE and data[at + 5] == 0xFA and data[at + 6] == 0x0B and data[at + 7] == 0xB0):
        return False
    return len(data) < at + 16 or (
        data[at + 12] == 0x4D and data[at + 13] == 0x4D and data[at + 14] == 0x53 and data[at + 15] == 0x20
    )


@njit(cache=True, nogil=True)
def _record_size(data, at):
    """Bytes of the record that begins at `at`, 0 when it can't be told yet, -1 when it can be none."""
    if at + 12 > len(data):
        return np.int64(0)
    length = np.int64(_u32(data, at + 8))
    if data[at] != 1 or data[at + 1] != 0 or length < 16 or length > MAX_MESSAGE_LENGTH or length % 8:
        return np.int64(-1)
    return length + 16


@njit(cache=True, nogil=True)
def _data_size(data, at, records_only):
    """PacketSize of the Data packet that begins at `at`, -1 when it can be none."""
    size = np.int64(data[at + 6]) | (np.int64(data[at + 7]) << 8)
    return np.int64(-1) if records_only or size < DATA_HEADER else size


@njit(cache=True, nogil=True)
def walk(data, records_only):
    """Cut bytes into units.

    Parameters
    ----------
    data : ndarray of uint8
    records_only : bool
        True for the client's direction, which has no Data packets.

    Returns
    -------
    start, size, kind : ndarray of int64
        Whole units (kind 0 record, 1 Data packet).
    end : int
        Position behind the last whole unit.
    need : int
        Size of the unit that begins there, 0 when it can't be told yet, -1 when it is none.
    """
    capacity = len(data) // DATA_HEADER + 1
    start = np.empty(capacity, dtype=np.int64)
    size = np.empty(capacity, dtype=np.int64)
    kind = np.empty(capacity, dtype=np.int64)
    n = 0
    at = 0
    need = np.int64(0)
    while True:
        need = np.int64(0)
        if at + DATA_HEADER > len(data):
            break
        k = RECORD if is_record(data, at) else DATA
        need = _record_size(data, at) if k == RECORD else _data_size(data, at, records_only)
        if need <= 0:
            break
        if at + need > len(data):
            break
        start[n], size[n], kind[n] = at, need, k
        n += 1
        at += need
    return start[:n].copy(), size[:n].copy(), kind[:n].copy(), at, need


@njit(cache=True, nogil=True)
def _holds_record(data, begin, end):
    """Whether a record, with its seal and a size that may be, begins in ``data[begin:end]``."""
    for at in range(begin, min(end, len(data) - 15)):
        if data[at + 4] == 0xCE and data[at] == 1 and is_record(data, at) and _record_size(data, at) > 0:
            return True
    return False


@njit(cache=True, nogil=True)
def _follows(data, at, incarnation, flags, final):
    """Whether what begins at `at` goes on behind a Data packet: 1 yes, 0 no, -1 when it can't be told yet.

    A packet that ends where the bytes end is one.
    """
    if at + 16 > len(data):
        return 1 if final and at == len(data) else -1
    if is_record(data, at):
        return 1 if _record_size(data, at) > 0 else 0
    return 1 if data[at + 4] == incarnation and data[at + 5] == (flags + 1) % 256 else 0


@njit(cache=True, nogil=True)
def find_noise(data, start, size, kind, end, need, incarnation, flags, final):
    """Find the first unit of `walk` that is no Data packet but noise.

    Parameters
    ----------
    data, start, size, kind, end, need
        As given to and by `walk`.
    incarnation, flags : int
        Of the Data packet before, -1 if there was none.
    final : bool
        Whether no more bytes come.

    Returns
    -------
    noise : int
        Index of that unit, -1 if there is none. Where no more bytes come, the unit begun counts as one.
    held : bool
        Whether it can't be told before more bytes come: the units before it are sound.
    """
    n = len(start)
    whole = n + 1 if final and need > 0 else n
    for i in range(whole):
        at = start[i] if i < n else end
        length = size[i] if i < n else need
        if (kind[i] == RECORD) if i < n else is_record(data, at):
            continue
        here, count = np.int64(data[at + 4]), np.int64(data[at + 5])
        follows = here == incarnation and count == (flags + 1) % 256
        incarnation, flags = here, count
        if follows or not _holds_record(data, at + 1, at + length):
            continue
        behind = _follows(data, at + length, here, count, final)
        if behind == 1:
            continue
        return i, behind == -1 and not final
    return -1, False


@njit(cache=True, nogil=True)
def _proven(data, at, proof, incarnation, largest, records_only):
    """Whether a unit begins at `at`: a record with its seal, or a chain of Data headers that agree.

    A chain may end in a record, or reach the end of the bytes after two links, or after one if it agrees
    with what is known of the stream (incarnation, largest packet).
    """
    links = 0
    sequence = np.int64(-1)
    location = np.int64(-1)
    enough = 1 if incarnation >= 0 else 2
    while links < proof:
        if at + 16 > len(data):
            return (links >= enough and at == len(data)) or links >= 2
        if is_record(data, at):
            return _record_size(data, at) > 0
        if records_only:
            return False
        size = np.int64(data[at + 6]) | (np.int64(data[at + 7]) << 8)
        if size < DATA_HEADER + 8 or (largest > 0 and size > largest):
            return False
        if incarnation >= 0 and data[at + 4] != incarnation:
            return False
        incarnation = np.int64(data[at + 4])
        flags = np.int64(data[at + 5])
        here = np.int64(_u32(data, at))
        if sequence >= 0 and (flags != (sequence + 1) % 256 or here <= location or here > location + 4096):
            return False
        sequence, location = flags, here
        head = data[at + 8]
        if head & 0x80 and (head & 0x60 or (head & 0x0F) > 2):
            return False
        links += 1
        at += size
        if at > len(data):
            return links >= 2
    return True


@njit(cache=True, nogil=True)
def resync(data, proof, incarnation, largest, records_only):
    """Position of the first sound unit boundary, or -1.

    What is known of the stream so far may be that of the header alone, or of the play before a seek: a chain
    that agrees with itself is one all the same.
    """
    for at in range(max(len(data) - DATA_HEADER, 0)):
        if _proven(data, at, proof, incarnation, largest, records_only):
            return at
        if not records_only and incarnation >= 0 and _proven(data, at, proof, -1, 0, False):
            return at
    return -1


@njit(cache=True, nogil=True)
def read_headers(data, start, size, out):
    """Read Data headers into rows of DATA_PACKET, all but what the frames tell."""
    for i in range(len(start)):
        at = start[i]
        row = out[i]
        row["start"] = at + 8
        row["size"] = size[i] - 8
        row["location"] = _u32(data, at)
        row["incarnation"] = data[at + 4]
        row["flags"] = data[at + 5]


def data_packets(
    data: NDArray[np.uint8],
    base: int,
    start: NDArray[np.int64],
    size: NDArray[np.int64],
    pieces: NDArray[np.void],
) -> NDArray[np.void]:
    """Read the Data headers at the given positions.

    Parameters
    ----------
    data : ndarray of uint8
    base : int
        Offset of ``data[0]`` in the coordinates of `pieces`.
    start, size : ndarray of int64
        Position of each header in `data`; PacketSize, the header included.
    pieces : ndarray of PIECE

    Returns
    -------
    ndarray of DATA_PACKET
    """
    out = np.empty(len(start), dtype=DATA_PACKET)
    read_headers(data, start, size, out)
    out["first_frame"], out["frame"], out["ts"] = spans(start + base, size, pieces)
    return out


def blocks(
    packets: NDArray[np.void],
    data: NDArray[np.uint8],
    base: int,
    pieces: NDArray[np.void],
    direction: Direction,
    inferred: bool,
) -> Iterator[DataPackets]:
    """Data packets in blocks of one incarnation each."""
    incarnation = packets["incarnation"]
    cuts = np.flatnonzero(incarnation[1:] != incarnation[:-1]) + 1
    for begin, end in pairwise([0, *cuts.tolist(), len(packets)]):
        block = packets[begin:end]
        first = block[0]
        yield DataPackets(
            at=At(
                direction=direction,
                offset=base + int(first["start"]) - DATA_HEADER,
                frame=int(first["frame"]),
                ts=int(first["ts"]),
            ),
            kind="",
            packets=block,
            data=data,
            base=base,
            pieces=pieces,
            inferred=inferred,
        )
