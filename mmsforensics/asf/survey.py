"""The first pass over a faithful file that is made playable: what the header must say, and where to begin.

Rules of this file:

* the pass goes block by block, so that memory does not grow with the medium; the first blocks are kept for
  the second pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.header import Header
from mmsforensics.asf.packets import walk_payloads
from mmsforensics.asf.padding import restore_padding

BLOCK = 2 << 20
"""Bytes of packets handled at once; a hostile block has twenty times as many bytes of payload rows."""

KEPT = 16 << 20
"""Bytes of a medium's first blocks, their tables included, kept from the first pass for the second."""

FIRST_PAYLOADS = 64
"""Payloads among which the earliest is looked for: the most that fit a packet."""


class Source(Protocol):
    """The faithful file, opened for reading."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill a buffer."""


Block = tuple[NDArray[np.uint8], NDArray[np.void], NDArray[np.void], NDArray[np.void]]
"""Packets with their padding restored: bytes, RESTORED, ASF_PACKET, PAYLOAD."""


@dataclass(slots=True)
class Survey:
    """What the first pass learns. Positions are those in the order of writing."""

    sound: NDArray[np.bool_]
    first_key: int = -1
    """Position of the packet with the first key frame of any video stream."""
    first_send: int = -1
    """Of the first sound packet; of a live stream, of the one at `first_key` if there is one."""
    first_presentation: int = -1
    """As `first_send`."""
    last_send: int = 0
    last_presentation: int = 0
    last_duration: int = 0
    keys: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)
    """Stream: tables of (position of the packet, presentation ms, packets spanned)."""
    early: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)
    """Video stream: positions of packets with payloads before its first key frame."""
    kept: deque[Block] = field(default_factory=deque)
    """The first blocks, as long as they are not too many."""


@dataclass(frozen=True, slots=True)
class FaithfulFile:
    """The faithful file."""

    source: Source
    header_size: int
    packet_size: int
    sizes: NDArray[np.int64]

    def packets(self, block: NDArray[np.int64]) -> Block:
        """Packets by their numbers with their padding restored: bytes, RESTORED, ASF_PACKET, PAYLOAD."""
        data = _read(self.source, self.header_size, self.packet_size, block)
        rows = restore_padding(data, self.packet_size, np.ascontiguousarray(self.sizes[block]))
        heads, payloads = walk_payloads(data, self.packet_size)
        unsound = rows["ok"] == 0
        if unsound.any():
            heads["ok"][unsound] = 0
            payloads = payloads[~unsound[payloads["packet"]]]
        return data, rows, heads, payloads


def begins_key(payloads: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which payloads are the first of a key frame."""
    begins: NDArray[np.bool_] = (payloads["key"] == 1) & (payloads["object_offset"] == 0)
    return begins


def blocks(order: NDArray[np.int64], packet_size: int) -> Iterator[NDArray[np.int64]]:
    """The packets to read, as many at once as make a block."""
    step = max(BLOCK // packet_size, 1)
    for begin in range(0, len(order), step):
        yield order[begin : begin + step]


def _read(source: Source, header_size: int, packet_size: int, block: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Read packets by their numbers, neighbours at once."""
    data = np.empty(len(block) * packet_size, dtype=np.uint8)
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(block) != 1) + 1, [len(block)]))
    for begin, end in pairwise(cuts):
        source.seek(header_size + int(block[begin]) * packet_size)
        part = data[int(begin) * packet_size : int(end) * packet_size].data
        done = 0
        while done < len(part):
            got = source.readinto(part[done:])
            if not got:
                raise OSError("the faithful file ends before its last packet")
            done += got
    return data


def surveyed(medium: FaithfulFile, order: NDArray[np.int64], header: Header) -> Survey:
    """Go over the packets that are to be written, in their order."""
    survey = Survey(np.zeros(len(order), dtype=np.bool_))
    videos = [s.number for s in header.streams if s.type == "video"]
    begin = room = 0
    for block in blocks(order, medium.packet_size):
        packets = medium.packets(block)
        room += sum(part.nbytes for part in packets)
        if room <= KEPT:
            survey.kept.append(packets)
        _, _, heads, payloads = packets
        survey.sound[begin : begin + len(block)] = heads["ok"]
        keys = {number: _key_frames(payloads, number) for number in videos}
        starts = [int(table[0, 0]) for table in keys.values() if len(table)]
        if header.broadcast:
            _note_early(survey, payloads, videos, begin)
        if survey.first_send < 0:
            _begin_at(survey, heads, payloads, 0)
        if starts and survey.first_key < 0:
            survey.first_key = begin + min(starts)
            if header.broadcast:
                _begin_at(survey, heads, payloads, min(starts))
        sound = heads[heads["ok"] == 1]
        if len(sound):
            survey.last_send = max(survey.last_send, int(sound["send_time_ms"].max()))
            survey.last_duration = int(sound["duration_ms"][-1])
        if len(payloads):
            survey.last_presentation = max(survey.last_presentation, int(payloads["presentation_ms"].max()))
        for number, table in keys.items():
            if len(table):
                table[:, 0] += begin
                survey.keys.setdefault(number, []).append(table)
        begin += len(block)
    return survey


def _note_early(survey: Survey, payloads: NDArray[np.void], videos: list[int], begin: int) -> None:
    """Note where streams have payloads before their first key frame."""
    for number in videos:
        if number not in survey.keys:
            mine = payloads[payloads["stream"] == number]
            key = np.flatnonzero(begins_key(mine))
            early = mine["packet"][: key[0] if len(key) else len(mine)]
            if len(early):
                survey.early.setdefault(number, []).append(begin + np.unique(early))


def _begin_at(survey: Survey, heads: NDArray[np.void], payloads: NDArray[np.void], packet: int) -> None:
    """Note the times with which a medium begins at a packet of the block.

    Streams are interleaved: the earliest of the first payloads counts.
    """
    sound = np.flatnonzero(heads["ok"][packet:])
    first = np.searchsorted(payloads["packet"], packet)
    if len(sound) and first < len(payloads):
        survey.first_send = int(heads["send_time_ms"][packet + sound[0]])
        survey.first_presentation = int(payloads["presentation_ms"][first : first + FIRST_PAYLOADS].min())


def _key_frames(payloads: NDArray[np.void], stream: int) -> NDArray[np.int64]:
    """Key frames of a stream: packet they begin in, presentation time, packets spanned (in this block)."""
    mine = payloads[payloads["stream"] == stream]
    starts = np.flatnonzero((mine["key"] == 1) & (mine["object_offset"] == 0))
    ends = np.concatenate((np.flatnonzero(mine["object_offset"] == 0)[1:], [len(mine)]))
    firsts = np.flatnonzero(mine["object_offset"] == 0)
    table = np.empty((len(starts), 3), dtype=np.int64)
    table[:, 0] = mine["packet"][starts]
    table[:, 1] = mine["presentation_ms"][starts]
    last = ends[np.searchsorted(firsts, starts)] - 1
    table[:, 2] = mine["packet"][last] - table[:, 0] + 1
    return table
