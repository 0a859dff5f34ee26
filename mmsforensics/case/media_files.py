"""Recovered media on disk: the faithful file as it grows, the playable one when it is done.

Rules of this file:

* nothing of a medium is held in memory but the block at hand: rows of packets and provenance wait in spool
  files until the medium is finished, so that the rows of one medium stand together in the tables;
* files are written and hashed on a thread of their own, a few blocks behind the decoding.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import array_of, repeated
from mmsforensics.asf import Header, parse_header
from mmsforensics.case.frames import FrameBook
from mmsforensics.case.playable import make_playable
from mmsforensics.case.store import TableStore
from mmsforensics.sessions import MEDIA_PACKET, PROVENANCE, MediumBlock, MediumSummary, Origin

BLOCKS_WAITING = 3
"""Blocks of a file (each a window's share, at most) that may wait to be written."""

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


@dataclass(frozen=True, slots=True)
class Kept:
    """A finished faithful medium whose rows are kept until the end of the analysis, to be merged."""

    names: MediumNames
    path: Path
    header_size: int
    packets: Spool
    origins: Spool
    summary: MediumSummary


@dataclass(frozen=True, slots=True)
class Joined:
    """What a merged medium is made of."""

    media_ids: list[str]
    notes: list[str]


class HashedFile:
    """A file hashed as it is written. Opened for each write: there may be thousands of them at once.

    What is given to `write` must not change afterwards.
    """

    def __init__(self, path: Path, hasher: ThreadPoolExecutor) -> None:
        self._path = path
        self._hasher = hasher
        self._sha256 = hashlib.sha256()
        self._waiting: deque[Future[None]] = deque()
        self.size = 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, data: bytes | NDArray[np.uint8]) -> int:
        """Append bytes."""
        while len(self._waiting) >= BLOCKS_WAITING:
            self._waiting.popleft().result()
        self._waiting.append(self._hasher.submit(self._append, data))
        self.size += len(data)
        return len(data)

    def _append(self, data: bytes | NDArray[np.uint8]) -> None:
        view = memoryview(data)  # type: ignore[arg-type]  # NumPy arrays are buffers
        with self._path.open("ab", buffering=0) as file:
            done = 0
            while done < len(view):
                done += file.write(view[done:])
        self._sha256.update(view)

    def hexdigest(self) -> str:
        """SHA-256 of what was written."""
        self.settle()
        return self._sha256.hexdigest()

    def settle(self) -> None:
        """Wait until what was given is on disk."""
        while self._waiting:
            self._waiting.popleft().result()


class Spool:
    """Rows of one dtype on disk."""

    def __init__(self, path: Path, dtype: np.dtype[np.void]) -> None:
        self._path = path
        self._dtype = dtype
        path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, rows: NDArray[np.void]) -> None:
        """Add rows."""
        if len(rows):
            with self._path.open("ab") as file:
                file.write(np.ascontiguousarray(rows).tobytes())

    def rows(self) -> NDArray[np.void]:
        """All rows, mapped from disk."""
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
        self._path.unlink(missing_ok=True)


class MediumFile:
    """One medium being recovered, or with `joined` a merged one; a `MediumWriter`.

    `keep` is given a finished medium, whose spool files then stay.
    """

    def __init__(
        self,
        root: Path,
        spool: Path,
        store: TableStore,
        book: FrameBook,
        names: MediumNames,
        header: bytes,
        hasher: ThreadPoolExecutor,
        *,
        joined: Joined | None = None,
        keep: Callable[[Kept], None] | None = None,
    ) -> None:
        self._root = root
        self._joined = joined
        self._keep = keep
        self._name = "faithful" if joined is None else "merged"
        self._playable_name = "playable" if joined is None else "merged-playable"
        self._store = store
        self._book = book
        self._names = names
        self._header_bytes = header
        self._hasher = hasher
        self._file = HashedFile(root / names.path(self._name), hasher)
        stem = names.media_id("spool" if joined is None else "merged-spool")
        self._packets = Spool(spool / f"{stem}.packets", MEDIA_PACKET)
        self._origins = Spool(spool / f"{stem}.origins", PROVENANCE)
        self._playable_origins = Spool(spool / f"{stem}.playable", PROVENANCE)

    def write(self, block: MediumBlock) -> None:
        """Append bytes to the faithful file, with the packets and origins that go with them."""
        self._file.write(block.data)
        self._packets.append(block.packets)
        self._origins.append(block.provenance)

    def close(self, summary: MediumSummary) -> None:
        """Finish the medium: rows, and the playable file where one is needed."""
        header = parse_header(self._header_bytes)
        made = None
        self._file.settle()
        if summary.packets:
            made = make_playable(
                faithful=self._root / self._names.path(self._name),
                faithful_size=self._file.size,
                header=header,
                header_bytes=self._header_bytes,
                packets=self._packets.rows(),
                origins=self._origins.rows(),
                record=self._playable_origins.append,
                out=HashedFile(self._root / self._names.path(self._playable_name), self._hasher),
            )
        media_id = self._names.media_id(self._name)
        notes = [*(self._joined.notes if self._joined else ()), *(made.reasons if made else ())]
        self._rows(self._name, header, summary, self._file, notes)
        self._packet_rows(media_id)
        for batch in self._origins.batches():
            self._provenance(media_id, batch)
        if made is not None and made.file is not None:
            written = MediumSummary(
                packets=made.packets,
                packets_missing=summary.packets_missing,
                complete=summary.complete,
                ended=summary.ended,
            )
            playable_header = parse_header(made.header_bytes)
            self._rows(self._playable_name, playable_header, written, made.file, list(made.notes))
            for batch in self._playable_origins.batches():
                self._provenance(self._names.media_id(self._playable_name), batch)
        self._playable_origins.remove()
        if self._keep is not None and summary.packets:
            path, size = self._root / self._names.path(self._name), len(self._header_bytes)
            self._keep(Kept(self._names, path, size, self._packets, self._origins, summary))
            return
        self._packets.remove()
        self._origins.remove()

    def _rows(
        self, name: str, header: Header, summary: MediumSummary, file: HashedFile, notes: list[str]
    ) -> None:
        media_id = self._names.media_id(name)
        self._store.append_row(
            "media",
            {
                "media_id": media_id,
                "session_id": self._names.session_id,
                "kind": name.removeprefix("merged-"),
                "path": self._names.path(name),
                "sha256": file.hexdigest(),
                "size": file.size,
                "packets": summary.packets,
                "packets_missing": summary.packets_missing,
                "complete": summary.complete,
                "duration_ms": header.duration_ms,
                "title": header.title,
                "author": header.author,
                "copyright": header.copyright,
                "description": header.description,
                "notes": notes,
                "merged_from": self._joined.media_ids if self._joined else [],
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
