"""From the numbers that frames have in an analysis to the capture and the number they have in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import array_of, repeated
from mmsforensics.packets import Numbering, Stitched


@dataclass(slots=True, eq=False)
class FrameBook:
    """Where the frames of an analysis stand."""

    capture_ids: Sequence[str]
    """Identifiers of the captures, by their numbers."""
    numbering: Numbering = field(default_factory=Numbering)
    stitched: Stitched = field(default_factory=Stitched)
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def one(self, frame: int) -> tuple[str, int]:
        """Identifier of the capture, and the number in it, of one frame."""
        capture, local = self.numbering.locate_one(frame)
        return self.capture_ids[capture], local

    def columns(self, frames: NDArray[np.integer]) -> tuple[pa.Array, pa.Array]:
        """The columns ``capture_id`` and ``frame`` for numbers of frames; null for 0, which is none."""
        zero = frames == 0
        if zero.all():
            return pa.nulls(len(frames), pa.string()), pa.nulls(len(frames), pa.uint64())
        none = zero if zero.any() else None
        if none is not None:
            frames = np.where(none, frames[none.argmin()], frames)
        captures, local = self.numbering.locate(frames)
        local_column = array_of(local, pa.uint64(), none)
        if len(self.capture_ids) == 1:
            return repeated(self.capture_ids[0], len(frames), none), local_column
        names = array_of(self.capture_ids, pa.string()).take(array_of(captures, pa.int64(), none))
        return names, local_column

    def count(self, what: str, frames: NDArray[np.integer]) -> None:
        """Add frames to a count that is kept for each capture."""
        if len(frames):
            captures, _ = self.numbering.locate(frames)
            total = self.counts.setdefault(what, np.zeros(len(self.capture_ids), dtype=np.int64))
            total += np.bincount(captures, minlength=len(total))

    def counted(self, what: str, capture: int) -> int:
        """A count of one capture."""
        return int(self.counts[what][capture]) if what in self.counts else 0
