"""The table `restored`: what packets that no frame holds were computed from; and these computed again.

Whoever verifies needs the evidence and this table alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import repeated
from mmsforensics.asf.parity import restore
from mmsforensics.case.errors import CaseError
from mmsforensics.case.evidence_frames import EvidenceFrames
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


def computed_again(rows: Iterable[Mapping[str, object]], frames: EvidenceFrames) -> Iterator[bytes]:
    """Compute the restored packets of a medium again, from its rows of the table and the evidence alone.

    Raises
    ------
    CaseError
        A frame does not hold what a row says, or what comes out is not what was recorded.
    """
    for number, mine in groupby(rows, key=lambda row: row["packet_number"]):
        stretches = list(mine)
        sources: dict[tuple[object, object], bytearray] = {}
        for row in stretches:
            source = sources.setdefault((row["source_parity"], row["source_number"]), bytearray())
            source += _held(row, frames)
        others = [np.frombuffer(bytes(v), dtype=np.uint8) for (parity, _), v in sources.items() if not parity]
        (parity,) = [np.frombuffer(bytes(v), dtype=np.uint8) for (p, _), v in sources.items() if p]
        last = next(n for (p, n) in sources if p)
        place = len(others) + 1 - ((_number(last) - _number(number)) & 0xFFFFFFFF)
        made = restore(others, parity, place, len(parity))
        digest = hashlib.sha256(made.data.tobytes()).hexdigest() if made is not None else "none"
        if made is None or digest != stretches[0]["sha256"]:
            recorded = stretches[0]["sha256"]
            raise CaseError(f"packet {number}: parity gives SHA-256 {digest}, recorded is {recorded}")
        yield made.data.tobytes()


def _held(row: Mapping[str, object], frames: EvidenceFrames) -> bytes:
    """The bytes of a stretch."""
    capture = frames.capture(str(row["capture_id"]))
    frame, at, length = (_number(row[name]) for name in ("frame", "frame_offset", "length"))
    held = capture.frame(frame)[at : at + length].tobytes()
    if len(held) < length:
        raise CaseError(f"frame {frame} of {row['capture_id']} does not hold what parity was computed from")
    return held


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value
