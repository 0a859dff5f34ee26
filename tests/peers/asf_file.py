"""An ASF file as a server sees it: header, packets, padding [ASF 3, 5]; and what a server sent of it.

Written from the ASF specification only, so that it can judge the package under test.
"""

import struct
import uuid
from dataclasses import dataclass, field
from pathlib import Path

HEADER_OBJECT = uuid.UUID("75B22630-668E-11CF-A6D9-00AA0062CE6C").bytes_le
DATA_OBJECT = uuid.UUID("75B22636-668E-11CF-A6D9-00AA0062CE6C").bytes_le
FILE_PROPERTIES = uuid.UUID("8CABDCA1-A947-11CF-8EE4-00C00C205365").bytes_le
STREAM_PROPERTIES = uuid.UUID("B7DC0791-A9B7-11CF-8EE6-00C00C205365").bytes_le

DATA_OBJECT_HEAD = 50
SIZES = (0, 1, 2, 4)  # bytes of a field by its two type bits [ASF 5.2.2]

PADDING_MODES = ("keep", "zero-field")


@dataclass(frozen=True, slots=True)
class AsfFile:
    """What a streaming server needs of an ASF file."""

    header: bytes = field(repr=False)  # Header Object and the first 50 bytes of the Data Object
    packet_size: int
    packets: tuple[bytes, ...] = field(repr=False)
    streams: tuple[int, ...]
    duration: float  # seconds, preroll not counted
    bit_rate: int

    @classmethod
    def read(cls, path):
        """Parse a file; any index behind the Data Object is left out."""
        return cls.parse(Path(path).read_bytes())

    @classmethod
    def parse(cls, data):
        """Parse the bytes of a file."""
        if data[:16] != HEADER_OBJECT:
            raise ValueError("no ASF Header Object")
        header_size, count = struct.unpack_from("<QI", data, 16)
        if data[header_size : header_size + 16] != DATA_OBJECT:
            raise ValueError("no Data Object behind the Header Object")
        streams, packet_size, duration, bit_rate = [], 0, 0.0, 0
        at = 30
        for _ in range(count):
            kind, size = data[at : at + 16], struct.unpack_from("<Q", data, at + 16)[0]
            if kind == FILE_PROPERTIES:
                play, _send, preroll = struct.unpack_from("<QQQ", data, at + 64)
                packet_size, bit_rate = struct.unpack_from("<II", data, at + 96)
                duration = max(0.0, play / 1e7 - preroll / 1e3)
            elif kind == STREAM_PROPERTIES:
                streams.append(struct.unpack_from("<H", data, at + 72)[0] & 0x7F)
            at += size
        (object_size,) = struct.unpack_from("<Q", data, header_size + 16)
        first = header_size + DATA_OBJECT_HEAD
        end = min(header_size + object_size, len(data)) if object_size else len(data)
        n = (end - first) // packet_size
        packets = tuple(data[first + i * packet_size : first + (i + 1) * packet_size] for i in range(n))
        return cls(data[:first], packet_size, packets, tuple(sorted(streams)), duration, bit_rate)

    def sent(self, number, mode="keep", streams=None):
        """Packet `number` as a server sends it; None if none of `streams` (default: all) is in it."""
        packet = self.packets[number]
        if streams is not None:
            packet = select_streams(packet, streams)
        return None if packet is None else strip_padding(packet, mode)

    def packet_at(self, seconds):
        """Number of the last packet sent no later than `seconds` after the first."""
        if not self.packets:
            return 0
        first = send_time(self.packets[0])
        times = [send_time(packet) - first for packet in self.packets]
        return max(i for i, t in enumerate(times) if t <= max(0.0, seconds) * 1000 or i == 0)


@dataclass(frozen=True, slots=True)
class ParsingInformation:
    """Where the fields of a packet's payload parsing information are [ASF 5.2.2]."""

    length_at: int
    length_size: int
    padding_at: int
    padding_size: int
    times_at: int


