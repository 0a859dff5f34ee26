"""The short way of packets of a connection that does what was expected: media, in order, nothing else.

Where hundreds of viewers share a capture, what the rooms cost for each flow and hand-on is more than what its
bytes cost. Here the same compiled functions that the rooms use are called one behind the other, without
Python between them.

Rules of this file:

* all or nothing: if anything about the packets at hand is odd, nothing is changed, and they go the long way
  (`Connection.feed`), which also brings a connection back to where the short way may be tried again;
* odd is whatever the long way would do more about than count and lay: SYN, FIN, RST, a wrong checksum, a cut
  segment, one out of order, data of the client, a record, a packet that may be a probe or begin a header, is
  too large or of another play, a sequence number left out;
* both ways leave the same: reassembly, watch, decoder, session and file, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf import packets as asf_packets
from mmsforensics.evidence.compiled import fingerprint
from mmsforensics.protocols import messages, mms_framing
from mmsforensics.protocols.cut import DATA_HEADER
from mmsforensics.protocols.detect import ASF_HEADER_GUID
from mmsforensics.protocols.messages import DATA_PACKET, StreamBuffer
from mmsforensics.sessions import counting
from mmsforensics.sessions import media as session_media
from mmsforensics.sessions import medium as session_medium
from mmsforensics.sessions.connection import Connection
from mmsforensics.sessions.medium import MEDIA_PACKET, PROVENANCE, MediumBlock
from mmsforensics.sessions.mms_session import MmsSession
from mmsforensics.streams import ANOMALY, PIECE, FlowWatch, Run, TcpReassembler, runs, watch
from mmsforensics.streams.flows import FlowPackets
from mmsforensics.streams.watch import ROWS_A_PACKET

COUNTS = np.dtype(
    [
        ("packets", "i8"),  # 0: something is odd, and nothing was taken
        ("size", "i8"),  # bytes of them on the wire, the Data headers not counted
        ("largest", "i8"),  # PacketSize of the largest
        ("unsound", "i8"),  # how many do not parse
        ("end", "i8"),  # position in the stream behind the last of them
        ("begun", "i8"),  # the piece in which the unit behind them begins
        ("unacked", "i8"),  # the first piece not wholly acknowledged
        ("odd", "i8"),  # anomalies written
    ],
    align=True,
)
"""What the compiled pass has taken."""

ASF_PACKET = asf_packets.ASF_PACKET
ASF_GUID: Final = np.frombuffer(ASF_HEADER_GUID, dtype=np.uint8)
LAID_AT_ONCE: Final = session_media.LAID_AT_ONCE
RECORD: Final = mms_framing.RECORD
UNUSUAL_FLAGS: Final = 1 | 2 | 4  # FIN, SYN, RST
ACK: Final = 16
BAD: Final = int(watch.Check.BAD)
NO_PLAY: Final = 0xFF
"""playIncarnation of packet pairs and of headers of another content [MS-MMSP 2.2.2]: no play's own."""

checksums, observe = watch.checksums, watch.observe
walk, find_noise, read_headers = mms_framing.walk, mms_framing.find_noise, mms_framing.read_headers
span_pieces = runs.span_pieces
pad, lay_origins = session_medium.pad, session_medium.lay_origins
count_missing = counting.count_missing
parse_head = asf_packets.parse_head


@njit(nogil=True)
def _in_order(rows, direction, checks, server, expected):
    """Bytes that the server sends and segments they lie in, (-1, 0) if anything is odd."""
    size, count = np.int64(0), 0
    for i in range(len(rows)):
        row = rows[i]
        flags = row["flags"]
        n = np.int64(row["payload_len"])
        if flags & UNUSUAL_FLAGS or not flags & ACK or checks[i] == BAD or row["transport"] == 0:
            return np.int64(-1), 0
        if row["payload_len"] != row["payload_wire"]:
            return np.int64(-1), 0
        if n == 0:
            continue
        if direction[i] != server or np.int64(row["seq"]) != (expected + size) & 0xFFFFFFFF:
            return np.int64(-1), 0
        size += n
        count += 1
    return size, count


@njit(nogil=True)
def _gather(rows, start, data, stream, at, offset, pieces, n):
    """Copy the payloads to `stream` from position `at` on, and note where each came from."""
    to = np.uint64(at)
    for i in range(len(rows)):
        row = rows[i]
        size = np.uint64(row["payload_len"])
        if not size:
            continue
        begin = np.uint64(start[i])
        for k in range(size):
            stream[to + k] = data[begin + k]
        to += size
        piece = pieces[n]
        piece["offset"], piece["length"] = offset, row["payload_len"]
        piece["ts"], piece["frame"], piece["frame_offset"] = row["ts"], row["frame"], row["payload"]
        offset += np.int64(row["payload_len"])
        n += 1


