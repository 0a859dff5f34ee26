"""ASF data packets out of RTP packets: the payload format ``x-asf-pf`` [MS-RTSP 2.2.1].

Rules of this file:

* RTP packets come in the order of sending (`rtp_order`), with what is missing before each;
* the length of a complete ASF packet counts what stands behind its payload format header [2.2.1.3]; some
  senders count the header too. Taken is what fits the end of the RTP packet, or a sound header behind;
* fragments make an ASF packet when their offsets follow each other from 0 to the marker; what a loss has hurt
  is a `CutPacket`, never closed up;
* how many ASF packets a loss of RTP packets cost is exact where the loss lies inside one ASF packet or no
  fragments are sent, else it is the least that it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.evidence.compiled import fingerprint
from mmsforensics.protocols import rtp
from mmsforensics.protocols.messages import (
    DATA_PACKET,
    UNKNOWN_LOCATION,
    At,
    CutPacket,
    DataPackets,
    Direction,
)
from mmsforensics.protocols.rtp import begins_asf_packet
from mmsforensics.protocols.rtp_bytes import RtpBytes, cut_out
from mmsforensics.streams import spans

LARGEST_PACKET = 1 << 20
"""Offsets of fragments beyond it are hostile: ASF packets of encoders have at most 64 KB."""

UNIT = np.dtype(
    [
        ("row", "i8"),  # RTP packet it lies in
        ("start", "i8"),  # position of its bytes
        ("size", "i8"),
        ("offset", "i8"),  # in the ASF packet
        ("lost", "i8"),  # RTP packets of the source missing before it; -1: some, their number is not known
        ("timestamp", "u4"),
        ("location", "u4"),
        ("complete", "u1"),  # a whole ASF packet, no fragment
        ("last", "u1"),  # marker of its RTP packet
        ("cut", "u1"),  # its end was not captured
        ("key", "u1"),  # S: a key frame begins in it
    ],
    align=True,
)
"""An ASF packet or a fragment of one, behind its payload format header."""

PACKET = np.dtype(
    [
        ("first", "i8"),  # units
        ("last", "i8"),
        ("lost", "i8"),  # RTP packets missing before or in it, as in UNIT
        ("cost", "i8"),  # least number of ASF packets that these cost
        ("whole", "u1"),
        ("exact", "u1"),  # whether `cost` is their number
    ],
    align=True,
)
"""An ASF packet, whole or not, made of consecutive units of one source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RtpLoss:
    """RTP packets of a source that were not captured, or not sent; at the place where they are missing."""

    frame: int
    """The frame behind them."""
    ts: int
    rtp: int | None
    """How many; None where that can't be told."""
    packets: int
    """ASF packets that they cost, at least."""
    exact: bool
    """Whether they cost no more."""


AsfItem = DataPackets | CutPacket | RtpLoss


@njit(nogil=True)
def _header_size(data, at, end):
    """Bytes of the payload format header at `at`, 0 where none can be."""
    if at + 4 > end or data[at] & 0x07:
        return np.int64(0)
    size = np.int64(4)
    for bit in (0x20, 0x10, 0x08):
        if data[at] & bit:
            size += 4
    return size if at + size <= end else np.int64(0)


@njit(nogil=True)
def _follows(data, at, end):
    """Whether another complete ASF packet with its header stands at `at`."""
    head = _header_size(data, at, end)
    return head > 0 and data[at] & 0x40 != 0 and begins_asf_packet(data, at + head, end)


@njit(nogil=True)
def _complete_size(data, begin, at, end, length, cut):
    """Bytes of the complete ASF packet at `at`, whose header at `begin` says `length`."""
    left = end - at
    if length == left or length == end - begin or length >= left:
        return left
    if cut:
        return length
    counted = length - (at - begin)  # where the sender counts the header
    if _follows(data, at + length, end):
        return length
    if counted > 0 and _follows(data, at + counted, end):
        return counted
    return length


