"""Several viewers' partial copies of the same content joined into one more complete medium.

Rules of this file:

* copies are the same content by what their headers say and by what their packets are: one server, one File
  ID, packet size and set of streams (or the same header bytes, where there is no File ID), and at least half
  of the packets that two have in common alike. Without a packet in common, only the same header of stored
  content will do: a header says too little of a live stream;
* a medium is written only where the union holds packets that no copy holds alone; disagreements are told in
  any case;
* copies are gone through by windows of LocationIds, so that memory holds the rows of one window, and of the
  bytes 32 MiB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mmsforensics.analytics.arrays import array_of, repeated
from mmsforensics.asf import EDIT, Header, parse_header, restore_padding
from mmsforensics.case.media_files import Joined, Kept, MediumFile
from mmsforensics.case.media_place import MediaPlace
from mmsforensics.case.playable import composed
from mmsforensics.case.spool import SPOOL_ROWS, Spool
from mmsforensics.case.store import TableStore
from mmsforensics.sessions import MEDIA_PACKET, MediumBlock, MediumSummary
from mmsforensics.sessions.merging import (
    HELD,
    Ballot,
    agreement,
    first_difference,
    gather_packets,
    held_packets,
    once_each,
    sampled,
    unsent_behind,
    vote,
)
from mmsforensics.sessions.verdict import verdict

BUCKET_BITS = 12
"""LocationIds are counted by buckets of 4096, of which windows are made."""

WINDOW_ROWS = 1 << 16
"""Rows of all copies in a window, unless one bucket alone holds more."""

BYTES_AT_ONCE = 32 << 20
"""Bytes of packets compared or copied at once."""

SAMPLES = 1 << 16
"""Packets of a copy looked at to tell whether it is of the same content: all of them, of most media."""

COMPARED = 256
"""Packets in common whose bytes are compared for that."""

MOST_LEFT_OUT = 1 << 24
"""LocationIds that are further apart are not a hole: the number was set anew."""

SELECTED = np.dtype([("row", "i8"), ("copy", "u4"), ("held", "u4")])
"""A packet of the merged medium: where it is taken from, and how many copies hold it."""

VOTE = np.dtype(
    [
        ("packet", "i8"),  # running number of the disputed packet
        ("location", "u4"),
        ("copy", "u4"),
        ("version", "u4"),
        ("first_difference", "i4"),  # from the version kept; -1: it is that
        ("sha256", "u1", (32,)),
    ]
)
"""One copy's word on a disputed packet."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A faithful medium that may be one of several copies."""

    kept: Kept
    identity: bytes
    """What it says it is, hashed: alike in copies of the same content."""
    header_sha256: bytes
    broadcast: bool
    packet_size: int

    @property
    def media_id(self) -> str:
        """Its identifier."""
        return self.kept.names.media_id("faithful")

    def bytes(self) -> NDArray[np.uint8]:
        """Its file, mapped."""
        return np.asarray(np.memmap(self.kept.path, dtype=np.uint8, mode="r"))

    def held(self, number: int) -> Iterator[NDArray[np.void]]:
        """Its packets as rows of HELD, some at a time."""
        begin = 0
        for rows in self.kept.packets.batches():
            yield held_packets(rows, begin, number)
            begin += len(rows)


class Copies:
    """The media of an analysis, kept until all are there."""

    def __init__(self) -> None:
        self._kept: list[Kept] = []
        self._servers: dict[str, bytes] = {}

    def keep(self, kept: Kept) -> None:
        """Keep a finished medium."""
        self._kept.append(kept)

    def server(self, session_id: str, address: bytes) -> None:
        """Take note of a session's server."""
        self._servers[session_id] = address

    def alike(self) -> Iterator[list[Copy]]:
        """Media that say that they are the same content, in order of capture."""
        groups: dict[bytes, list[Copy]] = {}
        for kept in self._kept:
            copy = _copy(kept, self._servers.get(kept.names.session_id, b""))
            if copy.packet_size:
                groups.setdefault(copy.identity, []).append(copy)
        for group in groups.values():
            if len(group) > 1:
                yield sorted(group, key=lambda c: (int(c.kept.packets.rows()["frame"][0]), c.media_id))


def _copy(kept: Kept, server: bytes) -> Copy:
    header_bytes = _header_bytes(kept)
    header = parse_header(header_bytes)
    streams = sorted((s.number, s.type, s.codec) for s in header.streams)
    says = (header.file_id, header.packet_size, streams) if any(header.file_id) else header_bytes
    return Copy(
        kept=kept,
        identity=hashlib.sha256(repr((server, says)).encode()).digest(),
        header_sha256=hashlib.sha256(header_bytes).digest(),
        broadcast=header.broadcast,
        packet_size=header.packet_size,
    )


def _header_bytes(kept: Kept) -> bytes:
    with kept.path.open("rb") as file:
        return file.read(kept.header_size)


# --- which copies belong together ----------------------------------------------------------------------


