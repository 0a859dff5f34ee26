"""RTP and RTCP, as far as Windows Media rides on them: headers, sender reports, requests to send again.

Rules of this file:

* a packet is RTP or RTCP by its first two bytes alone [RFC 5761 4]; the port and the channel do not tell;
* RTP packets stay in blocks: what their payload means is for the session to say;
* of a packet that was cut, by a hole or the snapshot length, the begin is handed on with its true size.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.protocols.messages import RTP_PACKET, At, Direction, RtcpPacket, RtpPackets
from mmsforensics.streams import Datagrams, spans

RTP_HEADER = 12
"""Fixed header [RFC 3550 5.1]."""

SLICE = 1024
"""Datagrams in a block at most, so that blocks of several flows can be put in the order of their frames."""

WMS_CNAME = b"@WMS:7ff42e07-3c7c-4eb5-9c17-6bdd11ad90de"
"""End of the CNAME that a player's requests to send again carry [MS-RTSP 2.2.4]."""

LARGEST_COMPOUND = 64
"""RTCP packets read of one compound packet."""


@njit(cache=True, nogil=True)
def _u32(data, at):
    return (
        np.uint32(data[at]) << np.uint32(24)
        | np.uint32(data[at + 1]) << np.uint32(16)
        | np.uint32(data[at + 2]) << np.uint32(8)
        | np.uint32(data[at + 3])
    )


@njit(cache=True, nogil=True)
def _read_rtp(data, start, size, wire, channel, out):
    """Read the RTP headers at the given positions; returns how many were sound, written in order."""
    n = 0
    for i in range(len(start)):
        at, captured = start[i], size[i]
        if captured < RTP_HEADER or data[at] >> 6 != 2:
            continue
        kind = data[at + 1]
        if 192 <= kind <= 223:
            continue  # RTCP
        head = np.int64(RTP_HEADER) + 4 * (data[at] & 0x0F)
        if data[at] & 0x10:
            if head + 4 > captured:
                continue
            head += 4 + 4 * ((np.int64(data[at + head + 2]) << 8) | data[at + head + 3])
        if head > captured:
            continue
        padding = np.int64(0)
        if data[at] & 0x20 and captured == wire[i]:
            padding = np.int64(data[at + captured - 1])
            if head + padding > captured:
                continue
        row = out[n]
        row["start"], row["size"], row["wire"] = at, captured - padding, wire[i] - padding
        row["header"], row["channel"] = head, channel[i]
        row["payload_type"], row["marker"] = kind & 0x7F, kind >> 7
        row["sequence"] = (np.uint16(data[at + 2]) << np.uint16(8)) | np.uint16(data[at + 3])
        row["timestamp"], row["ssrc"] = _u32(data, at + 4), _u32(data, at + 8)
        row["spare"] = 0
        n += 1
    return n


def rtp_packets(
    data: NDArray[np.uint8],
    base: int,
    start: NDArray[np.int64],
    size: NDArray[np.int64],
    wire: NDArray[np.int64],
    channel: NDArray[np.uint8],
    pieces: NDArray[np.void],
) -> NDArray[np.void]:
    """Read the RTP packets among stretches of bytes; those that are none are left out.

    Parameters
    ----------
    data : ndarray of uint8
    base : int
        Offset of ``data[0]`` in the coordinates of `pieces`.
    start, size, wire : ndarray of int64
        Position, bytes captured and bytes sent of each.
    channel : ndarray of uint8
    pieces : ndarray of PIECE

    Returns
    -------
    ndarray of RTP_PACKET
    """
    out = np.empty(len(start), dtype=RTP_PACKET)
    out = out[: _read_rtp(data, start, size, wire, channel, out)]
    if len(out):
        where = out["start"] + base
        out["first_frame"], out["frame"], out["ts"] = spans(where, out["size"].astype(np.int64), pieces)
    return out


