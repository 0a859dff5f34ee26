"""Encoder distribution (MS-MSBD): framing, resynchronisation, messages.

Rules of this file:

* every message begins with MSBMSGBASE, which says its length: the walk follows these lengths, and looks for
  the next signature where one leads nowhere;
* a hole inside a message of known length costs that message and nothing else; what was seen of a packet whose
  header was seen is handed on as a `CutPacket`;
* the ASF header of a StreamInfo message is handed on behind it, as a block of the kind ``H``.

A layout is a tuple of ``(type, name)`` in the order of the specification's field tables; it begins behind
MSBMSGBASE. Types:

==============  =====================================================
``u16 u32``     unsigned integer, little-endian
``port``        u16, big-endian
``ipv4``        four bytes, big-endian
``skip:N``      N bytes that carry nothing
``text:F``      what F counts the bytes of, as text where it is some
``channel``     UTF-16LE, all that is left
``bytes:F``     what F counts the bytes of, handed on apart
==============  =====================================================
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numba import njit
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
    MsbdMessage,
    Overlap,
    StreamBuffer,
    StreamEnd,
    slice_pieces,
)
from mmsforensics.protocols.mms_layout import utf16
from mmsforensics.protocols.msb import BASE, HEADER, IND_PACKET, packet_blocks
from mmsforensics.streams import Conflict, Gap, Run, locate

Layout = tuple[tuple[str, str], ...]

MAX_MESSAGE = 0xFFFF
"""Largest cbMessage [2.2.1]."""

LEAD = BASE + HEADER
"""Bytes of an MSB_MSG_IND_PACKET before its ASF packet."""

HEADER_IS_WHOLE = 0x08
"""AFFlags of the last part of a header [MS-MMSP 3.1.5.12]: in MS-MSBD the only one."""


@dataclass(frozen=True, slots=True)
class MessageType:
    """A message of the specification."""

    mid: int
    name: str
    section: str
    """Section of MS-MSBD."""
    sender: Direction
    layout: Layout = ()


STREAM_INFO: Layout = (
    ("u16", "wStreamId"),
    ("u16", "cbPacketSize"),
    ("u32", "cTotalPackets"),
    ("u32", "dwBitRate"),
    ("u32", "msDuration"),
    ("u32", "cbTitle"),
    ("u32", "cbDescription"),
    ("u32", "cbLink"),
    ("u32", "cbHeader"),
    ("text:cbTitle", "title"),
    ("text:cbDescription", "description"),
    ("text:cbLink", "link"),
    ("bytes:cbHeader", "header"),
)

MESSAGE_TYPES: tuple[MessageType, ...] = (
    MessageType(1, "REQ_PING", "2.2.3", "server"),
    MessageType(2, "RES_PING", "2.2.2", "client"),
    MessageType(3, "REQ_STREAMINFO", "2.2.4", "client"),
    MessageType(4, "RES_STREAMINFO", "2.2.5", "server", STREAM_INFO),
    MessageType(5, "IND_STREAMINFO", "2.2.6", "server", STREAM_INFO),
    MessageType(7, "REQ_CONNECT", "2.2.7", "client", (("u32", "dwFlags"), ("channel", "szChannel"))),
    MessageType(
        8,
        "RES_CONNECT",
        "2.2.8",
        "server",
        (
            ("u32", "dwFlags"),
            ("u16", "sin_family"),
            ("port", "sin_port"),
            ("ipv4", "sin_addr"),
            ("skip:8", "sin_zero"),
        ),
    ),
    MessageType(9, "IND_EOS", "2.2.9", "server"),
    MessageType(
        IND_PACKET,
        "IND_PACKET",
        "2.2.10",
        "server",
        (("u32", "dwPacketId"), ("u16", "wStreamId"), ("u16", "wPacketSize")),
    ),
)

MESSAGES = {m.mid: m for m in MESSAGE_TYPES}


class _ShortError(Exception):
    """The message ends before a field it must have."""


def parse_fields(layout: Layout, message: bytes) -> tuple[dict[str, object], int, str | None]:
    """Read a message's fields.

    Returns
    -------
    fields : dict
        Those that are there, by the specification's names; not those of the type ``bytes``.
    apart : int
        Where what a field of the type ``bytes`` counts begins; -1 if there is none.
    missing : str or None
        The first field that must be there and is not.
    """
    fields: dict[str, object] = {}
    at, apart = BASE, -1
    for kind, name in layout:
        base, _, argument = kind.partition(":")
        try:
            value, end = _read(base, argument, fields, message, at)
        except _ShortError:
            return fields, -1, name
        if base == "bytes":
            apart = at if end > at else -1
        elif base != "skip":
            fields[name] = value
        at = end
    return fields, apart, None


def _read(base: str, argument: str, fields: dict[str, object], message: bytes, at: int) -> tuple[object, int]:
    integers = {"u16": "<H", "u32": "<I", "port": ">H"}
    if base in integers:
        size = struct.calcsize(integers[base])
        return struct.unpack(integers[base], _take(message, at, size))[0], at + size
    if base == "ipv4":
        return ".".join(str(byte) for byte in _take(message, at, 4)), at + 4
    if base == "channel":
        return utf16(message[at:]), len(message)
    if base == "skip":
        return None, at + len(_take(message, at, int(argument)))
    counted = fields[argument]
    assert isinstance(counted, int)
    raw = _take(message, at, counted)
    return (raw if base == "bytes" else _text(raw)), at + counted


def _take(message: bytes, at: int, size: int) -> bytes:
    if at + size > len(message):
        raise _ShortError
    return message[at : at + size]


def _text(raw: bytes) -> str:
    """A title, description or link, whose encoding the specification leaves open: by its look."""
    if len(raw) >= 2 and len(raw) % 2 == 0 and 0 in raw[1::2]:
        return utf16(raw)
    return raw.split(b"\0", 1)[0].decode("cp1252", "backslashreplace")


@njit(cache=True, nogil=True)
def _is_base(data, at):
    """Whether an MSBMSGBASE stands there: signature, major version 1, a message of the specification."""
    return (
        data[at] == 0x4D
        and data[at + 1] == 0x53
        and data[at + 2] == 0x42
        and data[at + 3] == 0x20
        and data[at + 5] == 1
        and data[at + 7] == 0
    )


@njit(cache=True, nogil=True)
def walk(data):
    """Cut bytes into messages.

    Returns
    -------
    start, size, mid : ndarray of int64
        Whole messages.
    end : int
        Position behind the last one.
    need : int
        Size of the message that begins there, 0 when it can't be told yet, -1 when none does.
    """
    capacity = len(data) // BASE + 1
    start = np.empty(capacity, dtype=np.int64)
    size = np.empty(capacity, dtype=np.int64)
    mid = np.empty(capacity, dtype=np.int64)
    n = 0
    at = 0
    need = np.int64(0)
    while True:
        need = np.int64(0)
        if at + BASE > len(data):
            break
        if not _is_base(data, at):
            need = np.int64(-1)
            break
        need = np.int64(0)
        for k in range(4):
            need |= np.int64(data[at + 8 + k]) << (8 * k)
        if need < BASE or need > MAX_MESSAGE:
            need = np.int64(-1)
            break
        if at + need > len(data):
            break
        start[n], size[n], mid[n] = at, need, data[at + 6]
        n += 1
        at += need
    return start[:n].copy(), size[:n].copy(), mid[:n].copy(), at, need


@njit(cache=True, nogil=True)
def resync(data, final):
    """Find an MSBMSGBASE whose length leads to another one, or where no more bytes come, behind them.

    Returns
    -------
    found, seen : int, int
        Its position, or -1; and how many bytes are known to hold none.
    """
    for at in range(len(data) - BASE + 1):
        if not _is_base(data, at):
            continue
        size = np.int64(0)
        for k in range(4):
            size |= np.int64(data[at + 8 + k]) << (8 * k)
        if size < BASE or size > MAX_MESSAGE:
            continue
        after = at + size
        if after + BASE > len(data):
            return (at if final else -1), at
        if _is_base(data, after):
            return at, at
    return -1, len(data) if final else max(len(data) - BASE + 1, 0)


class MsbdStreamDecoder:
    """Decodes one direction of an MSBD connection."""

    __slots__ = ("_buffer", "_cut", "_direction", "_lost", "_skip")

    def __init__(self, direction: Direction, *, from_start: bool) -> None:
        self._direction: Direction = direction
        self._buffer = StreamBuffer()
        self._skip = 0  # bytes of a message hurt by a hole that are still to come
        self._cut: CutUnit | None = None  # that message, when it is a packet
        self._lost = not from_start

    def feed(self, run: Run) -> Iterator[Message]:
        """Take the next bytes of the stream."""
        self._buffer.append(run.offset, run.data, run.pieces)
        yield from self._decode(final=False)
        self._buffer.settle()

    def conflict(self, item: Conflict) -> Iterator[Message]:
        """Take note of bytes that were sent twice, differently."""
        yield Overlap.of(item, self._direction)

    def gap(self, gap: Gap) -> Iterator[Message]:
        """Take note of a hole; decoding goes on behind it."""
        at = At(direction=self._direction, offset=gap.offset, frame=gap.frame, ts=gap.ts)
        buffer, cut = self._buffer, 0
        if self._lost:
            yield from self._decode(final=True)
        if self._skip:
            self._lost = gap.length > self._skip
            self._skip -= min(self._skip, gap.length)
        elif len(buffer.data) and not self._lost:
            have, need = len(buffer.data), max(int(walk(buffer.data)[4]), 0)
            cut = self._begin_cut(need)
            self._lost = need < have + gap.length
            self._skip = max(need - have - gap.length, 0)
        else:
            self._lost = True
        buffer.clear(gap.offset + gap.length)
        if not self._skip:
            yield from self._cut_packet()
        yield Hole(at=at, length=gap.length, packets_cut=cut)

    def end(self, reason: Literal["fin", "reset", "capture ended"], frame: int, ts: int) -> Iterator[Message]:
        """Take note of the end of the stream."""
        yield from self._decode(final=True)
        yield from self._cut_packet()
        left = len(self._buffer.data)
        at = At(direction=self._direction, offset=self._buffer.offset + left, frame=frame, ts=ts)
        self._buffer.clear(at.offset)
        yield StreamEnd(at=at, reason=reason, left=left)

    def _begin_cut(self, size: int) -> int:
        """Keep what is there of the packet at the head of the buffer; returns whether it is one."""
        buffer = self._buffer
        if size < LEAD or buffer.data[6] != IND_PACKET:
            return 0
        self._cut = CutUnit(buffer.offset, size, LEAD)
        self._cut.add(buffer.offset, buffer.data, buffer.pieces)
        return 1

    def _cut_packet(self) -> Iterator[CutPacket]:
        packet = self._cut.packet(self._direction, "D") if self._cut is not None else None
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
                found, seen = resync(buffer.data, final)
                yield from self._passed_over(int(seen))
                if found < 0:
                    return
                self._lost = False
            start, size, mid, end, need = walk(buffer.data)
            yield from self._messages(start, size, mid)
            buffer.consume(int(end))
            if need != -1:
                return
            self._lost = True

    def _passed_over(self, n: int) -> Iterator[Malformed]:
        if n <= 0:
            return
        frame, ts = locate(self._buffer.pieces, self._buffer.offset)
        at = At(direction=self._direction, offset=self._buffer.offset, frame=frame, ts=ts)
        found = self._buffer.data[:16].tobytes().hex(" ")
        self._buffer.consume(n)
        yield Malformed(at=at, length=n, expected="a message of MS-MSBD", found=found)

    def _messages(
        self, start: NDArray[np.int64], size: NDArray[np.int64], mid: NDArray[np.int64]
    ) -> Iterator[Message]:
        """The whole messages at the head of the buffer, packets that follow each other together."""
        if not len(start):
            return
        packets = (mid == IND_PACKET) & self._whole_packets(start, size)
        cuts = [0, *(np.flatnonzero(packets[1:] != packets[:-1]) + 1).tolist(), len(start)]
        data, base, pieces = self._buffer.data, self._buffer.offset, self._buffer.pieces
        for begin, end in pairwise(cuts):
            if packets[begin]:
                at = start[begin:end] + BASE
                yield from packet_blocks(data, base, at, pieces, self._direction, reliable=True)
                continue
            for i in range(begin, end):
                yield from self._message(int(start[i]), int(size[i]))

    def _whole_packets(self, start: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which messages are as long as a packet in them says that it is."""
        data = self._buffer.data
        fits = size >= LEAD
        at = np.where(fits, start + BASE + 6, 0)
        stated = data[at].astype(np.int64) | data[at + 1].astype(np.int64) << 8
        return np.asarray(fits & (stated == size - BASE))

    def _message(self, begin: int, size: int) -> Iterator[Message]:
        data, base, pieces = self._buffer.data, self._buffer.offset, self._buffer.pieces
        raw = data[begin : begin + size].tobytes()
        frame, ts = locate(pieces, base + begin + size - 1)
        at = At(direction=self._direction, offset=base + begin, frame=frame, ts=ts)
        version, mid, _, hr = struct.unpack_from("<HHII", raw, 4)
        known = MESSAGES.get(mid)
        fields, apart, missing = parse_fields(known.layout if known else (), raw)
        fields = {"wVersion": version, "hr": hr, **fields}
        name = known.name if known else f"wMessageId 0x{mid:04X}"
        yield MsbdMessage(at=at, mid=mid, name=name, fields=fields, size=size)
        if missing is not None and not hr & 0x80000000:
            section = known.section if known else ""
            yield Malformed(
                at=at,
                length=size,
                expected=f"field {missing} of {name} (MS-MSBD {section})",
                found=f"a message of {size} bytes",
            )
        elif known is not None and mid == IND_PACKET:
            wanted = f"wPacketSize of {size - BASE}"
            yield Malformed(at=at, length=size, expected=wanted, found=str(fields.get("wPacketSize")))
        if apart >= 0:
            counted = fields["cbHeader"]
            assert isinstance(counted, int)
            yield self._header(begin + apart, counted, at)

    def _header(self, start: int, size: int, at: At) -> DataPackets:
        """The ASF header as a block of one part, which is the last."""
        packets = np.zeros(1, dtype=DATA_PACKET)
        packets["start"], packets["size"], packets["flags"] = start, size, HEADER_IS_WHOLE
        packets["ts"], packets["frame"] = at.ts, at.frame
        base = self._buffer.offset
        packets["first_frame"] = locate(self._buffer.pieces, base + start)[0]
        pieces = slice_pieces(self._buffer.pieces, base + start, size)
        return DataPackets(at=at, kind="H", packets=packets, data=self._buffer.data, base=base, pieces=pieces)


def said_by_client(first: bytes) -> bool | None:
    """Whether the first message in some bytes is one of a client; None when none tells."""
    at = first.find(b"MSB \x06\x01")
    while at >= 0:
        known = MESSAGES.get(int.from_bytes(first[at + 6 : at + 8], "little"))
        if known is not None and at + 8 <= len(first):
            return known.sender == "client"
        at = first.find(b"MSB \x06\x01", at + 1)
    return None
