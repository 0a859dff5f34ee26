"""The ``$`` framing of MS-WMSP and MS-WMHTTP: what sets the two apart, and the compiled walks over packets.

Rules of this file:

* in push distribution nothing stands between framing header and payload, and no packet has a number
  [MS-WMHTTP 2.2.3];
* one place proves nothing: behind damage only a chain of packets counts, that begin where those before end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.protocols.cut import DATA_HEADER

FRAMING_HEADER = 4
"""B and Frame, PacketID, PacketLength [2.2.3.1.1]."""

PACKET_IDS: dict[str, str] = {
    "C": "2.2.3.2",
    "D": "2.2.3.3",
    "E": "2.2.3.4",
    "H": "2.2.3.5",
    "M": "2.2.3.6",
    "P": "2.2.3.7",
    "T": "2.2.3.8",
}
"""PacketID and its section of MS-WMSP."""

PUSH_IDS: dict[str, str] = {"C": "2.2.3.2", "D": "2.2.3.3", "E": "2.2.3.4", "F": "2.2.3.5", "H": "2.2.3.6"}
"""PacketID and its section of MS-WMHTTP."""

DATA_IDS = b"DHM"

PROOF = 3

ASF_HEADER = b"\x30\x26\xb2\x75"
"""First bytes of the Header Object's GUID [ASF 10.1]."""

TELLING = FRAMING_HEADER + DATA_HEADER + len(ASF_HEADER)
"""Bytes of a pushed body that tell its framing."""


def _table(ids: dict[str, str]) -> NDArray[np.bool_]:
    table = np.zeros(256, dtype=np.bool_)
    table[[ord(i) for i in ids]] = True
    return table


_IS_ID = _table(PACKET_IDS)
_IS_PUSH_ID = _table(PUSH_IDS)


def looks_framed(first: bytes) -> bool | None:
    """Whether a body begins with WMSP framing; None when more bytes are needed to say."""
    if len(first) < 2:
        return None if not first or first[0] & 0x7F == 0x24 else False
    return bool(first[0] & 0x7F == 0x24 and _IS_ID[first[1]])


@njit(cache=True, nogil=True)
def walk(data, is_id, data_header):
    """Cut bytes into packets; stops before a $P.

    Parameters
    ----------
    data : ndarray of uint8
    is_id : ndarray of bool, shape (256,)
        Which bytes are a PacketID.
    data_header : int
        Least size of a packet that carries data.

    Returns
    -------
    start, length, packet_id : ndarray of int64
        Whole packets: position of the framing header, PacketLength, PacketID.
    end : int
        Position behind the last of them.
    need : int
        Size of the packet that begins there, 0 when it can't be told yet, -1 when it is none, -2 for $P.
    """
    capacity = len(data) // 4 + 1
    start = np.empty(capacity, dtype=np.int64)
    length = np.empty(capacity, dtype=np.int64)
    packet_id = np.empty(capacity, dtype=np.int64)
    n = 0
    at = 0
    need = np.int64(0)
    while True:
        need = np.int64(0)
        if at + 4 > len(data):
            if at < len(data) and (data[at] & 0x7F) != 0x24:
                need = np.int64(-1)
            break
        pid = data[at + 1]
        size = np.int64(data[at + 2]) | (np.int64(data[at + 3]) << 8)
        data_bearing = pid == 0x44 or pid == 0x48 or pid == 0x4D
        if (data[at] & 0x7F) != 0x24 or not is_id[pid] or (data_bearing and size < data_header):
            need = np.int64(-1)
            break
        if pid == 0x50:
            need = np.int64(-2)
            break
        need = 4 + size
        if at + need > len(data):
            break
        start[n], length[n], packet_id[n] = at, size, pid
        n += 1
        at += need
    return start[:n].copy(), length[:n].copy(), packet_id[:n].copy(), at, need


LAST_PACKET = 12
"""Bytes of an $E. Remains longer than it, after the last packet found, are those of a packet with data."""