@njit(nogil=True)
def _units(rows, lost, data, out):
    """Read the payload format headers. Returns the number of units, and of packets passed over as unsound."""
    n, unsound = 0, 0
    for i in range(len(rows)):
        row = rows[i]
        at = row["start"] + np.int64(row["header"])
        end = row["start"] + np.int64(row["size"])
        cut = row["size"] < row["wire"]
        missing = lost[i]
        while at < end and n < len(out):
            head = _header_size(data, at, end)
            if head == 0:
                unsound += 1
                break
            number = (np.int64(data[at + 1]) << 16) | (np.int64(data[at + 2]) << 8) | np.int64(data[at + 3])
            complete = data[at] & 0x40 != 0
            inner = at + head
            size = end - inner
            if complete:
                size = _complete_size(data, at, inner, end, number, cut)
            unit = out[n]
            unit["row"], unit["start"], unit["size"] = i, inner, size
            unit["offset"] = 0 if complete else min(number, LARGEST_PACKET)
            unit["timestamp"], unit["key"] = row["timestamp"], data[at] >> 7
            unit["complete"], unit["last"] = complete, row["marker"]
            unit["cut"] = cut and inner + size == end
            unit["lost"] = missing
            unit["location"] = UNKNOWN_LOCATION
            if data[at] & 0x08:
                where = inner - 4
                unit["location"] = (
                    (np.uint32(data[where]) << np.uint32(24))
                    | (np.uint32(data[where + 1]) << np.uint32(16))
                    | (np.uint32(data[where + 2]) << np.uint32(8))
                    | np.uint32(data[where + 3])
                )
            missing = 0
            n += 1
            at = inner + size
    return n, unsound


def _entry(sources: int) -> Callable[..., tuple[int, int]]:
    """Build the entry; `sources` becomes part of its cache key by being closed over."""

    @njit(cache=True, nogil=True)
    def units_of(rows, lost, data, out):
        _ = sources
        return _units(rows, lost, data, out)

    return units_of


_units_of = _entry(fingerprint((rtp,)))


@njit(cache=True, nogil=True)
def _close(out, n, first, last, lost, cost, whole, exact):
    row = out[n]
    row["first"], row["last"], row["lost"], row["cost"] = first, last, lost, cost
    row["whole"], row["exact"] = whole, exact
    return n + 1


@njit(cache=True, nogil=True)
def _goes_on(unit, first, expect):
    """Whether a fragment belongs to the ASF packet that begins with `first` and reaches to `expect`.

    Behind a loss only if the missing RTP packets, each as large as the first, fit between: packets may have
    the same send time.
    """
    if unit["complete"] or unit["timestamp"] != first["timestamp"] or unit["location"] != first["location"]:
        return False
    gap, missing = unit["offset"] - expect, unit["lost"]
    if missing == 0:
        return gap == 0
    return missing > 0 and gap > (missing - 1) * first["size"] and gap <= missing * first["size"]


@njit(cache=True, nogil=True)
def _assemble(units, fragments, several, final, out):
    """Put the units of one source together.

    `fragments` and `several` say whether the source has sent fragments, or several ASF packets in one RTP
    packet, before. Returns the number of ASF packets, and the first unit of one that is not finished (the
    number of units where there is none).
    """
    n = 0
    open_at = -1  # first unit of the ASF packet at hand
    expect, lost, cost = np.int64(0), np.int64(0), np.int64(0)
    sound, exact = True, True
    for u in range(len(units)):
        unit = units[u]
        missing = unit["lost"]
        fragments = fragments or not unit["complete"]
        hurt, tail = 0, False  # whether what is missing before the unit may be the tail of a packet
        if open_at >= 0 and not _goes_on(unit, units[open_at], expect):
            tail = True
            if cost == 0 and missing != 0:
                hurt = 1  # counted with what is missing behind it
            elif cost == 0:
                cost = np.int64(1)  # the sender broke it off
            n = _close(out, n, open_at, u - 1, lost, cost, False, exact)
            open_at = -1
        if open_at < 0:
            open_at, sound = u, unit["offset"] == 0
            lost, cost, exact = missing, np.int64(hurt + (not sound)), True
            if missing != 0:
                if cost == 0 and not tail:
                    cost = np.int64(1) if fragments or missing < 0 else missing
                exact = not several and (missing == cost or (missing > 0 and not fragments))
        elif missing != 0:
            sound, lost = False, lost + missing
        sound = sound and not unit["cut"]
        expect = unit["offset"] + unit["size"]
        if unit["complete"] or unit["last"]:
            if not sound and cost == 0:
                cost = np.int64(1)
            n = _close(out, n, open_at, u, lost, cost, sound, exact)
            open_at = -1
    if open_at >= 0 and final:
        n = _close(out, n, open_at, len(units) - 1, lost, cost if cost > 0 else 1, False, exact)
        open_at = -1
    return n, open_at if open_at >= 0 else len(units)


