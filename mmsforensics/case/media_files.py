"""Recovered media on disk: the faithful file as it grows, the playable one when it is done.

Rules of this file:

* nothing of a medium is held in memory but the block at hand: rows of packets and provenance wait in spool
  files until the medium is finished, so that the rows of one medium stand together in the tables; then at
  most a row group of each table waits for those of the next media;
* files are written and hashed on threads of their own, some megabytes behind the decoding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import repeated
from mmsforensics.asf import Header, parse_header
from mmsforensics.case.borrowing import Lender, Lending
from mmsforensics.case.laying import lay
from mmsforensics.case.loss import affected, loss_columns
from mmsforensics.case.media_place import MediaPlace, MediumNames
from mmsforensics.case.media_rows import append_header
from mmsforensics.case.playable import Made, SalvageFile, make_playable
from mmsforensics.case.restored import COMPUTED, computed_from, restored_rows
from mmsforensics.case.spool import SPOOL_ROWS, Spool, batches
from mmsforensics.case.views import ENCRYPTED_NOTE, encrypted, write_views
from mmsforensics.case.writing import HashedFile
from mmsforensics.protocols.messages import UNKNOWN_LOCATION
from mmsforensics.sessions import (
    MEDIA_PACKET,
    PROVENANCE,
    MediumBlock,
    MediumKind,
    MediumSummary,
    Reason,
    RestoredPacket,
)


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
        self.first_frame = 0
        """Frame of the first of its bytes that has one, 0 if none has; known when it is finished."""
        self._said: list[str] = []
        self._names = names
        self.header_bytes = header
        self._file = HashedFile(place.root / names.path(kind), place.writers)
        stem = names.media_id("spool" if joined is None else "merged-spool")
        self._packets = Spool(place.spool / f"{stem}.packets", MEDIA_PACKET, place.spools)
        self._origins = Spool(place.spool / f"{stem}.origins", PROVENANCE, place.spools)
        self._playable_origins = Spool(place.spool / f"{stem}.playable", PROVENANCE, place.spools)
        self._salvaged = place.spool / f"{stem}.salvaged"
        self._has_salvaged = False
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
        self._has_salvaged = True
        with self._salvaged.open("ab") as file:
            file.write(block.data.tobytes())
        self._salvaged_packets.append(block.packets)
        self._salvaged_origins.append(block.provenance)

    def restored(self, packet: RestoredPacket) -> None:
        """Record what a packet was computed from."""
        self._computed.append(computed_from(packet))

    def _salvage_file(self) -> SalvageFile | None:
        if not self._has_salvaged:
            return None
        return SalvageFile(self._salvaged, self._salvaged_packets.rows(), self._salvaged_origins.rows())

    def close(self, summary: MediumSummary) -> None:
        """Finish the medium: the playable file where one is needed, and rows, when `closings` comes to it."""
        header = parse_header(self.header_bytes)
        packets, origins = self._packets.rows(), self._origins.rows()
        make = partial(self._made, header, packets, origins, self._salvage_file())
        playable = summary.packets and self.kind in ("faithful", "merged")
        then = partial(self._closed, header, summary, packets, origins)
        self._place.closings.add(make if playable else self._written, then)

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
            out=partial(HashedFile, self._place.root / self._names.path(self._playable), self._place.writers),
            salvaged=salvaged,
        )

    def _closed(
        self,
        header: Header,
        summary: MediumSummary,
        packets: NDArray[np.void],
        origins: NDArray[np.void],
        made: Made | None,
    ) -> None:
        """Add the rows of the finished medium, and let go of what is no longer used."""
        media_id = self._names.media_id(self.kind)
        self._said = self._notes(made)
        self._rows(self.kind, header, summary, self._file, self._said)
        for batch in batches(packets):
            self._place.rows.packets(batch, (self.session_id, media_id))
        frames = origins["frame"]
        header_frame = int(frames[0]) if len(frames) else 0
        self.first_frame = int(frames[(frames != 0).argmax()]) if len(frames) else 0
        if self.header_bytes:
            write_views(self._place, self._names, self.kind, header, packets, header_frame)
        self._provenance_rows(origins, self.kind)
        if made is not None and made.file is not None:
            written = replace(summary, packets=made.packets)
            playable_header = parse_header(made.header_bytes)
            self._rows(self._playable, playable_header, written, made.file, list(made.notes))
            self._provenance_rows(self._playable_origins.rows(), self._playable)
        for batch in self._computed.batches():
            restored_rows(self._store, self._book, batch, self.session_id, media_id)
        reasons = list(summary.reasons)
        if encrypted(header):
            reasons.append(Reason("encrypted", ENCRYPTED_NOTE, frame=header_frame))
        self._place.rows.verdicts(reasons, (self.session_id, media_id))
        self._loss_rows(media_id, header, summary, packets)
        self._missing = summary.packets_missing
        self.late_header = summary.late_header
        self._let_go(summary, packets)

    def _let_go(self, summary: MediumSummary, packets: NDArray[np.void]) -> None:
        """Remove spools, but for the rows that lending or merging asks for later."""
        if self._has_salvaged:
            self._salvaged.unlink()
        for spool in (
            self._computed,
            self._salvaged_packets,
            self._salvaged_origins,
            self._playable_origins,
        ):
            spool.remove()
        numbered = (packets["location"][::SPOOL_ROWS] != UNKNOWN_LOCATION).any()
        if self._keep is not None and numbered and self.kind == "faithful":  # else nothing to compare by
            path, size = self._place.root / self._names.path(self.kind), len(self.header_bytes)
            self._keep(Kept(self._names, path, size, self._packets, self._origins, summary))
        if self._lending is not None:
            self._lending.keep(self)
        else:
            self.remove_spools()

    def _loss_rows(
        self, media_id: str, header: Header, summary: MediumSummary, packets: NDArray[np.void]
    ) -> None:
        if not len(summary.loss) or self.kind != "faithful":
            return
        streams = affected(
            self._place.root / self._names.path("faithful"),
            header,
            len(self.header_bytes),
            packets["size"],
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
        size, packets = lay(laid, origins, self, lender, header.packet_size)
        made = make_playable(
            faithful=laid,
            faithful_size=size,
            header=header,
            header_bytes=header_bytes,
            packets=packets,
            origins=origins.rows(),
            record=self._playable_origins.append,
            out=partial(HashedFile, self._place.root / self._names.path("playable"), self._place.writers),
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
        self._provenance_rows(self._playable_origins.rows(), "playable")

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
        append_header(self._store, header, media_id)

    def _provenance_rows(self, origins: NDArray[np.void], kind: str) -> None:
        for batch in batches(origins):
            self._place.rows.provenance(batch, (self.session_id, self._names.media_id(kind)))
