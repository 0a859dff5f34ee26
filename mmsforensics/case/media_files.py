"""Recovered media on disk: the faithful file as it grows, the playable one when it is done.

Rules of this file:

* nothing of a medium is held in memory but the block at hand: rows of packets and provenance wait in spool
  files until the medium is finished, so that the rows of one medium stand together in the tables;
* files are written and hashed on threads of their own, some megabytes behind the decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import array_of, repeated
from mmsforensics.asf import Header, ScriptCommand, parse_header
from mmsforensics.case.borrowing import PACKETS_AT_ONCE, Lender, Lending, padded
from mmsforensics.case.closings import Closings
from mmsforensics.case.frames import FrameBook
from mmsforensics.case.loss import affected, loss_columns
from mmsforensics.case.playable import Made, SalvageFile, make_playable
from mmsforensics.case.restored import COMPUTED, computed_from, restored_rows
from mmsforensics.case.store import TableStore
from mmsforensics.case.views import ENCRYPTED_NOTE, encrypted, write_views
from mmsforensics.case.writing import HashedFile, Spools, Writers
from mmsforensics.protocols.messages import UNKNOWN_LOCATION
from mmsforensics.sessions import (
    MEDIA_PACKET,
    PROVENANCE,
    MediumBlock,
    MediumKind,
    MediumSummary,
    Origin,
    Reason,
    RestoredPacket,
)

SPOOL_ROWS = 1 << 16
"""Rows of a spool file handled at once."""

SPOOL_READ = 4 << 20
"""Bytes of a spool file that are read rather than mapped."""

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
        """Path of one of the medium's files in the case folder. Packets alone are no file for players."""
        extension = ".bin" if kind == "packets" else self.extension
        return f"media/{self.session_id}/{self.number:02d}-{self.stem}.{kind}{extension}"


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
        """All rows, mapped from disk where they are many."""
        if self._spools.size(self._path) <= SPOOL_READ and not self._spools.flushed(self._path):
            return np.frombuffer(self._spools.read(self._path), dtype=self._dtype)
        self._spools.flush(self._path)
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
    closings: Closings
    rows: MediaRows
    commanded: Callable[[str, int, int, ScriptCommand], None]
    """Takes a script command of a stream, with its session, frame and time."""