@njit(cache=True, nogil=True)
def resync(data, proof, final):
    """Position of the first packet of a chain of `proof` packets whose inner sizes agree, or -1.

    `final` says that no more bytes come before the next hole: then a chain may end where they end, after one
    whole packet at least. Chance lays one, with both sizes alike, at one of some hundred million places.
    """
    for begin in range(len(data) - 4):
        at = begin
        links = 0
        while links < proof:
            left = len(data) - at
            if left < 12:
                ends = left <= 0 or (data[at] & 0x7F) == 0x24
                if (final and links >= (1 if left >= 0 else 2) and ends) or (left == 0 and links >= 2):
                    return begin
                break
            if (data[at] & 0x7F) != 0x24:
                break
            pid = data[at + 1]
            size = np.int64(data[at + 2]) | (np.int64(data[at + 3]) << 8)
            if pid == 0x44 or pid == 0x48 or pid == 0x4D:
                inner = np.int64(data[at + 10]) | (np.int64(data[at + 11]) << 8)
                if inner != size or size < 8:
                    break
            elif not ((pid == 0x45 or pid == 0x43) and size == 4):
                break
            links += 1
            at += 4 + size
        if links == proof:
            return begin
    return -1


@njit(cache=True, nogil=True)
def resync_push(data, proof, final):
    """Position of the first pushed packet of a chain of `proof` packets, or -1; `final` as in `resync`.

    What carries data must begin as an ASF packet with error correction data does [ASF 5.2.1], or as a header;
    filling is zeros. Chance lays three such packets at one of some 2^72 places, two at one of 2^48.
    """
    for begin in range(len(data) - 4):
        at = begin
        links = 0
        while links < proof:
            left = len(data) - at
            if left < 7:
                if final and links >= 2 and (left <= 0 or data[at] == 0x24):
                    return begin
                break
            pid = data[at + 1]
            size = np.int64(data[at + 2]) | (np.int64(data[at + 3]) << 8)
            if data[at] != 0x24:
                break
            if pid == 0x44:
                if data[at + 4] != 0x82 or data[at + 5] != 0 or data[at + 6] != 0:
                    break
            elif pid == 0x45:
                if size != 4:
                    break
            elif pid == 0x46:
                if size > 0 and data[at + 4] != 0:
                    break
            elif not (pid == 0x48 and data[at + 4] == 0x30 and data[at + 5] == 0x26 and data[at + 6] == 0xB2):
                break
            links += 1
            at += 4 + size
        if links == proof:
            return begin
    return -1


@dataclass(frozen=True, slots=True)
class Framing:
    """What sets the framing of a protocol apart."""

    is_id: NDArray[np.bool_]
    data_header: int
    """Bytes between framing header and payload of a packet that carries data."""
    resync: Callable[..., int]
    """Finds the first packet of a chain: ``(data, proof, final)``."""


WMSP = Framing(_IS_ID, DATA_HEADER, resync)
"""MS-WMSP 2.2.3: a Data header stands before each payload."""

PUSH = Framing(_IS_PUSH_ID, 0, resync_push)
"""MS-WMHTTP 2.2.3."""


def pushed_framing(first: bytes) -> Framing:
    """Which framing a pushed body has, by its first `TELLING` bytes."""
    kind, inner = first[1:2], first[FRAMING_HEADER + DATA_HEADER :]
    if kind == b"H":
        return WMSP if first[FRAMING_HEADER:TELLING].find(ASF_HEADER) == DATA_HEADER else PUSH
    sizes_agree = first[2:4] == first[FRAMING_HEADER + 6 : FRAMING_HEADER + 8]
    return WMSP if kind == b"D" and sizes_agree and inner[:1] == b"\x82" else PUSH


def looks_pushed(first: bytes) -> bool:
    """Whether the body of a request begins with a pushed ASF header."""
    return first[:2] == b"$H" and ASF_HEADER in (first[4:8], first[12:16])


def find(data: NDArray[np.uint8], framing: Framing = WMSP) -> int:
    """Position of the first packet of a chain that proves itself, or -1."""
    return int(framing.resync(data, PROOF, False))


def whole(data: NDArray[np.uint8], framing: Framing = WMSP) -> tuple[int, int]:
    """Bytes of the whole packets at the begin, and what follows them: the `need` of `walk`."""
    _, _, _, end, need = walk(data, framing.is_id, framing.data_header)
    return int(end), int(need)
