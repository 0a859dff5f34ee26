"""MMS over HTTP (MS-WMSP) and push distribution (MS-WMHTTP): the ``$`` framing of an HTTP body.

Rules of this file:

* in push distribution nothing stands between framing header and payload, $C carries the new header behind
  its Reason, and $F is filling [MS-WMHTTP 2.2.3]; its packets have no numbers. Some encoders push with the
  Data headers of MS-WMSP: which it is, the first packet tells;
* a packet's length stands in its framing header, but for $P, whose length field is wrong for the first
  and third of the three [2.2.3.7]; its real length is checked against what follows;
* a hole costs the packet it hurts, of which a `CutPacket` tells what was seen; behind a hole over a
  packet's end, framing is found again where packets chain.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Literal, cast

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.cut import CutUnit, pass_over
from mmsforensics.protocols.messages import (
    DATA_PACKET,
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
from mmsforensics.protocols.mms_framing import data_packets
from mmsforensics.protocols.wmsp_framing import (
    DATA_IDS,
    FRAMING_HEADER,
    LAST_PACKET,
    PROOF,
    PUSH,
    TELLING,
    WMSP,
    Framing,
    looks_framed,
    pushed_framing,
    walk,
)
from mmsforensics.streams import locate, spans

PACKET_PAIR_PAYLOAD = 504
"""Payload of the second $P; the first has Reason bytes less [2.2.3.7]."""

PACKET_PAIR_LAST = 1048
"""Payload of the third $P, plus Reason [2.2.3.7]."""

COUNTED_IDS = "EF"
"""Packets that are one message however often they come in a row."""

REASON = 4
"""Bytes of the Reason of $C and $E [2.2.3.1.1]."""


class WmspDecoder:
    """Decodes the framed body of one response, or of one request that pushes."""

    __slots__ = (
        "_beheaded",
        "_buffer",
        "_cut",
        "_cut_kind",
        "_direction",
        "_framing",
        "_lost",
        "_pairs",
        "_pending",
        "_skip",
    )

    def __init__(self, direction: Direction, *, from_start: bool = True, pushed: bool = False) -> None:
        self._direction: Direction = direction
        middle = WMSP if not pushed else PUSH
        self._framing: Framing | None = None if pushed and from_start else middle  # None: not known yet
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
        if self._framing is not None or len(self._buffer.data) >= TELLING:
            yield from self._decode(final=False)
        self._buffer.settle()

    @property
    def _kind(self) -> Framing:
        """The framing, told by what has come."""
        if self._framing is None:
            self._framing = pushed_framing(self._buffer.data[:TELLING].tobytes())
        return self._framing

    def _walk(
        self,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int, int]:
        kind = self._kind
        start, length, packet_id, end, need = walk(self._buffer.data, kind.is_id, kind.data_header)
        return start, length, packet_id, int(end), int(need)

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
            need = self._walk()[4]
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
            self._cut = CutUnit(buffer.offset, size, FRAMING_HEADER + self._kind.data_header)
            self._cut.add(buffer.offset, buffer.data, buffer.pieces)
            self._cut_kind = cast(Literal["D", "H", "M"], chr(buffer.data[1]))

    def _cut_packet(self) -> Iterator[CutPacket]:
        """Hand on the packet that holes have hurt: no more of it will come."""
        number = 0 if self._framing is PUSH else None  # pushed packets have none
        packet = None
        if self._cut is not None:
            packet = self._cut.packet(self._direction, self._cut_kind, location=number)
        self._cut = None
        if packet is not None:
            yield packet

    def _decode(self, *, final: bool) -> Iterator[Message]:
        buffer = self._buffer
        while True:
            if self._skip:
                self._skip = pass_over(buffer, self._skip, self._cut)
                if self._skip:
                    return
                yield from self._cut_packet()
            if self._lost:
                found = int(self._kind.resync(buffer.data, PROOF, final))
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
            start, length, packet_id, end, need = self._walk()
            yield from self._packets(data, base, start, length, packet_id)
            buffer.consume(end)
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
        for part in np.split(np.arange(len(start)), np.flatnonzero(packet_id[1:] != packet_id[:-1]) + 1):
            kind = chr(int(packet_id[part[0]]))
            if self._pending is not None and kind != self._pending.kind:
                yield self._pending
                self._pending = None
            if packet_id[part[0]] in DATA_IDS:
                yield self._data(kind, data, base, start[part], length[part])
                continue
            for i in part:
                yield from self._control(kind, data, int(start[i]), int(length[i]))
                if kind == "C" and length[i] > REASON and self._framing is PUSH:
                    yield self._data("H", data, base, start[[i]] + REASON, length[[i]] - REASON)

    def _data(
        self,
        kind: str,
        data: NDArray[np.uint8],
        base: int,
        start: NDArray[np.int64],
        length: NDArray[np.int64],
    ) -> DataPackets:
        """The packets of one kind whose framing headers stand at `start`."""
        pieces = self._buffer.pieces
        inner = start + FRAMING_HEADER
        if self._framing is PUSH:
            packets = pushed_packets(kind, base, inner, length, pieces)
        else:
            packets = data_packets(data, base, inner, length, pieces)
        return DataPackets(
            at=self._at(self._buffer, int(start[0]), int(length[0]) + FRAMING_HEADER),
            kind=cast(Literal["D", "H", "M"], kind),
            packets=packets,
            data=data,
            base=base,
            pieces=pieces,
            at_once=int(np.count_nonzero(data[start] & 0x80)),
        )

    def _control(self, kind: str, data: NDArray[np.uint8], start: int, length: int) -> Iterator[Message]:
        at = self._at(self._buffer, start, length + FRAMING_HEADER)
        reason = None
        if length >= REASON and kind != "F":
            reason = int.from_bytes(data[start + 4 : start + 8].tobytes(), "little")
        packet = WmspPacket(at=at, kind=kind, reason=reason)
        if kind not in COUNTED_IDS:
            yield packet
            return
        before = self._pending
        if before is not None and before.reason == reason:
            self._pending = WmspPacket(at=before.at, kind=kind, reason=reason, repeated=before.repeated + 1)
            return
        if before is not None:
            yield before
        self._pending = packet


def pushed_packets(
    kind: str,
    base: int,
    start: NDArray[np.int64],
    size: NDArray[np.int64],
    pieces: NDArray[np.void],
) -> NDArray[np.void]:
    """Rows of dtype DATA_PACKET for payloads without Data headers; who reads them numbers them.

    A header is whole in one packet [MS-WMHTTP 2.2.3.6]: its AFFlags are those of an only part.
    """
    out = np.zeros(len(start), dtype=DATA_PACKET)
    out["start"], out["size"] = start, size
    out["flags"] = 0x0C if kind == "H" else 0
    out["first_frame"], out["frame"], out["ts"] = spans(start + base, np.maximum(size, 1), pieces)
    return out
