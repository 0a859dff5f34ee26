"""Recovered media on disk: the faithful file as it grows, the playable one when it is done.

Rules of this file:

* nothing of a medium is held in memory but the block at hand: rows of packets and provenance wait in spool
  files until the medium is finished, so that the rows of one medium stand together in the tables;
* files are written and hashed on threads of their own, some megabytes behind the decoding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import array_of, repeated
from mmsforensics.asf import Header, parse_header
from mmsforensics.case.frames import FrameBook
from mmsforensics.case.loss import affected, loss_columns
from mmsforensics.case.playable import SalvageFile, make_playable
from mmsforensics.case.store import TableStore
from mmsforensics.case.writing import HashedFile, Spools, Writers
from mmsforensics.sessions import MEDIA_PACKET, PROVENANCE, MediumBlock, MediumSummary, Origin

ROWS_WAITING = 1024
"""Rows of media that may wait for their hashes."""

SPOOL_ROWS = 1 << 16
"""Rows of a spool file handled at once."""

ORIGIN_NAMES = array_of([o.name.lower() for o in Origin], pa.string())


@dataclass(frozen=True, slots=True)
class MediumNames:
    """How a medium is called."""

    session_id: str
    number: int
    """Running number in the session, from 1."""
    stem: str
    extension: str

    def media_id(self, kind: str) -> str:
        """Identifier of one of the medium's files."""
        return f"{self.session_id}-m{self.number}-{kind}"

    def path(self, kind: str) -> str:
        """Path of one of the medium's files in the case folder."""
        return f"media/{self.session_id}/{self.number:02d}-{self.stem}.{kind}{self.extension}"


class Spool:
    """Rows of one dtype on disk."""

    def __init__(self, path: Path, dtype: np.dtype[np.void], spools: Spools) -> None:
        self._path = path
        self._dtype = dtype
        self._spools = spools

    def append(self, rows: NDArray[np.void]) -> None:
        """Add rows."""
        if len(rows):
            self._spools.append(self._path, rows.tobytes())

    def rows(self) -> NDArray[np.void]:
        """All rows, mapped from disk."""
        self._spools.flush(self._path)
        if not self._path.exists():
            return np.empty(0, dtype=self._dtype)
        return np.memmap(self._path, dtype=self._dtype, mode="r")

    def batches(self) -> Iterator[NDArray[np.void]]:
        """All rows, some at a time."""
        rows = self.rows()
        for begin in range(0, len(rows), SPOOL_ROWS):
            yield np.array(rows[begin : begin + SPOOL_ROWS])

    def remove(self) -> None:
        """Delete the file."""
        self._spools.remove(self._path)


class MediaRows:
    """Rows of the table `media` that wait for the hashes of their files, which are written meanwhile."""

    def __init__(self, store: TableStore) -> None:
        self._store = store
        self._waiting: list[tuple[HashedFile, dict[str, object]]] = []

    def add(self, file: HashedFile, row: dict[str, object]) -> None:
        """Add a row, all but its hash."""
        self._waiting.append((file, row))
        if len(self._waiting) >= ROWS_WAITING:
            self.flush()

    def flush(self) -> None:
        """Hand the rows on to the table, in the order in which they came."""
        for file, row in self._waiting:
            self._store.append_row("media", {**row, "sha256": file.hexdigest()})
        self._waiting.clear()


@dataclass(frozen=True, slots=True)
class MediaPlace:
    """Where the media of a case go."""

    root: Path
    """The case folder."""
    spool: Path
    """Folder for what is removed in the end."""
    store: TableStore
    book: FrameBook
    writers: Writers
    spools: Spools
    rows: MediaRows


