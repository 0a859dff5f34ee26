"""TCP reassembly of one direction of a connection, a batch of segments at a time.

Rules of this file:

* where segments overlap, the bytes that arrived first are kept; bytes that differ are reported;
* a hole is declared only when nothing can fill it any more: at the end of the flow, or when more than
  `PENDING_LIMIT` bytes wait behind it. An ACK for bytes that were not captured proves nothing about
  the order of the capture file, and declares no hole;
* no byte is invented: a hole is a `Gap`, and so is the part of a segment that the snapshot length cut.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.streams.flows import copy_payloads, gather
from mmsforensics.streams.runs import PIECE, Conflict, Gap, Run

PENDING_LIMIT = 8 << 20
"""Bytes that may wait behind a hole; several times the largest window seen in the field."""

FIN = 1
SYN = 2
RST = 4

Item = Run | Gap | Conflict

SEGMENT = np.dtype(
    [
        ("offset", "i8"),
        ("ts", "i8"),
        ("frame", "i8"),
        ("start", "i8"),  # position of the bytes in the buffer that goes with the table
        ("length", "i8"),
        ("frame_offset", "u4"),
    ],
    align=True,
)


@njit(cache=True, nogil=True)
def _paint(segments, order, begin, end, data, base, out, owner):
    """Lay the segments ``order[begin:end]`` of one cluster into `out`, the first to arrive on top.

    `segments` is in order of arrival. Bytes before `base` are left out. `owner` says for each byte
    which segment it came from. Returns a table of (loser, first differing offset, count), winner last.
    """
    owner[:] = -1
    clashes = np.empty((0, 4), dtype=np.int64)
    arrival = np.sort(order[begin:end])
    for s in arrival:
        seg = segments[s]
        lost = np.int64(0)
        first = np.int64(-1)
        winner = np.int64(-1)
        for k in range(max(base - seg["offset"], 0), seg["length"]):
            at = seg["offset"] + k - base
            byte = data[seg["start"] + k]
            if owner[at] < 0:
                owner[at] = s
                out[at] = byte
            elif out[at] != byte:
                lost += 1
                if first < 0:
                    first = seg["offset"] + k
                    winner = owner[at]
        if lost:
            row = np.empty((1, 4), dtype=np.int64)
            row[0, 0], row[0, 1], row[0, 2], row[0, 3] = s, first, lost, winner
            clashes = np.concatenate((clashes, row))
    return clashes


class TcpReassembler:
    """Puts one direction of one connection in order."""

    __slots__ = (
        "_data",
        "_fin",
        "_limit",
        "_next",
        "_reference",
        "_seen_syn",
        "_waiting",
        "last_frame",
        "last_ts",
    )

    def __init__(self, pending_limit: int = PENDING_LIMIT) -> None:
        self._limit = pending_limit
        self._next = 0
        self._reference: int | None = None  # sequence number of stream offset `_next`
        self._seen_syn = False
        self._fin: int | None = None
        self._waiting = np.empty(0, dtype=SEGMENT)
        self._data = np.empty(0, dtype=np.uint8)
        self.last_frame = 0
        self.last_ts = 0

    @property
    def finished(self) -> bool:
        """Whether everything up to the FIN has been handed on."""
        return self._fin is not None and self._next >= self._fin

    @property
    def saw_start(self) -> bool:
        """Whether the SYN of this direction was captured."""
        return self._seen_syn

    def push(self, rows: NDArray[np.void], data: NDArray[np.uint8], start: NDArray[np.int64]) -> list[Item]:
        """Take segments in order of capture and return what is in order now.

        Parameters
        ----------
        rows : ndarray of PACKET
            Segments of this direction.
        data : ndarray of uint8
            Where the payloads lie.
        start : ndarray of int64, shape of `rows`
            Position of each payload in `data`.
        """
        if not len(rows):
            return []
        self.last_frame, self.last_ts = int(rows["frame"][-1]), int(rows["ts"][-1])
        if self._reference is None:
            self._begin(rows)
        offsets = self._offsets(rows)
        fins = np.flatnonzero(rows["flags"] & FIN)
        if len(fins):
            end = int(offsets[fins[0]] + rows["payload_wire"][fins[0]])
            self._fin = end if self._fin is None else max(self._fin, end)
        filled = rows["payload_len"] > 0
        filled &= (rows["flags"] & RST) == 0  # a reset's payload is a message for humans [RFC 9293 3.5.3]
        if not filled.all():
            rows, offsets, start = rows[filled], offsets[filled], start[filled]
        if not len(rows):
            return []
        return self._take(rows, offsets, data, start)

    def finish(self) -> list[Item]:
        """Hand on all that waits, with the holes before it, and the hole before the FIN."""
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
        segments = np.empty(len(rows), dtype=SEGMENT)
        segments["offset"] = offsets
        segments["length"] = length
        segments["ts"] = rows["ts"]
        segments["frame"] = rows["frame"]
        segments["frame_offset"] = rows["payload"]
        segments["start"] = start
        items: list[Item] = []
        if not len(self._waiting):
            expected = self._next + np.concatenate(([0], np.cumsum(length)[:-1]))
            wrong = np.flatnonzero(offsets != expected)
            in_order = int(wrong[0]) if len(wrong) else len(segments)
            if in_order:
                items.append(self._run_of(segments[:in_order], data))
                segments = segments[in_order:]
        if len(segments):
            items += self._disordered(segments, data)
        return items

    def _run_of(self, segments: NDArray[np.void], data: NDArray[np.uint8]) -> Run:
        """Hand on segments that follow each other exactly."""
        out = np.empty(int(segments["length"].sum()), dtype=np.uint8)
        gather(data, segments["start"], segments["length"], out)
        run = Run(self._next, out, _pieces(segments))
        self._advance(self._next + len(out))
        return run

    def _disordered(self, segments: NDArray[np.void], data: NDArray[np.uint8]) -> list[Item]:
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
        clashes = _paint(self._waiting, order, begin, end, self._data, base, out, owner)
        items: list[Item] = [
            Conflict(
                int(first),
                int(count),
                int(self._waiting["frame"][winner]),
                int(self._waiting["frame"][loser]),
                int(self._waiting["ts"][loser]),
            )
            for loser, first, count, winner in clashes
        ]
        items.append(Run(base, out, self._owned(owner, base)))
        self._advance(base + size)
        return items

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


def _pieces(segments: NDArray[np.void]) -> NDArray[np.void]:
    pieces = np.empty(len(segments), dtype=PIECE)
    for name in ("offset", "ts", "frame", "frame_offset", "length"):
        pieces[name] = segments[name]
    return pieces