class MediumFile:
    """One medium being recovered, or with `joined` a merged one; a `MediumWriter`.

    `keep` is given a finished medium, whose spool files then stay.
    """

    def __init__(
        self,
        place: MediaPlace,
        names: MediumNames,
        header: bytes,
        kind: MediumKind,
        lending: Lending | None,
        *,
        source: str = "",
        joined: Joined | None = None,
        keep: Callable[[Kept], None] | None = None,
    ) -> None:
        self._place = place
        self._store = place.store
        self._book = place.book
        self.kind = kind
        self._lending = lending
        self._source = source
        self._joined = joined
        self._keep = keep
        self._playable = "playable" if joined is None else "merged-playable"
        self._missing = 0
        self.late_header = (b"", "")
        self._said: list[str] = []
        self._names = names
        self.header_bytes = header
        self._file = HashedFile(place.root / names.path(kind), place.writers)
        stem = names.media_id("spool" if joined is None else "merged-spool")
        self._packets = Spool(place.spool / f"{stem}.packets", MEDIA_PACKET, place.spools)
        self._origins = Spool(place.spool / f"{stem}.origins", PROVENANCE, place.spools)
        self._playable_origins = Spool(place.spool / f"{stem}.playable", PROVENANCE, place.spools)
        self._salvaged = place.spool / f"{stem}.salvaged"
        self._salvaged_packets = Spool(place.spool / f"{stem}.salvaged-packets", MEDIA_PACKET, place.spools)
        self._salvaged_origins = Spool(place.spool / f"{stem}.salvaged-origins", PROVENANCE, place.spools)
        self._computed = Spool(place.spool / f"{stem}.restored", COMPUTED, place.spools)

    def write(self, block: MediumBlock) -> None:
        """Append bytes to the file, with the packets and origins that go with them."""
        self._file.write(block.data)
        self._packets.append(block.packets)
        self._origins.append(block.provenance)

    def salvage(self, block: MediumBlock) -> None:
        """Keep what was saved of hurt packets for the playable file."""
        with self._salvaged.open("ab") as file:
            file.write(block.data.tobytes())
        self._salvaged_packets.append(block.packets)
        self._salvaged_origins.append(block.provenance)

    def restored(self, packet: RestoredPacket) -> None:
        """Record what a packet was computed from."""
        self._computed.append(computed_from(packet))

    def _salvage_file(self) -> SalvageFile | None:
        if not self._salvaged.exists():
            return None
        return SalvageFile(self._salvaged, self._salvaged_packets.rows(), self._salvaged_origins.rows())

    def close(self, summary: MediumSummary) -> None:
        """Finish the medium: the playable file where one is needed, and rows, when `closings` comes to it."""
        header = parse_header(self.header_bytes)
        make = partial(self._made, header, self._packets.rows(), self._origins.rows(), self._salvage_file())
        playable = summary.packets and self.kind in ("faithful", "merged")
        self._place.closings.add(make if playable else self._written, partial(self._closed, header, summary))

    def _written(self) -> None:
        """Wait until all bytes of the file are written; on a thread."""
        self._file.settle()

    def _made(
        self,
        header: Header,
        packets: NDArray[np.void],
        origins: NDArray[np.void],
        salvaged: SalvageFile | None,
    ) -> Made:
        """Write the playable file, if one is needed; on a thread."""
        self._written()
        return make_playable(
            faithful=self._place.root / self._names.path(self.kind),
            faithful_size=self._file.size,
            header=header,
            header_bytes=self.header_bytes,
            packets=packets,
            origins=origins,
            record=self._playable_origins.append,
            out=HashedFile(self._place.root / self._names.path(self._playable), self._place.writers),
            salvaged=salvaged,
        )

    def _closed(self, header: Header, summary: MediumSummary, made: Made | None) -> None:
        """Add the rows of the finished medium, and let go of what is no longer used."""
        media_id = self._names.media_id(self.kind)
        self._said = self._notes(made)
        self._rows(self.kind, header, summary, self._file, self._said)
        self._packet_rows(media_id)
        first = self._origins.rows()["frame"][:1]
        header_frame = int(first[0]) if len(first) else 0
        if self.header_bytes:
            write_views(self._place, self._names, self.kind, header, self._packets.rows(), header_frame)
        for batch in self._origins.batches():
            self._provenance(media_id, batch)
        if made is not None and made.file is not None:
            written = replace(summary, packets=made.packets)
            playable_header = parse_header(made.header_bytes)
            self._rows(self._playable, playable_header, written, made.file, list(made.notes))
            for batch in self._playable_origins.batches():
                self._provenance(self._names.media_id(self._playable), batch)
        for batch in self._computed.batches():
            restored_rows(self._store, self._book, batch, self.session_id, media_id)
        reasons = list(summary.reasons)
        if encrypted(header):
            reasons.append(Reason("encrypted", ENCRYPTED_NOTE, frame=header_frame))
        self._verdict_rows(media_id, reasons)
        self._loss_rows(media_id, header, summary)
        self._missing = summary.packets_missing
        self.late_header = summary.late_header
        self._let_go(summary)

    def _let_go(self, summary: MediumSummary) -> None:
        """Remove spools, but for the rows that lending or merging asks for later."""
        self._salvaged.unlink(missing_ok=True)
        for spool in (
            self._computed,
            self._salvaged_packets,
            self._salvaged_origins,
            self._playable_origins,
        ):
            spool.remove()
        numbered = any(batch["location"][0] != UNKNOWN_LOCATION for batch in self._packets.batches())
        if self._keep is not None and numbered and self.kind == "faithful":  # else nothing to compare by
            path, size = self._place.root / self._names.path(self.kind), len(self.header_bytes)
            self._keep(Kept(self._names, path, size, self._packets, self._origins, summary))
        if self._lending is not None:
            self._lending.keep(self)
        else:
            self.remove_spools()

    def _verdict_rows(self, media_id: str, reasons: list[Reason]) -> None:
        if not reasons:
            return
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
        if not len(summary.loss) or self.kind != "faithful":
            return
        streams = affected(
            self._place.root / self._names.path("faithful"),
            header,
            len(self.header_bytes),
            self._packets.rows()["size"],
            summary.loss["index"],
        )
        session_id = repeated(self._names.session_id, len(streams))
        named = {"session_id": session_id, "media_id": repeated(media_id, len(streams))}
        self._store.append("loss", named | loss_columns(summary.loss, streams, self._book))

    @property
    def session_id(self) -> str:
        """Session it belongs to."""
        return self._names.session_id

    def bytes(self) -> NDArray[np.uint8]:
        """The finished file, mapped from disk."""
        if not self._file.size:
            return np.empty(0, dtype=np.uint8)
        return np.memmap(self._place.root / self._names.path(self.kind), dtype=np.uint8, mode="r").view(
            np.ndarray
        )

    @property
    def media_id(self) -> str:
        """Its identifier."""
        return self._names.media_id(self.kind)

    def origin_rows(self) -> NDArray[np.void]:
        """Where its bytes come from, dtype PROVENANCE."""
        return self._origins.rows()

    def packet_rows(self) -> NDArray[np.void]:
        """Rows of its packets, dtype MEDIA_PACKET."""
        return self._packets.rows()

    def remove_spools(self) -> None:
        """Let go of the rows that were kept."""
        for spool in (self._packets, self._origins, self._playable_origins):
            spool.remove()

    def note(self, text: str) -> None:
        """Add a note to the medium's row, as long as rows wait."""
        self._said.append(text)

    def play_with(self, lender: Lender, proof: str, note: str) -> None:
        """Write a playable file of these packets with the header of another medium."""
        lender_id = lender.media_id
        header_bytes = lender.header_bytes
        header = parse_header(header_bytes)
        laid = self._place.spool / f"{self._names.media_id('laid')}.bytes"
        origins = Spool(laid.with_suffix(".origins"), PROVENANCE, self._place.spools)
        size, packets = self._lay(laid, origins, lender, header.packet_size)
        made = make_playable(
            faithful=laid,
            faithful_size=size,
            header=header,
            header_bytes=header_bytes,
            packets=packets,
            origins=origins.rows(),
            record=self._playable_origins.append,
            out=HashedFile(self._place.root / self._names.path("playable"), self._place.writers),
            because=(
                f"the header was not captured; that of {lender_id} is borrowed ({proof}: {note})"
                if lender_id
                else f"the header was not captured; one was made of what the packets say ({proof}: {note})",
            ),
        )
        frame = origins.rows()["frame"][:1]
        write_views(self._place, self._names, "playable", header, packets, int(frame[0]), laid)
        laid.unlink()
        origins.remove()
        assert made.file is not None
        summary = MediumSummary(
            packets=made.packets, packets_missing=self._missing, complete=False, ended=False
        )
        written = parse_header(made.header_bytes)
        self._rows("playable", written, summary, made.file, list(made.notes), (lender_id, proof))
        for batch in self._playable_origins.batches():
            self._provenance(self._names.media_id("playable"), batch)

    def _lay(
        self, path: Path, origins: Spool, lender: Lender, packet_size: int
    ) -> tuple[int, NDArray[np.void]]:
        """Write what the faithful file would be; returns its size and the rows of its packets."""
        size = len(lender.header_bytes)
        lent = lender.origin_rows()
        head = np.array(lent[lent["file_offset"] < size])
        head["length"] = np.minimum(head["length"], size - head["file_offset"])
        origins.append(head)
        mine = self._origins.rows()
        starts = np.array(mine["file_offset"])
        rows = [np.empty(0, dtype=MEDIA_PACKET)]
        with path.open("wb") as file:
            file.write(lender.header_bytes)
            for part, data in padded(self, packet_size, PACKETS_AT_ONCE):
                file.write(data.tobytes())
                begin = int(part["file_offset"][0])
                end = int(part["file_offset"][-1]) + int(part["size"][-1])
                low, high = (int(np.searchsorted(starts, offset)) for offset in (begin, end))
                origins.append(_spread(np.array(mine[low:high]), part, size, packet_size))
                part["file_offset"] = size + np.arange(len(part)) * packet_size
                if part["location"][0] == UNKNOWN_LOCATION:  # in the order of the file, each once
                    part["location"] = sum(map(len, rows)) + np.arange(len(part))
                rows.append(part)
                size += len(data)
        return size, np.concatenate(rows)

    def _notes(self, made: Made | None) -> list[str]:
        if self._joined is not None:
            return [*self._joined.notes, *(made.reasons if made else ())]
        if self.kind == "packets":
            return ["the header was not captured: packets as on the wire, one behind the other"]
        if self.kind == "header":
            return ["the header alone: no media packet of it was captured"]
        return list(made.reasons) if made else []

    def _rows(
        self,
        kind: str,
        header: Header,
        summary: MediumSummary,
        file: HashedFile,
        notes: list[str],
        loan: tuple[str, str] | None = None,
    ) -> None:
        media_id = self._names.media_id(kind)
        if encrypted(header):
            notes = [*notes, ENCRYPTED_NOTE]
        self._place.rows.add(
            file,
            {
                "media_id": media_id,
                "session_id": self._names.session_id,
                "kind": kind.removeprefix("merged-"),
                "path": self._names.path(kind),
                "size": file.size,
                "packets": summary.packets,
                "packets_missing": summary.packets_missing,
                "complete": summary.complete,
                "verdict": summary.verdict,
                "encrypted": encrypted(header),
                "duration_ms": header.duration_ms,
                "title": header.title,
                "author": header.author,
                "copyright": header.copyright,
                "description": header.description,
                "notes": notes,
                "header_from": (loan[0] if loan else self._source) or None,
                "header_proof": loan[1] if loan else "station file" if self._source else None,
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


def _spread(
    origins: NDArray[np.void], packets: NDArray[np.void], at: int, packet_size: int
) -> NDArray[np.void]:
    """Origins of packets that stood one behind the other, for them padded at a stride from `at` on."""
    moved = origins.copy()
    which = np.searchsorted(packets["file_offset"], origins["file_offset"], side="right") - 1
    moved["file_offset"] += at + which * packet_size - packets["file_offset"][which]
    size = packets["size"].astype(np.int64)
    short = np.flatnonzero(size < packet_size)
    padding = np.zeros(len(short), dtype=PROVENANCE)
    padding["file_offset"] = at + short * packet_size + size[short]
    padding["length"] = packet_size - size[short]
    padding["kind"] = Origin.PADDING
    both = np.concatenate((moved, padding))
    return both[np.argsort(both["file_offset"], kind="stable")]


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