class MediumFile:
    """One medium being recovered; a `MediumWriter`."""

    def __init__(self, place: MediaPlace, names: MediumNames, header: bytes) -> None:
        self._place = place
        self._store = place.store
        self._book = place.book
        self._names = names
        self._header_bytes = header
        self._file = HashedFile(place.root / names.path("faithful"), place.writers)
        stem = names.media_id("spool")
        self._packets = Spool(place.spool / f"{stem}.packets", MEDIA_PACKET, place.spools)
        self._origins = Spool(place.spool / f"{stem}.origins", PROVENANCE, place.spools)
        self._playable_origins = Spool(place.spool / f"{stem}.playable", PROVENANCE, place.spools)
        self._salvaged = place.spool / f"{stem}.salvaged"
        self._salvaged_packets = Spool(place.spool / f"{stem}.salvaged-packets", MEDIA_PACKET, place.spools)
        self._salvaged_origins = Spool(place.spool / f"{stem}.salvaged-origins", PROVENANCE, place.spools)

    def write(self, block: MediumBlock) -> None:
        """Append bytes to the faithful file, with the packets and origins that go with them."""
        self._file.write(block.data)
        self._packets.append(block.packets)
        self._origins.append(block.provenance)

    def salvage(self, block: MediumBlock) -> None:
        """Keep what was saved of hurt packets for the playable file."""
        with self._salvaged.open("ab") as file:
            file.write(block.data.tobytes())
        self._salvaged_packets.append(block.packets)
        self._salvaged_origins.append(block.provenance)

    def _salvage_file(self) -> SalvageFile | None:
        if not self._salvaged.exists():
            return None
        return SalvageFile(self._salvaged, self._salvaged_packets.rows(), self._salvaged_origins.rows())

    def close(self, summary: MediumSummary) -> None:
        """Finish the medium: rows, and the playable file where one is needed."""
        header = parse_header(self._header_bytes)
        made = None
        self._file.settle()
        if summary.packets:
            made = make_playable(
                faithful=self._place.root / self._names.path("faithful"),
                faithful_size=self._file.size,
                header=header,
                header_bytes=self._header_bytes,
                packets=self._packets.rows(),
                origins=self._origins.rows(),
                record=self._playable_origins.append,
                out=HashedFile(self._place.root / self._names.path("playable"), self._place.writers),
                salvaged=self._salvage_file(),
            )
        media_id = self._names.media_id("faithful")
        self._rows("faithful", header, summary, self._file, list(made.reasons) if made else [])
        self._packet_rows(media_id)
        for batch in self._origins.batches():
            self._provenance(media_id, batch)
        if made is not None and made.file is not None:
            written = replace(summary, packets=made.packets)
            playable_header = parse_header(made.header_bytes)
            self._rows("playable", playable_header, written, made.file, list(made.notes))
            for batch in self._playable_origins.batches():
                self._provenance(self._names.media_id("playable"), batch)
        self._verdict_rows(media_id, summary)
        self._loss_rows(media_id, header, summary)
        for spool in (self._packets, self._origins, self._playable_origins):
            spool.remove()
        self._salvaged.unlink(missing_ok=True)
        self._salvaged_packets.remove()
        self._salvaged_origins.remove()

    def _verdict_rows(self, media_id: str, summary: MediumSummary) -> None:
        reasons = summary.reasons
        capture_ids, frames = self._book.columns(np.array([r.frame for r in reasons], dtype=np.int64))
        self._store.append(
            "verdicts",
            {
                "media_id": repeated(media_id, len(reasons)),
                "session_id": repeated(self._names.session_id, len(reasons)),
                "reason": [r.reason for r in reasons],
                "count": [r.count for r in reasons],
                "text": [r.text for r in reasons],
                "capture_id": capture_ids,
                "frame": frames,
            },
        )

    def _loss_rows(self, media_id: str, header: Header, summary: MediumSummary) -> None:
        if not len(summary.loss):
            return
        streams = affected(
            self._place.root / self._names.path("faithful"),
            header,
            len(self._header_bytes),
            self._packets.rows()["size"],
            summary.loss["index"],
        )
        session_id = repeated(self._names.session_id, len(streams))
        named = {"session_id": session_id, "media_id": repeated(media_id, len(streams))}
        self._store.append("loss", named | loss_columns(summary.loss, streams, self._book))

    def _rows(
        self, kind: str, header: Header, summary: MediumSummary, file: HashedFile, notes: list[str]
    ) -> None:
        media_id = self._names.media_id(kind)
        self._place.rows.add(
            file,
            {
                "media_id": media_id,
                "session_id": self._names.session_id,
                "kind": kind,
                "path": self._names.path(kind),
                "size": file.size,
                "packets": summary.packets,
                "packets_missing": summary.packets_missing,
                "complete": summary.complete,
                "verdict": summary.verdict,
                "duration_ms": header.duration_ms,
                "title": header.title,
                "author": header.author,
                "copyright": header.copyright,
                "description": header.description,
                "notes": notes,
            },
        )
        for stream in header.streams:
            self._store.append_row(
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
            self._store.append_row(
                "metadata",
                {
                    "media_id": media_id,
                    "name": tag.name,
                    "type": tag.type,
                    "value": tag.value,
                    "source_object": tag.source_object,
                },
            )

    def _packet_rows(self, media_id: str) -> None:
        for rows in self._packets.batches():
            append_packets(self._store, self._book, rows, self._names.session_id, media_id)

    def _provenance(self, media_id: str, rows: NDArray[np.void]) -> None:
        rows = self._book.stitched.expand(rows)
        capture_ids, frames = self._book.columns(rows["frame"])
        self._store.append(
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


def append_packets(
    store: TableStore, book: FrameBook, rows: NDArray[np.void], session_id: str, media_id: str | None
) -> None:
    """Add rows of MEDIA_PACKET to the table `media_packets`; without a file their offset is null."""
    n = len(rows)
    capture_ids, frames = book.columns(rows["frame"])
    first_capture_ids, first_frames = book.columns(book.stitched.first_frames(rows["first_frame"]))
    absent = rows["file_offset"] < 0
    columns: dict[str, object] = {
        "session_id": repeated(session_id, n),
        "packet_number": rows["location"],
        "send_time_ms": array_of(rows["send_time_ms"], pa.uint32(), rows["sound"] == 0),
        "ts": rows["ts"],
        "size": rows["size"],
        "file_offset": array_of(rows["file_offset"], pa.uint64(), absent),
        "frame": frames,
        "capture_id": capture_ids,
        "first_frame": first_frames,
        "first_capture_id": first_capture_ids,
        "duration_ms": array_of(rows["duration_ms"], pa.uint16(), rows["sound"] == 0),
        "sequence": rows["sequence"],
        "incarnation": rows["incarnation"],
        "sound": rows["sound"].astype(np.bool_),
    }
    if media_id is not None:
        columns["media_id"] = repeated(media_id, n)
    store.append("media_packets", columns)
