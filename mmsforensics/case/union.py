"""What the copies of one content hold together, packet by packet, and where they disagree.

Rules of this file:

* copies are gone through by windows of LocationIds, so that memory holds the rows of one window, and of the
  bytes 32 MiB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mmsforensics.case.copies import Copy, comparable, packets_of
from mmsforensics.case.spool import SPOOL_ROWS, Spool
from mmsforensics.sessions.merging import (
    HELD,
    Ballot,
    first_difference,
    held_packets,
    once_each,
    unsent_behind,
    vote,
)

BUCKET_BITS = 12
"""LocationIds are counted by buckets of 4096, of which windows are made."""

WINDOW_ROWS = 1 << 16
"""Rows of all copies in a window, unless one bucket alone holds more."""

BYTES_AT_ONCE = 32 << 20
"""Bytes of packets compared or copied at once."""

MOST_LEFT_OUT = 1 << 24
"""LocationIds that are further apart are not a hole: the number was set anew."""

SELECTED = np.dtype([("row", "i8"), ("copy", "u4"), ("held", "u4")])
"""A packet of the merged medium: where it is taken from, and how many copies hold it."""

VOTE = np.dtype(
    [
        ("packet", "i8"),  # running number of the disputed packet
        ("location", "u4"),
        ("copy", "u4"),
        ("version", "u4"),
        ("first_difference", "i4"),  # from the version kept; -1: it is that
        ("sha256", "u1", (32,)),
    ]
)
"""One copy's word on a disputed packet."""


@dataclass(slots=True)
class Union:
    """What was found in the copies of one content."""

    copies: Sequence[Copy]
    packets: int = 0
    missing: int = 0
    """Packets between the first and the last that no copy holds and no copy shows to be unsent."""
    left_out: bool = False
    """Whether the server left packets out that it did not miss."""
    disputed: int = 0
    first: int = -1
    last: int = -1
    each: NDArray[np.int64] = field(init=False)
    """Packets that each copy holds."""
    edge: NDArray[np.void] = field(default_factory=lambda: np.empty(0, dtype=HELD))
    """The rows of the last packet so far."""

    def __post_init__(self) -> None:
        self.each = np.zeros(len(self.copies), dtype=np.int64)


def unite(copies: Sequence[Copy], selected: Spool, votes: Spool) -> Union:
    """Choose each packet that a copy holds, as rows of SELECTED, and note disputed ones as rows of VOTE."""
    union = Union(copies)
    for window in _windows(copies):
        held, starts = once_each(window)
        union.each += np.bincount(held["copy"], minlength=len(copies))
        _count_holes(union, held, starts)
        for first, last in _chunks(starts, copies[0].packet_size):
            part = held[starts[first] : starts[last]]
            ballot = _ballot(copies, part, starts[first : last + 1] - starts[first])
            rows = np.empty(last - first, dtype=SELECTED)
            rows["row"], rows["copy"] = part["row"][ballot.chosen], part["copy"][ballot.chosen]
            rows["held"] = np.diff(ballot.starts)
            selected.append(rows)
            for packet in ballot.disputed.tolist():
                votes.append(_votes(union, part, ballot, packet))
        union.packets += len(starts) - 1
    return union


def _windows(copies: Sequence[Copy]) -> Iterator[NDArray[np.void]]:
    """The rows of all copies, window by window of LocationIds, in that order."""
    counts = np.zeros(1 << (32 - BUCKET_BITS), dtype=np.int64)
    blocks: list[tuple[int, int, int, int]] = []  # copy, first row, lowest and highest LocationId
    for number, copy in enumerate(copies):
        for i, rows in enumerate(copy.kept.packets.batches()):
            location = rows["location"]
            blocks.append((number, i * SPOOL_ROWS, int(location.min()), int(location.max())))
            bucket, count = np.unique(location >> BUCKET_BITS, return_counts=True)
            counts[bucket] += count
    filled = np.flatnonzero(counts)
    total = np.cumsum(counts[filled])
    at = 0
    while at < len(filled):
        before = int(total[at - 1]) if at else 0
        end = max(int(np.searchsorted(total, before + WINDOW_ROWS, side="right")), at + 1)
        low = int(filled[at]) << BUCKET_BITS
        high = (int(filled[end - 1]) + 1) << BUCKET_BITS
        yield np.concatenate(
            [
                _within(copies[c], c, begin, low, high)
                for c, begin, lo, hi in blocks
                if lo < high and hi >= low
            ]
        )
        at = end


def _within(copy: Copy, number: int, begin: int, low: int, high: int) -> NDArray[np.void]:
    rows = np.array(copy.kept.packets.rows()[begin : begin + SPOOL_ROWS])
    held = held_packets(rows, begin, number)
    return held[(held["location"] >= low) & (held["location"] < high)]


def _chunks(starts: NDArray[np.int64], packet_size: int) -> Iterator[tuple[int, int]]:
    """Packets first to last, exclusive, of which all versions can be held at once."""
    at, most = 0, max(BYTES_AT_ONCE // packet_size, 1)
    while at < len(starts) - 1:
        end = max(int(np.searchsorted(starts, starts[at] + most, side="right")) - 1, at + 1)
        yield at, end
        at = end


def _ballot(copies: Sequence[Copy], held: NDArray[np.void], starts: NDArray[np.int64]) -> Ballot:
    """Vote on packets; those that one copy alone holds are not read."""
    size = copies[0].packet_size
    data = np.zeros((len(held), size), dtype=np.uint8)
    several = np.repeat(np.diff(starts) > 1, np.diff(starts))
    data[several] = comparable(copies, held[several], size)
    return vote(held, starts, data)


def _count_holes(union: Union, held: NDArray[np.void], starts: NDArray[np.int64]) -> None:
    edge = union.edge
    if len(edge):
        held = np.concatenate([edge, held])
        starts = np.concatenate(([0], starts + len(edge)))
    location = held["location"][starts[:-1]].astype(np.int64)
    gaps = np.diff(location) - 1
    holes = (gaps > 0) & (gaps < MOST_LEFT_OUT)
    unsent = unsent_behind(held, starts)[:-1]
    union.missing += int(gaps[holes & ~unsent].sum())
    union.left_out |= bool((holes & unsent).any())
    union.edge = held[starts[-2] :].copy()
    union.first = int(location[0]) if union.first < 0 else union.first
    union.last = int(location[-1])


def _votes(union: Union, held: NDArray[np.void], ballot: Ballot, packet: int) -> NDArray[np.void]:
    rows = held[ballot.starts[packet] : ballot.starts[packet + 1]]
    version = ballot.version[ballot.starts[packet] : ballot.starts[packet + 1]]
    size = union.copies[0].packet_size
    data, raw = comparable(union.copies, rows, size), packets_of(union.copies, rows, size)
    kept = data[ballot.chosen[packet] - ballot.starts[packet]]
    out = np.zeros(len(rows), dtype=VOTE)
    out["packet"], out["location"] = union.disputed, rows["location"]
    out["copy"], out["version"] = rows["copy"], version
    for i in range(len(rows)):
        out["first_difference"][i] = first_difference(data[i], kept)
        out["sha256"][i] = np.frombuffer(hashlib.sha256(raw[i]).digest(), dtype=np.uint8)
    union.disputed += 1
    return out
