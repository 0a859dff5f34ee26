"""MMS over TCP and UDP (MS-MMSP): framing, resynchronisation, messages.

Rules of this file:

* a unit is a record (TcpMessageHeader and its messages) or a Data packet; the eight first bytes tell
  which, and how long it is [3.1.5.2]. chunkCount and timeSent are never used: real peers fill them
  wrongly;
* a hole inside a unit of known length costs that unit and nothing else; a hole over a unit's end costs
  the bytes up to the next place where the framing proves itself; what was seen of a Data packet whose header
  was seen is handed on as a `CutPacket`;
* noise reads as a Data packet, whose size may be anything. A packet that does not follow from the one before,
  has a record inside and no unit behind it is none;
* whether a Data packet is a part of the header or media is for the session to say: AFFlags and
  LocationId do not tell.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import pairwise
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.protocols.cut import DATA_HEADER, CutUnit, pass_over
from mmsforensics.protocols.messages import (
    DATA_PACKET,
    At,
    CutPacket,
    DataPackets,
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
from mmsforensics.protocols.mms_layout import MESSAGES, parse_fields
from mmsforensics.streams import Conflict, Gap, Run, locate, spans

RECORD_HEADER = 32
"""TcpMessageHeader [2.2.3]."""

MAX_MESSAGE_LENGTH = 65536 + 64
"""Largest messageLength taken for one: the longest message is bounded by a 16-bit length [2.2.4.9]."""

SMALL_RUN = 1 << 20
"""Runs up to this size are simply appended to what is left of the run before: to copy them costs less than to
decode a block more."""

LAST_RECORD = 56
"""Bytes of a record with ReportEndOfStream, padded. Remains longer than it, after the last packet found, are
those of a Data packet."""

PROOF = 3
"""Consecutive Data headers that agree before framing is taken to be found again behind a hole."""

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
def _is_record(data, at):
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
        k = RECORD if _is_record(data, at) else DATA
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
        if data[at + 4] == 0xCE and data[at] == 1 and _is_record(data, at) and _record_size(data, at) > 0:
            return True
    return False


@njit(cache=True, nogil=True)
def _follows(data, at, incarnation, flags, final):
    """Whether what begins at `at` goes on behind a Data packet: 1 yes, 0 no, -1 when it can't be told yet.

    A packet that ends where the bytes end is one.
    """
    if at + 16 > len(data):
        return 1 if final and at == len(data) else -1
    if _is_record(data, at):
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
        if (kind[i] == RECORD) if i < n else _is_record(data, at):
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
        if _is_record(data, at):
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
        at = At(direction=self._direction, offset=item.offset, frame=item.frame, ts=item.ts)
        yield Overlap(at=at, length=item.length, kept_frame=item.kept_frame)

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
        if size and not self._client and not _is_record(buffer.data, 0):
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
