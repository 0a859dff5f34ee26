"""Several viewers' partial copies of the same content joined into one more complete medium.

Rules of this file:

* which media are copies is told by `copies`, what they hold together by `union`;
* a medium is written only where the union holds packets that no copy holds alone; disagreements are told in
  any case.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import array_of, repeated
from mmsforensics.asf import EDIT, Header, parse_header
from mmsforensics.case.copies import Copies, Copy, Refusal, grouped, header_bytes_of
from mmsforensics.case.media_files import Joined, MediumFile
from mmsforensics.case.media_place import MediaPlace
from mmsforensics.case.playable import composed
from mmsforensics.case.spool import Spool
from mmsforensics.case.store import TableStore
from mmsforensics.case.union import BYTES_AT_ONCE, SELECTED, VOTE, Union, unite
from mmsforensics.sessions import MEDIA_PACKET, MediumBlock, MediumSummary
from mmsforensics.sessions.merging import gather_packets
from mmsforensics.sessions.verdict import verdict


def merge_copies(copies: Copies, place: MediaPlace) -> None:
    """Write a merged medium for each content of which the copies hold more together than one alone."""
    for alike in copies.alike():
        groups, refusals = grouped(alike)
        for refusal in refusals:
            _tell_refusal(place.store, refusal)
        for group in groups:
            if len(group) > 1:
                _merge(place, group)


def _merge(place: MediaPlace, copies: list[Copy]) -> None:
    stem = copies[0].kept.names.media_id("merge")
    selected = Spool(place.spool / f"{stem}.selected", SELECTED, place.spools)
    votes = Spool(place.spool / f"{stem}.votes", VOTE, place.spools)
    union = unite(copies, selected, votes)
    media_id = None
    if union.packets > int(union.each.max()):
        media_id = copies[0].kept.names.media_id("merged")
        _write(place, union, selected)
    _tell_disagreements(place.store, media_id, copies, votes)
    selected.remove()
    votes.remove()


def _write(place: MediaPlace, union: Union, selected: Spool) -> None:
    base, copies = union.copies[0].kept, union.copies
    header_bytes = header_bytes_of(base)
    header = parse_header(header_bytes)
    file = MediumFile(
        place,
        base.names,
        header_bytes,
        "merged",
        None,
        joined=Joined([c.media_id for c in copies], _notes(union)),
    )
    file.write(
        MediumBlock(
            np.frombuffer(header_bytes, dtype=np.uint8),
            np.empty(0, dtype=MEDIA_PACKET),
            composed(_edits([0], [0], len(header_bytes)), base.origins.rows()),
        )
    )
    size = copies[0].packet_size
    runs = _Runs(place.store, base.names.media_id("merged"), [c.media_id for c in copies])
    all_rows, at, offset = selected.rows(), 0, len(header_bytes)
    while at < len(all_rows):
        rows = np.array(all_rows[at : at + max(BYTES_AT_ONCE // size, 1)])
        block = _block(copies, rows, offset, size)
        file.write(block)
        runs.add(rows, block.packets["location"].astype(np.int64))
        at, offset = at + len(rows), offset + len(block.data)
    runs.finish()
    missing, complete = _whole(union, header)
    ended = any(c.kept.summary.ended for c in copies)
    bounded = ended and header.packet_count > 0 and not header.broadcast
    file.close(
        MediumSummary(
            packets=union.packets,
            packets_missing=missing,
            complete=complete,
            ended=ended,
            verdict=verdict(packets=union.packets, missing=missing, complete=complete, bounded=bounded),
        )
    )


def _notes(union: Union) -> list[str]:
    most = int(union.each.max())
    notes = [
        f"joined from {len(union.copies)} copies: {union.packets} packets, of which no copy alone has more "
        f"than {most}"
    ]
    if union.disputed:
        notes.append(f"copies disagree on {union.disputed} packets: see the table merges")
    if len({c.header_sha256 for c in union.copies}) > 1:
        notes.append(f"the copies' headers differ: that of {union.copies[0].media_id} was taken")
    return notes


def _whole(union: Union, header: Header) -> tuple[int, bool]:
    """Packets known to be missing, and whether the medium is the whole content."""
    missing = union.missing
    declared = header.packet_count if not header.broadcast else 0
    ended = any(c.kept.summary.ended for c in union.copies)
    if declared and ended and not union.left_out:
        missing += max(declared - 1 - union.last, 0)
    return missing, missing == 0 and 0 < declared <= union.last + 1 and union.first == 0


def _edits(
    to: Sequence[int] | NDArray[np.int64], source: Sequence[int] | NDArray[np.int64], length: int
) -> NDArray[np.void]:
    edits = np.zeros(len(to), dtype=EDIT)
    edits["file_offset"], edits["source_offset"], edits["length"] = to, source, length
    return edits


def _block(copies: Sequence[Copy], chosen: NDArray[np.void], offset: int, size: int) -> MediumBlock:
    """Lay chosen packets into the file at `offset`, with the origins that their copies know."""
    rows = np.empty(len(chosen), dtype=MEDIA_PACKET)
    data = np.empty((len(chosen), size), dtype=np.uint8)
    to = offset + np.arange(len(chosen), dtype=np.int64) * size
    origins = []
    for number in np.unique(chosen["copy"]).tolist():
        places = np.flatnonzero(chosen["copy"] == number)
        kept = copies[number].kept
        rows[places] = kept.packets.rows()[chosen["row"][places]]
        source = np.ascontiguousarray(rows["file_offset"][places])
        gather_packets(copies[number].bytes(), source, places, data)
        origins.append(composed(_edits(to[places], source, size), kept.origins.rows()))
    rows["file_offset"] = to
    provenance = np.concatenate(origins)
    return MediumBlock(
        data.reshape(-1), rows, provenance[np.argsort(provenance["file_offset"], kind="stable")]
    )


class _Runs:
    """Rows of kind ``run``: packets that follow each other, from one copy, held by as many."""

    def __init__(self, store: TableStore, media_id: str, sources: list[str]) -> None:
        self._store = store
        self._media_id = media_id
        self._sources = array_of(sources, pa.string())
        self._open = np.empty((0, 5), dtype=np.int64)  # copy, held, first, last, packets

    def add(self, rows: NDArray[np.void], location: NDArray[np.int64]) -> None:
        """Take the next packets."""
        here = np.empty((len(rows), 5), dtype=np.int64)
        here[:, 0], here[:, 1] = rows["copy"], rows["held"]
        here[:, 2] = here[:, 3] = location
        here[:, 4] = 1
        here = np.concatenate([self._open, here])
        begins = np.ones(len(here), dtype=np.bool_)
        begins[1:] = (np.diff(here[:, :2], axis=0) != 0).any(axis=1)
        first = np.flatnonzero(begins)
        last = np.append(first[1:], len(here)) - 1
        runs = here[first]
        runs[:, 3] = here[last, 3]
        runs[:, 4] = np.add.reduceat(here[:, 4], first)
        self._open = runs[-1:]
        self._tell(runs[:-1])

    def finish(self) -> None:
        """Tell the last run."""
        self._tell(self._open)

    def _tell(self, runs: NDArray[np.int64]) -> None:
        if not len(runs):
            return
        self._store.append(
            "merges",
            {
                "media_id": repeated(self._media_id, len(runs)),
                "kind": repeated("run", len(runs)),
                "first_packet": runs[:, 2],
                "last_packet": runs[:, 3],
                "packets": runs[:, 4],
                "source_media_id": self._sources.take(array_of(runs[:, 0], pa.int64())),
                "copies": runs[:, 1],
            },
        )


def _tell_disagreements(
    store: TableStore, media_id: str | None, copies: Sequence[Copy], votes: Spool
) -> None:
    """A row for each version of each packet of which there are several."""
    rows = votes.rows()
    edges = np.flatnonzero(np.diff(rows["packet"])) + 1
    for packet in np.split(rows, edges) if len(rows) else []:
        for version in np.unique(packet["version"]).tolist():
            mine = packet[packet["version"] == version]
            difference = int(mine["first_difference"][0])
            store.append_row(
                "merges",
                {
                    "media_id": media_id,
                    "kind": "disagreement",
                    "first_packet": int(mine["location"][0]),
                    "last_packet": int(mine["location"][0]),
                    "packets": 1,
                    "media_ids": [copies[c].media_id for c in mine["copy"].tolist()],
                    "kept": difference < 0,
                    "sha256": mine["sha256"][0].tobytes().hex(),
                    "first_difference": difference if difference >= 0 else None,
                },
            )


def _tell_refusal(store: TableStore, refusal: Refusal) -> None:
    store.append_row(
        "merges",
        {
            "kind": "refused",
            "packets": refusal.compared,
            "source_media_id": refusal.copy.media_id,
            "media_ids": [c.media_id for c in refusal.others],
            "reason": refusal.reason,
        },
    )
