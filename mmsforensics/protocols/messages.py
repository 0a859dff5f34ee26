"""The vocabulary: what every decoder says, whatever the transport."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mmsforensics.streams import PIECE, Conflict

Direction = Literal["client", "server"]
"""Who sent it."""

DATA_PACKET = np.dtype(
    [
        ("start", "i8"),  # position of the payload in the block's `data`
        ("ts", "i8"),  # time stamp of the frame that completed the packet, ns
        ("frame", "i8"),  # that frame
        ("first_frame", "i8"),  # the frame with the first byte of the packet
        ("location", "u4"),  # LocationId
        ("size", "u4"),  # payload bytes: PacketSize less the 8 of the header
        ("incarnation", "u1"),  # playIncarnation
        ("flags", "u1"),  # AFFlags
    ],
    align=True,
)
"""A Data packet as its header describes it [MS-MMSP 2.2.2, MS-WMSP 2.2.3.1.2]."""


UNKNOWN_LOCATION = 0xFFFFFFFF
"""LocationId of packets whose number in the content is not known: of a download without its beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """Where and when a message was seen."""

    direction: Direction
    offset: int
    """Stream offset of its first byte (for datagrams, 0)."""
    frame: int
    """Frame that completed it."""
    ts: int
    """Time stamp of that frame, ns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MmsMessage:
    """A control message of MS-MMSP."""

    at: At
    mid: int
    name: str
    """The specification's name, or ``MID 0x…`` for one it does not know."""
    fields: Mapping[str, object]
    """Fields by the specification's names: int, float, str, bytes, or a tuple of tuples for arrays."""
    size: int
    """Bytes of the message, padding included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPackets:
    """Consecutive Data packets of one direction, all of one incarnation and kind."""

    at: At
    kind: Literal["", "H", "D", "M"]
    """WMSP's packet id; empty in MMS, which leaves it to the session to know a header from media."""
    packets: NDArray[np.void]
    """Dtype `DATA_PACKET`, not empty."""
    data: NDArray[np.uint8]
    """Where the payloads lie."""
    base: int
    """Offset of ``data[0]`` in the coordinates of `pieces`."""
    pieces: NDArray[np.void]
    """Dtype `PIECE`: which frame each byte of `data` came from."""
    reliable: bool = True
    """False for datagrams: order and completeness are then told by the sequence numbers alone."""
    inferred: bool = False
    """Found by resynchronisation behind a hole, not by following the framing."""
    ordered: bool = False
    """Of datagrams: put in order already, by numbers of their own that LocationId and AFFlags are made of."""
    at_once: int = 0
    """How many have the B bit: the server sent the next packet without delay [MS-WMSP 2.2.3.1.1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPacket:
    """A Data packet of which a part was not captured.

    It counts nowhere: what is missing is told by holes and sequence numbers, as for packets not seen at all.
    """

    at: At
    """Of its first byte; frame and time stamp are those of the last byte that was seen."""
    kind: Literal["", "H", "D", "M"]
    """As in `DataPackets`."""
    location: int
    """LocationId."""
    incarnation: int
    flags: int
    """AFFlags."""
    data: NDArray[np.uint8]
    """The payload at its full size, zero where it was not captured."""
    known: tuple[tuple[int, int], ...]
    """Where in `data` what was captured begins and ends, in order."""
    pieces: NDArray[np.void]
    """Dtype `PIECE`; offsets count from the start of `data`."""
    first_frame: int
    """The frame with its first byte."""
    reliable: bool = True
    """As in `DataPackets`."""

    @property
    def seen(self) -> int:
        """Bytes of the payload that were captured."""
        return sum(end - begin for begin, end in self.known)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request of HTTP, or of RTSP in either direction."""

    at: At
    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]
    number: int
    """HTTP: running number on the connection, from 0. RTSP: its CSeq, -1 where it has none."""

    def header(self, name: str) -> str:
        """All values of a header, joined by ``, ``; empty when it is absent."""
        return ", ".join(v for k, v in self.headers if k.lower() == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A response of HTTP or RTSP."""

    at: At
    version: str
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    number: int
    """The number of its request."""

    def header(self, name: str) -> str:
        """All values of a header, joined by ``, ``; empty when it is absent."""
        return ", ".join(v for k, v in self.headers if k.lower() == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A stretch of an HTTP body that is not Windows Media framing, transfer coding taken off."""

    at: At
    number: int
    """That of the message; -1 for the body of a response that was not captured."""
    offset: int
    """Offset in the body, or behind its first byte captured."""
    data: NDArray[np.uint8]
    pieces: NDArray[np.void]
    """Dtype `PIECE`, in the coordinates of the body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyEnd:
    """The end of an HTTP body."""

    at: At
    number: int
    length: int
    """Bytes of the body, holes included."""
    complete: bool
    """Whether the framing says that this is the whole body, and no byte of it is missing."""
    ended: bool
    """Whether the framing says that this is the whole body: it was sent, holes are the capture's."""


RTP_PACKET = np.dtype(
    [
        ("start", "i8"),  # position of the RTP header in the block's `data`
        ("ts", "i8"),  # time stamp of the frame that completed the packet, ns
        ("frame", "i8"),  # that frame
        ("first_frame", "i8"),  # the frame with the first byte of the packet
        ("size", "u4"),  # bytes captured, from the RTP header on, padding taken off
        ("wire", "u4"),  # bytes sent; more than `size` where a hole or the snapshot length cut the packet
        ("timestamp", "u4"),
        ("ssrc", "u4"),
        ("sequence", "u2"),
        ("header", "u2"),  # bytes before the RTP payload: fixed header, CSRC list, extension
        ("payload_type", "u1"),
        ("marker", "u1"),
        ("channel", "u1"),  # of an interleaved packet [RFC 2326 10.12], else 0
        ("spare", "u1"),  # unused, keeps the row a multiple of 8 bytes
    ],
    align=True,
)
"""An RTP packet as its header describes it [RFC 3550 5.1]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpPackets:
    """Consecutive RTP packets of one direction of a flow, of any sources."""

    at: At
    packets: NDArray[np.void]
    """Dtype `RTP_PACKET`, not empty."""
    data: NDArray[np.uint8]
    """Where the packets lie."""
    base: int
    """Offset of ``data[0]`` in the coordinates of `pieces`."""
    pieces: NDArray[np.void]
    """Dtype `PIECE`."""
    reliable: bool
    """False for datagrams: only sequence numbers tell their order and what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RtcpPacket:
    """One packet of a compound RTCP packet [RFC 3550 6, RFC 4585 6]."""

    at: At
    kind: str
    """Its name: ``SenderReport``, ``ReceiverReport``, ``SourceDescription``, ``Bye``, ``Nack``,
    ``PayloadFeedback``, or ``RTCP`` and the packet type."""
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileBytes:
    """A stretch of a file that a file server sends or takes."""

    at: At
    file: bytes
    """Which file, as the protocol tells files of a connection apart."""
    name: str
    """Its name, empty when it was not captured."""
    total: int | None
    """Its size when it was opened; None when that was not captured."""
    offset: int
    """In the file."""
    left: int
    """Bytes of the read or write that are still to come."""
    data: NDArray[np.uint8]
    pieces: NDArray[np.void]
    """Dtype `PIECE`, in the coordinates of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WmspPacket:
    """A packet of MS-WMSP that carries no Data packet: $C, $E, $P, $T; of MS-WMHTTP also $F."""

    at: At
    kind: str
    """The packet id, one letter."""
    reason: int | None
    """The Reason field, where the packet has one."""
    repeated: int = 1
    """How often it came in a row (a server pushes data through proxies with repeated $E [3.2.4.1])."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MsbPackets:
    """MSB packets that follow each other, parity packets among them [MS-MSB 2.2.4, MS-MSBD 2.2.10]."""

    at: At
    stream_id: int
    """wStreamID: the Format ID in its low 11 bits, and bit 15."""
    block: DataPackets
    """LocationId is dwPacketID, which a parity packet repeats; AFFlags its low 8 bits; the incarnation bit 15
    of wStreamID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MsbBeacon:
    """A beacon: the sender is there, and need not have anything to send [MS-MSB 2.2.3]."""

    at: At
    repeated: int = 1
    """How many came before anything else did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MsbdMessage:
    """A message of MS-MSBD that carries no media."""

    at: At
    mid: int
    """wMessageId."""
    name: str
    """The specification's name without its prefix MSB_MSG, or ``wMessageId 0x…`` for one it does not know."""
    fields: Mapping[str, object]
    """Fields by the specification's names."""
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hole:
    """Bytes of the stream that were not captured."""

    at: At
    length: int
    packets_cut: int = 0
    """Data packets known to be hurt by it: begun before it, or behind it and not found any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Segments that covered the same stretch with different bytes; `kept_frame` has those kept."""

    at: At
    length: int
    kept_frame: int

    @classmethod
    def of(cls, item: Conflict, direction: Direction) -> Overlap:
        """What reassembly tells of a direction."""
        at = At(direction=direction, offset=item.offset, frame=item.frame, ts=item.ts)
        return cls(at=at, length=item.length, kept_frame=item.kept_frame)


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """Bytes that are not what the protocol says they must be."""

    at: At
    length: int
    """Bytes passed over."""
    expected: str
    found: str
    packets_cut: int = 0
    """Data packets known to be among them: those that a hole has beheaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """The end of one direction of a connection."""

    at: At
    reason: Literal["fin", "reset", "capture ended"]
    left: int = 0
    """Bytes of an unfinished message at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """A connection is reset, by the end that `at` names; what the other one has sent till then may follow."""

    at: At


Message = (
    MmsMessage
    | DataPackets
    | CutPacket
    | Request
    | Response
    | Body
    | BodyEnd
    | FileBytes
    | WmspPacket
    | MsbPackets
    | MsbBeacon
    | MsbdMessage
    | RtpPackets
    | RtcpPacket
    | Hole
    | Overlap
    | Malformed
    | Reset
    | StreamEnd
)


@dataclass(slots=True)
class StreamBuffer:
    """Bytes of a stream not consumed yet, with their pieces."""

    offset: int = 0
    """Stream offset of ``data[0]``."""
    data: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    pieces: NDArray[np.void] = field(default_factory=lambda: np.empty(0, dtype=PIECE))

    def append(self, offset: int, data: NDArray[np.uint8], pieces: NDArray[np.void]) -> None:
        """Add bytes that follow those in the buffer."""
        if len(self.data):
            self.data = np.concatenate((self.data, data))
            self.pieces = np.concatenate((self.pieces, pieces))
        else:
            self.offset, self.data, self.pieces = offset, data, pieces

    def consume(self, n: int) -> None:
        """Let go of the first `n` bytes."""
        if n == 0:
            return
        self.offset += n
        self.data = self.data[n:]
        self.pieces = self.pieces[_first_reaching(self.pieces, self.offset) :]

    def settle(self) -> None:
        """Copy what is left, so that the run it was cut from can be let go."""
        self.data = self.data.copy()
        self.pieces = self.pieces.copy()

    def clear(self, offset: int) -> int:
        """Drop everything; the next byte expected is at `offset`. Returns the bytes dropped."""
        dropped = len(self.data)
        self.offset, self.data, self.pieces = offset, self.data[:0], self.pieces[:0]
        return dropped


def _first_reaching(pieces: NDArray[np.void], offset: int) -> int:
    """Index of the first piece with bytes at an offset or behind it.

    By bisection: a run may be of 100,000 pieces, and hold as many messages.
    """
    i = int(np.searchsorted(pieces["offset"], offset, side="right"))
    return i - 1 if i and pieces["offset"][i - 1] + int(pieces["length"][i - 1]) > offset else i


def slice_pieces(pieces: NDArray[np.void], offset: int, length: int) -> NDArray[np.void]:
    """The pieces of ``[offset, offset + length)``, cut at its ends; a copy."""
    first = _first_reaching(pieces, offset)
    last = int(np.searchsorted(pieces["offset"], offset + length, side="left"))
    part = pieces[first:last].copy()
    if not len(part):
        return np.empty(0, dtype=PIECE)
    lead = max(offset - int(part["offset"][0]), 0)
    part["offset"][0] += lead
    part["frame_offset"][0] += lead
    part["length"][0] -= lead
    over = int(part["offset"][-1] + part["length"][-1]) - (offset + length)
    if over > 0:
        part["length"][-1] -= over
    return part
