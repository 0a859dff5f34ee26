"""MMS over HTTP (MS-WMSP): the ``$`` framing of an HTTP body.

Rules of this file:

* a packet's length stands in its framing header, but for $P, whose length field is wrong for the first
  and third of the three [2.2.3.7]; its real length is checked against what follows;
* a hole costs the packet it hurts, of which a `CutPacket` tells what was seen; behind a hole over a
  packet's end, framing is found again where packets chain.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Literal, cast

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.protocols.cut import DATA_HEADER, CutUnit
from mmsforensics.protocols.messages import (
    At,
    CutPacket,
    DataPackets,
    Direction,
    Hole,
    Malformed,
    Message,
    StreamBuffer,
    WmspPacket,
)
from mmsforensics.protocols.mms import data_packets
from mmsforensics.streams import locate

FRAMING_HEADER = 4
"""B and Frame, PacketID, PacketLength [2.2.3.1.1]."""

PACKET_PAIR_PAYLOAD = 504
"""Payload of the second $P; the first has Reason bytes less [2.2.3.7]."""

PACKET_PAIR_LAST = 1048
"""Payload of the third $P, plus Reason [2.2.3.7]."""

PACKET_IDS = b"CDEHMPT"
DATA_IDS = b"DHM"

PROOF = 3

_IS_ID = np.zeros(256, dtype=np.bool_)
_IS_ID[list(PACKET_IDS)] = True


def looks_framed(first: bytes) -> bool | None:
    """Whether a body begins with WMSP framing; None when more bytes are needed to say."""
    if len(first) < 2:
        return None if not first or first[0] & 0x7F == 0x24 else False
    return first[0] & 0x7F == 0x24 and first[1] in PACKET_IDS


@njit(cache=True, nogil=True)
def walk(data, is_id):
    """Cut bytes into packets; stops before a $P.

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
        if (data[at] & 0x7F) != 0x24 or not is_id[pid] or (data_bearing and size < 8):
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


def find(data: NDArray[np.uint8]) -> int:
    """Position of the first packet of a chain that proves itself, or -1."""
    return int(resync(data, PROOF, False))


def whole(data: NDArray[np.uint8]) -> tuple[int, int]:
    """Bytes of the whole packets at the begin, and what follows them: the `need` of `walk`."""
    _, _, _, end, need = walk(data, _IS_ID)
    return int(end), int(need)