def parsing_information(packet):
    """Find the payload parsing information, with or without error correction data."""
    at = 1 + (packet[0] & 0x0F) if packet[0] & 0x80 else 0
    flags = packet[at]
    length_at = at + 2
    length_size = SIZES[flags >> 5 & 3]
    padding_at = length_at + length_size + SIZES[flags >> 1 & 3]
    padding_size = SIZES[flags >> 3 & 3]
    return ParsingInformation(length_at, length_size, padding_at, padding_size, padding_at + padding_size)


def padding_length(packet):
    """Padding Length of a packet; 0 if it has no such field."""
    info = parsing_information(packet)
    return int.from_bytes(packet[info.padding_at : info.padding_at + info.padding_size], "little")


def send_time(packet):
    """Send Time of a packet in ms."""
    return struct.unpack_from("<I", packet, parsing_information(packet).times_at)[0]


def strip_padding(packet, mode):
    """A packet as sent: 'keep' as stored, 'zero-field' without padding and Padding Length 0.

    Packet Length, where a packet has it, is left alone: it tells a reader where payload ends.
    """
    if mode == "keep":
        return packet
    if mode != "zero-field":
        raise ValueError(f"padding mode {mode!r} is none of {PADDING_MODES}")
    info, padding = parsing_information(packet), padding_length(packet)
    if not padding:
        return packet
    end = info.padding_at + info.padding_size
    return packet[: info.padding_at] + bytes(info.padding_size) + packet[end : len(packet) - padding]


def select_streams(packet, streams):
    """A packet with only the payloads of `streams`; None if it has none of them.

    A packet with nothing to cut out is returned as it is. Any other loses its padding with the payloads
    (Padding Length 0), whatever the padding mode: there is then less of it than before, never more.
    """
    info = parsing_information(packet)
    flags, properties = packet[info.length_at - 2], packet[info.length_at - 1]
    payloads_at = info.times_at + 6
    if not flags & 1:
        return packet if packet[payloads_at] & 0x7F in streams else None
    count, length_size = packet[payloads_at] & 0x3F, SIZES[packet[payloads_at] >> 6]
    kept, at = [], payloads_at + 1
    for _ in range(count):
        begin = at
        at += 1 + SIZES[properties >> 4 & 3] + SIZES[properties >> 2 & 3]
        replicated_size = SIZES[properties & 3]
        at += replicated_size + int.from_bytes(packet[at : at + replicated_size], "little")
        at += length_size + int.from_bytes(packet[at : at + length_size], "little")
        if packet[begin] & 0x7F in streams:
            kept.append(packet[begin:at])
    if len(kept) in (0, count):
        return packet if kept else None
    out = bytearray(packet[:payloads_at])
    out.append(len(kept) | packet[payloads_at] & 0xC0)
    out += b"".join(kept)
    out[info.padding_at : info.times_at] = bytes(info.padding_size)
    if info.length_size:
        out[info.length_at : info.length_at + info.length_size] = len(out).to_bytes(
            info.length_size, "little"
        )
    return bytes(out)


# --- ground truth ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Segment:
    """What went out in one play of one file: its header and (LocationId, payload) in order of sending."""

    header: bytes
    packet_size: int
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    name: str = ""
    incarnation: int | None = None  # of the media; None as long as nothing was played


def faithful(segment):
    """What a faithful recovery of a segment holds: header, then payloads zero-padded to the packet size."""
    body = b"".join(payload.ljust(segment.packet_size, b"\0") for _, payload in segment.packets)
    return segment.header + body


def as_playlist(entry):
    """A served entry as a list of files: a path, an AsfFile, or a list of those (a playlist)."""
    entries = entry if isinstance(entry, (list, tuple)) else [entry]
    return [one if isinstance(one, AsfFile) else AsfFile.read(one) for one in entries]
