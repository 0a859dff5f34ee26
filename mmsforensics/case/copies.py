"""Which media of a case are copies of the same content.

Rules of this file:

* copies are the same content by what their headers say and by what their packets are: one server, one File
  ID, packet size and set of streams (or the same header bytes, where there is no File ID), and at least half
  of the packets that two have in common alike. Without a packet in common, only the same header of stored
  content will do: a header says too little of a live stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf import parse_header, restore_padding
from mmsforensics.case.media_files import Kept
from mmsforensics.sessions.merging import HELD, agreement, gather_packets, held_packets, sampled

SAMPLES = 1 << 16
"""Packets of a copy looked at to tell whether it is of the same content: all of them, of most media."""

COMPARED = 256
"""Packets in common whose bytes are compared for that."""


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
    header_bytes = header_bytes_of(kept)
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


def header_bytes_of(kept: Kept) -> bytes:
    """The header of a medium, from its file."""
    with kept.path.open("rb") as file:
        return file.read(kept.header_size)


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
    left, right = comparable(copies, a, size), comparable(copies, b, size)
    same = (a["send_time_ms"] == b["send_time_ms"]) & (left == right).all(axis=1)
    return int(np.count_nonzero(same))


def packets_of(copies: Sequence[Copy], held: NDArray[np.void], size: int) -> NDArray[np.uint8]:
    """The bytes of packets as they lie in their files."""
    out = np.empty((len(held), size), dtype=np.uint8)
    for number in np.unique(held["copy"]).tolist():
        places = np.flatnonzero(held["copy"] == number)
        offsets = np.ascontiguousarray(held["file_offset"][places])
        gather_packets(copies[number].bytes(), offsets, places, out)
    return out


def comparable(copies: Sequence[Copy], held: NDArray[np.void], size: int) -> NDArray[np.uint8]:
    """The bytes of packets with their padding restored: alike whether a server stripped it or not."""
    data = packets_of(copies, held, size)
    restore_padding(data.reshape(-1), size, held["size"].astype(np.int64))
    return data
