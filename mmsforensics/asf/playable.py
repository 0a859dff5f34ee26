"""A medium made right for ordinary players: header repaired, padding restored, index built.

Rules of this file:

* two passes over the faithful file, block by block: the first learns what the header must say, the second
  writes. Memory does not grow with the medium: only of its beginning are both passes made in one reading;
* every byte written is accounted for: copied from a place in the faithful file, or new, and why;
* nothing is invented: a packet that does not parse is left out and noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf.edits import EDIT, Edit, merged, sources_of
from mmsforensics.asf.header import Header, parse_header
from mmsforensics.asf.packets import walk_payloads
from mmsforensics.asf.repaired_header import PacketFacts, repaired_header
from mmsforensics.asf.simple_index import simple_indexes
from mmsforensics.asf.survey import FaithfulFile, Source, Survey, begins_key, blocks, surveyed
from mmsforensics.asf.tree import DATA_OBJECT_HEAD
from mmsforensics.asf.trimming import Trimmed, trim

MAX_TRIMMED = 4 << 20
"""Bytes of packets of which payloads are taken out; where there would be more, all stay as they are."""


class Sink(Protocol):
    """Takes the bytes of the playable file in order."""

    def write(self, data: bytes | NDArray[np.uint8], /) -> int:
        """Append bytes."""


@dataclass(frozen=True, slots=True)
class PlayableFacts:
    """What is known of a faithful file besides its header."""

    count: int
    """Packets in it."""
    file_size: int
    padded: bool
    """Whether every packet came with its padding."""
    ordered: bool
    """Whether the packets stand in presentation order, each once."""
    has_tail: bool
    """Whether objects (an index) stand behind the packets."""


@dataclass(frozen=True, slots=True)
class PlayableResult:
    """What was written."""

    size: int
    packets: int
    header_bytes: bytes
    notes: tuple[str, ...]
    """What was repaired."""
    index_entries: int = 0
    """Entries of all indexes."""
    duration_ms: int | None = None
    """Play time by the repaired header."""


def needs_playable(header: Header, header_bytes: bytes, facts: PlayableFacts) -> tuple[str, ...]:
    """Return why a faithful file is not already right for ordinary players; empty when it is."""
    reasons = []
    if header.broadcast:
        reasons.append("the header is one of a live stream: no size, count or duration")
    elif header.packet_count != facts.count:
        reasons.append(f"the header states {header.packet_count} packets, the file has {facts.count}")
    if not header.broadcast and header.file_size != facts.file_size:
        reasons.append(f"the header states {header.file_size} bytes, the file has {facts.file_size}")
    if header.data_offset and not header.broadcast and header.data_packets != facts.count:
        reasons.append(f"the Data Object states {header.data_packets} packets, the file has {facts.count}")
    if header.min_packet_size != header.max_packet_size:
        reasons.append("the header states packets of different sizes")
    if len(header.tree) != int.from_bytes(header_bytes[24:28], "little"):
        reasons.append("the header states a wrong number of objects")
    if not facts.padded:
        reasons.append("padding of packets was stripped")
    if not facts.ordered:
        reasons.append("packets were sent more than once or not in order")
    if not facts.has_tail and any(s.type == "video" for s in header.streams):
        reasons.append("there is no index to seek by")
    expected = DATA_OBJECT_HEAD + facts.count * header.packet_size
    if len(header_bytes) != header.size + DATA_OBJECT_HEAD:
        reasons.append("the head of the Data Object is missing")
    elif int.from_bytes(header_bytes[16:24], "little") != header.size:
        reasons.append("the header states a wrong size of itself")
    elif header.data_size != expected and not header.broadcast:
        reasons.append(f"the Data Object states {header.data_size} bytes, it has {expected}")
    return tuple(reasons)


def write_playable(
    header_bytes: bytes,
    source: Source,
    *,
    header_size: int,
    packet_size: int,
    sizes: NDArray[np.int64],
    order: NDArray[np.int64],
    out: Sink,
    tell: Callable[[NDArray[np.void]], None],
) -> PlayableResult:
    """Write the playable copy of a faithful file.

    Parameters
    ----------
    header_bytes : bytes
        The header as it was streamed.
    source : binary file
        The faithful file, seekable.
    header_size : int
        Where its packets begin.
    packet_size : int
        Bytes of a packet in it.
    sizes : ndarray of int64, shape (n,)
        Wire sizes of its packets; what lacks to `packet_size` is zero padding.
    order : ndarray of int64
        Which packets to write, in presentation order.
    out : Sink
    tell : callable
        Given tables of dtype `EDIT`, in the order of the file; together they cover it exactly.

    Returns
    -------
    PlayableResult
    """
    header = parse_header(header_bytes)
    notes: list[str] = []
    medium = FaithfulFile(source, header_size, packet_size, sizes)
    survey = surveyed(medium, order, header)
    unsound = int(np.count_nonzero(~survey.sound))
    if unsound:
        notes.append(f"{unsound} packets that do not parse were left out")
    keep, shift = _joined(header, survey, notes)
    trimmed = _trimmed(medium, order, survey, keep, notes) if header.broadcast else {}
    indexes = simple_indexes(header, survey, keep, shift, notes)
    count = int(np.count_nonzero(keep))
    facts = PacketFacts(
        count=count,
        packet_size=packet_size,
        index_size=sum(len(raw) for raw, _ in indexes),
        seekable=bool(indexes) or all(s.type != "video" for s in header.streams),
        same=count == len(order) == header.packet_count,
        play_end_ms=survey.last_presentation - shift,
        send_end_ms=survey.last_send - shift,
        last_duration_ms=survey.last_duration,
    )
    new_header = repaired_header(header, header_bytes, facts, notes)
    out.write(new_header)
    tell(_header_edits(header_bytes, new_header))
    written = len(new_header)
    if not keep.all() or trimmed:
        survey.kept.clear()  # the blocks are cut elsewhere
    for block, one in _pieces(order, keep, trimmed, packet_size):
        if one is not None:
            data = one.data.copy()
            _shift_times(data, packet_size, *walk_payloads(data, packet_size), shift)
            tell(one.edits(data, written))
        else:
            data, rows, heads, payloads = survey.kept.popleft() if survey.kept else medium.packets(block)
            if shift:
                _shift_times(data, packet_size, heads, payloads, shift)
            tell(_packet_edits(block, header_size, packet_size, rows, heads, payloads, written, shift))
        out.write(data)
        written += len(data)
    for raw, _ in indexes:
        out.write(raw)
        tell(np.array([(written, len(raw), -1, Edit.INDEX)], dtype=EDIT))
        written += len(raw)
    return PlayableResult(
        size=written,
        packets=count,
        header_bytes=new_header,
        notes=tuple(notes),
        index_entries=sum(entries for _, entries in indexes),
        duration_ms=parse_header(new_header).duration_ms,
    )


def _joined(header: Header, survey: Survey, notes: list[str]) -> tuple[NDArray[np.bool_], int]:
    """Which packets to keep, and how many ms to take off their times: a live stream is joined midway."""
    keep = survey.sound.copy()
    if not header.broadcast:
        return keep, 0
    if survey.first_key > 0:
        early = int(np.count_nonzero(keep[: survey.first_key]))
        keep[: survey.first_key] = False
        if early:
            notes.append(f"{early} packets before the first key frame were left out")
    shift = max(min(survey.first_presentation - header.preroll_ms, survey.first_send), 0)
    if shift:
        notes.append(f"times were moved {shift} ms back, so that the medium begins at its preroll")
    return keep, shift


def _trimmed(
    medium: FaithfulFile, order: NDArray[np.int64], survey: Survey, keep: NDArray[np.bool_], notes: list[str]
) -> dict[int, Trimmed]:
    """By position the packets of a live stream without pictures that stand before a first key frame.

    One with nothing else is no longer kept. A stream of which no key frame was captured stays as it is.
    """
    begins = {stream: int(tables[0][0, 0]) for stream, tables in survey.keys.items()}
    notes += [
        f"no key frame of stream {stream} was captured: its pictures begin damaged"
        for stream in sorted(survey.early.keys() - begins.keys())
    ]
    found = [np.concatenate(survey.early[stream]) for stream in sorted(survey.early.keys() & begins.keys())]
    positions = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)
    positions = positions[keep[positions]]
    if len(positions) * medium.packet_size > MAX_TRIMMED:
        notes.append(f"in {len(positions)} packets pictures stand before the first key frame of their stream")
        return {}
    trimmed = {}
    for position in positions.tolist():
        one = _without_early(medium, order[position : position + 1], position, begins)
        if one is None:
            keep[position] = False
        else:
            trimmed[position] = one
    if len(positions):
        notes.append(f"of {len(positions)} packets the pictures before a first key frame were left out")
    return trimmed


def _without_early(
    medium: FaithfulFile, block: NDArray[np.int64], position: int, begins: dict[int, int]
) -> Trimmed | None:
    """A packet without the payloads of streams that have not begun with a key frame yet."""
    data, rows, heads, payloads = medium.packets(block)
    early = np.zeros(len(payloads), dtype=np.bool_)
    for stream, begin in begins.items():
        if position <= begin:
            mine = payloads["stream"] == stream
            key = np.flatnonzero(mine & begins_key(payloads))
            early |= mine & (np.arange(len(payloads)) < (key[0] if len(key) else len(payloads)))
    edits = _packet_edits(block, medium.header_size, medium.packet_size, rows, heads, payloads, 0, 0)
    return trim(data, sources_of(edits, medium.packet_size), payloads[early])


def _pieces(
    order: NDArray[np.int64], keep: NDArray[np.bool_], trimmed: dict[int, Trimmed], packet_size: int
) -> Iterator[tuple[NDArray[np.int64], Trimmed | None]]:
    """The packets to write, as many at once as stand in a block; those that were trimmed by themselves."""
    positions = np.flatnonzero(keep)
    begin = 0
    for position in sorted(trimmed):
        at = int(np.searchsorted(positions, position))
        yield from ((block, None) for block in blocks(order[positions[begin:at]], packet_size))
        yield order[position : position + 1], trimmed[position]
        begin = at + 1
    yield from ((block, None) for block in blocks(order[positions[begin:]], packet_size))


def _header_edits(original: bytes, new: bytes) -> NDArray[np.void]:
    """Which stretches of the header stand as they were streamed."""
    before = np.frombuffer(original.ljust(len(new), b"\0")[: len(new)], dtype=np.uint8)
    same = before == np.frombuffer(new, dtype=np.uint8)
    same[len(original) :] = False
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(same.astype(np.int8))) + 1, [len(new)]))
    edits = np.empty(len(cuts) - 1, dtype=EDIT)
    edits["file_offset"] = cuts[:-1]
    edits["length"] = np.diff(cuts)
    edits["source_offset"] = np.where(same[cuts[:-1]], cuts[:-1], -1)
    edits["kind"] = np.where(same[cuts[:-1]], Edit.COPIED, Edit.HEADER)
    return edits


@njit(cache=True, nogil=True)
def _shift_times(data, size, heads, payloads, shift):
    """Take `shift` ms off send and presentation times, which never fall below zero."""
    for i in range(len(heads)):
        if heads[i]["ok"]:
            _take_off(data, i * size + np.int64(heads[i]["body_at"]) - 6, shift)
    for p in range(len(payloads)):
        if payloads[p]["time_at"]:
            _take_off(data, payloads[p]["packet"] * size + np.int64(payloads[p]["time_at"]), shift)


@njit(cache=True, nogil=True)
def _take_off(data, at, shift):
    value = np.int64(0)
    for k in range(4):
        value |= np.int64(data[at + k]) << (8 * k)
    value = max(value - shift, np.int64(0))
    for k in range(4):
        data[at + k] = (value >> (8 * k)) & 0xFF


def _packet_edits(
    block: NDArray[np.int64],
    header_size: int,
    packet_size: int,
    rows: NDArray[np.void],
    heads: NDArray[np.void],
    payloads: NDArray[np.void],
    file_offset: int,
    shift: int,
) -> NDArray[np.void]:
    room = 10 * len(block) + 2 * len(payloads) + 8
    out = np.empty(room, dtype=EDIT)
    n = _edits(
        header_size + block * packet_size,
        packet_size,
        rows,
        heads,
        payloads if shift else payloads[:0],
        file_offset,
        shift != 0,
        out,
    )
    return merged(out[:n])


@njit(cache=True, nogil=True)
def _emit(out, n, to, length, source, kind):
    if length <= 0:
        return n
    row = out[n]
    row["file_offset"], row["length"], row["source_offset"], row["kind"] = to, length, source, kind
    return n + 1


@njit(cache=True, nogil=True)
def _repaired(out, n, to, at, begin, length, source):
    """Emit what is copied up to a repaired field, and the field; returns the count and its end."""
    if length == 0:
        return n, at
    n = _emit(out, n, to + at, begin - at, source + at, 0)
    return _emit(out, n, to + begin, length, -1, 2), begin + length


@njit(cache=True, nogil=True)
def _edits(source, size, rows, heads, payloads, file_offset, shifted, out):
    n = 0
    p = 0
    for i in range(len(rows)):
        row = rows[i]
        to, here = file_offset + i * size, source[i]
        end = np.int64(row["kept"]) + np.int64(row["inserted"])
        at = np.int64(0)  # position in the packet up to which edits are written
        n, at = _repaired(out, n, to, at, np.int64(row["flags_at"]), np.int64(row["flags_written"]), here)
        n, at = _repaired(out, n, to, at, np.int64(row["length_at"]), np.int64(row["length_written"]), here)
        n, at = _repaired(out, n, to, at, np.int64(row["field_at"]), np.int64(row["written"]), here)
        here -= np.int64(row["inserted"])  # what follows the inserted bytes has moved
        if shifted and heads[i]["ok"]:
            n, at = _repaired(out, n, to, at, np.int64(heads[i]["body_at"]) - 6, 4, here)
        while shifted and p < len(payloads) and payloads[p]["packet"] == i:
            begin = np.int64(payloads[p]["time_at"])
            if begin >= at and begin > 0:
                n, at = _repaired(out, n, to, at, begin, 4, here)
            p += 1
        n = _emit(out, n, to + at, end - at, here + at, 0)
        n = _emit(out, n, to + end, size - end, -1, 3)
    return n
