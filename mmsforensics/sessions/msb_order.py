"""MSB packets put in order by dwPacketID, each once, and lost ones restored from parity (MS-MSB 3.2.5.3).

Rules of this file:

* nothing is sent again in MSB: what comes late was overtaken on the way, so that packets are handed on when
  `window` later numbers have been seen; over TCP at once;
* a packet is restored only where its parity packet and all others of the cycle were seen: how many these
  are is told by the parity packet's Number or by the parity packet before, never guessed;
* a restored packet is none that was seen: it is handed on apart, with the packets that it was computed from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.parity import (
    MOST_SPAN,
    Restored,
    agree,
    error_correction,
    restore,
    span_of,
)
from mmsforensics.protocols import DataPackets
from mmsforensics.protocols.messages import DATA_PACKET, slice_pieces
from mmsforensics.protocols.msb import differing
from mmsforensics.streams import PIECE

WINDOW = 256
"""Numbers waited for a datagram that was overtaken: some seconds of a stream."""

LARGEST_LOSS = 1 << 16
"""Numbers that may be lost in one run: what is further ahead is another numbering."""

REMEMBERED_LOST = 4096
"""Numbers of lost packets kept, so that one that comes yet is told from one that was repeated."""

CYCLES = 256
"""Cycle is a byte."""


@dataclass(frozen=True, slots=True)
class RestoredPacket:
    """A lost packet computed from the others of its cycle."""

    packet_id: int
    """dwPacketID."""
    made: Restored
    sources: NDArray[np.void]
    """Dtype DATA_PACKET: the packets it was computed from, the parity packet last."""
    pieces: tuple[NDArray[np.void], ...]
    """Dtype PIECE: for each source where its bytes lie; offsets count from its begin."""


@dataclass(slots=True)
class Counts:
    """What became of the packets of a medium, but for those in its file."""

    parity: int = 0
    """Parity packets."""
    repeated: int = 0
    """Packets that came again."""
    differing: int = 0
    """Of these, those that came within the window and whose bytes differ from those that came first."""
    late: int = 0
    """Packets that were overtaken by more than the window: they are in no file."""
    checked: int = 0
    """Cycles seen whole and held against their parity packet."""
    contradicted: int = 0
    """Of these, those whose parity packet is not the XOR of the others."""
    beyond_repair: int = 0
    """Cycles of which more is missing than parity can restore, or that cannot be bounded."""
    restored: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What can be handed on."""

    block: DataPackets | None
    """Media packets in order, each once."""
    restored: tuple[RestoredPacket, ...] = ()


