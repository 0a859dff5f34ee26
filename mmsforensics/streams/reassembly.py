"""TCP reassembly of one direction of a connection, a batch of segments at a time.

Rules of this file:

* where segments overlap, a `Policy` says whose bytes are kept; bytes that differ are reported with both
  versions, also those of a segment that repeats what was handed on before;
* a segment whose checksum is wrong is set aside, as its receiver did, and used only where no other
  segment has its bytes;
* a hole is declared only when nothing can fill it any more: at the end of the flow, or when more than
  `PENDING_LIMIT` bytes wait behind it. An ACK for bytes that were not captured proves nothing about
  the order of the capture file, and declares no hole;
* what a receiver is known to have refused, because it lay outside of its window, is no part of the stream;
* no byte is invented: a hole is a `Gap`, and so is the part of a segment that the snapshot length cut.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mmsforensics.streams.keeping import copied, copy_payloads, gather
from mmsforensics.streams.overlap import SEGMENT, Policy, paint
from mmsforensics.streams.runs import PIECE, Conflict, Gap, Run, locate

PENDING_LIMIT = 8 << 20
"""Bytes that may wait behind a hole; several times the largest window seen in the field."""

FIN = 1
SYN = 2
RST = 4

DISORDER_AT_START = 1 << 20
"""Bytes before the first segment captured at which a stream without its SYN may begin nevertheless: what was
overtaken lies within a window."""

MAX_FINS = 8
"""Ends of a stream that are remembered where FINs contradict each other; a host sends one."""

Item = Run | Gap | Conflict

HISTORY = 64 << 10
"""Bytes handed on that are kept of a direction to be compared with what is sent again: what a sender repeats
lies within the window, 64 KiB at most without window scaling."""


class TcpReassembler:
    """Puts one direction of one connection in order."""

    __slots__ = (
        "_data",
        "_doubtful",
        "_fin",
        "_fin_seen",
        "_fins",
        "_history",
        "_history_size",
        "_limit",
        "_next",
        "_policy",
        "_reference",
        "_seen_syn",
        "_waiting",
        "last_frame",
        "last_ts",
    )

    def __init__(self, pending_limit: int = PENDING_LIMIT, policy: Policy = Policy.FIRST) -> None:
        self._limit = pending_limit
        self._policy = policy
        self._next = 0
        self._reference: int | None = None  # sequence number of stream offset `_next`
        self._seen_syn = False
        self._fin: int | None = None
        self._fin_seen = (0, 0)  # frame and time stamp of the first FIN
        self._fins: set[int] = set()  # where FINs say that the stream ends, if not all say the same
        self._waiting = np.empty(0, dtype=SEGMENT)
        self._data = np.empty(0, dtype=np.uint8)
        self._doubtful: list[tuple[NDArray[np.void], NDArray[np.uint8]]] = []  # segments and their bytes
        self._history: deque[Run] = deque()
        self._history_size = 0
        self.last_frame = 0
        self.last_ts = 0

    @property
    def finished(self) -> bool:
        """Whether everything up to the FIN has been handed on."""
        return self._fin is not None and self._next >= self._fin

    @property
    def ending(self) -> tuple[int, int]:
        """Frame and time stamp of the FIN if the stream is finished, of the last packet if it is not."""
        return self._fin_seen if self.finished else (self.last_frame, self.last_ts)

    @property
    def saw_start(self) -> bool:
        """Whether the SYN of this direction was captured."""
        return self._seen_syn

    @property
    def origin(self) -> int | None:
        """Sequence number of stream offset 0; None before the first segment."""
        if self._reference is None:
            return None
        return (self._reference - self._next) & 0xFFFFFFFF

    @property
    def expected(self) -> int | None:
        """Sequence number of the next byte; None while segments wait, before the first, or behind a FIN."""
        if self._fin is not None or len(self._waiting) or self._in_doubt():
            return None
        return self._reference

    @property
    def position(self) -> int:
        """Stream offset of the next byte."""
        return self._next

    def went_on(self, run: Run) -> None:
        """Take note of bytes in order that were put together elsewhere, in memory that is used again."""
        if not len(run.data):
            return
        self._advance(run.offset + len(run.data))
        if len(run.data) <= HISTORY:
            run = Run(run.offset, copied(run.data), run.pieces.copy())
        self._remember(run)

    def push(
        self,
        rows: NDArray[np.void],
        data: NDArray[np.uint8],
        start: NDArray[np.int64],
        doubtful: NDArray[np.bool_] | None = None,
    ) -> list[Item]:
        """Take segments in order of capture and return what is in order now.

        Parameters
        ----------
        rows : ndarray of PACKET
            Segments of this direction.
        data : ndarray of uint8
            Where the payloads lie.
        start : ndarray of int64, shape of `rows`
            Position of each payload in `data`.
        doubtful : ndarray of bool, shape of `rows`, optional
            Segments whose checksum is wrong; none if left out.
        """
        if not len(rows):
            return []
        self.last_frame, self.last_ts = int(rows["frame"][-1]), int(rows["ts"][-1])
        if self._reference is None:
            self._begin(rows)
        flags = rows["flags"]
        fins = (flags & FIN) > 0
        self._note_fins(rows[fins if doubtful is None else fins & ~doubtful])
        filled = rows["payload_len"] > 0
        filled &= (flags & RST) == 0  # a reset's payload is a message for humans [RFC 9293 3.5.3]
        if doubtful is not None and doubtful.any():
            self._set_aside(rows, self._offsets(rows), data, start, filled & doubtful)
            filled &= ~doubtful
        if not filled.any():
            return []
        if not filled.all():
            rows, start = rows[filled], start[filled]
        return self._take(rows, self._offsets(rows), data, start)

    def _note_fins(self, rows: NDArray[np.void]) -> None:
        if not len(rows):
            return
        if self._fin is None:
            self._fin_seen = int(rows["frame"][0]), int(rows["ts"][0])
        ends = self._offsets(rows) + rows["payload_wire"].astype(np.int64)
        self._fins.update(ends[:MAX_FINS].tolist())
        self._fins = set(sorted(self._fins)[-MAX_FINS:])
        self._fin = max(self._fins)

    def _refuse(self, accepted: int) -> None:
        """Let go of what waits beyond what the receiver accepted."""
        self._retain(np.flatnonzero(self._waiting["offset"] <= accepted))
        self._fin = max((f for f in self._fins if f <= max(accepted, self._next)), default=None)

    def finish(self, accepted: int | None = None) -> list[Item]:
        """Hand on all that waits, with the holes before it, and the hole before the FIN.

        Parameters
        ----------
        accepted : int, optional
            Stream offset beyond which the receiver refused what it got (`FlowWatch.accepted`): nothing of it
            is handed on.
        """
        self._take_back()
        if accepted is not None:
            self._refuse(accepted)
        items = self._drain(0)
        if self._fin is not None and self._fin > self._next:
            items.append(Gap(self._next, self._fin - self._next, self.last_frame, self.last_ts))
            self._advance(self._fin)
        return items

    def _begin(self, rows: NDArray[np.void]) -> None:
        """Choose the sequence number of stream offset 0."""
        syns = np.flatnonzero(rows["flags"] & SYN)
        if len(syns):
            self._seen_syn = True
            self._reference = (int(rows["seq"][syns[0]]) + 1) & 0xFFFFFFFF
            return
        filled = np.flatnonzero((rows["payload_len"] > 0) & ((rows["flags"] & RST) == 0))
        chosen = rows["seq"][filled] if len(filled) else rows["seq"][:1]
        ahead = (chosen - chosen[0]).astype(np.uint32).view(np.int32)
        ahead[ahead < -DISORDER_AT_START] = 0  # no part of what was being sent
        self._reference = int(chosen[int(np.argmin(ahead))])

    def _offsets(self, rows: NDArray[np.void]) -> NDArray[np.int64]:
        """Stream offsets of segments: serial arithmetic modulo 2^32 around the next offset [RFC 1982]."""
        assert self._reference is not None
        seq = rows["seq"] + ((rows["flags"] & SYN) > 0).astype(np.uint32)
        distance = (seq - np.uint32(self._reference)).astype(np.uint32).view(np.int32)
        return distance.astype(np.int64) + self._next

    def _advance(self, offset: int) -> None:
        assert self._reference is not None
        self._reference = (self._reference + offset - self._next) & 0xFFFFFFFF
        self._next = offset

    def _take(
        self,
        rows: NDArray[np.void],
        offsets: NDArray[np.int64],
        data: NDArray[np.uint8],
        start: NDArray[np.int64],
    ) -> list[Item]:
        length = rows["payload_len"].astype(np.int64)
        items: list[Item] = []
        if not len(self._waiting):
            wrong = np.flatnonzero(offsets != self._next + np.cumsum(length) - length)
            n = int(wrong[0]) if len(wrong) else len(rows)
            if n:
                items.append(self._run_of(rows[:n], offsets[:n], length[:n], data, start[:n]))
            rows, offsets, start = rows[n:], offsets[n:], start[n:]
        if len(rows):
            items += self._disordered(_segments(rows, offsets, start), data)
        return items

    def _run_of(
        self,
        rows: NDArray[np.void],
        offsets: NDArray[np.int64],
        length: NDArray[np.int64],
        data: NDArray[np.uint8],
        start: NDArray[np.int64],
    ) -> Run:
        """Hand on segments that follow each other exactly."""
        out = np.empty(int(length.sum()), dtype=np.uint8)
        gather(data, start, length, out)
        pieces = np.empty(len(rows), dtype=PIECE)
        pieces["offset"], pieces["length"] = offsets, length
        pieces["ts"], pieces["frame"], pieces["frame_offset"] = rows["ts"], rows["frame"], rows["payload"]
        run = Run(self._next, out, pieces)
        self._advance(self._next + len(out))
        self._remember(run)
        return run

    def _remember(self, run: Run) -> None:
        """Keep what was handed on, as far back as it may be sent again."""
        if len(run.data) > HISTORY:
            at = run.offset + len(run.data) - HISTORY
            first = bisect_right(run.pieces["offset"], at) - 1
            run = Run(at, copied(run.data[-HISTORY:]), run.pieces[first:].copy())
        self._history.append(run)
        self._history_size += len(run.data)
        while self._history_size - len(self._history[0].data) >= HISTORY:
            self._history_size -= len(self._history.popleft().data)

    def _set_aside(
        self,
        rows: NDArray[np.void],
        offsets: NDArray[np.int64],
        data: NDArray[np.uint8],
        start: NDArray[np.int64],
        which: NDArray[np.bool_],
    ) -> None:
        """Keep segments whose checksum is wrong, for the case that no other has their bytes."""
        self._doubtful = self._in_doubt()
        if not which.any():
            return
        segments = _segments(rows[which], offsets[which], start[which])
        segments["doubtful"] = 1
        copy, segments["start"] = copy_payloads(data, segments["start"], segments["length"])
        self._doubtful.append((segments, copy))

    def _in_doubt(self) -> list[tuple[NDArray[np.void], NDArray[np.uint8]]]:
        """What was set aside and may still be needed: other segments do not have all of its bytes yet."""
        return [d for d in self._doubtful if int((d[0]["offset"] + d[0]["length"]).max()) > self._next]

    def _take_back(self) -> None:
        """Let segments that were set aside wait with the others."""
        for segments, data in self._doubtful:
            segments["start"] += len(self._data)
            self._waiting = np.concatenate((self._waiting, segments))
            self._data = np.concatenate((self._data, data))
        self._doubtful.clear()

    def _disordered(self, segments: NDArray[np.void], data: NDArray[np.uint8]) -> list[Item]:
        again = np.flatnonzero(segments["offset"] < self._next)
        conflicts = [c for i in again for c in self._compared(segments[i], data)]
        return [*conflicts, *self._disordered_in_turn(segments, data)]

    def _compared(self, segment: np.void, data: NDArray[np.uint8]) -> list[Conflict]:
        """Hold a segment against what was handed on before it."""
        found = []
        offset = int(segment["offset"])
        for run in self._history:
            low = max(offset, run.offset)
            high = min(offset + int(segment["length"]), run.offset + len(run.data))
            if low >= high:
                continue
            at = int(segment["start"]) + low - offset
            kept, other = run.data[low - run.offset : high - run.offset], data[at : at + high - low]
            differing = np.flatnonzero(kept != other)
            if len(differing):
                first = low + int(differing[0])
                found.append(
                    Conflict(
                        offset=first,
                        length=len(differing),
                        kept_frame=locate(run.pieces, first)[0],
                        frame=int(segment["frame"]),
                        ts=int(segment["ts"]),
                        start=low,
                        kept=kept.tobytes(),
                        other=other.tobytes(),
                    )
                )
        return found

    def _disordered_in_turn(self, segments: NDArray[np.void], data: NDArray[np.uint8]) -> list[Item]:
        fresh, start = copy_payloads(data, segments["start"], segments["length"])
        segments = segments.copy()
        segments["start"] = start + len(self._data)
        self._waiting = np.concatenate((self._waiting, segments))
        self._data = np.concatenate((self._data, fresh))
        return self._drain(self._limit)

    def _drain(self, limit: int) -> list[Item]:
        """Hand on what is in order, and declare holes while more than `limit` bytes wait behind them."""
        items: list[Item] = []
        if not len(self._waiting):
            return items
        if self._doubtful and int(self._waiting["length"].sum()) > limit:
            self._take_back()  # before a hole is declared
        order, cuts = self._clusters()
        waiting = int(self._waiting["length"].sum())
        done = 0
        for begin, end in pairwise(cuts):
            members = self._waiting[order[begin:end]]
            if int((members["offset"] + members["length"]).max()) > self._next:
                first = int(members["offset"][0])
                if first > self._next:
                    if waiting <= limit:
                        break
                    items.append(
                        Gap(self._next, first - self._next, int(members["frame"][0]), int(members["ts"][0]))
                    )
                    self._advance(first)
                items += self._lay(order, int(begin), int(end))
            waiting -= int(members["length"].sum())
            done = int(end)
        self._retain(np.sort(order[done:]))
        return items

    def _clusters(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Waiting segments in order of offset, cut where one does not touch what stands before it."""
        order = np.argsort(self._waiting["offset"], kind="stable")
        offset = self._waiting["offset"][order]
        reach = np.maximum.accumulate(offset + self._waiting["length"][order])
        # What lies before the next offset is one cluster with what begins there.
        reach = np.maximum(reach, self._next)
        cuts = np.flatnonzero(offset[1:] > reach[:-1]) + 1
        return order, np.concatenate(([0], cuts, [len(order)]))

    def _lay(self, order: NDArray[np.int64], begin: int, end: int) -> list[Item]:
        members = self._waiting[order[begin:end]]
        base = self._next
        size = int((members["offset"] + members["length"]).max()) - base
        out = np.empty(size, dtype=np.uint8)
        owner = np.empty(size, dtype=np.int64)
        clashes = paint(self._waiting, order, begin, end, self._data, base, int(self._policy), out, owner)
        items: list[Item] = [self._conflict(c) for c in clashes if not self._waiting["doubtful"][c["loser"]]]
        run = Run(base, out, self._owned(owner, base))
        items.append(run)
        self._advance(base + size)
        self._remember(run)
        return items

    def _conflict(self, clash: np.void) -> Conflict:
        """Two waiting segments that differ, with the bytes of both where they differ."""
        loser, winner = self._waiting[clash["loser"]], self._waiting[clash["winner"]]
        first, last = int(clash["first"]), int(clash["last"])
        kept, other = (
            self._data[at : at + last + 1 - first].tobytes()
            for at in (int(s["start"]) + first - int(s["offset"]) for s in (winner, loser))
        )
        return Conflict(
            offset=first,
            length=int(clash["count"]),
            kept_frame=int(winner["frame"]),
            frame=int(loser["frame"]),
            ts=int(loser["ts"]),
            start=first,
            kept=kept,
            other=other,
        )

    def _owned(self, owner: NDArray[np.int64], base: int) -> NDArray[np.void]:
        cuts = np.concatenate(([0], np.flatnonzero(np.diff(owner)) + 1))
        source = self._waiting[owner[cuts]]
        pieces = np.empty(len(cuts), dtype=PIECE)
        pieces["offset"] = base + cuts
        pieces["length"] = np.diff(np.concatenate((cuts, [len(owner)])))
        pieces["ts"], pieces["frame"] = source["ts"], source["frame"]
        pieces["frame_offset"] = source["frame_offset"] + (pieces["offset"] - source["offset"])
        return pieces

    def _retain(self, indices: NDArray[np.int64]) -> None:
        segments = self._waiting[indices]
        self._data, start = copy_payloads(self._data, segments["start"], segments["length"])
        segments["start"] = start
        self._waiting = segments


def _segments(
    rows: NDArray[np.void], offsets: NDArray[np.int64], start: NDArray[np.int64]
) -> NDArray[np.void]:
    segments = np.zeros(len(rows), dtype=SEGMENT)
    segments["offset"] = offsets
    segments["length"] = rows["payload_len"]
    segments["ts"] = rows["ts"]
    segments["frame"] = rows["frame"]
    segments["frame_offset"] = rows["payload"]
    segments["start"] = start
    return segments
