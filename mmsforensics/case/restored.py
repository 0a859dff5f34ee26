"""Rows of the table `restored`: what packets that no frame holds were computed from."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import repeated
from mmsforensics.case.frames import FrameBook
from mmsforensics.case.store import TableStore
from mmsforensics.sessions import RestoredPacket

COMPUTED = np.dtype(
    [
        ("file_offset", "i8"),  # where in the source the stretch begins
        ("length", "i8"),
        ("frame", "i8"),
        ("frame_offset", "i8"),
        ("packet", "u4"),  # dwPacketID of the packet that was computed
        ("size", "u4"),
        ("source", "u4"),  # and of the one that it was computed from
        ("parity", "u1"),
        ("sha256", "S64"),
    ],
    align=True,
)
"""A stretch of a packet that another one was computed from; the first fields are those of PROVENANCE."""


def computed_from(packet: RestoredPacket) -> NDArray[np.void]:
    """One row of dtype COMPUTED for each stretch of each source."""
    digest = hashlib.sha256(packet.made.data.tobytes()).hexdigest()
    last = len(packet.sources) - 1
    parts = []
    for i, pieces in enumerate(packet.pieces):
        rows = np.zeros(len(pieces), dtype=COMPUTED)
        rows["file_offset"] = pieces["offset"]
        for name in ("length", "frame", "frame_offset"):
            rows[name] = pieces[name]
        rows["packet"], rows["size"], rows["sha256"] = packet.packet_id, len(packet.made.data), digest
        rows["source"], rows["parity"] = packet.sources["location"][i], i == last
        parts.append(rows)
    return np.concatenate(parts)


def restored_rows(
    store: TableStore, book: FrameBook, rows: NDArray[np.void], session_id: str, media_id: str
) -> None:
    """Write rows of dtype COMPUTED."""
    rows = book.stitched.expand(rows)
    capture_ids, frames = book.columns(rows["frame"])
    store.append(
        "restored",
        {
            "session_id": repeated(session_id, len(rows)),
            "media_id": repeated(media_id, len(rows)),
            "packet_number": rows["packet"],
            "size": rows["size"],
            "sha256": [digest.decode() for digest in rows["sha256"].tolist()],
            "source_number": rows["source"],
            "source_parity": rows["parity"] != 0,
            "source_offset": rows["file_offset"],
            "length": rows["length"],
            "capture_id": capture_ids,
            "frame": frames,
            "frame_offset": rows["frame_offset"],
        },
    )
