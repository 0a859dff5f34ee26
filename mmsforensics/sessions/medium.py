"""From Data packets to the bytes of the faithful file, each with its origin.

The faithful file is the ASF header exactly as streamed, then the data packets in the order of sending,
each padded with zero bytes to the packet length that the header declares. Where the header was not captured
the packets stand one behind the other as they were on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf import NEW, Salvaged, walk_packets
from mmsforensics.protocols import CutPacket
from mmsforensics.protocols.messages import DATA_PACKET
from mmsforensics.sessions.msb_order import RestoredPacket
from mmsforensics.streams.keeping import gather

MEDIA_PACKET = np.dtype(
    [
        ("file_offset", "i8"),  # in the faithful file, -1 when the packet is not in it
        ("ts", "i8"),  # time stamp of `frame`, ns
        ("frame", "i8"),  # frame that completed the packet
        ("first_frame", "i8"),  # frame with its first byte
        ("location", "u4"),  # LocationId: the packet's number in the content
        ("size", "u4"),  # bytes on the wire, padding stripped by the server not counted
        ("send_time_ms", "u4"),  # from the ASF packet
        ("duration_ms", "u2"),
        ("sequence", "u1"),  # AFFlags
        ("incarnation", "u1"),
        ("sound", "u1"),  # whether it parses as an ASF data packet
        ("restored", "u1"),  # whether it was computed from parity: it is in the playable file alone
    ],
    align=True,
)

PROVENANCE = np.dtype(
    [
        ("file_offset", "i8"),
        ("length", "i8"),
        ("frame", "i8"),  # 0: no frame
        ("frame_offset", "i8"),
        ("kind", "u1"),  # Origin
    ],
    align=True,
)


PADDED_AT_ONCE = 4 << 20
"""Bytes of packets padded at once to be parsed: hostile packets are one large among many small ones."""


class Origin(IntEnum):
    """Where bytes of a recovered file come from."""

    CAPTURED = 0
    """Copied from a frame."""
    PADDING = 1
    """Zero padding that the server stripped [MS-MMSP 2.2.2]."""
    REPAIRED = 2
    """Header or packet fields written anew for the playable file."""
    INDEX = 3
    """An index built for the playable file."""
    RESTORED = 4
    """Computed from parity and the other packets of its cycle [MS-MSB 3.2.5.3]: the table `restored`."""
    DECODED = 5
    """What a content coding of HTTP stood for, or a header that came as text in a document: frames hold other
    bytes. Or of base64, with the frame: three bytes stand in four characters, of which the first is named."""


@dataclass(frozen=True, slots=True)
class MediumBlock:
    """Bytes to append to the file of a medium."""

    data: NDArray[np.uint8]
    packets: NDArray[np.void]
    """Dtype `MEDIA_PACKET`; the media packets among the bytes."""
    provenance: NDArray[np.void]
    """Dtype `PROVENANCE`, covering the bytes without hole."""


@njit(cache=True, nogil=True)
def pad(data, start, size, packet_size, out):
    """Lay ``data[start[i]:start[i] + size[i]]`` into `out` at a stride of `packet_size`, zeros behind."""
    for i in range(len(start)):
        at, begin, n = np.uint64(i * packet_size), np.uint64(start[i]), np.uint64(size[i])
        for k in range(n):
            out[at + k] = data[begin + k]
        for k in range(n, np.uint64(packet_size)):
            out[at + k] = np.uint8(0)


@njit(cache=True, nogil=True)
def lay_origins(
    start,
    size,
    stride,
    file_offset,
    offset,
    length,
    frame,
    frame_offset,
    out,
):
    """Intersect stretches ``[start, start + size)`` with pieces; both in order or nearly so.

    Stretch i lies at ``file_offset + i * stride`` and is followed by padding up to the stride.
    """
    n = 0
    p = 0
    for i in range(len(start)):
        at = start[i]
        end = at + size[i]
        to = file_offset + i * stride
        if p >= len(offset) or offset[p] > at:
            p = 0
        while p + 1 < len(offset) and offset[p] + length[p] <= at:
            p += 1
        q = p
        while at < end and q < len(offset):
            stop = min(end, offset[q] + length[q])
            if stop <= at:  # a piece without a byte
                q += 1
                continue
            row = out[n]
            row["file_offset"] = to
            row["length"] = stop - at
            row["frame"] = frame[q]
            row["frame_offset"] = frame_offset[q] + (at - offset[q])
            row["kind"] = 0
            n += 1
            to += stop - at
            at = stop
            q += 1
        if size[i] < stride:
            row = out[n]
            row["file_offset"] = to
            row["length"] = stride - size[i]
            row["frame"] = 0
            row["frame_offset"] = 0
            row["kind"] = 1
            n += 1
    return n


def origins(
    start: NDArray[np.int64],
    size: NDArray[np.int64],
    stride: int,
    file_offset: int,
    pieces: NDArray[np.void],
) -> NDArray[np.void]:
    """Origins of stretches of a stream laid into a file at a fixed stride.

    Parameters
    ----------
    start, size : ndarray of int64
        Stretches, in the coordinates of `pieces`.
    stride : int
        Bytes that each takes in the file; what it does not fill is padding.
    file_offset : int
        Where the first lies in the file.
    pieces : ndarray of PIECE

    Returns
    -------
    ndarray of PROVENANCE
    """
    out = np.empty(2 * len(start) + len(pieces) + len(start), dtype=PROVENANCE)
    n = lay_origins(
        start,
        size,
        stride,
        file_offset,
        np.ascontiguousarray(pieces["offset"]),
        pieces["length"].astype(np.int64),
        np.ascontiguousarray(pieces["frame"]),
        pieces["frame_offset"].astype(np.int64),
        out,
    )
    return out[:n].copy()


def decoded_origins(size: int, text_at: int, pieces: NDArray[np.void]) -> NDArray[np.void]:
    """Origins of bytes that stood as base64 text in a stream.

    Four characters that two frames share make three bytes that neither holds: a row without a frame.

    Parameters
    ----------
    size : int
        Bytes decoded.
    text_at : int
        Offset of the text in the coordinates of `pieces`, -1 where characters and bytes do not correspond.
    pieces : ndarray of PIECE

    Returns
    -------
    ndarray of PROVENANCE
    """
    rows: list[tuple[int, int, int, int, int]] = []
    at = 0
    for piece in pieces if text_at >= 0 else ():
        begin = max(int(piece["offset"]) - text_at, 0)
        end = int(piece["offset"]) + int(piece["length"]) - text_at
        first, stop = -(-begin // 4) * 3, min(end // 4 * 3, size)
        if stop <= max(first, at):
            continue
        if first > at:
            rows.append((at, first - at, 0, 0, Origin.DECODED))
        where = int(piece["frame_offset"]) + first // 3 * 4 + text_at - int(piece["offset"])
        rows.append((first, stop - first, int(piece["frame"]), where, Origin.DECODED))
        at = stop
    if at < size:
        rows.append((at, size - at, 0, 0, Origin.DECODED))
    return np.array(rows, dtype=PROVENANCE)


def header_block(header: bytes, pieces: NDArray[np.void], given: NDArray[np.void] | None) -> MediumBlock:
    """Lay the header at the begin of the file.

    Parameters
    ----------
    header : bytes
    pieces : ndarray of PIECE
        Where it came from; none, if no frame holds its bytes.
    given : ndarray of PROVENANCE or None
        Its origins where these are known already.
    """
    data = np.frombuffer(header, dtype=np.uint8)
    starts = np.ascontiguousarray(pieces["offset"][:1])
    provenance = given
    if provenance is None and len(starts):
        size = np.array([len(data)], dtype=np.int64)
        provenance = origins(starts, size, len(data), 0, pieces)
    elif provenance is None:
        provenance = np.array([(0, len(data), 0, 0, Origin.DECODED)], dtype=PROVENANCE)
    return MediumBlock(data, media_rows(np.empty(0, dtype=DATA_PACKET)), provenance)


def packet_block(
    packets: NDArray[np.void],
    data: NDArray[np.uint8],
    base: int,
    pieces: NDArray[np.void],
    packet_size: int,
    file_offset: int,
) -> MediumBlock:
    """Lay Data packets into the faithful file.

    Parameters
    ----------
    packets : ndarray of DATA_PACKET
        None larger than `packet_size`.
    data, base, pieces
        Where the payloads lie, as in `DataPackets`.
    packet_size : int
        Packet length that the header declares.
    file_offset : int
        Size of the file so far.
    """
    n = len(packets)
    start = np.ascontiguousarray(packets["start"])
    size = packets["size"].astype(np.int64)
    out = np.empty(n * packet_size, dtype=np.uint8)
    pad(data, start, size, packet_size, out)
    rows = media_rows(packets)
    rows["file_offset"] = file_offset + np.arange(n, dtype=np.int64) * packet_size
    parsed = walk_packets(out, packet_size)
    rows["send_time_ms"] = parsed["send_time_ms"]
    rows["duration_ms"] = parsed["duration_ms"]
    rows["sound"] = parsed["ok"]
    return MediumBlock(out, rows, origins(start + base, size, packet_size, file_offset, pieces))


def salvaged_block(cut: CutPacket, saved: Salvaged, packet_size: int, file_offset: int) -> MediumBlock:
    """Lay what was saved of a hurt packet at a place of its own; fields written anew have no frame."""
    n = len(saved.data)
    data = np.zeros(packet_size, dtype=np.uint8)
    data[:n] = saved.data
    rows = np.zeros(1, dtype=MEDIA_PACKET)
    rows["file_offset"], rows["location"], rows["size"] = file_offset, cut.location, n
    rows["ts"], rows["frame"], rows["first_frame"] = cut.at.ts, cut.at.frame, cut.first_frame
    rows["sequence"], rows["incarnation"], rows["sound"] = cut.flags, cut.incarnation, 1
    (parsed,) = walk_packets(data, packet_size)
    rows["send_time_ms"], rows["duration_ms"] = parsed["send_time_ms"], parsed["duration_ms"]
    return MediumBlock(data, rows, _salvaged_origins(cut, saved.source, packet_size, file_offset))


def _salvaged_origins(
    cut: CutPacket, source: NDArray[np.int64], packet_size: int, file_offset: int
) -> NDArray[np.void]:
    cuts = np.flatnonzero(np.diff(source) != np.where(source[1:] == NEW, 0, 1)) + 1
    parts = []
    at = 0
    for begin, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(source)], strict=True):
        length = np.array([end - begin], dtype=np.int64)
        if source[begin] != NEW:
            parts.append(
                origins(source[begin : begin + 1], length, end - begin, file_offset + at, cut.pieces)
            )
        else:
            parts.append(np.array([(file_offset + at, end - begin, 0, 0, Origin.REPAIRED)], dtype=PROVENANCE))
        at = end
    if at < packet_size:
        parts.append(np.array([(file_offset + at, packet_size - at, 0, 0, Origin.PADDING)], dtype=PROVENANCE))
    return np.concatenate(parts)


def restored_block(packet: RestoredPacket, packet_size: int, file_offset: int) -> MediumBlock:
    """Lay a packet that was computed from parity at a place of its own; no frame holds its bytes."""
    made, parity = packet.made.data, packet.sources[-1]
    n = len(made)
    data = np.zeros(packet_size, dtype=np.uint8)
    data[:n] = made
    rows = np.zeros(1, dtype=MEDIA_PACKET)
    rows["file_offset"], rows["location"], rows["size"] = file_offset, packet.packet_id, n
    rows["ts"], rows["frame"], rows["first_frame"] = parity["ts"], parity["frame"], parity["first_frame"]
    rows["sound"], rows["restored"] = 1, 1
    (parsed,) = walk_packets(data, packet_size)
    rows["send_time_ms"], rows["duration_ms"] = parsed["send_time_ms"], parsed["duration_ms"]
    where = [
        (file_offset, n, 0, 0, Origin.RESTORED),
        (file_offset + n, packet_size - n, 0, 0, Origin.PADDING),
    ]
    return MediumBlock(data, rows, np.array(where[: 1 + (n < packet_size)], dtype=PROVENANCE))


def bare_block(
    packets: NDArray[np.void],
    data: NDArray[np.uint8],
    base: int,
    pieces: NDArray[np.void],
    file_offset: int,
) -> MediumBlock:
    """Lay Data packets whose header is not known one behind the other, as they were on the wire.

    Parameters are those of `packet_block`; there is one packet at least. To be parsed, a packet is padded to
    the longest of the block: send time and duration stand at its begin.
    """
    start = np.ascontiguousarray(packets["start"])
    size = packets["size"].astype(np.int64)
    rows = media_rows(packets)
    offsets = np.cumsum(size) - size
    rows["file_offset"] = file_offset + offsets
    out = np.empty(int(size.sum()), dtype=np.uint8)
    gather(data, start, size, out)
    longest = int(size.max())
    at_once = PADDED_AT_ONCE // longest + 1
    for begin in range(0, len(packets), at_once):
        part = slice(begin, min(begin + at_once, len(packets)))
        padded = np.empty((part.stop - begin) * longest, dtype=np.uint8)
        pad(data, start[part], size[part], longest, padded)
        parsed = walk_packets(padded, longest)
        rows["send_time_ms"][part], rows["duration_ms"][part] = parsed["send_time_ms"], parsed["duration_ms"]
        rows["sound"][part] = parsed["ok"]
    where = origins(start + base, size, 0, 0, pieces)
    where["file_offset"] = file_offset + np.cumsum(where["length"]) - where["length"]
    return MediumBlock(out, rows, where)


def media_rows(packets: NDArray[np.void]) -> NDArray[np.void]:
    """Rows for Data packets that lie in no file (yet)."""
    rows = np.zeros(len(packets), dtype=MEDIA_PACKET)
    for name in ("ts", "frame", "first_frame", "location", "size", "incarnation"):
        rows[name] = packets[name]
    rows["sequence"] = packets["flags"]
    rows["file_offset"] = -1
    return rows