class AsfAssembler:
    """Makes ASF data packets of the RTP packets of one session."""

    __slots__ = ("_fragments", "_left", "_several", "incarnation", "unsound")

    def __init__(self) -> None:
        self._left: dict[int, RtpBytes] = {}  # by source: RTP packets of an ASF packet that is not finished
        self._fragments: set[int] = set()  # sources that send fragments
        self._several: set[int] = set()  # and several ASF packets in one RTP packet
        self.incarnation = 0
        """Number of the play, written to the packets."""
        self.unsound = 0
        """RTP packets whose payload format header was none."""

    def feed(
        self, packets: RtpBytes, direction: Direction, *, reliable: bool, final: bool = False
    ) -> Iterator[AsfItem]:
        """Take RTP packets in the order of sending; `final` says that nothing will finish what is open."""
        sources = dict.fromkeys(packets.rows["ssrc"].tolist())
        if final:
            sources |= dict.fromkeys(self._left)
        if len(sources) == 1:
            (ssrc,) = sources
            left = self._left.pop(ssrc, None)
            whole = left.joined(packets) if left is not None else packets
            found = self._source(ssrc, whole, final=final)
            yield from self._tell(found, direction, reliable=reliable)
            return
        merged: list[tuple[int, int, _Found, int]] = []
        for ssrc in sources:
            left = self._left.pop(ssrc, None)
            mine = packets.take(np.flatnonzero(packets.rows["ssrc"] == ssrc))
            whole = left.joined(mine) if left is not None else mine
            found = self._source(ssrc, whole, final=final)
            frames = found.frames()
            merged += [(frames[i], len(merged) + i, found, i) for i in range(len(found.packets))]
        merged.sort(key=lambda item: item[:2])
        begin = 0
        for i in range(1, len(merged) + 1):  # stretches of one source
            if i == len(merged) or merged[i][2] is not merged[begin][2]:
                found = merged[begin][2]
                part = slice(merged[begin][3], merged[i - 1][3] + 1)
                yield from self._tell(found.part(part), direction, reliable=reliable)
                begin = i

    def _source(self, ssrc: int, packets: RtpBytes, *, final: bool) -> _Found:
        """Put the packets of one source together; what is not finished waits."""
        rows = packets.rows
        units = np.empty(2 * len(rows) + 16, dtype=UNIT)
        while True:
            count, unsound = _units_of(rows, packets.lost, packets.data, units)
            if count < len(units):
                break
            units = np.empty(2 * len(units), dtype=UNIT)
        units = units[:count]
        self.unsound += int(unsound)
        if len(np.unique(units["row"])) < count:
            self._several.add(ssrc)
        out = np.empty(2 * count + 1, dtype=PACKET)
        n, rest = _assemble(units, ssrc in self._fragments, ssrc in self._several, final, out)
        if not units["complete"].all():
            self._fragments.add(ssrc)
        if rest < count:
            row = int(units["row"][rest])
            self._left[ssrc] = packets.take(slice(row, None)).settled()
        return _Found(packets, units, out[:n])

    def _tell(self, found: _Found, direction: Direction, *, reliable: bool) -> Iterator[AsfItem]:
        """Whole packets as blocks; losses and hurt packets between them."""
        packets = found.packets
        special = np.flatnonzero((packets["whole"] == 0) | (packets["lost"] != 0) | (packets["cost"] != 0))
        begin = 0
        for i in [*special.tolist(), len(packets)]:
            if i > begin:
                yield self._block(found, packets[begin:i], direction)
            if i == len(packets):
                break
            packet = packets[i]
            begin = i
            if packet["lost"] or packet["cost"]:
                yield found.loss(packet)
            if not packet["whole"]:
                yield from found.cut(packet, direction, self.incarnation)
                begin = i + 1
                continue
            yield self._block(found, packets[i : i + 1], direction)
            begin = i + 1

    def _block(self, found: _Found, packets: NDArray[np.void], direction: Direction) -> DataPackets:
        units = found.units
        chosen = _chosen(packets["first"], packets["last"])
        size = units["size"][chosen]
        source = found.source
        data, pieces = cut_out(source.data, units["start"][chosen].copy(), size.copy(), source.pieces, 0)
        ends = np.cumsum(size)
        many = packets["last"] - packets["first"] + 1
        last = np.cumsum(many) - 1
        out = np.empty(len(packets), dtype=DATA_PACKET)
        total = ends[last]
        out["start"] = np.concatenate(([0], total[:-1]))
        length = total - out["start"]
        out["size"] = length
        out["location"] = units["location"][packets["first"]]
        out["incarnation"], out["flags"] = self.incarnation & 0xFF, 0
        out["first_frame"], out["frame"], out["ts"] = spans(out["start"].copy(), length, pieces)
        first = out[0]
        at = At(direction=direction, offset=0, frame=int(first["frame"]), ts=int(first["ts"]))
        return DataPackets(at=at, kind="", packets=out, data=data, base=0, pieces=pieces)


