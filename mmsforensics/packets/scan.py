"""From an evidence file to batches of packet rows, window by window, hashed in the same reading.

Rules of this file:

* the hash is of the whole file, what stands behind damage included;
* a window's pages are given back when its batches were used, which is some windows later for one who reads
  ahead;
* hashing begins before compiled code is loaded, and goes ahead: what it could read the walk may touch;
* damage ends the walk and becomes a `Problem`; it never raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.evidence.files import Evidence
from mmsforensics.evidence.hashing import BackgroundHash
from mmsforensics.evidence.problem import UNKNOWN_OFFSET, Problem
from mmsforensics.packets.table import NO_TIME, PACKET, PacketBatch, Status

if TYPE_CHECKING:
    from mmsforensics.packets.walks import Walk

WINDOW: Final = 8 << 20
"""Bytes between two releases of memory: large enough that the calls cost nothing."""

LAG: Final = 2
"""Windows whose batches may still be in use when the next one is begun."""

MARGIN: Final = 1 << 20
"""Bytes behind a window that its last record may reach into."""

CAPACITY: Final = 131_072
"""Rows of a batch at most."""

FIRST_GUESS: Final = 128
"""Bytes a record is taken for before any was seen; the number of rows set aside follows the capture."""

LEAST_ROWS: Final = 1024
"""Rows set aside at least."""


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """What a scan saw."""

    packets: int
    """Frames walked."""
    first_ts: int | None
    """Earliest time stamp, ns since 1970-01-01 UTC; None if no frame has one."""
    last_ts: int | None
    """Latest time stamp, ns."""
    link_types: tuple[int, ...]
    """Link types (DLT) that the file declares, in order of appearance, each once."""
    truncated: bool
    """Some of the capture could not be read: it is cut, or damaged in some place."""
    problems: tuple[Problem, ...]
    """What is wrong with the file."""
    notes: tuple[str, ...]
    """What the file says of itself."""
    decoded: int
    """Frames of each `Status`."""
    other: int
    malformed: int
    fragments: int
    blocks_skipped: int
    """Blocks of a pcapng file that hold no packet and no interface."""
    sha256: str | None
    """Of the whole file; None before the scan is through or without hashing."""


class CaptureScan:
    """The scan of one evidence file; iterate once, then ask for the summary.

    Parameters
    ----------
    evidence : Evidence
        An opened file; its `sha256` is set when the scan is through.
    window : int
        Bytes between two releases of memory.
    capacity : int
        Rows of a batch at most.
    progress : callable, optional
        Called with the number of bytes gone through since its last call; they sum up to the file's size.
    hashing : bool
        Whether to hash the file beside.
    """

    def __init__(
        self,
        evidence: Evidence,
        *,
        window: int = WINDOW,
        capacity: int = CAPACITY,
        progress: Callable[[int], None] | None = None,
        hashing: bool = True,
    ) -> None:
        self._evidence = evidence
        self._window = window
        self._capacity = capacity
        self._progress = progress
        self._hashing = hashing
        self._packets = 0
        self._first: int | None = None
        self._last: int | None = None
        self._counts = np.zeros(len(Status), np.int64)
        self._walk: Walk | None = None
        self._hash: BackgroundHash | None = None
        self._problems = list(evidence.problems)
        self._truncated = bool(evidence.problems) and evidence.format not in ("empty", "unknown")
        self._begun = False

    def start(self) -> None:
        """Begin to hash, on a thread; the loading of compiled code may then go on beside it.

        Iterating does this by itself.
        """
        if self._hashing and self._hash is None:
            self._hash = BackgroundHash(self._evidence)

    def close(self) -> None:
        """End the hashing of a scan that is not gone through."""
        if self._hash is not None:
            self._hash.stop()

    def __iter__(self) -> Iterator[PacketBatch]:
        """Go through the file; a batch's data may be released when the next one is asked for."""
        if self._begun:
            raise RuntimeError("a scan can be gone through once")
        self._begun = True
        evidence = self._evidence
        self.start()
        try:
            self._begin()
            pos, alive = 0, self._walk is not None
            rows_per_byte = 1 / FIRST_GUESS
            size = len(evidence.data)
            for start in range(0, size, self._window):
                stop = min(start + self._window, size)
                self._confirm(stop)
                evidence.content.bring(start, min(stop, len(evidence.data)))
                while alive and pos < stop:
                    batch, after, alive = self._step(pos, stop, rows_per_byte)
                    if batch is not None:
                        rows_per_byte = len(batch.rows) / (after - pos)
                        yield batch
                    pos = after
                evidence.content.release(start - LAG * self._window, stop - LAG * self._window)
                if self._hash is not None:
                    self._hash.reach(stop)
                if self._progress is not None:
                    self._progress(evidence.size * stop // size - evidence.size * start // size)
            if self._hash is not None:
                evidence.sha256 = self._hash.finish()
            if changed := evidence.file.changed():
                self._problems.append(
                    Problem(
                        evidence.path,
                        UNKNOWN_OFFSET,
                        None,
                        "a file that nobody writes to",
                        f"that it {changed}",
                    )
                )
        finally:
            self.close()

    def _confirm(self, stop: int) -> None:
        """See to it that the bytes before `stop`, and a record that begins there, can be touched."""
        evidence = self._evidence
        size = len(evidence.data)
        if evidence.wrapping:
            return  # unpacked into a file of our own
        readable, fault = size, "the file ends"
        if self._hash is not None:
            readable = self._hash.readable(min(stop + MARGIN, size))
            fault = self._hash.fault or fault
        readable = min(readable, evidence.file.size_now)  # looked at last: the wait may have been long
        if readable < min(stop + MARGIN, size):
            evidence.content.shorten(readable)
            expected = f"a file of {evidence.size} bytes"
            self._problems.append(Problem(evidence.path, readable, None, expected, fault))
            self._truncated = True

    @property
    def summary(self) -> ScanSummary:
        """What was seen so far; of the whole file when the iteration is over."""
        walk = self._walk
        return ScanSummary(
            packets=self._packets,
            first_ts=self._first,
            last_ts=self._last,
            link_types=tuple(walk.link_types) if walk else (),
            truncated=self._truncated or (walk is not None and bool(walk.problems.told)),
            problems=tuple(self._problems) + (tuple(walk.problems) if walk else ()),
            notes=tuple(walk.notes) if walk else (),
            decoded=int(self._counts[Status.DECODED] + self._counts[Status.AGGREGATE]),
            other=int(self._counts[Status.OTHER]),
            malformed=int(self._counts[Status.MALFORMED]),
            fragments=int(self._counts[Status.FRAGMENT]),
            blocks_skipped=walk.skipped if walk else 0,
            sha256=self._evidence.sha256,
        )

    def _begin(self) -> None:
        """Choose the walk by the file's format."""
        from mmsforensics.packets.walks import begin_walk  # compiled code loads while the hash runs

        walk = begin_walk(self._evidence)
        if isinstance(walk, Problem):
            self._problems.append(walk)
            self._truncated = True
        else:
            self._walk = walk

    def _step(self, pos: int, stop: int, rows_per_byte: float) -> tuple[PacketBatch | None, int, bool]:
        """Make one batch of the records from `pos` on that begin before `stop`."""
        assert self._walk is not None
        guess = int((stop - pos) * rows_per_byte * 1.25)
        rows = np.empty(max(1, min(self._capacity, max(LEAST_ROWS, guess))), PACKET)
        count, after, alive = self._walk.step(pos, stop, rows, self._packets)
        if count == 0:
            return None, after, alive
        rows = rows[:count]
        data = self._evidence.data[pos:after]
        statuses = np.ascontiguousarray(rows["status"])
        left = np.flatnonzero(statuses == Status.SLOW)
        if len(left):
            self._decode_slow(PacketBatch(rows, data, pos), left)
            statuses[left] = rows["status"][left]
        counts = np.bincount(statuses, minlength=len(Status))
        self._count(np.ascontiguousarray(rows["ts"]), counts)
        rare = bool(counts[Status.FRAGMENT] or counts[Status.AGGREGATE])
        return PacketBatch(rows, data, pos, rare), after, alive

    def _decode_slow(self, batch: PacketBatch, left: NDArray[np.intp]) -> None:
        """Let dpkt decode what the pass left to it."""
        from mmsforensics.packets.slow import decode_slow  # dpkt is loaded only where it is needed

        for index in left.tolist():
            decode_slow(batch.frame(index).tobytes(), batch.rows[index])

    def _count(self, times: NDArray[np.int64], counts: NDArray[np.intp]) -> None:
        """Add rows to the summary."""
        self._packets += len(times)
        self._counts += counts
        first, last = int(times.min()), int(times.max())
        if last == NO_TIME:
            return
        if first == NO_TIME:
            first = int(times[times != NO_TIME].min())
        self._first = first if self._first is None else min(self._first, first)
        self._last = last if self._last is None else max(self._last, last)


FIRST_FRAMES: Final = 5
"""Frames by which a capture's beginning is told."""


def first_times(evidence: Evidence) -> list[int]:
    """Time stamps of a capture's first frames, ns; `NO_TIME` where a frame has none."""
    from mmsforensics.packets.walks import begin_walk  # compiled code is loaded only where it is needed

    walk = begin_walk(evidence)
    if walk is None or isinstance(walk, Problem):
        return []
    rows = np.empty(FIRST_FRAMES, PACKET)
    count, _, _ = walk.step(0, min(WINDOW, len(evidence.data)), rows, 0)
    times: list[int] = rows["ts"][:count].tolist()
    return times


def scan(
    evidence: Evidence,
    *,
    window: int = WINDOW,
    capacity: int = CAPACITY,
    progress: Callable[[int], None] | None = None,
) -> CaptureScan:
    """Scan an evidence file.

    Returns
    -------
    CaptureScan
        Iterate over it for the batches, then read its `summary`. The parameters are explained there.
    """
    return CaptureScan(evidence, window=window, capacity=capacity, progress=progress)
