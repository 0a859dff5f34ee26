"""Stretches of a playable file, and where they come from."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

EDIT = np.dtype(
    [("file_offset", "i8"), ("length", "i8"), ("source_offset", "i8"), ("kind", "u1")], align=True
)
"""A stretch of the playable file; `source_offset` is where it lies in the faithful one, or -1."""


class Edit(IntEnum):
    """Where a stretch comes from."""

    COPIED = 0
    HEADER = 1
    PACKET = 2
    PADDING = 3
    INDEX = 4


def merged(edits: NDArray[np.void]) -> NDArray[np.void]:
    """Adjacent stretches of one kind that go on in the source made one."""
    if len(edits) < 2:
        return edits
    before, after = edits[:-1], edits[1:]
    copied = (before["source_offset"] >= 0) & (
        after["source_offset"] == before["source_offset"] + before["length"]
    )
    new = (before["source_offset"] < 0) & (after["source_offset"] < 0)
    joined = (before["kind"] == after["kind"]) & (copied | new)
    first = np.flatnonzero(np.concatenate(([True], ~joined)))
    out = edits[first].copy()
    out["length"] = np.add.reduceat(edits["length"], first)
    return out


def edits_of(source: NDArray[np.int64], kind: NDArray[np.uint8], file_offset: int) -> NDArray[np.void]:
    """Stretches of bytes of which each has a place in the faithful file, or -1, and a kind."""
    rows = np.empty(len(source), dtype=EDIT)
    rows["file_offset"] = file_offset + np.arange(len(source))
    rows["length"], rows["source_offset"], rows["kind"] = 1, source, kind
    return merged(rows)


def sources_of(edits: NDArray[np.void], size: int) -> NDArray[np.int64]:
    """For each of the first `size` bytes that the edits make its place in the faithful file, or -1."""
    source = np.full(size, -1, dtype=np.int64)
    first = int(edits["file_offset"][0])
    for edit in edits[edits["source_offset"] >= 0]:
        at, length = int(edit["file_offset"]) - first, int(edit["length"])
        source[at : at + length] = int(edit["source_offset"]) + np.arange(length)
    return source