@njit(cache=True, nogil=True)
def _chosen(first, last):
    """The units of packets, in order."""
    total = 0
    for i in range(len(first)):
        total += last[i] - first[i] + 1
    out = np.empty(total, dtype=np.int64)
    n = 0
    for i in range(len(first)):
        for u in range(first[i], last[i] + 1):
            out[n] = u
            n += 1
    return out


@dataclass(frozen=True, slots=True)
class _Found:
    """What the RTP packets of one source hold."""

    source: RtpBytes
    units: NDArray[np.void]
    packets: NDArray[np.void]
    """Dtype `PACKET`."""

    def frames(self) -> list[int]:
        """Frame with the first byte of each packet: their order among other sources."""
        rows = self.source.rows["first_frame"][self.units["row"][self.packets["first"]]]
        ordered: list[int] = np.maximum.accumulate(rows).tolist() if len(rows) else []
        return ordered

    def part(self, which: slice) -> _Found:
        """The same with some of the packets."""
        return _Found(self.source, self.units, self.packets[which])

    def loss(self, packet: np.void) -> RtpLoss:
        """What is missing before or in a packet."""
        row = self.source.rows[self.units["row"][packet["first"]]]
        known = self.units["location"][packet["first"]] != UNKNOWN_LOCATION
        return RtpLoss(
            frame=int(row["frame"]),
            ts=int(row["ts"]),
            rtp=int(packet["lost"]) if packet["lost"] >= 0 else None,
            packets=int(packet["cost"]),
            exact=bool(packet["exact"]) or bool(known),
        )

    def cut(self, packet: np.void, direction: Direction, incarnation: int) -> Iterator[CutPacket]:
        """What was seen of a hurt packet; one byte more than its last one seen where its end is not known."""
        units = self.units[int(packet["first"]) : int(packet["last"]) + 1]
        units = units[units["offset"] + units["size"] <= LARGEST_PACKET]
        if not len(units):
            return
        ends = units["offset"] + units["size"]
        last = units[-1]
        ended = bool(last["last"] or last["complete"]) and not last["cut"]
        data = np.zeros(int(ends.max()) + (not ended), dtype=np.uint8)
        known: list[tuple[int, int]] = []
        parts: list[NDArray[np.void]] = []
        for unit, end in zip(units, ends.tolist(), strict=True):
            begin, at, size = int(unit["offset"]), unit["start"].reshape(1), unit["size"].reshape(1)
            bytes_, pieces = cut_out(self.source.data, at.copy(), size.copy(), self.source.pieces, 0)
            data[begin:end] = bytes_
            pieces["offset"] += begin
            parts.append(pieces)
            if known and known[-1][1] == begin:
                begin = known.pop()[0]
            known.append((begin, end))
        rows = self.source.rows[units["row"]]
        yield CutPacket(
            at=At(direction=direction, offset=0, frame=int(rows["frame"][-1]), ts=int(rows["ts"][-1])),
            kind="",
            location=int(units["location"][0]),
            incarnation=incarnation & 0xFF,
            flags=0,
            data=data,
            known=tuple(known),
            pieces=np.concatenate(parts),
            first_frame=int(rows["first_frame"][0]),
        )
