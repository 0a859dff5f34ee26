"""The fast path of reassembly: segments that are exactly what was expected next (header prediction).

Where hundreds of connections carry media side by side, nearly every segment follows the one before. The pass
here looks at each packet of a batch where it lies, in order of capture, watches it as the long way does, and
lays its payload behind those before it: no packet is copied more than once, none is touched by Python.

Rules of this file:

* a packet is what was expected if it is a whole segment with ACK alone (PSH and URG aside) and no wrong
  checksum, which carries nothing, or the next bytes of the one direction that sends;
* the first packet of a connection that is anything else ends its fast path: that one and those behind it are
  left to the long way, once what lies here has been handed on;
* both ways leave the same: reassembly and watch, byte for byte;
* memory is bounded: where there are more connections, less of each is laid together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.evidence.compiled import fingerprint
from mmsforensics.packets import PacketBatch
from mmsforensics.streams import keeping, tracking, watch
from mmsforensics.streams.flow_watch import FlowWatch
from mmsforensics.streams.keeping import copy
from mmsforensics.streams.reassembly import TcpReassembler
from mmsforensics.streams.runs import PIECE, Run
from mmsforensics.streams.tracking import DELIVER
from mmsforensics.streams.watch import ANOMALY, ROWS_A_PACKET, SIDE, checksums, observe

TAKEN: Final = 3
"""Action of a packet that went this way, beside those of `tracking`."""

ROOM: Final = 128 << 20
"""Bytes for the payloads of all connections."""

LARGEST_PART: Final = 1 << 20
SMALLEST_PART: Final = 1 << 16
"""Bytes of it for one connection, between these bounds: what is handed on costs as much as some ten thousand
bytes. A segment that is off-loaded has up to 64 KiB."""

PAGE: Final = 1 << 12

SPARE: Final = 4
"""One lane more is made for each so many that are asked for: others may come."""

FRONT: Final = 1 << 14
"""Bytes free before the payloads of a connection: for what its reader has left of those before, most often
the begin of a media packet, so that the whole need not be copied."""

FRONT_PIECES: Final = 64
"""The same for its pieces."""

PIECE_ROOM: Final = 256
"""Bytes of payload for each piece that there is room for: segments of media are larger."""

TOLD: Final = 1 << 12
"""Anomalies of one pass; where there are more, it is done in parts."""

MOST_ODD: Final = 1 << 16
"""Anomalies that wait to be told: where nothing but acknowledgements comes no lane is ever full."""

MOST_FLOWS: Final = 1 << 25
"""Flows of a capture, from the first on, that may go this way: their numbers are places in an array."""

UNUSUAL_FLAGS: Final = 1 | 2 | 4
"""FIN, SYN, RST."""

ACK: Final = 16
BAD: Final = int(watch.Check.BAD)

LANE = np.dtype(
    [
        ("uid", "i8"),
        ("position", "i8"),  # stream offset of the next byte
        ("size", "i8"),  # bytes of payload that lie here
        ("limit", "i8"),  # bytes of payload that may
        ("pieces", "i8"),  # how many pieces they are
        ("acked", "i8"),  # how many of these are wholly acknowledged
        ("packets", "i8"),  # packets seen since something was handed on
        ("expected", "u4"),  # sequence number of the next byte
        ("side", "u1"),  # direction that sends
        ("left", "u1"),  # whether a packet was not what was expected
    ],
    align=True,
)
"""One connection on the fast path."""


@njit(nogil=True)
def _expected(row, d, start, data, lane, check):
    """Whether a packet is what was expected; its checksum is judged into `check`."""
    flags = row[0]["flags"]
    if flags & UNUSUAL_FLAGS or not flags & ACK or row[0]["transport"] == 0:
        return False
    n = row[0]["payload_len"]
    if n != row[0]["payload_wire"] or (n and (d[0] != lane["side"] or row[0]["seq"] != lane["expected"])):
        return False
    checksums(row, start, data, check)
    return check[0] != BAD


@njit(nogil=True)
def _lay(row, start, data, lane, stream, pieces):
    """Lay a payload behind those before it."""
    n = np.int64(row["payload_len"])
    copy(data, start, n, stream, FRONT + lane["size"])
    piece = pieces[FRONT_PIECES + lane["pieces"]]
    piece["offset"], piece["length"] = lane["position"], row["payload_len"]
    piece["ts"], piece["frame"], piece["frame_offset"] = row["ts"], row["frame"], row["payload"]
    lane["size"] += n
    lane["position"] += n
    lane["expected"] = np.uint32(lane["expected"] + row["payload_len"])
    lane["pieces"] += 1


@njit(nogil=True)
def _note_acked(lane, acked, pieces):
    """Count the pieces that are acknowledged by now: all before stream offset `acked`."""
    while lane["acked"] < lane["pieces"]:
        piece = pieces[FRONT_PIECES + lane["acked"]]
        if piece["offset"] + np.int64(piece["length"]) > acked:
            return
        lane["acked"] += 1


def _entry(sources: int) -> Callable[..., tuple[int, int, int]]:
    """Build the entry; `sources` becomes part of its cache key by being closed over."""

    @njit(cache=True, nogil=True)
    def take(
        begin, rows, uids, direction, action, data, base, lane_of, lanes, sides, streams, pieces, told, whose
    ):
        _ = sources
        odd = 0
        start, check = np.empty(1, dtype=np.int64), np.empty(1, dtype=np.uint8)
        for i in range(begin, len(rows)):
            if action[i] != DELIVER or uids[i] >= len(lane_of):
                continue
            number = lane_of[uids[i]]
            if number < 0 or lanes[number]["left"]:
                continue
            lane, row, d = lanes[number], rows[i : i + 1], direction[i : i + 1]
            start[0] = np.int64(row[0]["offset"]) - base + np.int64(row[0]["payload"])
            n = np.int64(row[0]["payload_len"])
            if not _expected(row, d, start, data, lane, check) or n > streams.shape[1] - FRONT:
                lane["left"] = 1
                continue
            if n and (lane["size"] + n > lane["limit"] or lane["pieces"] == pieces.shape[1] - FRONT_PIECES):
                return i, number, odd
            if odd + ROWS_A_PACKET > len(told):
                return i, -1, odd
            found = observe(row, d, start, data, check, sides[number], told[odd:])
            whose[odd : odd + found] = number
            odd += found
            if n:
                _lay(row[0], start[0], data, lane, streams[number], pieces[number])
            _note_acked(lane, sides[number][lane["side"]]["acked"], pieces[number])
            lane["packets"] += 1
            action[i] = TAKEN
        return len(rows), -1, odd

    return take


_take = _entry(fingerprint((keeping, tracking, watch)))


@dataclass(frozen=True, slots=True)
class InOrder:
    """Bytes of one connection in order; good until more is asked for."""

    uid: int
    """Of the flow."""
    run: Run
    """Without bytes where only acknowledgements were seen."""
    _memory: NDArray[np.uint8]
    """Where its bytes lie, `FRONT` bytes before them included."""
    _pieces: NDArray[np.void]
    """The same of its pieces."""

    def behind(self, data: NDArray[np.uint8], pieces: NDArray[np.void]) -> Run:
        """The run with the bytes before it in the stream; copied only where these are many."""
        n, m = len(data), len(pieces)
        if n > FRONT or m > FRONT_PIECES:
            joined = np.concatenate((data, self.run.data)), np.concatenate((pieces, self.run.pieces))
            return Run(self.run.offset - n, *joined)
        memoryview(self._memory)[FRONT - n : FRONT] = memoryview(data)  # type: ignore[arg-type]
        self._pieces[FRONT_PIECES - m : FRONT_PIECES] = pieces
        return Run(self.run.offset - n, self._memory[FRONT - n :], self._pieces[FRONT_PIECES - m :])


@dataclass(frozen=True, slots=True)
class Predicted:
    """A connection of which nothing waits: its next segment is known but for its bytes."""

    watch: FlowWatch
    receiver: TcpReassembler
    """Of the direction in which nothing but acknowledgements is expected."""
    sender: TcpReassembler
    side: int
    """Direction of `sender`."""


class FastPath:
    """The connections that go the fast path, and their bytes that were not handed on yet."""

    def __init__(self) -> None:
        self._told = np.empty(TOLD, dtype=ANOMALY)
        self._whose = np.empty(TOLD, dtype=np.int32)
        self._lane_of = np.empty(0, dtype=np.int32)  # by uid; -1 for none
        self._predicted: dict[int, Predicted] = {}  # by number of the lane
        self._odd: dict[int, list[NDArray[np.void]]] = {}  # anomalies not told yet, by number of the lane
        self._odd_count = 0
        self._refused = 0  # connections for which there was no lane, since there were made more
        self._cut(LARGEST_PART)

    def __len__(self) -> int:
        """Connections on it."""
        return len(self._predicted)

    def _cut(self, part: int) -> None:
        """Make as many lanes as have room with `part` bytes each, in fresh memory; none is open."""
        count = ROOM // part
        self._part = part
        self._free = list(range(count))[::-1]
        self._lanes = np.zeros(count, dtype=LANE)
        self._sides = np.zeros((count, 2), dtype=SIDE)
        self._streams = np.empty((count, part), dtype=np.uint8)
        self._pieces = np.empty((count, FRONT_PIECES + part // PIECE_ROOM), dtype=PIECE)

    def open(self, predicted: Predicted) -> None:
        """Let a connection go the fast path, if there is room and it does not yet.

        All that was seen of it must have been handed on.
        """
        uid = predicted.watch.flow.uid
        if uid >= MOST_FLOWS or (uid < len(self._lane_of) and self._lane_of[uid] >= 0):
            return
        if not self._free:
            self._refused += 1
            return
        if uid >= len(self._lane_of):
            more = min(max(uid + 1, 1024), MOST_FLOWS - len(self._lane_of))
            self._lane_of = np.concatenate((self._lane_of, np.full(more, -1, dtype=np.int32)))
        self._enter(uid, predicted, predicted.sender.position, predicted.sender.expected)

    def _enter(self, uid: int, predicted: Predicted, position: int, expected: int | None) -> None:
        """Open a lane that is free."""
        assert expected is not None
        number = self._free.pop()
        lane = self._lanes[number]
        lane["uid"], lane["position"], lane["expected"] = uid, position, expected
        lane["size"] = lane["pieces"] = lane["acked"] = lane["packets"] = lane["left"] = 0
        lane["side"], lane["limit"] = predicted.side, self._first_limit(number)
        self._lane_of[uid] = number
        self._predicted[number] = predicted
        predicted.watch.move(self._sides[number])

    def _first_limit(self, number: int) -> int:
        """Bytes that a lane waits for at first: those that begin together shall not all be full together."""
        half = (self._part - FRONT) // 2
        return half + half * (number * 79 % 128) // 128

    def _leave(self, number: int) -> None:
        """Close a lane whose bytes were handed on."""
        self._lane_of[self._lanes["uid"][number]] = -1
        self._predicted.pop(number).watch.move(np.empty(2, dtype=SIDE))
        self._free.append(number)

    def take(
        self,
        batch: PacketBatch,
        uids: NDArray[np.int64],
        direction: NDArray[np.uint8],
        action: NDArray[np.uint8],
    ) -> Iterator[InOrder]:
        """Take those of the packets to deliver that are what was expected; their action is `TAKEN` then.

        Yields what there is no more room for, and that of which very much is odd.
        """
        begin = 0
        while self._predicted and begin < len(batch.rows):
            begin, full, odd = _take(
                begin,
                batch.rows,
                uids,
                direction,
                action,
                batch.data,
                batch.base,
                self._lane_of,
                self._lanes,
                self._sides,
                self._streams,
                self._pieces,
                self._told,
                self._whose,
            )
            if odd:
                self._keep_odd(odd)
            if self._odd_count > MOST_ODD:
                yield from map(self._handed_on, sorted(self._odd))
            if full >= 0:
                yield self._handed_on(full)
                self._lanes["limit"][full] = self._part - FRONT

    def _keep_odd(self, odd: int) -> None:
        self._odd_count += odd
        whose = self._whose[:odd]
        for number in np.unique(whose).tolist():
            self._odd.setdefault(number, []).append(self._told[:odd][whose == number])

    def flush(self) -> Iterator[InOrder]:
        """Yield all that lies here, and let go of the connections that did something else."""
        lanes = self._lanes
        busy = np.flatnonzero(lanes["packets"])
        for number in busy[np.argsort(lanes["uid"][busy])].tolist():
            yield self._handed_on(number)
            lanes["limit"][number] = self._first_limit(number)
        left = [n for n in self._predicted if lanes["left"][n]]
        for number in left:
            self._leave(number)
        if self._refused:
            for number in set(self._predicted).difference(busy.tolist()):
                self._leave(number)  # idle ones give way
        if left or self._refused:
            self._share_out()

    def _share_out(self) -> None:
        """Share the room out anew if there are more connections, or far fewer; nothing waits in any lane."""
        wanted, self._refused = len(self._predicted) + self._refused, 0
        part = ROOM // max(wanted + wanted // SPARE, 1) // PAGE * PAGE
        part = max(min(part, LARGEST_PART), SMALLEST_PART)
        scarce = wanted > len(self._lanes) and part < self._part
        if not (scarce or part >= 2 * self._part or not wanted):
            return
        lanes, predicted, self._predicted = self._lanes, self._predicted, {}
        self._cut(part)
        for number, each in predicted.items():
            uid, position, expected = lanes[["uid", "position", "expected"]][number].item()
            self._enter(uid, each, position, expected)

    def _handed_on(self, number: int) -> InOrder:
        """What lies in a lane, told to the reassembly and the watch; the lane is empty then."""
        lane, predicted = self._lanes[number], self._predicted[number]
        uid, position, size, _, count, acked = lane.item()[:6]
        pieces, memory = self._pieces[number, : FRONT_PIECES + count], self._streams[number, : FRONT + size]
        run = Run(position - size, memory[FRONT:], pieces[FRONT_PIECES:])
        lane["size"] = lane["pieces"] = lane["acked"] = lane["packets"] = 0
        sides, side = self._sides[number], predicted.side
        told = self._odd.pop(number, [])
        self._odd_count -= sum(map(len, told))
        predicted.watch.observed(told, side, run.pieces[acked:])
        predicted.sender.went_on(run)
        for each, stream in ((side, predicted.sender), (1 - side, predicted.receiver)):
            stream.last_frame, stream.last_ts = int(sides["last_frame"][each]), int(sides["last_ts"][each])
        return InOrder(uid, run, memory, pieces)
