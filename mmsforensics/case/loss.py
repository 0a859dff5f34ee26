"""The loss map's rows: which milliseconds of which media stream a run of missing packets affects.

Payloads are read around the runs alone; a medium without loss is not looked at again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import array_of
from mmsforensics.asf import Header, restore_padding, walk_payloads
from mmsforensics.case.frames import FrameBook
from mmsforensics.sessions import LOSS_WORDS, UNKNOWN, LossReason

NEAR = 64
"""Packets read on each side of a run: some seconds of a stream with a payload now and then."""


TIMED_RUNS = 1 << 14
"""Runs whose surroundings are read; more than these are those of a capture that is hardly one, or hostile."""


@dataclass(frozen=True, slots=True)
class Affected:
    """A media stream that a run affects."""

    run: int
    """Index of the run."""
    stream: int | None
    start_ms: int | None
    """Presentation time of its last payload before the run."""
    end_ms: int | None
    """And of its first one behind."""


def affected(
    faithful: Path, header: Header, header_size: int, sizes: NDArray[np.integer], index: NDArray[np.int64]
) -> list[Affected]:
    """Find what the runs between packets of a faithful file affect.

    Parameters
    ----------
    faithful : Path
    header : Header
    header_size : int
        Where its packets begin.
    sizes : ndarray of int
        Wire sizes of its packets.
    index : ndarray of int64
        For each run, how many packets stand before it.

    Returns
    -------
    list of Affected
        In the order of the runs; one at least for each.
    """
    found = []
    with faithful.open("rb") as file:
        for run, at in enumerate(index[:TIMED_RUNS].tolist()):
            before = _times(file, header, header_size, sizes, max(at - NEAR, 0), at)
            behind = _times(file, header, header_size, sizes, at, min(at + NEAR, len(sizes)))
            starts = dict(before)
            ends = dict(reversed(behind))
            streams = sorted(starts.keys() | ends.keys())
            found += [Affected(run, s, starts.get(s), ends.get(s)) for s in streams]
            if not streams:
                found.append(Affected(run, None, None, None))
    return found + [Affected(run, None, None, None) for run in range(TIMED_RUNS, len(index))]


def _times(
    file: BinaryIO, header: Header, header_size: int, sizes: NDArray[np.integer], begin: int, end: int
) -> list[tuple[int, int]]:
    """Stream and presentation time, preroll taken off, of each payload of some packets, in their order."""
    size = header.packet_size
    file.seek(header_size + begin * size)
    data = np.frombuffer(bytearray(file.read((end - begin) * size)), dtype=np.uint8)
    restore_padding(data, size, sizes[begin:end].astype(np.int64))
    _, payloads = walk_payloads(data, size)
    times = payloads["presentation_ms"].astype(np.int64) - header.preroll_ms
    return list(zip(payloads["stream"].tolist(), times.tolist(), strict=True))


def loss_columns(
    loss: NDArray[np.void], streams: list[Affected], book: FrameBook
) -> dict[str, pa.Array | NDArray[np.generic] | list[int | None] | list[str]]:
    """Columns of the table `loss`, but for those that name session and medium."""
    rows = loss[[s.run for s in streams]]
    capture_ids, frames = book.columns(rows["frame"])
    unknown = rows["first"] == UNKNOWN
    return {
        "run": np.array([s.run + 1 for s in streams], dtype=np.uint64),
        "first_packet": array_of(rows["first"], pa.uint64(), unknown),
        "last_packet": array_of(rows["last"], pa.uint64(), unknown),
        "packets": rows["packets"],
        "inferred": rows["inferred"] != 0,
        "reason": [LOSS_WORDS[LossReason(r)] for r in rows["reason"].tolist()],
        "packets_hurt": rows["hurt"],
        "bytes_seen": rows["bytes_seen"],
        "bytes_recovered": rows["bytes_saved"],
        "payloads_recovered": rows["payloads"],
        "packets_restored": rows["restored"],
        "stream_number": [s.stream for s in streams],
        "start_ms": [s.start_ms for s in streams],
        "end_ms": [s.end_ms for s in streams],
        "capture_id": capture_ids,
        "frame": frames,
    }
