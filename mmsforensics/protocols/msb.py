"""Multicast of Windows Media (MS-MSB), and the packets of MS-MSBD that go by UDP: datagrams to MSB packets.

Rules of this file:

* one datagram is one packet, and says its own length; one whose length is another is none;
* a beacon is four bytes; beacons that follow each other are one message;
* packets are handed on in order of capture, in blocks of one wStreamID whose dwPacketIDs go on: what is lost,
  repeated or overtaken, and what parity makes good again, is for the session to say;
* a flow is taken for MSB by what its datagrams say of themselves, and by what no data of MMS over UDP would
  do: go to a multicast group, repeat the number of a packet in a parity packet, or be a beacon.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.protocols.cut import CutUnit
from mmsforensics.protocols.messages import (
    DATA_PACKET,
    At,
    DataPackets,
    Direction,
    Hole,
    Malformed,
    Message,
    MsbBeacon,
    MsbPackets,
)
from mmsforensics.streams import Datagrams, spans

SIGNATURE = b"MSB "
"""A beacon, and dwSignature of MS-MSBD [MS-MSB 2.2.3, MS-MSBD 2.2.1]."""

VERSION = b"\x06\x01"
"""wVersion of MS-MSBD."""

HEADER = 8
"""Bytes of the header of an MSB packet [MS-MSB 2.2.4]."""

BASE = 16
"""Bytes of MSBMSGBASE [MS-MSBD 2.2.1]."""

IND_PACKET = 10
"""wMessageId of MSB_MSG_IND_PACKET [MS-MSBD 2.2.10]."""

FORMAT_ID = 0x07FF
"""Bits of wStreamID that are the Format ID; of the others only bit 15 is used."""

UNUSED_BITS = 0x7800

LARGEST_STEP = 256
"""How far dwPacketIDs of one block may be apart: some seconds lost or overtaken. Beyond it another block
begins."""

LOOKED_AT = 64
"""Datagrams of a direction looked at to tell what it carries."""


@njit(cache=True, nogil=True)
def _read_headers(data, start, number, stream, size):
    for i in range(len(start)):
        at = start[i]
        number[i] = (
            np.int64(data[at])
            | np.int64(data[at + 1]) << 8
            | np.int64(data[at + 2]) << 16
            | np.int64(data[at + 3]) << 24
        )
        stream[i] = np.int64(data[at + 4]) | np.int64(data[at + 5]) << 8
        size[i] = np.int64(data[at + 6]) | np.int64(data[at + 7]) << 8


def read_headers(
    data: NDArray[np.uint8], start: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """dwPacketID, wStreamID and wPacketSize of the headers at the given positions."""
    number, stream, size = (np.empty(len(start), dtype=np.int64) for _ in range(3))
    _read_headers(data, start, number, stream, size)
    return number, stream, size


@njit(cache=True, nogil=True)
def _differing(data, start, size, other_start, other_size):
    n = 0
    for i in range(len(start)):
        same = size[i] == other_size[i]
        for k in range(size[i]):
            if not same:
                break
            same = data[start[i] + k] == data[other_start[i] + k]
        n += not same
    return n


def differing(data: NDArray[np.uint8], packets: NDArray[np.void], others: NDArray[np.void]) -> int:
    """How many packets differ from those at the same place in `others`, both of dtype DATA_PACKET."""
    columns = [rows[name].astype(np.int64) for rows in (packets, others) for name in ("start", "size")]
    return int(_differing(data, *columns))


def packet_blocks(
    data: NDArray[np.uint8],
    base: int,
    start: NDArray[np.int64],
    pieces: NDArray[np.void],
    direction: Direction,
    *,
    reliable: bool,
) -> Iterator[MsbPackets]:
    """Blocks of MSB packets.

    Parameters
    ----------
    data : ndarray of uint8
    base : int
        Offset of ``data[0]`` in the coordinates of `pieces`.
    start : ndarray of int64
        Positions of the headers of whole packets in `data`.
    pieces : ndarray of PIECE
    direction, reliable
        As in `DataPackets`.
    """
    if not len(start):
        return
    number, stream, size = read_headers(data, start)
    packets = np.empty(len(start), dtype=DATA_PACKET)
    packets["start"], packets["size"] = start + HEADER, size - HEADER
    packets["location"], packets["flags"], packets["incarnation"] = number, number & 0xFF, stream >> 15
    packets["first_frame"], packets["frame"], packets["ts"] = spans(start + base, size, pieces)
    step = np.diff(number.astype(np.uint32)).view(np.int32)
    cuts = np.flatnonzero((np.diff(stream) != 0) | (np.abs(step.astype(np.int64)) > LARGEST_STEP)) + 1
    for begin, end in pairwise([0, *cuts.tolist(), len(start)]):
        first = packets[begin]
        at = At(
            direction=direction,
            offset=int(start[begin]) + base if reliable else 0,
            frame=int(first["frame"]),
            ts=int(first["ts"]),
        )
        block = DataPackets(
            at=at,
            kind="D",
            packets=packets[begin:end],
            data=data,
            base=base,
            pieces=pieces,
            reliable=reliable,
        )
        yield MsbPackets(at=at, stream_id=int(stream[begin]), block=block)


class MsbDatagrams:
    """MSB packets, one a datagram; with `lead` 24 those of MS-MSBD, which have MSBMSGBASE before them."""

    def __init__(self, lead: int = HEADER) -> None:
        self._lead = lead

    def feed(self, datagrams: Datagrams, direction: Direction) -> Iterator[Message]:
        """Take the next datagrams, in order of capture."""
        start = datagrams.pieces["offset"].astype(np.int64)
        length = datagrams.pieces["length"].astype(np.int64)
        stated = stated_lengths(datagrams, self._lead)
        sound = (stated == length) & (datagrams.wire_length == length)
        cut = (stated > length) & (stated == datagrams.wire_length)
        beacon = beacons(datagrams)
        yield from _beacons(datagrams, beacon, direction)
        for i in np.flatnonzero(cut).tolist():
            yield from self._cut(datagrams, i, int(stated[i]), direction)
        other = np.flatnonzero(~(sound | cut | beacon))
        if len(other):
            yield _foreign(datagrams, other, direction)
        at = start[sound] + self._lead - HEADER
        yield from packet_blocks(datagrams.data, 0, at, datagrams.pieces, direction, reliable=False)

    def _cut(self, datagrams: Datagrams, i: int, size: int, direction: Direction) -> Iterator[Message]:
        """A datagram that the capture cut, or of which fragments are missing."""
        piece = datagrams.pieces[i]
        begin, length = int(piece["offset"]), int(piece["length"])
        at = At(direction=direction, offset=0, frame=int(piece["frame"]), ts=int(piece["ts"]))
        yield Hole(at=at, length=size - length, packets_cut=1)
        unit = CutUnit(begin, size, self._lead)
        unit.add(begin, datagrams.data[begin : begin + length], datagrams.pieces[i : i + 1])
        packet = unit.packet(direction, "D")
        if packet is not None:
            yield replace(packet, reliable=False)


def stated_lengths(datagrams: Datagrams, lead: int = HEADER) -> NDArray[np.int64]:
    """Bytes that each datagram should have by its own word; -1 for one that is no packet."""
    pieces = datagrams.pieces
    start, length = pieces["offset"].astype(np.int64), pieces["length"].astype(np.int64)
    stated = np.full(len(pieces), -1, dtype=np.int64)
    long_enough = np.flatnonzero(length >= lead)
    at = start[long_enough] + lead - HEADER
    _, stream, size = read_headers(datagrams.data, at)
    sound = (size >= HEADER) & (stream & UNUSED_BITS == 0)
    if lead > HEADER:
        sound &= _are_ind_packets(datagrams.data, at - BASE, size)
    stated[long_enough[sound]] = size[sound] + lead - HEADER
    return stated


@njit(cache=True, nogil=True)
def _are_ind_packets(data, start, size):
    """Whether an MSBMSGBASE of an MSB_MSG_IND_PACKET stands there, whose cbMessage fits wPacketSize."""
    out = np.empty(len(start), dtype=np.bool_)
    for i in range(len(start)):
        at, total = start[i], size[i] + BASE
        out[i] = (
            data[at] == 0x4D
            and data[at + 1] == 0x53
            and data[at + 2] == 0x42
            and data[at + 3] == 0x20
            and data[at + 6] == IND_PACKET
            and data[at + 7] == 0
            and data[at + 8] == total & 0xFF
            and data[at + 9] == total >> 8 & 0xFF
            and data[at + 10] == total >> 16
            and data[at + 11] == 0
        )
    return out


def beacons(datagrams: Datagrams) -> NDArray[np.bool_]:
    """Which datagrams are beacons."""
    found = np.asarray(datagrams.wire_length == len(SIGNATURE))
    found &= datagrams.pieces["length"] == len(SIGNATURE)
    for i in np.flatnonzero(found).tolist():
        begin = int(datagrams.pieces["offset"][i])
        found[i] = datagrams.data[begin : begin + 4].tobytes() == SIGNATURE
    return found


def _beacons(datagrams: Datagrams, which: NDArray[np.bool_], direction: Direction) -> Iterator[MsbBeacon]:
    """One message for each row of beacons that nothing else interrupts."""
    found = np.flatnonzero(which)
    if not len(found):
        return
    begins = np.concatenate(([0], np.flatnonzero(np.diff(found) > 1) + 1, [len(found)]))
    for begin, end in pairwise(begins.tolist()):
        piece = datagrams.pieces[found[begin]]
        at = At(direction=direction, offset=0, frame=int(piece["frame"]), ts=int(piece["ts"]))
        yield MsbBeacon(at=at, repeated=end - begin)


def _foreign(datagrams: Datagrams, which: NDArray[np.intp], direction: Direction) -> Malformed:
    """What is no packet, passed over: one message for all of it."""
    pieces = datagrams.pieces[which]
    first = pieces[0]
    begin, length = int(first["offset"]), int(first["length"])
    head = datagrams.data[begin : begin + min(length, 16)].tobytes().hex(" ")
    return Malformed(
        at=At(direction=direction, offset=0, frame=int(first["frame"]), ts=int(first["ts"])),
        length=int(pieces["length"].sum()),
        expected="an MSB packet of the datagram's length",
        found=f"{head or 'an empty datagram'}; datagrams of the kind: {len(which)}",
    )


def is_msbd(datagrams: Datagrams) -> bool:
    """Whether any of the first datagrams is an MSB_MSG_IND_PACKET [MS-MSBD 2.2.10]."""
    part = _first(datagrams)
    return bool((stated_lengths(part, BASE + HEADER) == part.wire_length).any())


def is_msb(datagrams: Datagrams, *, multicast: bool) -> bool:
    """Whether the first datagrams of a direction are those of MS-MSB.

    `multicast` says that they go to a group: there it is enough that they look like it.
    """
    part = _first(datagrams)
    if beacons(part).any():
        return True
    sound = stated_lengths(part) == part.wire_length
    if not sound.any():
        return False
    if multicast:
        return bool(np.count_nonzero(sound) * 2 > len(sound))
    at = part.pieces["offset"].astype(np.int64)[sound]
    number, stream, size = read_headers(part.data, at)
    opaque = (size > HEADER + 3) & (part.data[np.minimum(at + HEADER, len(part.data) - 1)] & 0xF0 == 0x90)
    step = np.diff(number.astype(np.uint32)).view(np.int32)
    repeats = (step == 0) & opaque[1:] & (np.diff(stream) == 0)
    return bool(sound.all() and repeats.any() and (np.abs(step) <= LARGEST_STEP).all())


def _first(datagrams: Datagrams) -> Datagrams:
    return Datagrams(datagrams.data, datagrams.pieces[:LOOKED_AT], datagrams.wire_length[:LOOKED_AT])