def is_rtcp(data: NDArray[np.uint8], start: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which stretches begin as RTCP packets do [RFC 3550 6.1, RFC 5761 4]."""
    likely = size >= 8
    at = np.where(likely, start, 0)
    if not len(data):
        return likely
    kind = data[np.minimum(at + 1, len(data) - 1)]
    found: NDArray[np.bool_] = likely & (data[at] >> 6 == 2) & (kind >= 192) & (kind <= 223)
    return found


# --- RTCP ------------------------------------------------------------------------------------------


def parse_rtcp(raw: bytes, at: At) -> Iterator[RtcpPacket]:
    """The packets of a compound RTCP packet, as far as they are sound."""
    position = 0
    for _ in range(LARGEST_COMPOUND):
        if position + 4 > len(raw) or raw[position] >> 6 != 2:
            return
        size = 4 * (int.from_bytes(raw[position + 2 : position + 4], "big") + 1)
        body = raw[position + 4 : position + size]
        if len(body) != size - 4:
            return
        kind, fields = _rtcp_fields(raw[position + 1], raw[position] & 0x1F, body)
        yield RtcpPacket(at=at, kind=kind, fields=fields)
        position += size


def _rtcp_fields(kind: int, count: int, body: bytes) -> tuple[str, Mapping[str, object]]:
    """Name and fields of one RTCP packet; `count` is the five bits behind version and padding."""
    words = struct.unpack_from(f">{len(body) // 4}I", body)
    ssrc = words[0] if words else 0
    match kind:
        case 200 if len(words) >= 6:
            names = ("ssrc", "ntp_seconds", "ntp_fraction", "rtp_timestamp", "packets", "octets")
            return "SenderReport", dict(zip(names, words, strict=False))
        case 201:
            return "ReceiverReport", {"ssrc": ssrc, "reports": _reports(words[1:], count)}
        case 202:
            return "SourceDescription", {"ssrc": ssrc, "cname": _cname(body)}
        case 203:
            return "Bye", {"sources": list(words[:count]), "reason": _bye_reason(body[4 * count :])}
        case 205 if len(words) >= 2:
            # The top bit of FMT is "E" and no part of the number [MS-RTSP 2.2.4].
            lost = _lost(body[8:])
            return "Nack", {"ssrc": ssrc, "source": words[1], "e": count >> 4, "lost": lost}
        case 206 if len(words) >= 2:
            return "PayloadFeedback", {"ssrc": ssrc, "source": words[1], "format": count, "data": body[8:]}
    return f"RTCP {kind}", {"ssrc": ssrc, "data": body}


def _reports(words: tuple[int, ...], count: int) -> list[dict[str, int]]:
    """Report blocks [RFC 3550 6.4.1]."""
    found = []
    for i in range(min(count, len(words) // 6)):
        source, lost, highest, jitter = words[6 * i : 6 * i + 4]
        cumulative = lost & 0xFFFFFF
        found.append(
            {
                "source": source,
                "fraction_lost": lost >> 24,
                "lost": cumulative - (cumulative >> 23 << 24),
                "highest_sequence": highest,
                "jitter": jitter,
            }
        )
    return found


def _cname(body: bytes) -> str:
    """The CNAME of the first source [RFC 3550 6.5]."""
    at = 4
    while at + 2 <= len(body) and body[at]:
        size = body[at + 1]
        if body[at] == 1:
            return body[at + 2 : at + 2 + size].decode("utf-8", "backslashreplace")
        at += 2 + size
    return ""


def _bye_reason(rest: bytes) -> str:
    return rest[1 : 1 + rest[0]].decode("utf-8", "backslashreplace") if rest else ""


def _lost(fci: bytes) -> list[int]:
    """Sequence numbers asked for by generic NACKs: one, and 16 bits for those behind it [RFC 4585 6.2.1]."""
    lost = []
    for first, mask in struct.iter_unpack(">HH", fci[: len(fci) // 4 * 4]):
        lost.append(first)
        lost += [(first + 1 + bit) % 65536 for bit in range(16) if mask >> bit & 1]
    return lost


# --- datagrams -------------------------------------------------------------------------------------


@njit(cache=True, nogil=True)
def begins_asf_packet(data, at, end):
    """Whether an ASF data packet may begin there, as encoders write it [ASF 5.2.1]."""
    return at + 5 <= end and data[at] == 0x82 and data[at + 1] == 0 and data[at + 2] == 0


@njit(cache=True, nogil=True)
def _payload_begins(data, at, end):
    """Whether an RTP payload begins as ``x-asf-pf`` does, with an ASF packet [MS-RTSP 2.2.1.3]."""
    if at + 4 > end or data[at] & 0x07:
        return False
    flags = data[at]
    head = np.int64(4)
    for bit in (0x20, 0x10, 0x08):
        if flags & bit:
            head += 4
    offset = (np.int64(data[at + 1]) << 16) | (np.int64(data[at + 2]) << 8) | np.int64(data[at + 3])
    if not flags & 0x40 and offset:
        return False
    return begins_asf_packet(data, at + head, end)


@njit(cache=True, nogil=True)
def _beginnings(data, start, size, header, out):
    for i in range(len(start)):
        out[i] = _payload_begins(data, start[i] + header[i], start[i] + size[i])


def asf_beginnings(packets: NDArray[np.void], data: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which RTP packets carry the begin of an ASF data packet behind a payload format header."""
    out = np.zeros(len(packets), dtype=np.bool_)
    start, size, header = (packets[name].astype(np.int64) for name in ("start", "size", "header"))
    _beginnings(data, start, size, header, out)
    return out


class RtpDatagrams:
    """RTP and RTCP over UDP: each datagram stands for itself."""

    def feed(self, datagrams: Datagrams, direction: Direction) -> Iterator[RtpPackets | RtcpPacket]:
        """Take the next datagrams; what is neither RTP nor RTCP is passed over."""
        pieces = datagrams.pieces
        start, size = pieces["offset"].astype(np.int64), pieces["length"].astype(np.int64)
        rtcp = is_rtcp(datagrams.data, start, size)
        for i in np.flatnonzero(rtcp).tolist():
            at = At(direction=direction, offset=0, frame=int(pieces["frame"][i]), ts=int(pieces["ts"][i]))
            yield from parse_rtcp(datagrams.data[start[i] : start[i] + size[i]].tobytes(), at)
        wire = datagrams.wire_length.astype(np.int64)
        channel = np.zeros(len(start), dtype=np.uint8)
        rows = rtp_packets(datagrams.data, 0, start, size, wire, channel, pieces)
        for begin in range(0, len(rows), SLICE):
            part = rows[begin : begin + SLICE]
            first = part[0]
            yield RtpPackets(
                at=At(direction=direction, offset=0, frame=int(first["frame"]), ts=int(first["ts"])),
                packets=part,
                data=datagrams.data,
                base=0,
                pieces=pieces,
                reliable=False,
            )


def look_like_rtp(datagrams: Datagrams) -> bool:
    """Whether the first datagrams of a flow are RTP or RTCP.

    Most of them must be; Data packets of MMS pass by chance only while their LocationId's low byte is 0x80 to
    0xBF, and then tell by their size.
    """
    pieces = datagrams.pieces[:SLICE]
    start, size = pieces["offset"].astype(np.int64), pieces["length"].astype(np.int64)
    likely = size >= 8
    at = start[likely]
    data = datagrams.data
    mms = (data[at + 6].astype(np.int64) | (data[at + 7].astype(np.int64) << 8)) == size[likely]
    rtp = (data[at] >> 6 == 2) & ~mms
    return int(np.count_nonzero(rtp)) * 2 > len(pieces)