class WmspDecoder:
    """Decodes the framed body of one response."""

    __slots__ = (
        "_beheaded",
        "_buffer",
        "_cut",
        "_cut_kind",
        "_direction",
        "_lost",
        "_pairs",
        "_pending",
        "_skip",
    )

    def __init__(self, direction: Direction, *, from_start: bool = True) -> None:
        self._direction: Direction = direction
        self._buffer = StreamBuffer()
        self._skip = 0  # bytes of a packet hurt by a hole that are still to come
        self._cut: CutUnit | None = None  # that packet, when it carries a Data packet
        self._cut_kind: Literal["D", "H", "M"] = "D"
        self._lost = not from_start
        self._beheaded = 0  # packets cut by a hole whose remains will be passed over
        self._pairs = 0
        self._pending: WmspPacket | None = None  # an $E whose repetitions are still being counted

    def feed(self, offset: int, data: NDArray[np.uint8], pieces: NDArray[np.void]) -> Iterator[Message]:
        """Take the next bytes of the body; `offset` and `pieces` are in its coordinates."""
        self._buffer.append(offset, data, pieces)
        yield from self._decode(final=False)
        self._buffer.settle()

    def gap(self, at: At, length: int) -> Iterator[Message]:
        """Take note of a hole in the body."""
        buffer = self._buffer
        if self._lost:
            yield from self._decode(final=True)
        position = buffer.offset + len(buffer.data)
        cut = 0
        if self._skip:
            if length > self._skip:
                self._lost = True
                self._beheaded = 1
            self._skip -= min(self._skip, length)
        elif len(buffer.data) and not self._lost:
            need = int(walk(buffer.data, _IS_ID)[4])
            cut = 1
            self._begin_cut(need)
            if need >= len(buffer.data) + length:
                self._skip = need - len(buffer.data) - length
            else:
                self._lost = True
                cut += self._begun(len(buffer.data) + length - need) if need > 0 else 0
        elif not self._lost:
            self._lost = True
            cut = self._begun(length)
        buffer.clear(position + length)
        if not self._skip:
            yield from self._cut_packet()
        yield Hole(at=at, length=length, packets_cut=cut)

    def lose(self) -> Iterator[Message]:
        """Take note that it can't be told how much is missing: framing has to be found again."""
        self._skip = 0
        self._lost = True
        yield from self._cut_packet()

    def _begun(self, missing: int) -> int:
        """How many packets are known to begin in a hole that goes on `missing` bytes behind a boundary."""
        self._beheaded = int(missing <= LAST_PACKET)  # then what remains behind the hole tells
        return 1 - self._beheaded

    def end(self) -> Iterator[Message]:
        """Take note of the end of the body."""
        yield from self._decode(final=True)
        yield from self._cut_packet()
        if len(self._buffer.data) and len(self._buffer.pieces):
            yield self._passed_over(len(self._buffer.data), "a whole packet")
        if self._pending is not None:
            yield self._pending
            self._pending = None

    def _begin_cut(self, size: int) -> None:
        """Keep what is there of the packet at the head of the buffer, if it carries a Data packet."""
        buffer = self._buffer
        if size > 0 and buffer.data[1] in DATA_IDS:
            self._cut = CutUnit(buffer.offset, size, FRAMING_HEADER + DATA_HEADER)
            self._cut.add(buffer.offset, buffer.data, buffer.pieces)
            self._cut_kind = cast(Literal["D", "H", "M"], chr(buffer.data[1]))

    def _cut_packet(self) -> Iterator[CutPacket]:
        """Hand on the packet that holes have hurt: no more of it will come."""
        packet = self._cut.packet(self._direction, self._cut_kind) if self._cut is not None else None
        self._cut = None
        if packet is not None:
            yield packet

    def _decode(self, *, final: bool) -> Iterator[Message]:
        buffer = self._buffer
        while True:
            if self._skip:
                n = min(self._skip, len(buffer.data))
                self._skip -= n
                if self._cut is not None:
                    self._cut.add(buffer.offset, buffer.data[:n], buffer.pieces)
                buffer.consume(n)
                if self._skip:
                    return
                yield from self._cut_packet()
            if self._lost:
                found = int(resync(buffer.data, PROOF, final))
                if found < 0:
                    tail = 0 if final else min(len(buffer.data), PROOF * 65540)
                    if len(buffer.data) > tail:
                        yield self._passed_over(len(buffer.data) - tail, "WMSP framing")
                    return
                if found:
                    yield self._passed_over(found, "WMSP framing")
                self._lost = False
                self._beheaded = 0
            data, base = buffer.data, buffer.offset
            start, length, packet_id, end, need = walk(data, _IS_ID)
            yield from self._packets(data, base, start, length, packet_id)
            buffer.consume(int(end))
            if need == -2:
                if not (yield from self._packet_pair(final=final)):
                    return
            elif need == -1:
                self._lost = True
            else:
                return

    def _packet_pair(self, *, final: bool) -> Generator[Message, None, bool]:
        """Read one $P; its true length is proven by what follows. Returns whether it was read."""
        data = self._buffer.data
        if len(data) < 8:
            return False
        reason = int.from_bytes(data[4:8].tobytes(), "little")
        payload = (PACKET_PAIR_PAYLOAD - reason, PACKET_PAIR_PAYLOAD, PACKET_PAIR_LAST + reason)[
            min(self._pairs, 2)
        ]
        stated = int.from_bytes(data[2:4].tobytes(), "little")
        candidates = [8 + n for n in (payload, stated) if 0 <= n <= 65535]
        if not final and len(data) < max(candidates) + 2:
            return False
        size = next((n for n in candidates if looks_framed(data[n : n + 2].tobytes())), None)
        if size is None:
            size = next((n for n in candidates if n <= len(data)), len(data))
            self._lost = size < len(data)
        at = self._at(self._buffer, 0, min(size, len(data)))
        self._pairs += 1
        self._buffer.consume(min(size, len(data)))
        yield WmspPacket(at=at, kind="P", reason=reason)
        return True

    def _at(self, buffer: StreamBuffer, start: int, size: int) -> At:
        frame, ts = locate(buffer.pieces, buffer.offset + start + max(size, 1) - 1)
        return At(direction=self._direction, offset=buffer.offset + start, frame=frame, ts=ts)

    def _passed_over(self, n: int, expected: str) -> Malformed:
        at = self._at(self._buffer, 0, 1)
        found = self._buffer.data[:16].tobytes().hex(" ")
        self._buffer.consume(n)
        cut, self._beheaded = self._beheaded if n > LAST_PACKET else 0, 0
        return Malformed(at=at, length=n, expected=expected, found=found, packets_cut=cut)

    def _packets(
        self,
        data: NDArray[np.uint8],
        base: int,
        start: NDArray[np.int64],
        length: NDArray[np.int64],
        packet_id: NDArray[np.int64],
    ) -> Iterator[Message]:
        if not len(start):
            return
        pieces = self._buffer.pieces
        for part in np.split(np.arange(len(start)), np.flatnonzero(packet_id[1:] != packet_id[:-1]) + 1):
            kind = chr(int(packet_id[part[0]]))
            if kind != "E" and self._pending is not None:
                yield self._pending
                self._pending = None
            if packet_id[part[0]] in DATA_IDS:
                packets = data_packets(data, base, start[part] + FRAMING_HEADER, length[part], pieces)
                yield DataPackets(
                    at=self._at(self._buffer, int(start[part[0]]), int(length[part[0]]) + 4),
                    kind=cast(Literal["D", "H", "M"], kind),
                    packets=packets,
                    data=data,
                    base=base,
                    pieces=pieces,
                )
                continue
            for i in part:
                yield from self._control(kind, data, int(start[i]), int(length[i]))

    def _control(self, kind: str, data: NDArray[np.uint8], start: int, length: int) -> Iterator[Message]:
        at = self._at(self._buffer, start, length + 4)
        reason = None
        if length >= 4:
            reason = int.from_bytes(data[start + 4 : start + 8].tobytes(), "little")
        packet = WmspPacket(at=at, kind=kind, reason=reason)
        if kind != "E":
            yield packet
            return
        before = self._pending
        if before is not None and before.reason == reason:
            self._pending = WmspPacket(at=before.at, kind="E", reason=reason, repeated=before.repeated + 1)
            return
        if before is not None:
            yield before
        self._pending = packet