@dataclass(slots=True)
class MsbOrder:
    """Puts the packets of one numbering in order.

    Parameters
    ----------
    window : int
        Numbers that a packet may be overtaken by; 0 where the order is that of sending.
    packet_size : int
        Largest packet by the ASF header; 0 where it is not known, and nothing is restored then.
    """

    window: int
    packet_size: int
    counts: Counts = field(default_factory=Counts)
    newest: int = -1
    """Highest number seen, counted on over the wrap; -1 before the first packet."""
    _rows: NDArray[np.void] = field(default_factory=lambda: np.empty(0, dtype=DATA_PACKET))
    _serial: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    _data: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, dtype=np.uint8))
    _pieces: NDArray[np.void] = field(default_factory=lambda: np.empty(0, dtype=PIECE))
    _first: int = -1
    """Lowest number handed on."""
    _out: int = -1
    """Numbers up to it were handed on."""
    _floor: int = -1
    """Packets up to it are kept no longer: of a cycle that begins there it cannot be told what was seen."""
    _parity_before: tuple[int, int] = (-1, -1)
    """Number and Cycle of the last parity packet used."""
    _lost: dict[int, None] = field(default_factory=dict)
    _template: DataPackets | None = None

    def feed(self, block: DataPackets) -> Settled:
        """Take packets in order of arrival; returns what can be handed on."""
        self._take(block)
        return self._settle(self.newest - self.window)

    def flush(self) -> Settled:
        """Wait for nothing any more."""
        return self._settle(self.newest)

    def goes_on(self, block: DataPackets) -> bool:
        """Whether the numbers of a block go on from those before, some lost ones left out."""
        step = (int(block.packets["location"][0]) - self.newest) & 0xFFFFFFFF
        return self.newest < 0 or step <= LARGEST_LOSS

    def _take(self, block: DataPackets) -> None:
        """Put packets to those kept, but for those whose turn is over."""
        self._template = block
        rows = block.packets.copy()
        serial = self._counted_on(rows["location"])
        parity = is_parity(block.data, rows)
        over = np.where(parity, serial <= self._parity_before[0], serial <= self._out)
        late = (
            [n for n in serial[over & ~parity].tolist() if self._lost.pop(n, n) is None] if self._lost else []
        )
        self.counts.late += len(late)
        self.counts.repeated += int(np.count_nonzero(over)) - len(late)
        pieces = block.pieces.copy()
        pieces["offset"] += len(self._data) - block.base
        rows["start"] += len(self._data)
        self._data = np.concatenate((self._data, block.data)) if len(self._data) else block.data
        self._pieces = np.concatenate((self._pieces, pieces))
        self._rows = np.concatenate((self._rows, rows[~over]))
        self._serial = np.concatenate((self._serial, serial[~over]))

    def _counted_on(self, location: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Numbers that go on over the wrap of 32 bits."""
        if self.newest < 0:
            self.newest = int(location[0]) + (1 << 32)  # there may be lower ones, which it has overtaken
        before = np.uint32(self.newest & 0xFFFFFFFF)
        step = np.diff(location.astype(np.uint32), prepend=before).view(np.int32)
        serial: NDArray[np.int64] = self.newest + np.cumsum(step.astype(np.int64))
        self.newest = max(self.newest, int(serial.max()))
        return serial

    def _settle(self, limit: int) -> Settled:
        if self._template is None:
            return Settled(None)
        parity = self._sort()
        media = np.flatnonzero(~parity & (self._serial > self._out) & (self._serial <= limit))
        if len(media):
            numbers = self._serial[media]
            self._first = int(numbers[0]) if self._first < 0 else self._first
            self._note_lost(numbers)
            self._out = int(numbers[-1])
        restored = self._use_parity(np.flatnonzero(~parity), np.flatnonzero(parity & (self._serial <= limit)))
        block = self._block(media)
        self._floor = max(self._out - MOST_SPAN - 1, -1)
        self._keep(self._serial > self._floor)
        return Settled(block, tuple(restored))

    def _sort(self) -> NDArray[np.bool_]:
        """Order by number, a parity packet behind the packet whose number it repeats, each once.

        Returns which are parity packets.
        """
        parity = is_parity(self._data, self._rows)
        key = self._serial * 2 + parity
        order = np.argsort(key, kind="stable")
        key = key[order]
        again = np.concatenate((np.zeros(1, dtype=np.bool_), np.diff(key) == 0))[: len(key)]
        first = self._rows[order[np.searchsorted(key, key[again])]]
        self.counts.repeated += len(first)
        self.counts.differing += differing(self._data, first, self._rows[order[again]])
        kept = order[~again]
        self._rows, self._serial = self._rows[kept], self._serial[kept]
        return np.asarray(parity[kept])

    def _payload(self, i: int | np.intp) -> NDArray[np.uint8]:
        start = int(self._rows["start"][i])
        return self._data[start : start + int(self._rows["size"][i])]

    def _note_lost(self, numbers: NDArray[np.int64]) -> None:
        """Remember the numbers that are left out, the newest of them."""
        before = self._out if self._out >= 0 else int(numbers[0]) - 1
        at = np.flatnonzero(np.diff(numbers, prepend=before) > 1)
        lows = np.concatenate(([before], numbers))[at] + 1
        for low, high in zip(lows.tolist(), numbers[at].tolist(), strict=True):
            self._lost.update(dict.fromkeys(range(max(low, high - REMEMBERED_LOST), high)))
        for number in list(self._lost)[: max(len(self._lost) - REMEMBERED_LOST, 0)]:
            del self._lost[number]

    def _block(self, media: NDArray[np.intp]) -> DataPackets | None:
        """Packets by their rows, in that order."""
        if not len(media) or self._template is None:
            return None
        rows = self._rows[media]
        at = replace(self._template.at, frame=int(rows["frame"][0]), ts=int(rows["ts"][0]))
        return DataPackets(
            at=at,
            kind="D",
            packets=rows,
            data=self._data,
            base=0,
            pieces=self._pieces,
            reliable=self._template.reliable,
            ordered=True,
        )

    def _use_parity(self, media: NDArray[np.intp], parity: NDArray[np.intp]) -> Iterator[RestoredPacket]:
        """Hold parity packets against their cycles, and restore what is missing of them."""
        parity = parity[self._serial[parity] > self._parity_before[0]]
        if not len(parity):
            return iter(())
        ec = error_correction(self._data, self._rows["start"], self._rows["size"].astype(np.int64))
        numbers, ends = self._serial[media], self._serial[parity]
        span = self._spans(ec, parity)
        first = np.searchsorted(numbers, ends - span, side="right")
        count = np.searchsorted(numbers, ends, side="right") - first
        self._check(ec, media, parity, first, count, (span > 0) & (count == span))
        found = []
        for i in np.flatnonzero((span == 0) | (count < span)).tolist():
            packet = None
            if span[i] and ends[i] - span[i] < self._floor:
                continue  # it came so late that its packets were handed on long ago
            if span[i] and count[i] == span[i] - 1:
                packet = self._restore(
                    ec, media[first[i] : first[i] + count[i]], int(parity[i]), int(span[i])
                )
            if packet is not None:
                found.append(packet)
            elif span[i] == 0 or ends[i] - span[i] >= self._first - 1:  # else it was joined in the middle
                self.counts.beyond_repair += 1
        self.counts.parity += len(parity)
        self.counts.restored += len(found)
        self._parity_before = int(ends[-1]), int(ec["cycle"][parity[-1]])
        return iter(found)

    def _spans(self, ec: NDArray[np.void], parity: NDArray[np.intp]) -> NDArray[np.int64]:
        """How many packets each cycle has, 0 where nothing tells."""
        serial, cycle = self._serial[parity], ec["cycle"][parity].astype(np.int64)
        before = np.concatenate(([self._parity_before[0]], serial[:-1]))
        follows = (cycle - np.concatenate(([self._parity_before[1]], cycle[:-1]))) % CYCLES == 1
        by_before = np.where(follows & (before >= 0), serial - before, 0)
        stated = np.array([span_of(code) or 0 for code in range(CYCLES)], dtype=np.int64)[ec["code"][parity]]
        span = np.where(stated > 0, stated, by_before)
        return np.where((span > 0) & (span <= MOST_SPAN), span, 0)

    def _check(
        self,
        ec: NDArray[np.void],
        media: NDArray[np.intp],
        parity: NDArray[np.intp],
        first: NDArray[np.intp],
        count: NDArray[np.intp],
        whole: NDArray[np.bool_],
    ) -> None:
        """Hold the parity packets of cycles seen whole against the others."""
        start, size = self._rows["start"].astype(np.int64), self._rows["size"].astype(np.int64)
        sides = [(start[i], size[i], np.ascontiguousarray(ec["size"][i])) for i in (media, parity[whole])]
        ok = agree(
            self._data, sides[0], (first[whole].astype(np.int64), count[whole].astype(np.int64)), sides[1]
        )
        self.counts.checked += len(ok)
        self.counts.contradicted += int(np.count_nonzero(~ok))

    def _restore(
        self, ec: NDArray[np.void], others: NDArray[np.intp], parity: int, span: int
    ) -> RestoredPacket | None:
        """Compute the one packet of a cycle that is missing, where all of it agrees."""
        mine = ec[others]
        same = (mine["cycle"] == ec["cycle"][parity]) & (mine["size"] == ec["size"][parity])
        if not self.packet_size or not same.all():
            return None
        begin = int(self._serial[parity]) - span + 1
        (missing,) = set(range(begin, begin + span)) - set(self._serial[others].tolist())
        payloads = [self._payload(i) for i in others]
        made = restore(payloads, self._payload(parity), missing - begin + 1, self.packet_size)
        if made is None:
            return None
        sources = np.concatenate((others, [parity])).astype(np.intp)
        return RestoredPacket(missing & 0xFFFFFFFF, made, self._rows[sources], self._places(sources))

    def _places(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.void], ...]:
        """Where the bytes of packets lie."""
        found = []
        for row in self._rows[rows]:
            pieces = slice_pieces(self._pieces, int(row["start"]), int(row["size"]))
            pieces["offset"] -= int(row["start"])
            found.append(pieces)
        return tuple(found)

    def _keep(self, which: NDArray[np.bool_]) -> None:
        """Let go of all packets but some, and of the bytes that they lay in."""
        rows, parts, pieces = self._rows[which].copy(), [self._data[:0]], [self._pieces[:0]]
        size = 0
        for row in rows:
            start, length = int(row["start"]), int(row["size"])
            parts.append(self._data[start : start + length])
            mine = slice_pieces(self._pieces, start, length)
            mine["offset"] += size - start
            pieces.append(mine)
            row["start"] = size
            size += length
        self._rows, self._serial = rows, self._serial[which]
        self._data, self._pieces = np.concatenate(parts), np.concatenate(pieces)


def rises(block: DataPackets) -> bool:
    """Whether each packet has a higher number than the one before; parity packets repeat it."""
    location = np.ascontiguousarray(block.packets["location"])
    parity = is_parity(block.data, block.packets)
    step = np.diff(location).view(np.int32)
    return bool((step >= np.where(parity[1:], 0, 1)).all())


def uncounted(block: DataPackets) -> DataPackets:
    """The media packets of a block whose numbers say nothing of loss."""
    packets = block.packets[~is_parity(block.data, block.packets)].copy()
    packets["flags"] = packets["flags"][:1] if len(packets) else 0
    return replace(block, packets=packets, ordered=True)


def is_parity(data: NDArray[np.uint8], rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which packets are parity packets."""
    found = error_correction(data, rows["start"].astype(np.int64), rows["size"].astype(np.int64))
    return np.asarray(found["parity"] != 0)
