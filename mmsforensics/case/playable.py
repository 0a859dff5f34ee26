"""The playable copy of a medium: made by the ASF room, its bytes traced back through the faithful file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf import Header, PlayableFacts, needs_playable, write_playable
from mmsforensics.sessions import PROVENANCE, Origin

if TYPE_CHECKING:
    from mmsforensics.case.media_files import HashedFile

# The ASF room's kinds of edits: 0 copied, 1 header repaired, 2 packet field repaired, 3 padding, 4 index.
_KIND = np.array(
    [Origin.CAPTURED, Origin.REPAIRED, Origin.REPAIRED, Origin.PADDING, Origin.INDEX], dtype=np.uint8
)


@dataclass(frozen=True, slots=True)
class Made:
    """What came of making a medium playable."""

    reasons: tuple[str, ...]
    """Why the faithful file is not already playable; empty when it is."""
    file: HashedFile | None = None
    header_bytes: bytes = b""
    packets: int = 0
    notes: tuple[str, ...] = ()


def make_playable(
    *,
    faithful: Path,
    faithful_size: int,
    header: Header,
    header_bytes: bytes,
    packets: NDArray[np.void],
    origins: NDArray[np.void],
    out: HashedFile,
    record: Callable[[NDArray[np.void]], None],
) -> Made:
    """Write the playable copy of a finished faithful file, where one is needed.

    `origins` are those of the faithful file's bytes; `record` is given those of the playable one's, both of
    dtype PROVENANCE.
    """
    if not header.packet_size:
        return Made(("packet size unknown: nothing can be repaired",))
    locations = np.ascontiguousarray(packets["location"]).astype(np.int64)
    sizes = np.ascontiguousarray(packets["size"]).astype(np.int64)
    facts = PlayableFacts(
        count=len(packets),
        file_size=faithful_size,
        padded=bool((sizes == header.packet_size).all()),
        ordered=bool((np.diff(locations) > 0).all()),
        has_tail=faithful_size > len(header_bytes) + len(packets) * header.packet_size,
    )
    reasons = needs_playable(header, header_bytes, facts)
    if not reasons:
        return Made(())
    with faithful.open("rb", buffering=0) as source:
        result = write_playable(
            header_bytes,
            source,
            header_size=len(header_bytes),
            packet_size=header.packet_size,
            sizes=sizes,
            order=presentation_order(packets, locations, sizes),
            out=out,
            tell=lambda edits: record(composed(edits, origins)),
        )
    return Made(
        reasons=reasons,
        file=out,
        header_bytes=result.header_bytes,
        packets=result.packets,
        notes=(*reasons, *result.notes),
    )


def presentation_order(
    packets: NDArray[np.void], locations: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Indices of the packets, each once, in presentation order.

    A packet sent again has the same LocationId and send time. Of such, the copy with most bytes is taken:
    a thinned one has fewer [MS-MMSP 3.2.5.11.1].
    """
    if (np.diff(locations) > 0).all():
        return np.arange(len(packets), dtype=np.int64)
    send = np.ascontiguousarray(packets["send_time_ms"]).astype(np.int64)
    order = np.lexsort((-sizes, send, locations))
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = (np.diff(locations[order]) != 0) | (np.diff(send[order]) != 0)
    return order[first]


def composed(edits: NDArray[np.void], origins: NDArray[np.void]) -> NDArray[np.void]:
    """Origins of the stretches `edits` of a file made from another, given those of the other's bytes."""
    copied = edits["source_offset"] >= 0
    if not copied.any():
        lead = np.empty(0, dtype=PROVENANCE)
    else:
        low = int(edits["source_offset"][copied].min())
        ends = edits["source_offset"][copied] + edits["length"][copied].astype(np.int64)
        starts = origins["file_offset"]
        first = max(int(np.searchsorted(starts, low, side="right")) - 1, 0)
        last = int(np.searchsorted(starts, int(ends.max()), side="left"))
        lead = np.array(origins[first:last])
    out = np.empty(0, dtype=PROVENANCE)
    size = len(edits) * 2 + len(lead) + 16
    while True:
        out = np.empty(size, dtype=PROVENANCE)
        n = _compose(
            edits["file_offset"].astype(np.int64),
            edits["length"].astype(np.int64),
            edits["source_offset"].astype(np.int64),
            _KIND[edits["kind"]],
            lead,
            np.ascontiguousarray(lead["file_offset"]),
            out,
        )
        if n <= size:
            return out[:n].copy()
        size = n


@njit(cache=True, nogil=True)
def _compose(to, length, source, kind, origins, starts, out):
    """Map each edit through `origins`; returns the rows needed, which may be more than `out` holds."""
    n = 0
    for i in range(len(to)):
        at, left, here = source[i], length[i], to[i]
        if at < 0:
            if n < len(out):
                row = out[n]
                row["file_offset"], row["length"] = here, left
                row["frame"], row["frame_offset"], row["kind"] = 0, 0, kind[i]
            n += 1
            continue
        p = np.searchsorted(starts, at, side="right") - 1
        while left > 0 and p < len(starts):
            origin = origins[p]
            skip = at - origin["file_offset"]
            take = min(left, origin["length"] - skip)
            if take > 0:
                if n < len(out):
                    row = out[n]
                    row["file_offset"], row["length"] = here, take
                    row["frame"], row["kind"] = origin["frame"], origin["kind"]
                    row["frame_offset"] = origin["frame_offset"] + skip if origin["frame"] else 0
                n += 1
                at, here, left = at + take, here + take, left - take
            p += 1
    return n
