"""The short way of bytes of a connection that brings what was expected: media, in order, nothing else.

Where hundreds of viewers share a capture, what the rooms cost for each flow and hand-on is more than what its
bytes cost. Here the same compiled functions that the rooms use are called one behind the other, without
Python between them, on bytes that came on the fast path of reassembly.

Rules of this file:

* all or nothing: if anything about the bytes at hand is odd, nothing is changed, and they go the long way
  (`Connection.in_order`);
* odd is whatever the long way would do more about than count and lay: a record, a packet that may be a probe
  or begin a header, is too large or of another play, a sequence number left out;
* both ways leave the same: decoder, session and file, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import njit

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
from mmsforensics.streams import InOrder, runs
from mmsforensics.streams.keeping import copied

COUNTS = np.dtype(
    [
        ("packets", "i8"),  # 0: something is odd, and nothing was taken
        ("size", "i8"),  # bytes of them on the wire, the Data headers not counted
        ("largest", "i8"),  # PacketSize of the largest
        ("unsound", "i8"),  # how many do not parse
        ("end", "i8"),  # position in the stream behind the last of them
        ("begun", "i8"),  # the piece in which the unit behind them begins
    ],
    align=True,
)
"""What the compiled pass has taken."""

ASF_PACKET = asf_packets.ASF_PACKET
ASF_GUID: Final = np.frombuffer(ASF_HEADER_GUID, dtype=np.uint8)
LAID_AT_ONCE: Final = session_media.LAID_AT_ONCE
RECORD: Final = mms_framing.RECORD
NO_PLAY: Final = 0xFF
"""playIncarnation of packet pairs and of headers of another content [MS-MMSP 2.2.2]: no play's own."""

walk, find_noise, read_headers = mms_framing.walk, mms_framing.find_noise, mms_framing.read_headers
span_pieces = runs.span_pieces
pad, lay_origins = session_medium.pad, session_medium.lay_origins
count_missing = counting.count_missing
parse_head = asf_packets.parse_head


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
    def take(stream, pieces, base, packet_size, counting, file_offset, play, flags):
        _ = sources
        counts = np.zeros(1, dtype=COUNTS)
        taken = counts[0]
        out = np.empty(0, dtype=np.uint8)
        media = np.empty(0, dtype=MEDIA_PACKET)
        origins = np.empty(0, dtype=PROVENANCE)
        at, size, kind, end, need = walk(stream, False)
        noise, _held = find_noise(stream, at, size, kind, end, need, play, flags, False)
        if noise >= 0:
            need = -1
        packets = np.empty(len(at), dtype=DATA_PACKET)
        read_headers(stream, at, size, packets)
        fits = len(at) * packet_size <= LAID_AT_ONCE
        if not fits or not _all_media(stream, at, size, kind, need, packet_size, packets, play):
            return counts, out, media, origins
        counted, no_gaps = counting.copy(), np.empty((0, 4), dtype=np.int64)
        missing, _gaps = count_missing(packets["flags"], packets["location"], counted, no_gaps)
        if missing:
            return counts, out, media, origins
        counting[:] = counted
        out, media, origins, unsound = _lay(stream, pieces, base, at, size, packets, packet_size, file_offset)
        taken["packets"], taken["unsound"], taken["end"] = len(at), unsound, end
        taken["size"], taken["largest"] = (size - DATA_HEADER).sum(), size.max()
        taken["begun"] = _behind(pieces, base + end)
        return counts, out, media, origins

    return take


_take = _entry(
    fingerprint((asf_packets, counting, messages, mms_framing, runs, session_media, session_medium))
)


def take(connection: Connection, session: MmsSession, in_order: InOrder) -> bool:
    """Take bytes of a connection, if all of them are what was expected; else change nothing.

    All that the connection said before must have been told to the session.
    """
    medium, decoder = session.medium_sent, connection.server_decoder
    if medium is None or decoder is None or not medium.steady or not medium.packets:
        return False
    play, flags = decoder.last_header
    begun = decoder.begun
    if begun is None or play != medium.incarnation:
        return False
    run = in_order.behind(begun.data, begun.pieces)
    counts, out, media, origins = _take(
        run.data, run.pieces, run.offset, medium.packet_size, medium.counting, medium.file_size, play, flags
    )
    count, size, largest, unsound, end, left = counts[0].item()
    if not count:
        return False
    after = StreamBuffer(run.offset + end, copied(run.data[end:]), run.pieces[left:].copy())
    decoder.went_on(after, media[-1], largest)
    medium.laid(MediumBlock(out, media, origins), size, unsound)
    session.story.laid(media)
    return True
