"""MMS over TCP and UDP (MS-MMSP): units put together over holes, messages.

Rules of this file:

* what a unit is, and where one begins, is told by `mms_framing`;
* a hole inside a unit of known length costs that unit and nothing else; a hole over a unit's end costs
  the bytes up to the next place where the framing proves itself; what was seen of a Data packet whose header
  was seen is handed on as a `CutPacket`;
* whether a Data packet is a part of the header or media is for the session to say: AFFlags and
  LocationId do not tell.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.cut import DATA_HEADER, CutUnit, pass_over
from mmsforensics.protocols.messages import (
    At,
    CutPacket,
    Direction,
    Hole,
    Malformed,
    Message,
    MmsMessage,
    Overlap,
    StreamBuffer,
    StreamEnd,
    slice_pieces,
)
from mmsforensics.protocols.mms_framing import (
    RECORD,
    blocks,
    data_packets,
    find_noise,
    is_record,
    resync,
    walk,
)
from mmsforensics.protocols.mms_layout import MESSAGES, parse_fields
from mmsforensics.streams import Conflict, Gap, Run, locate

RECORD_HEADER = 32
"""TcpMessageHeader [2.2.3]."""

SMALL_RUN = 1 << 20
"""Runs up to this size are simply appended to what is left of the run before: to copy them costs less than to
decode a block more."""

LAST_RECORD = 56
"""Bytes of a record with ReportEndOfStream, padded. Remains longer than it, after the last packet found, are
those of a Data packet."""

PROOF = 3
"""Consecutive Data headers that agree before framing is taken to be found again behind a hole."""


def parse_messages(record: bytes, at: At) -> Iterator[MmsMessage | Malformed]:
    """The MMS messages of one record: any number of them, one behind the other [3.1.5.1, 3.2.5.2]."""
    position = RECORD_HEADER
    while position + 8 <= len(record):
        chunk, mid = struct.unpack_from("<II", record, position)
        size = chunk * 8
        if size < 8 or position + size > len(record):
            yield Malformed(
                at=at,
                length=len(record) - position,
                expected=f"chunkLen of 1 to {(len(record) - position) // 8}",
                found=f"{chunk}",
            )
            return
        yield from _parse_message(record[position : position + size], mid, at)
        position += size


def _parse_message(message: bytes, mid: int, at: At) -> Iterator[MmsMessage | Malformed]:
    known = MESSAGES.get(mid)
    if known is None:
        yield MmsMessage(
            at=at, mid=mid, name=f"MID 0x{mid:08X}", fields={"data": message[8:]}, size=len(message)
        )
        return
    fields, missing = parse_fields(known.layout, message)
    yield MmsMessage(at=at, mid=mid, name=known.name, fields=fields, size=len(message))
    hr = fields.get("hr", 0)
    if missing is not None and not (isinstance(hr, int) and hr & 0x80000000):
        yield Malformed(
            at=at,
            length=len(message),
            expected=f"field {missing} of {known.name} (MS-MMSP {known.section})",
            found=f"a message of {len(message)} bytes",
        )


class MmsStreamDecoder:
    """Decodes one direction of an MMS connection over TCP."""

    __slots__ = (
        "_beheaded",
        "_buffer",
        "_client",
        "_cut",
        "_direction",
        "_flags",
        "_held",
        "_incarnation",
        "_inferred",
        "_largest",
        "_lost",
        "_skip",
    )

    def __init__(self, direction: Direction, *, from_start: bool) -> None:
        self._direction: Direction = direction
        self._client = direction == "client"
        self._buffer = StreamBuffer()
        self._skip = 0  # bytes of a unit hurt by a hole that are still to come
        self._cut: CutUnit | None = None  # that unit, when it is a Data packet
        self._beheaded = 0  # packets cut by a hole whose remains will be passed over
        self._lost = not from_start  # looking for the next sound boundary
        self._inferred = False
        self._incarnation = -1
        self._flags = -1  # AFFlags of the last Data packet
        self._held = False  # whether a whole unit waits for what follows it
        self._largest = 0

    @property
    def begun(self) -> StreamBuffer | None:
        """The unit begun; None while a hole is dealt with, a boundary looked for or noise told."""
        busy = self._lost or self._skip or self._held or self._cut is not None
        return None if busy else self._buffer

    @property
    def last_header(self) -> tuple[int, int]:
        """Incarnation and AFFlags of the last Data packet, -1 if there was none."""
        return self._incarnation, self._flags

    def went_on(self, begun: StreamBuffer, last: np.void, largest: int) -> None:
        """Take note of Data packets that were read elsewhere: the last one, the largest, the unit begun.

        `last` is a row of MEDIA_PACKET.
        """
        self._buffer = begun
        self._incarnation, self._flags = int(last["incarnation"]), int(last["sequence"])
        self._largest = max(self._largest, largest)

    def feed(self, run: Run) -> Iterator[Message]:
        """Take the next bytes of the stream."""
        taken = 0
        while taken < len(run.data):
            # What completes the unit at hand first: the rest of the run need then not be copied behind it.
            size = self._lacking(len(run.data) - taken)
            part = run.data[taken : taken + size]
            self._buffer.append(run.offset + taken, part, slice_pieces(run.pieces, run.offset + taken, size))
            taken += size
            yield from self._decode(final=False)
        self._buffer.settle()

    def _lacking(self, available: int) -> int:
        """How many of the bytes available are to be appended at once."""
        have = len(self._buffer.data)
        if not have or self._skip or self._lost or available <= SMALL_RUN:
            return available
        need = self._need()
        return min(max(need - have, 16), available)

    def conflict(self, item: Conflict) -> Iterator[Message]:
        """Take note of bytes that were sent twice, differently."""
        yield Overlap.of(item, self._direction)

    def gap(self, gap: Gap) -> Iterator[Message]:
        """Take note of a hole; decoding goes on behind it."""
        at = At(direction=self._direction, offset=gap.offset, frame=gap.frame, ts=gap.ts)
        cut = 0
        if self._lost or self._held:
            yield from self._decode(final=True)
        if self._skip:
            if gap.length > self._skip:
                self._lost = True
                self._beheaded = 1
            self._skip -= min(self._skip, gap.length)
        elif self._buffer.offset + len(self._buffer.data) == gap.offset and len(self._buffer.data):
            have = len(self._buffer.data)
            need = self._need()
            cut = 1
            self._begin_cut(need)
            if need >= have + gap.length:
                self._skip = need - have - gap.length
            else:
                self._lost = True
                cut += self._begun(have + gap.length - need) if need else 0
        elif not self._lost:
            self._lost = True
            cut = self._begun(gap.length)
        self._buffer.clear(gap.offset + gap.length)
        if self._client:  # its direction has no Data packets
            cut = self._beheaded = 0
        if not self._skip:
            yield from self._cut_packet()
        yield Hole(at=at, length=gap.length, packets_cut=cut)

    def _begun(self, missing: int) -> int:
        """How many packets are known to begin in a hole that goes on `missing` bytes behind a boundary."""
        self._beheaded = int(missing <= LAST_RECORD)  # then what remains behind the hole tells
        return 1 - self._beheaded

    def end(self, reason: Literal["fin", "reset", "capture ended"], frame: int, ts: int) -> Iterator[Message]:
        """Take note of the end of the stream."""
        yield from self._decode(final=True)
        yield from self._cut_packet()
        left = len(self._buffer.data)
        at = At(direction=self._direction, offset=self._buffer.offset + left, frame=frame, ts=ts)
        self._buffer.clear(at.offset)
        yield StreamEnd(at=at, reason=reason, left=left)

    def _need(self) -> int:
        """Size of the unit at the head of the buffer, 0 when it can't be told."""
        need = walk(self._buffer.data, self._client)[4]
        return max(int(need), 0)

    def _begin_cut(self, size: int) -> None:
        """Keep what is there of the Data packet at the head of the buffer."""
        buffer = self._buffer
        if size and not self._client and not is_record(buffer.data, 0):
            self._cut = CutUnit(buffer.offset, size, DATA_HEADER)
            self._cut.add(buffer.offset, buffer.data, buffer.pieces)

    def _cut_packet(self) -> Iterator[CutPacket]:
        """Hand on the packet that holes have hurt: no more of it will come."""
        packet = self._cut.packet(self._direction, "") if self._cut is not None else None
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
                found = resync(buffer.data, PROOF, self._incarnation, self._largest, self._client)
                if found < 0:
                    # A boundary may still lie in the tail whose proof has not arrived.
                    tail = 0 if final else min(len(buffer.data), PROOF * max(self._largest, 65536) + 16)
                    if len(buffer.data) > tail:
                        yield self._passed_over(len(buffer.data) - tail)
                    return
                if found:
                    yield self._passed_over(found)
                self._lost, self._inferred = False, True
                self._beheaded = 0
            data, base = buffer.data, buffer.offset
            start, size, kind, end, need = walk(data, self._client)
            noise, self._held = find_noise(
                data, start, size, kind, end, need, self._incarnation, self._flags, final
            )
            if noise >= 0:
                end = start[noise] if noise < len(start) else end
                start, size, kind = start[:noise], size[:noise], kind[:noise]
            yield from self._units(data, base, start, size, kind)
            buffer.consume(int(end))
            if self._held or (noise < 0 and need != -1):
                return
            self._lost = True
            if len(buffer.data) <= DATA_HEADER and not final:
                return

    def _passed_over(self, n: int) -> Malformed:
        frame, ts = locate(self._buffer.pieces, self._buffer.offset)
        at = At(direction=self._direction, offset=self._buffer.offset, frame=frame, ts=ts)
        found = self._buffer.data[:16].tobytes().hex(" ")
        self._buffer.consume(n)
        cut, self._beheaded = self._beheaded if n > LAST_RECORD else 0, 0
        return Malformed(
            at=at, length=n, expected="an MMS record or Data packet", found=found, packets_cut=cut
        )

    def _units(
        self,
        data: NDArray[np.uint8],
        base: int,
        start: NDArray[np.int64],
        size: NDArray[np.int64],
        kind: NDArray[np.int64],
    ) -> Iterator[Message]:
        if not len(start):
            return
        pieces = self._buffer.pieces
        cuts = [0, *(np.flatnonzero(kind[1:] != kind[:-1]) + 1).tolist(), len(start)]
        for begin, end in pairwise(cuts):
            if kind[begin] == RECORD:
                for i in range(begin, end):
                    first, last = int(start[i]), int(start[i] + size[i])
                    frame, ts = locate(pieces, base + last - 1)
                    at = At(direction=self._direction, offset=base + first, frame=frame, ts=ts)
                    yield from parse_messages(data[first:last].tobytes(), at)
            else:
                packets = data_packets(data, base, start[begin:end], size[begin:end], pieces)
                self._largest = max(self._largest, int(packets["size"].max()) + DATA_HEADER)
                self._incarnation = int(packets["incarnation"][-1])
                self._flags = int(packets["flags"][-1])
                yield from blocks(packets, data, base, pieces, self._direction, self._inferred)
