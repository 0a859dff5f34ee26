"""Simple Indexes built of the key frames that a survey found [ASF 6.1]."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.guids import guid_of
from mmsforensics.asf.header import Header
from mmsforensics.asf.survey import Survey
from mmsforensics.asf.tree import FRAME

INDEX_INTERVAL_MS = 1000
"""Interval of a Simple Index: what Microsoft's encoders write [ASF 6.1]."""

MAX_INDEX_ENTRIES = 1 << 20
"""Entries of an index at most (12 days); a lying time stamp must not fill the disk."""


def simple_indexes(
    header: Header, survey: Survey, keep: NDArray[np.bool_], shift: int, notes: list[str]
) -> list[tuple[bytes, int]]:
    """A Simple Index and its number of entries for each video stream, in order of numbers [ASF 6.1].

    It does not name its stream: one without key frames gets an empty one if another's follows.
    """
    end_ms = survey.last_presentation - shift
    entries = end_ms // INDEX_INTERVAL_MS + 1
    if not survey.keys:
        return []
    if entries > MAX_INDEX_ENTRIES:
        notes.append(f"no index was built: times reach {end_ms} ms")
        return []
    numbers = np.cumsum(keep) - 1
    times = np.arange(entries, dtype=np.int64) * INDEX_INTERVAL_MS + shift
    made = []
    for stream in sorted(s.number for s in header.streams if s.type == "video"):
        if stream > max(survey.keys):
            break
        table = np.concatenate(survey.keys.get(stream, [np.empty((0, 3), dtype=np.int64)]))
        table = table[np.argsort(table[:, 1], kind="stable")]
        rows = np.empty(entries if len(table) else 0, dtype=np.dtype([("packet", "<u4"), ("count", "<u2")]))
        if len(table):
            nearest = np.maximum(np.searchsorted(table[:, 1], times, side="right") - 1, 0)
            rows["packet"] = numbers[table[nearest, 0]]
            rows["count"] = np.minimum(table[nearest, 2], 0xFFFF)
            notes.append(f"an index of {entries} entries was built for stream {stream}")
        made.append((_simple_index(header.file_id, rows), len(rows)))
    return made


def _simple_index(file_id: bytes, rows: NDArray[np.void]) -> bytes:
    body = (
        file_id.ljust(16, b"\0")
        + (INDEX_INTERVAL_MS * 10_000).to_bytes(8, "little")
        + (int(rows["count"].max()) if len(rows) else 0).to_bytes(4, "little")
        + len(rows).to_bytes(4, "little")
        + rows.tobytes()
    )
    return guid_of("Simple Index Object") + (FRAME + len(body)).to_bytes(8, "little") + body