@njit(nogil=True)
def _all_media(stream, start, size, kind, need, packet_size, packets, play):
    """Whether the units are Data packets of a play that fit, none of which begins a header."""
    if len(start) == 0 or need == -1:
        return False
    for i in range(len(start)):
        packet = packets[i]
        if kind[i] == RECORD or size[i] - DATA_HEADER > packet_size:
            return False
        if packet["incarnation"] == NO_PLAY or packet["incarnation"] != play:
            return False
        same = size[i] - DATA_HEADER >= len(ASF_GUID)
        k = 0
        while same and k < len(ASF_GUID):
            same = stream[start[i] + DATA_HEADER + k] == ASF_GUID[k]
            k += 1
        if same:
            return False
    return True


@njit(nogil=True)
def _rows(out, packets, first, last, last_ts, packet_size, file_offset, rows):
    """The rows of MEDIA_PACKET of packets laid into `out`; returns how many do not parse."""
    unsound = 0
    heads = np.zeros(1, dtype=ASF_PACKET)
    head = heads[0]
    for i in range(len(packets)):
        packet, row = packets[i], rows[i]
        parse_head(out, i * packet_size, packet_size, head)
        row["file_offset"] = file_offset + i * packet_size
        row["ts"], row["frame"], row["first_frame"] = last_ts[i], last[i], first[i]
        row["location"], row["size"] = packet["location"], packet["size"]
        row["send_time_ms"], row["duration_ms"] = head["send_time_ms"], head["duration_ms"]
        row["sequence"], row["incarnation"] = packet["flags"], packet["incarnation"]
        row["sound"] = head["ok"]
        if not head["ok"]:
            unsound += 1
    return unsound


@njit(nogil=True)
def _behind(pieces, offset):
    """The first piece that goes beyond a stream offset; their number if there is none."""
    n = len(pieces)
    while n > 0 and np.int64(pieces[n - 1]["offset"]) + np.int64(pieces[n - 1]["length"]) > offset:
        n -= 1
    return n


@njit(nogil=True)
def _put_together(rows, direction, start, data, checks, server, expected, offset, begun, begun_pieces):
    """The unit begun and what follows it, with pieces; no bytes if anything is odd."""
    length, segments = _in_order(rows, direction, checks, server, expected)
    if length <= 0:
        return np.empty(0, dtype=np.uint8), np.empty(0, dtype=PIECE)
    stream = np.empty(len(begun) + length, dtype=np.uint8)
    stream[: len(begun)] = begun
    pieces = np.empty(len(begun_pieces) + segments, dtype=PIECE)
    for i in range(len(begun_pieces)):
        pieces[i] = begun_pieces[i]
    _gather(rows, start, data, stream, len(begun), offset, pieces, len(begun_pieces))
    return stream, pieces


@njit(nogil=True)
def _lay(stream, pieces, base, at, size, packets, packet_size, file_offset):
    """Lay packets into the file; returns its bytes, the rows, their origins and how many do not parse.

    `at` and `size` are those of the Data packets with their headers; ``stream[0]`` has the offset `base`.
    """
    first, last, last_ts = np.empty_like(at), np.empty_like(at), np.empty_like(at)
    where, length = pieces["offset"], pieces["length"].astype(np.int64)
    frame, frame_offset = pieces["frame"], pieces["frame_offset"].astype(np.int64)
    span_pieces(at + base, size, where, length, frame, pieces["ts"], first, last, last_ts)
    start, n = at + DATA_HEADER, size - DATA_HEADER
    out = np.empty(len(at) * packet_size, dtype=np.uint8)
    pad(stream, start, n, packet_size, out)
    media = np.zeros(len(at), dtype=MEDIA_PACKET)
    unsound = _rows(out, packets, first, last, last_ts, packet_size, file_offset, media)
    origins = np.empty(3 * len(at) + len(pieces), dtype=PROVENANCE)
    count = lay_origins(
        start + base, n, packet_size, file_offset, where, length, frame, frame_offset, origins
    )
    return out, media, origins[:count], unsound


