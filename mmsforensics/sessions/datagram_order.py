"""The order of the datagrams of one medium.

Rules of this file:

* AFFlags are the low 8 bits of a sequence number that counts the packets of a session [MS-MMSP 2.2.2]; the
  rest of it is inferred from the LocationIds;
* a datagram that was sent again fills its place, one that comes twice goes;
* behind a missing one a bounded number is held back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols import DataPackets
from mmsforensics.protocols.messages import DATA_PACKET
from mmsforensics.sessions.resends import Resends

REORDER_WINDOW = 120
"""Sequence numbers below it may belong to a session that began with 0 and whose first datagrams come late."""

RESEND_WINDOW = 4096
"""Datagrams held back behind a missing one: some minutes of a stream, longer than any client asks again."""

SETTLING = 128
"""Datagrams behind a new play whose sequence numbers are taken for the nearest ones: packets of the play
before may come among them, and LocationIds jump."""

Ordered: TypeAlias = tuple[NDArray[np.void], DataPackets | None]
"""Packets in order and the block in which they lie; no block where the server left a number out."""

NO_PACKETS = np.empty(0, dtype=DATA_PACKET)


class DatagramOrder:
    """Puts datagrams in order of their sequence."""

    __slots__ = (
        "_first_sequence",
        "_last",
        "_next_sequence",
        "_settling",
        "_skipped",
        "_sparse",
        "_waiting",
        "late",
        "resends",
    )

    def __init__(self, first_sequence: int) -> None:
        self._waiting: dict[int, tuple[np.void, DataPackets]] = {}  # by sequence
        self._next_sequence = first_sequence  # -1 as long as it is not known
        self._first_sequence = first_sequence
        self.late = 0
        """Datagrams of the medium before: they came too late for it, and are in no file."""
        self._skipped: set[int] = set()  # numbers that the server left out
        self._settling = 0
        self._sparse = False
        self.resends = Resends(whole=first_sequence >= 0)
        self._last = (-1, -1, -1)  # highest sequence seen, with its LocationId and incarnation

    @property
    def next_sequence(self) -> int:
        """Number of the datagram expected behind the last one seen, -1 when nothing is known of it."""
        return max(self._last[0] + 1, self._next_sequence)

    def begin_play(self, *, sparse: bool) -> None:
        """Take note that a play begins: LocationIds may jump, and in a `sparse` one go on jumping."""
        self._sparse = sparse
        self._settling = SETTLING

    def asked(self, numbers: tuple[int, ...]) -> tuple[int, int]:
        """Take note that the client asks for packets again: so many had been captured, and so many not."""
        return self.resends.asked(numbers, self._last[0], self._seen)

    def _seen(self, sequence: int) -> bool:
        return sequence < self._next_sequence or sequence in self._waiting

    def add(self, block: DataPackets) -> Iterator[Ordered]:
        """Put datagrams in order of their sequence; a resent one fills its place, a repeated one goes."""
        packets = block.packets
        flags = packets["flags"].astype(np.int64)
        if self._next_sequence < 0:
            # A session begins with 0 [MS-MMSP 2.2.2]; the first to arrive need not be the first sent.
            self._next_sequence = 0 if flags[0] < REORDER_WINDOW else int(flags[0])
            self.resends.whole = self._next_sequence == 0
        in_step = (flags - self._next_sequence) % 256 == np.arange(len(flags)) % 256
        steady = (packets["incarnation"] == self._last[2]).all() and (np.diff(packets["location"]) > 0).all()
        quiet = not self._waiting and not self._skipped and not self.resends.pending
        if quiet and in_step.all() and steady and packets["location"][0] > self._last[1]:
            self._next_sequence += len(packets)
            self._settling = max(self._settling - len(packets), 0)
            self._remember(packets[-1], self._next_sequence - 1)
            yield packets, block
            return
        for packet in packets:
            sequence = self._sequence(packet)
            self._settling = max(self._settling - 1, 0)
            self.resends.came(sequence)
            if sequence >= self._next_sequence:
                self._waiting.setdefault(sequence, (packet, block))
            self.late += sequence < self._first_sequence
            if sequence > self._last[0]:
                self._remember(packet, sequence)
            yield from self._flush_ready()
            if len(self._waiting) > RESEND_WINDOW:
                self._next_sequence = min(self._waiting)
                yield from self._flush_ready()

    def _remember(self, packet: np.void, sequence: int) -> None:
        self._last = (sequence, int(packet["location"]), int(packet["incarnation"]))

    def _sequence(self, packet: np.void) -> int:
        """The whole sequence number of which AFFlags are the low 8 bits.

        Between packets of one play the LocationId tells how often it has wrapped: it grows by one a packet at
        least, and by more only where the server left packets out.
        """
        flags = int(packet["flags"])
        last, location, incarnation = self._last
        begins = last < 0 or int(packet["incarnation"]) != incarnation or self._settling > 0
        if begins or self._sparse:
            expected = self.next_sequence
            if begins and last >= 0 and expected % 256 == 0xFF and flags == 0:
                self._skipped.add(expected)  # 0xFF is left out before a new play [MS-MMSP 2.2.2]
                return expected + 1
            return expected + (flags - expected + 128) % 256 - 128
        ahead = int(packet["location"]) - location
        predicted = last + ahead
        if ahead > 0:
            return max(predicted - (predicted - flags) % 256, last + (flags - last) % 256)
        return predicted + (flags - predicted) % 256

    def _flush_ready(self) -> Iterator[Ordered]:
        ready: list[tuple[np.void, DataPackets]] = []
        while self._next_sequence in self._waiting or self._next_sequence in self._skipped:
            if self._next_sequence in self._waiting:
                ready.append(self._waiting.pop(self._next_sequence))
            else:
                yield from _by_block(ready)
                ready = []
                yield self._skip(self._next_sequence)
            self._next_sequence += 1
        yield from _by_block(ready)

    def _skip(self, sequence: int) -> Ordered:
        """Pass over a number that the server left out."""
        self._skipped.discard(sequence)
        return NO_PACKETS, None

    def rest(self) -> Iterator[Ordered]:
        """Give what waits for packets that will not come any more; no more is added."""
        self.resends.settle(self._seen)
        for after in sorted(self._waiting):
            if after not in self._waiting:  # written with the one before
                continue
            for sequence in [s for s in self._skipped if s < after]:
                yield self._skip(sequence)
            self._next_sequence = after
            yield from self._flush_ready()


def _by_block(ready: list[tuple[np.void, DataPackets]]) -> Iterator[Ordered]:
    """Packets that are in order, those of one block together."""
    first = 0
    for i in range(1, len(ready) + 1):
        if i == len(ready) or ready[i][1] is not ready[first][1]:
            packets = np.array([packet for packet, _ in ready[first:i]], dtype=DATA_PACKET)
            yield packets, ready[first][1]
            first = i
