"""Frames that two captures hold of the same packet, told by what they carry.

Two frames are the same packet when transport header fields and payload agree to the last byte; link layer
and time to live are other at another place, and time stamps are those of another clock. The n-th such
frame of one capture is matched with the n-th of another: a packet really sent twice stays two.

Rules of this file:

* what is compared is a 64-bit hash over all of it;
* the table is bounded: of each bucket the entry longest unused gives way, so that captures whose clocks
  are far apart are still matched if no more than some hundred thousand frames lie between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.evidence import compiled
from mmsforensics.evidence.compiled import Bytes, Int, Row, fingerprint, le32
from mmsforensics.packets import table
from mmsforensics.packets.table import NO_TIME, PacketBatch, Status

WAYS: Final = 8
BUCKETS: Final = 1 << 17
"""A million frames, 40 MB; set aside only where there are several captures."""

SAMPLES: Final = 4096
"""Differences of time kept of two captures, whose median is their clocks' difference."""

DECODED: Final = int(Status.DECODED)
FRAGMENT: Final = int(Status.FRAGMENT)

ENTRY = np.dtype(
    [
        ("hash", "u8"),
        ("ts", "i8"),
        ("used", "i8"),  # number of the last frame that made or matched it; 0: free
        ("matched", "u8"),  # captures that have matched it, a bit each (modulo 64)
        ("capture", "u8"),
    ],
    align=True,
)

_SOURCES: Final = fingerprint((compiled, table))


@njit(nogil=True)
def _mixed(h: Int, part: Int) -> Int:
    h = (h ^ part) * np.uint64(0xFF51AFD7ED558CCD)
    return h ^ (h >> np.uint64(29))


@njit(nogil=True)
def _hash(row: Row, data: Bytes, start: Int) -> Int:
    """Hash what a frame carries; `start` is where its payload begins in `data`."""
    h = np.uint64(0x9E3779B97F4A7C15)
    for part in (row.src_hi, row.src_lo, row.dst_hi, row.dst_lo):
        h = _mixed(h, np.uint64(part))
    ports = (np.uint64(row.src_port) << np.uint64(16)) | np.uint64(row.dst_port)
    h = _mixed(h, ports | (np.uint64(row.proto) << np.uint64(32)) | (np.uint64(row.flags) << np.uint64(40)))
    h = _mixed(h, np.uint64(row.seq) | (np.uint64(row.ack) << np.uint64(32)))
    length = np.int64(row.payload_len)
    h = _mixed(h, np.uint64(length) | (np.uint64(row.window) << np.uint64(32)))
    whole = length - length % 8
    for k in range(0, whole, 8):
        low, high = le32(data, start + k), le32(data, start + k + 4)
        h = _mixed(h, np.uint64(low) | (np.uint64(high) << np.uint64(32)))
    tail = np.uint64(0)
    for k in range(whole, length):
        tail = (tail << np.uint64(8)) | np.uint64(data[start + k])
    return _mixed(h, tail)


@njit(nogil=True)
def _find(entries: Row, bucket: Int, h: Int, capture: Int) -> Int:
    """Index of an entry of another capture that this one has not matched yet, or -1."""
    bit = np.uint64(1) << np.uint64(capture & 63)
    for k in range(bucket, bucket + WAYS):
        entry = entries[k]
        if entry.used and entry.hash == h and entry.capture != capture and not entry.matched & bit:
            return k
    return -1


@njit(nogil=True)
def _oldest(entries: Row, bucket: Int) -> Int:
    best = bucket
    for k in range(bucket, bucket + WAYS):
        if entries[k].used < entries[best].used:
            best = k
    return best


def _entry(sources: int) -> Any:  # noqa: ANN401
    @njit(cache=True, nogil=True)
    def mark(
        rows: NDArray[np.void],
        captures: NDArray[np.uint16],
        data: Bytes,
        base: Int,
        entries: NDArray[np.void],
        duplicate: NDArray[np.bool_],
        other: NDArray[np.uint16],
        apart: NDArray[np.int64],
    ) -> None:
        """Mark the rows whose packet another capture gave before, with that capture and time difference."""
        _ = sources
        for i in range(len(rows)):
            row = rows[i]
            duplicate[i] = False
            if row.status != DECODED and row.status != FRAGMENT:
                continue
            h = _hash(row, data, np.int64(row.offset) - base + np.int64(row.payload))
            bucket = np.int64(h % np.uint64(BUCKETS)) * WAYS
            capture = np.int64(captures[i])
            k = _find(entries, bucket, h, capture)
            if k >= 0:
                entry = entries[k]
                duplicate[i] = True
                other[i] = entry.capture
                apart[i] = row.ts - entry.ts
                if row.ts == NO_TIME or entry.ts == NO_TIME:
                    apart[i] = NO_TIME
                entry.matched |= np.uint64(1) << np.uint64(capture & 63)
            else:
                entry = entries[_oldest(entries, bucket)]
                entry.hash, entry.ts, entry.capture, entry.matched = h, row.ts, capture, np.uint64(0)
            entry.used = row.frame

    return mark


_mark = _entry(_SOURCES)


@dataclass(frozen=True, slots=True)
class ClockDifference:
    """How far apart two captures' clocks are."""

    other: int
    """The capture it was compared with, which gave the frames first."""
    frames: int
    """Frames that both hold, as far as they were kept for this."""
    median: int
    """Time here less time there, ns."""
    least: int
    most: int


class Duplicates:
    """Finds frames that more than one capture holds."""

    def __init__(self) -> None:
        self._entries = np.zeros(BUCKETS * WAYS, dtype=ENTRY)
        self._counts: dict[int, int] = {}
        self._apart: dict[tuple[int, int], list[int]] = {}

    def drop(self, batch: PacketBatch, captures: NDArray[np.uint16]) -> PacketBatch:
        """Return the batch without the frames whose packet another capture has given before.

        Parameters
        ----------
        batch : PacketBatch
        captures : ndarray of uint16
            Capture of each row.
        """
        n = len(batch.rows)
        duplicate = np.empty(n, dtype=np.bool_)
        other, apart = np.empty(n, dtype=np.uint16), np.empty(n, dtype=np.int64)
        _mark(batch.rows, captures, batch.data, batch.base, self._entries, duplicate, other, apart)
        if not duplicate.any():
            return batch
        for here in np.unique(captures[duplicate]).tolist():
            mine = duplicate & (captures == here)
            self._counts[here] = self._counts.get(here, 0) + int(np.count_nonzero(mine))
            for there in np.unique(other[mine]).tolist():
                kept = self._apart.setdefault((here, there), [])
                known = apart[mine & (other == there) & (apart != NO_TIME)]
                kept += known[: SAMPLES - len(kept)].tolist()
        return PacketBatch(batch.rows[~duplicate], batch.data, batch.base)

    def count(self, capture: int) -> int:
        """Frames of a capture that were left out because another one had given them."""
        return self._counts.get(capture, 0)

    def clocks(self, capture: int) -> list[ClockDifference]:
        """How far the clock of a capture is from those of others, as far as they hold the same frames."""
        return [
            ClockDifference(there, len(kept), int(np.median(kept)), min(kept), max(kept))
            for (here, there), kept in sorted(self._apart.items())
            if here == capture and kept
        ]