def _entry(sources: int) -> Callable[..., Any]:
    """Build the entry; `sources` becomes part of its cache key by being closed over."""

    @njit(cache=True, nogil=True)
    def take(
        rows,
        direction,
        start,
        data,
        server,
        expected,
        offset,
        begun,
        base,
        begun_pieces,
        packet_size,
        counting,
        file_offset,
        play,
        flags,
        sides,
        told,
    ):
        _ = sources
        counts = np.zeros(1, dtype=COUNTS)
        taken = counts[0]
        out = np.empty(0, dtype=np.uint8)
        media = np.empty(0, dtype=MEDIA_PACKET)
        origins = np.empty(0, dtype=PROVENANCE)
        checks = np.empty(len(rows), dtype=np.uint8)
        checksums(rows, start, data, checks)
        stream, pieces = _put_together(
            rows, direction, start, data, checks, server, expected, offset, begun, begun_pieces
        )
        at, size, kind, end, need = walk(stream, False)
        noise, _held = find_noise(stream, at, size, kind, end, need, play, flags, False)
        if noise >= 0:
            need = -1
        packets = np.empty(len(at), dtype=DATA_PACKET)
        read_headers(stream, at, size, packets)
        fits = len(at) * packet_size <= LAID_AT_ONCE
        if not fits or not _all_media(stream, at, size, kind, need, packet_size, packets, play):
            return counts, stream, pieces, out, media, origins
        counted, no_gaps = counting.copy(), np.empty((0, 4), dtype=np.int64)
        missing, _gaps = count_missing(packets["flags"], packets["location"], counted, no_gaps)
        if missing:
            return counts, stream, pieces, out, media, origins
        # From here on the packets are taken.
        counting[:] = counted
        taken["odd"] = observe(rows, direction, start, data, checks, sides, told)
        out, media, origins, unsound = _lay(stream, pieces, base, at, size, packets, packet_size, file_offset)
        taken["packets"], taken["unsound"], taken["end"] = len(at), unsound, end
        taken["size"], taken["largest"] = (size - DATA_HEADER).sum(), size.max()
        taken["begun"] = _behind(pieces, base + end)
        acked = sides[server]["acked"]
        taken["unacked"] = _behind(pieces, acked) if acked >= 0 else len(pieces)
        return counts, stream, pieces, out, media, origins

    return take


_take = _entry(
    fingerprint((asf_packets, counting, messages, mms_framing, runs, session_media, session_medium, watch))
)


class Steady:
    """Takes packets the short way, where it can."""

    def __init__(self) -> None:
        self._told = np.empty(0, dtype=ANOMALY)

    def take(
        self, connection: Connection, session: MmsSession, watch: FlowWatch, packets: FlowPackets
    ) -> bool:
        """Take packets of a connection, if every one of them is what was expected; else change nothing.

        All that the connection said before must have been told to the session.
        """
        medium, parts = session.medium_sent, connection.steady
        if medium is None or parts is None or not medium.steady or not medium.packets:
            return False
        client, server, decoder = parts
        play, flags = decoder.last_header
        if play != medium.incarnation:
            return False
        begun, side, position = decoder.begun, connection.server_side, server.position
        assert begun is not None
        if len(self._told) < len(packets.rows) * ROWS_A_PACKET:
            self._told = np.empty(len(packets.rows) * ROWS_A_PACKET, dtype=ANOMALY)
        base = begun.offset if len(begun.data) else position
        counts, stream, pieces, out, media, origins = _take(
            packets.rows,
            packets.direction,
            packets.start,
            packets.data,
            side,
            server.expected,
            position,
            begun.data,
            base,
            begun.pieces,
            medium.packet_size,
            medium.counting,
            medium.file_size,
            play,
            flags,
            watch.sides,
            self._told,
        )
        count, size, largest, unsound, end, left, unacked, odd = counts[0].item()
        if not count:
            return False
        run = Run(position, stream[len(begun.data) :], pieces[len(begun.pieces) :])
        watch.observed(self._told[:odd], side, pieces[max(unacked, len(begun.pieces)) :])
        _streams_went_on(client, server, run, watch.sides, side)
        after = StreamBuffer(base + end, stream[end:].copy(), pieces[left:].copy())
        decoder.went_on(after, media[-1], largest)
        medium.laid(MediumBlock(out, media, origins), size, unsound)
        session.story.laid(media)
        return True


def _streams_went_on(
    client: TcpReassembler, server: TcpReassembler, run: Run, sides: NDArray[np.void], server_side: int
) -> None:
    server.went_on(run)
    for side, stream in ((server_side, server), (1 - server_side, client)):
        stream.last_frame, stream.last_ts = int(sides["last_frame"][side]), int(sides["last_ts"][side])
