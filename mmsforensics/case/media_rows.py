"""The rows of recovered media in the tables of a case."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import array_of, repeated
from mmsforensics.asf import Header
from mmsforensics.case.frames import FrameBook
from mmsforensics.case.store import TableStore
from mmsforensics.case.writing import HashedFile
from mmsforensics.protocols.messages import UNKNOWN_LOCATION
from mmsforensics.sessions import Origin, Reason

ORIGIN_NAMES = array_of([o.name.lower() for o in Origin], pa.string())


class MediaRows:
    """Rows of the table `media`, which wait for what is known in the end alone.

    That is the hash of the file, which is written meanwhile, and the client's word.
    """

    def __init__(self, store: TableStore) -> None:
        self._store = store
        self._waiting: list[tuple[HashedFile, dict[str, object]]] = []

    def add(self, file: HashedFile, row: dict[str, object]) -> None:
        """Add a row, all but what is known later."""
        self._waiting.append((file, row))

    def flush(self, known: Callable[[str], dict[str, int | None]]) -> None:
        """Hand the rows on to the table, in the order in which they came.

        `known` gives the columns that say what the client acknowledged, by the medium's identifier.
        """
        for file, row in self._waiting:
            later = {"sha256": file.hexdigest(), **known(str(row["media_id"]))}
            self._store.append_row("media", row | later)
        self._waiting.clear()


def append_header(store: TableStore, header: Header, media_id: str) -> None:
    """Add what a header says to the tables `media_streams` and `metadata`."""
    for stream in header.streams:
        store.append_row(
            "media_streams",
            {
                "media_id": media_id,
                "stream_number": stream.number,
                "type": stream.type,
                "codec": stream.codec,
                "bitrate": stream.bitrate,
                "width": stream.width,
                "height": stream.height,
                "channels": stream.channels,
                "sample_rate": stream.sample_rate,
                "encrypted": stream.encrypted,
            },
        )
    for tag in header.tags:
        store.append_row(
            "metadata",
            {
                "media_id": media_id,
                "name": tag.name,
                "type": tag.type,
                "value": tag.value,
                "source_object": tag.source_object,
            },
        )


def append_packets(
    store: TableStore, book: FrameBook, rows: NDArray[np.void], session_id: str, media_id: str
) -> None:
    """Add rows of MEDIA_PACKET to the table `media_packets`."""
    n = len(rows)
    capture_ids, frames = book.columns(rows["frame"])
    first_capture_ids, first_frames = book.columns(book.stitched.first_frames(rows["first_frame"]))
    columns: dict[str, object] = {
        "session_id": repeated(session_id, n),
        "media_id": repeated(media_id, n),
        "packet_number": array_of(rows["location"], pa.uint64(), rows["location"] == UNKNOWN_LOCATION),
        "send_time_ms": array_of(rows["send_time_ms"], pa.uint32(), rows["sound"] == 0),
        "ts": rows["ts"],
        "size": rows["size"],
        "file_offset": rows["file_offset"],
        "frame": frames,
        "capture_id": capture_ids,
        "first_frame": first_frames,
        "first_capture_id": first_capture_ids,
        "duration_ms": array_of(rows["duration_ms"], pa.uint16(), rows["sound"] == 0),
        "sequence": rows["sequence"],
        "incarnation": rows["incarnation"],
        "sound": rows["sound"].astype(np.bool_),
    }
    store.append("media_packets", columns)


def append_provenance(store: TableStore, book: FrameBook, rows: NDArray[np.void], media_id: str) -> None:
    """Add rows of PROVENANCE to the table `provenance`."""
    rows = book.stitched.expand(rows)
    capture_ids, frames = book.columns(rows["frame"])
    store.append(
        "provenance",
        {
            "media_id": repeated(media_id, len(rows)),
            "file_offset": rows["file_offset"],
            "length": rows["length"],
            "capture_id": capture_ids,
            "frame": frames,
            "frame_offset": array_of(rows["frame_offset"], pa.uint32(), rows["frame"] == 0),
            "kind": ORIGIN_NAMES.take(array_of(rows["kind"], pa.uint8())),
        },
    )


def append_verdicts(
    store: TableStore, book: FrameBook, reasons: list[Reason], session_id: str, media_id: str
) -> None:
    """Add what speaks for and against a medium to the table `verdicts`."""
    if not reasons:
        return
    capture_ids, frames = book.columns(np.array([r.frame for r in reasons], dtype=np.int64))
    store.append(
        "verdicts",
        {
            "media_id": repeated(media_id, len(reasons)),
            "session_id": repeated(session_id, len(reasons)),
            "reason": [r.reason for r in reasons],
            "count": [r.count for r in reasons],
            "text": [r.text for r in reasons],
            "capture_id": capture_ids,
            "frame": frames,
        },
    )
