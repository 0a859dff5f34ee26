"""The rows of recovered media in the tables of a case."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import array_of, repeated_each
from mmsforensics.asf import Header
from mmsforensics.case.frames import FrameBook
from mmsforensics.case.store import ROW_GROUP, TableStore
from mmsforensics.case.writing import HashedFile
from mmsforensics.protocols.messages import UNKNOWN_LOCATION
from mmsforensics.sessions import Origin, Reason

ORIGIN_NAMES = array_of([o.name.lower() for o in Origin], pa.string())

GATHERED_REASONS = 1 << 10
"""Reasons of verdicts that are made columns together."""

Owner = tuple[str, str]
"""Session and medium."""

Fields = Mapping[str, NDArray[np.integer]]
"""The fields of rows, each by itself."""


class _Gathered:
    """Rows of one dtype, of one medium behind the other, that wait to be made columns together.

    To make columns of a few hundred rows would cost more than the rows do. They make whole row groups, which
    the store need not put together.
    """

    def __init__(self, tell: Callable[[Fields, pa.Array, pa.Array], None]) -> None:
        self._tell = tell
        self._rows: list[NDArray[np.void]] = []
        self._owners: list[Owner] = []
        self._size = 0

    def add(self, rows: NDArray[np.void], owner: Owner) -> None:
        """Take rows of a medium, which must not change afterwards."""
        while len(rows):
            part = rows[: ROW_GROUP - self._size]
            rows = rows[len(part) :]
            self._rows.append(part)
            self._owners.append(owner)
            self._size += len(part)
            if self._size == ROW_GROUP:
                self.flush()

    def flush(self) -> None:
        """Tell what waits, with the columns `session_id` and `media_id`."""
        if not self._rows:
            return
        counts = [len(rows) for rows in self._rows]
        names = self._rows[0].dtype.names or ()
        fields = {name: np.concatenate([rows[name] for rows in self._rows]) for name in names}
        sessions, media = zip(*self._owners, strict=True)
        self._rows, self._owners, self._size = [], [], 0
        self._tell(fields, repeated_each(sessions, counts), repeated_each(media, counts))


class MediaRows:
    """Rows of recovered media on their way to the tables; what is told of one table stays in order.

    Those of the table `media` wait for what is known in the end alone: the hash of the file, which is written
    meanwhile, and the client's word.
    """

    def __init__(self, store: TableStore, book: FrameBook) -> None:
        self._store = store
        self._book = book
        self._waiting: list[tuple[HashedFile, dict[str, object]]] = []
        self._packets = _Gathered(self._tell_packets)
        self._provenance = _Gathered(self._tell_provenance)
        self._reasons: list[tuple[Reason, Owner]] = []

    def add(self, file: HashedFile, row: dict[str, object]) -> None:
        """Add a row of the table `media`, all but what is known later."""
        self._waiting.append((file, row))

    def packets(self, rows: NDArray[np.void], owner: Owner) -> None:
        """Add rows of MEDIA_PACKET to the table `media_packets`."""
        if self._book.stitched:
            rows = rows.copy()
            rows["first_frame"] = self._book.stitched.first_frames(rows["first_frame"])
        self._packets.add(rows, owner)

    def provenance(self, rows: NDArray[np.void], owner: Owner) -> None:
        """Add rows of PROVENANCE to the table `provenance`."""
        self._provenance.add(self._book.stitched.expand(rows), owner)

    def verdicts(self, reasons: list[Reason], owner: Owner) -> None:
        """Add what speaks for and against a medium to the table `verdicts`."""
        self._reasons += [(reason, owner) for reason in reasons]
        if len(self._reasons) >= GATHERED_REASONS:
            self._tell_verdicts()

    def flush(self, known: Callable[[str], dict[str, int | None]]) -> None:
        """Hand all rows on to the tables, in the order in which they came.

        `known` gives the columns that say what the client acknowledged, by the medium's identifier.
        """
        self._packets.flush()
        self._provenance.flush()
        self._tell_verdicts()
        for file, row in self._waiting:
            later = {"sha256": file.hexdigest(), **known(str(row["media_id"]))}
            self._store.append_row("media", row | later)
        self._waiting.clear()

    def _tell_packets(self, rows: Fields, session_ids: pa.Array, media_ids: pa.Array) -> None:
        capture_ids, frames = self._book.columns(rows["frame"])
        first_capture_ids, first_frames = self._book.columns(rows["first_frame"])
        unsound = rows["sound"] == 0
        columns: dict[str, object] = {
            "session_id": session_ids,
            "media_id": media_ids,
            "packet_number": array_of(rows["location"], pa.uint64(), rows["location"] == UNKNOWN_LOCATION),
            "send_time_ms": array_of(rows["send_time_ms"], pa.uint32(), unsound),
            "ts": rows["ts"],
            "size": rows["size"],
            "file_offset": rows["file_offset"],
            "frame": frames,
            "capture_id": capture_ids,
            "first_frame": first_frames,
            "first_capture_id": first_capture_ids,
            "duration_ms": array_of(rows["duration_ms"], pa.uint16(), unsound),
            "sequence": rows["sequence"],
            "incarnation": rows["incarnation"],
            "sound": ~unsound,
        }
        self._store.append("media_packets", columns)

    def _tell_provenance(self, rows: Fields, _sessions: pa.Array, media_ids: pa.Array) -> None:
        capture_ids, frames = self._book.columns(rows["frame"])
        self._store.append(
            "provenance",
            {
                "media_id": media_ids,
                "file_offset": rows["file_offset"],
                "length": rows["length"],
                "capture_id": capture_ids,
                "frame": frames,
                "frame_offset": array_of(rows["frame_offset"], pa.uint32(), rows["frame"] == 0),
                "kind": ORIGIN_NAMES.take(array_of(rows["kind"], pa.uint8())),
            },
        )

    def _tell_verdicts(self) -> None:
        if not self._reasons:
            return
        reasons = [reason for reason, _ in self._reasons]
        sessions, media = zip(*(owner for _, owner in self._reasons), strict=True)
        self._reasons = []
        capture_ids, frames = self._book.columns(np.array([r.frame for r in reasons], dtype=np.int64))
        self._store.append(
            "verdicts",
            {
                "media_id": media,
                "session_id": sessions,
                "reason": [r.reason for r in reasons],
                "count": [r.count for r in reasons],
                "text": [r.text for r in reasons],
                "capture_id": capture_ids,
                "frame": frames,
            },
        )


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