@dataclass(slots=True)
class Group:
    """Copies of one content."""

    copies: list[Copy]
    sample: NDArray[np.void]
    """Some of the packets that they hold, each LocationId once; ``copy`` counts in `copies`."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A copy that says it is of a content, and is not known to be."""

    copy: Copy
    others: list[Copy]
    compared: int
    reason: str


def grouped(copies: Sequence[Copy]) -> tuple[list[list[Copy]], list[Refusal]]:
    """Tell which of the copies that claim to be the same content are it."""
    shift = _shift(max(len(c.kept.packets.rows()) for c in copies))
    groups: list[Group] = []
    refusals: list[Refusal] = []
    left = list(copies)
    while left:
        group = Group([left[0]], _sample(left[0], 0, shift))
        joined, refused = True, list[Refusal]()
        left = left[1:]
        while joined:  # a copy that joins may be what connects another one
            joined, refused, waiting = False, [], left
            left = []
            for copy in waiting:
                refusal = _join(group, copy, shift)
                joined |= refusal is None
                if refusal is not None:
                    left.append(copy)
                    refused.append(refusal)
        groups.append(group)
        refusals += [r for r in refused if r.copy.header_sha256 == group.copies[0].header_sha256]
    return [g.copies for g in groups], refusals


def _shift(packets: int) -> int:
    return max((packets // SAMPLES).bit_length(), 0)


def _sample(copy: Copy, number: int, shift: int) -> NDArray[np.void]:
    parts = [sampled(rows[rows["sound"] != 0], shift) for rows in copy.held(number)]
    held = np.concatenate([np.empty(0, dtype=HELD), *parts])
    return sampled(held, 0)


def _join(group: Group, copy: Copy, shift: int) -> Refusal | None:
    """Add a copy to a group if it is of the same content; otherwise says why not."""
    sample = _sample(copy, len(group.copies), shift)
    common, mine, theirs = agreement(sample, group.sample, COMPARED)
    if not common:
        same_header = copy.header_sha256 == group.copies[0].header_sha256
        if copy.broadcast or not same_header:
            return Refusal(copy, list(group.copies), 0, "no packet in common with the others")
    else:
        alike = _alike([*group.copies, copy], sample[mine], group.sample[theirs])
        if 2 * alike < len(mine):
            reason = f"of {len(mine)} packets in common that were compared, {alike} are alike"
            return Refusal(copy, list(group.copies), len(mine), reason)
    group.copies.append(copy)
    group.sample = sampled(np.concatenate([group.sample, sample]), 0)
    return None


def _alike(copies: list[Copy], a: NDArray[np.void], b: NDArray[np.void]) -> int:
    size = copies[0].packet_size
    left, right = _comparable(copies, a, size), _comparable(copies, b, size)
    same = (a["send_time_ms"] == b["send_time_ms"]) & (left == right).all(axis=1)
    return int(np.count_nonzero(same))


def _packets(copies: Sequence[Copy], held: NDArray[np.void], size: int) -> NDArray[np.uint8]:
    """The bytes of packets as they lie in their files."""
    out = np.empty((len(held), size), dtype=np.uint8)
    for number in np.unique(held["copy"]).tolist():
        places = np.flatnonzero(held["copy"] == number)
        offsets = np.ascontiguousarray(held["file_offset"][places])
        gather_packets(copies[number].bytes(), offsets, places, out)
    return out


def _comparable(copies: Sequence[Copy], held: NDArray[np.void], size: int) -> NDArray[np.uint8]:
    """The bytes of packets with their padding restored: alike whether a server stripped it or not."""
    data = _packets(copies, held, size)
    restore_padding(data.reshape(-1), size, held["size"].astype(np.int64))
    return data


# --- what they hold together ---------------------------------------------------------------------------


@dataclass(slots=True)
class Union:
    """What was found in the copies of one content."""

    copies: Sequence[Copy]
    packets: int = 0
    missing: int = 0
    """Packets between the first and the last that no copy holds and no copy shows to be unsent."""
    left_out: bool = False
    """Whether the server left packets out that it did not miss."""
    disputed: int = 0
    first: int = -1
    last: int = -1
    each: NDArray[np.int64] = field(init=False)
    """Packets that each copy holds."""
    edge: NDArray[np.void] = field(default_factory=lambda: np.empty(0, dtype=HELD))
    """The rows of the last packet so far."""

    def __post_init__(self) -> None:
        self.each = np.zeros(len(self.copies), dtype=np.int64)


def _unite(copies: Sequence[Copy], selected: Spool, votes: Spool) -> Union:
    union = Union(copies)
    for window in _windows(copies):
        held, starts = once_each(window)
        union.each += np.bincount(held["copy"], minlength=len(copies))
        _count_holes(union, held, starts)
        for first, last in _chunks(starts, copies[0].packet_size):
            part = held[starts[first] : starts[last]]
            ballot = _ballot(copies, part, starts[first : last + 1] - starts[first])
            rows = np.empty(last - first, dtype=SELECTED)
            rows["row"], rows["copy"] = part["row"][ballot.chosen], part["copy"][ballot.chosen]
            rows["held"] = np.diff(ballot.starts)
            selected.append(rows)
            for packet in ballot.disputed.tolist():
                votes.append(_votes(union, part, ballot, packet))
        union.packets += len(starts) - 1
    return union


def _windows(copies: Sequence[Copy]) -> Iterator[NDArray[np.void]]:
    """The rows of all copies, window by window of LocationIds, in that order."""
    counts = np.zeros(1 << (32 - BUCKET_BITS), dtype=np.int64)
    blocks: list[tuple[int, int, int, int]] = []  # copy, first row, lowest and highest LocationId
    for number, copy in enumerate(copies):
        for i, rows in enumerate(copy.kept.packets.batches()):
            location = rows["location"]
            blocks.append((number, i * SPOOL_ROWS, int(location.min()), int(location.max())))
            bucket, count = np.unique(location >> BUCKET_BITS, return_counts=True)
            counts[bucket] += count
    filled = np.flatnonzero(counts)
    total = np.cumsum(counts[filled])
    at = 0
    while at < len(filled):
        before = int(total[at - 1]) if at else 0
        end = max(int(np.searchsorted(total, before + WINDOW_ROWS, side="right")), at + 1)
        low = int(filled[at]) << BUCKET_BITS
        high = (int(filled[end - 1]) + 1) << BUCKET_BITS
        yield np.concatenate(
            [
                _within(copies[c], c, begin, low, high)
                for c, begin, lo, hi in blocks
                if lo < high and hi >= low
            ]
        )
        at = end


def _within(copy: Copy, number: int, begin: int, low: int, high: int) -> NDArray[np.void]:
    rows = np.array(copy.kept.packets.rows()[begin : begin + SPOOL_ROWS])
    held = held_packets(rows, begin, number)
    return held[(held["location"] >= low) & (held["location"] < high)]


def _chunks(starts: NDArray[np.int64], packet_size: int) -> Iterator[tuple[int, int]]:
    """Packets first to last, exclusive, of which all versions can be held at once."""
    at, most = 0, max(BYTES_AT_ONCE // packet_size, 1)
    while at < len(starts) - 1:
        end = max(int(np.searchsorted(starts, starts[at] + most, side="right")) - 1, at + 1)
        yield at, end
        at = end


def _ballot(copies: Sequence[Copy], held: NDArray[np.void], starts: NDArray[np.int64]) -> Ballot:
    """Vote on packets; those that one copy alone holds are not read."""
    size = copies[0].packet_size
    data = np.zeros((len(held), size), dtype=np.uint8)
    several = np.repeat(np.diff(starts) > 1, np.diff(starts))
    data[several] = _comparable(copies, held[several], size)
    return vote(held, starts, data)


def _count_holes(union: Union, held: NDArray[np.void], starts: NDArray[np.int64]) -> None:
    edge = union.edge
    if len(edge):
        held = np.concatenate([edge, held])
        starts = np.concatenate(([0], starts + len(edge)))
    location = held["location"][starts[:-1]].astype(np.int64)
    gaps = np.diff(location) - 1
    holes = (gaps > 0) & (gaps < MOST_LEFT_OUT)
    unsent = unsent_behind(held, starts)[:-1]
    union.missing += int(gaps[holes & ~unsent].sum())
    union.left_out |= bool((holes & unsent).any())
    union.edge = held[starts[-2] :].copy()
    union.first = int(location[0]) if union.first < 0 else union.first
    union.last = int(location[-1])


def _votes(union: Union, held: NDArray[np.void], ballot: Ballot, packet: int) -> NDArray[np.void]:
    rows = held[ballot.starts[packet] : ballot.starts[packet + 1]]
    version = ballot.version[ballot.starts[packet] : ballot.starts[packet + 1]]
    size = union.copies[0].packet_size
    data, raw = _comparable(union.copies, rows, size), _packets(union.copies, rows, size)
    kept = data[ballot.chosen[packet] - ballot.starts[packet]]
    out = np.zeros(len(rows), dtype=VOTE)
    out["packet"], out["location"] = union.disputed, rows["location"]
    out["copy"], out["version"] = rows["copy"], version
    for i in range(len(rows)):
        out["first_difference"][i] = first_difference(data[i], kept)
        out["sha256"][i] = np.frombuffer(hashlib.sha256(raw[i]).digest(), dtype=np.uint8)
    union.disputed += 1
    return out


# --- the medium and the table --------------------------------------------------------------------------


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
    union = _unite(copies, selected, votes)
    media_id = None
    if union.packets > int(union.each.max()):
        media_id = copies[0].kept.names.media_id("merged")
        _write(place, union, selected)
    _tell_disagreements(place.store, media_id, copies, votes)
    selected.remove()
    votes.remove()


def _write(place: MediaPlace, union: Union, selected: Spool) -> None:
    base, copies = union.copies[0].kept, union.copies
    header_bytes = _header_bytes(base)
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


__all__ = ["Copies", "Copy", "grouped", "merge_copies"]
