"""RTP packets of several sources in the order in which they were sent.

Rules of this file:

* a source is an SSRC; its 16-bit sequence numbers are continued over their wraps;
* over UDP a packet that is missing is waited for, since it may be sent again or come late, until `WINDOW`
  packets wait behind it; then it is lost. A packet that comes twice is taken once;
* where nothing is missing the order is that of capture; a packet that comes late is put where its successors
  were. Over TCP the order is that of the stream, and numbers that jump there without a hole in the capture
  were left out by the sender.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.messages import RtpPackets
from mmsforensics.protocols.rtp_bytes import RtpBytes

WINDOW = 2048
"""RTP packets held back behind a missing one: at 2 Mbit/s some ten seconds, longer than players buffer."""

DROPOUT = 3000
"""A step of the sequence numbers beyond it is a new beginning [RFC 3550 A.1: MAX_DROPOUT]."""

UNKNOWN_LOSS = -1


@dataclass(slots=True)
class Source:
    """What is known of one SSRC."""

    next: int | None = None
    """Number of the next packet in order, wraps counted; None before the first, if nobody told it."""
    highest: int = -1
    """Largest number seen, or told."""
    duplicates: int = 0
    """Packets that came again."""
    received: int = 0
    first: int = -1
    """Number of the first packet that came."""


class RtpOrder:
    """Puts the RTP packets of a session in order."""

    def __init__(self) -> None:
        self.sources: dict[int, Source] = {}
        self.holes = False
        """Whether bytes of the connection that carries interleaved packets are missing since."""
        self._waiting = RtpBytes.none()

    @property
    def waiting(self) -> int:
        """Packets held back."""
        return len(self._waiting.rows)

    def announce(self, ssrc: int, sequence: int) -> None:
        """Take the server's word which packet of a source comes next; flush those before it first."""
        source = self.sources.setdefault(ssrc, Source())
        if source.next is None or source.highest < 0:
            source.next = source.highest = sequence + 65536
            return
        if not self.overtaken(ssrc, sequence):
            source.next = source.highest = source.highest + _step(sequence, source.highest)

    def overtaken(self, ssrc: int, sequence: int) -> bool:
        """Whether the packet that is said to come next has come already, before the word."""
        source = self.sources.get(ssrc)
        if source is None or source.next is None or source.highest < 0 or not source.received:
            return False
        told = source.highest + _step(sequence, source.highest)
        return source.next - source.received <= told <= source.next

    def begins_with(self, ssrc: int, sequence: int) -> bool:
        """Whether a sequence number is that of the first packet of a source that came."""
        return self.sources[ssrc].first % 65536 == sequence

    def feed(self, block: RtpPackets) -> RtpBytes:
        """Take packets; returns those that are in order."""
        rows = block.packets
        number = np.empty(len(rows), dtype=np.int64)
        for ssrc in dict.fromkeys(rows["ssrc"].tolist()):
            mine = np.flatnonzero(rows["ssrc"] == ssrc)
            source = self.sources.setdefault(ssrc, Source())
            number[mine] = _continued(source, rows["sequence"][mine])
            source.first = int(number[mine[0]]) if source.first < 0 else source.first
            source.received += len(mine)
        pieces = block.pieces
        if block.base:
            pieces = pieces.copy()
            pieces["offset"] -= block.base
        lost = np.zeros(len(rows), dtype=np.int64)
        packets = RtpBytes(rows, number, lost, block.data, pieces)
        if block.reliable:
            return self._stream(packets)
        if not self.waiting and self._in_step(packets):
            return packets
        return self._ordered(packets)

    def flush(self) -> RtpBytes:
        """Packets held back, in order: what is missing will not come any more."""
        packets, self._waiting = self._waiting, RtpBytes.none()
        return self._released(packets)

    def _stream(self, packets: RtpBytes) -> RtpBytes:
        """Of packets in the order of a stream tell what is missing."""
        for ssrc in dict.fromkeys(packets.rows["ssrc"].tolist()):
            mine = np.flatnonzero(packets.rows["ssrc"] == ssrc)
            source, number = self.sources[ssrc], packets.number[mine]
            step = number - _expected(source, number)
            odd = np.flatnonzero(step)
            if self.holes and len(odd):
                lost = step[odd]
                packets.lost[mine[odd]] = np.where((lost > 0) & (lost <= DROPOUT), lost, UNKNOWN_LOSS)
            source.next = int(number[-1]) + 1
            source.highest = int(number[-1])
        self.holes = False
        return packets

    def _in_step(self, packets: RtpBytes) -> bool:
        """Whether packets are the next ones of their sources; takes them if they are."""
        reached: dict[int, int] = {}
        for ssrc in dict.fromkeys(packets.rows["ssrc"].tolist()):
            number = packets.number[packets.rows["ssrc"] == ssrc]
            first = self.sources[ssrc].next
            if (first is not None and number[0] != first) or (np.diff(number) != 1).any():
                return False
            if first is None and number[0] != number.min():
                return False
            reached[ssrc] = int(number[-1])
        for ssrc, last in reached.items():
            source = self.sources[ssrc]
            source.next, source.highest = last + 1, max(last, source.highest)
        return True

    def _ordered(self, packets: RtpBytes) -> RtpBytes:
        """Put packets among those that wait, and release what is in order."""
        packets = self._fresh(packets)
        if not len(packets.rows):
            return RtpBytes.none()
        everything = self._waiting.joined(packets)
        everything = everything.take(np.unique(_key(everything), return_index=True)[1])
        everything = everything.take(self._sending_order(everything))
        ready = self._ready(everything)
        released = self._released(everything.take(slice(0, ready)))
        self._waiting = everything.take(slice(ready, None)).settled()
        return released

    def _fresh(self, packets: RtpBytes) -> RtpBytes:
        """Leave out what was released before."""
        keep = np.ones(len(packets.rows), dtype=np.bool_)
        for ssrc in dict.fromkeys(packets.rows["ssrc"].tolist()):
            mine = packets.rows["ssrc"] == ssrc
            source, number = self.sources[ssrc], packets.number[mine]
            source.highest = max(source.highest, int(number.max()))
            if source.next is None:
                source.next = int(number.min())
            late = number < source.next
            source.duplicates += int(np.count_nonzero(late))
            keep[mine] = ~late
        return packets.take(np.flatnonzero(keep))

    def _sending_order(self, packets: RtpBytes) -> NDArray[np.int64]:
        """Order of packets: by capture, but a late one where its successors came."""
        key = packets.rows["frame"].copy()
        for ssrc in dict.fromkeys(packets.rows["ssrc"].tolist()):
            mine = np.flatnonzero(packets.rows["ssrc"] == ssrc)
            mine = mine[np.argsort(packets.number[mine], kind="stable")]
            key[mine] = np.minimum.accumulate(key[mine][::-1])[::-1]
        return np.lexsort((packets.number, packets.rows["ssrc"], key))

    def _ready(self, packets: RtpBytes) -> int:
        """How many of the packets may be released: up to what is missing, unless too many wait behind it."""
        gaps: list[int] = []
        for ssrc in dict.fromkeys(packets.rows["ssrc"].tolist()):
            mine = np.flatnonzero(packets.rows["ssrc"] == ssrc)
            number = packets.number[mine]
            before = _expected(self.sources[ssrc], number)
            gaps += mine[number != before].tolist()
        for gap in sorted(gaps):
            if len(packets.rows) - gap <= WINDOW:
                return gap
        return len(packets.rows)

    def _released(self, packets: RtpBytes) -> RtpBytes:
        """Note what is missing before packets that are released in order."""
        for ssrc in dict.fromkeys(packets.rows["ssrc"].tolist()):
            mine = np.flatnonzero(packets.rows["ssrc"] == ssrc)
            source, number = self.sources[ssrc], packets.number[mine]
            step = number - _expected(source, number)
            packets.lost[mine] = np.where(step > DROPOUT, UNKNOWN_LOSS, step)
            source.next = int(number[-1]) + 1
        return packets

    def missing_to(self, ssrc: int, sequence: int) -> int:
        """Packets of a source missing before the sequence number with which its stream ends."""
        source = self.sources.get(ssrc)
        if source is None or source.next is None:
            return 0
        return max(_step(sequence, source.next), 0)


def _expected(source: Source, number: NDArray[np.int64]) -> NDArray[np.int64]:
    """The number that each packet of a source would have if none were missing before it."""
    first = int(number[0]) if source.next is None else source.next
    return np.concatenate((np.array([first], dtype=np.int64), number[:-1] + 1))


def _step(sequence: int, number: int) -> int:
    """How far a 16-bit sequence number is ahead of a continued one, from -32768 to 32767."""
    return (sequence - number + 32768) % 65536 - 32768


def _continued(source: Source, sequence: NDArray[np.uint16]) -> NDArray[np.int64]:
    """Sequence numbers with their wraps counted; the first of a source counts from 65536 on."""
    values = sequence.astype(np.int64)
    if source.highest < 0:
        source.highest = int(values[0]) + 65536
    steps = np.diff(values, prepend=source.highest % 65536)
    steps = (steps + 32768) % 65536 - 32768
    return source.highest + np.cumsum(steps)


def _key(packets: RtpBytes) -> NDArray[np.int64]:
    """Source and number of each packet as one number."""
    return (packets.rows["ssrc"].astype(np.int64) << 31) ^ (packets.number & 0x7FFFFFFF)
