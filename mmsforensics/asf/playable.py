"""A medium made right for ordinary players: header repaired, padding restored, index built.

Rules of this file:

* two passes over the faithful file, block by block: the first learns what the header must say, the second
  writes. Memory does not grow with the medium;
* every byte written is accounted for: copied from a place in the faithful file, or new, and why;
* nothing is invented: a packet that does not parse is left out and noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf.guids import guid_of
from mmsforensics.asf.header import BROADCAST, DATA_OBJECT_HEAD, SEEKABLE, AsfObject, Header, parse_header
from mmsforensics.asf.packets import walk_payloads
from mmsforensics.asf.padding import restore_padding

BLOCK = 8 << 20
"""Bytes of packets handled at once."""

INDEX_INTERVAL_MS = 1000
"""Interval of a Simple Index: what Microsoft's encoders write [ASF 6.1]."""

MAX_INDEX_ENTRIES = 1 << 20
"""Entries of an index at most (12 days); a lying time stamp must not fill the disk."""

EDIT = np.dtype(
    [("file_offset", "i8"), ("length", "i8"), ("source_offset", "i8"), ("kind", "u1")], align=True
)
"""A stretch of the playable file; `source_offset` is where it lies in the faithful one, or -1."""


class Edit(IntEnum):
    """Where a stretch comes from."""

    COPIED = 0
    HEADER = 1
    PACKET = 2
    PADDING = 3
    INDEX = 4


class Source(Protocol):
    """The faithful file, opened for reading."""

    def seek(self, offset: int, /) -> int:
        """Go to an offset."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill a buffer."""


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


def needs_playable(header: Header, header_bytes: bytes, facts: PlayableFacts) -> tuple[str, ...]:
    """Return why a faithful file is not already right for ordinary players; empty when it is."""
    reasons = []
    if header.broadcast:
        reasons.append("the header is one of a live stream: no size, count or duration")
    elif header.packet_count != facts.count:
        reasons.append(f"the header states {header.packet_count} packets, the file has {facts.count}")
    if not header.broadcast and header.file_size != facts.file_size:
        reasons.append(f"the header states {header.file_size} bytes, the file has {facts.file_size}")
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
    elif header.data_size != expected and not header.broadcast:
        reasons.append(f"the Data Object states {header.data_size} bytes, it has {expected}")
    return tuple(reasons)


@dataclass(slots=True)
class _Survey:
    """What the first pass learns."""

    sound: NDArray[np.bool_]
    first_send: int = -1
    last_send: int = 0
    first_presentation: int = -1
    last_presentation: int = 0
    last_duration: int = 0
    keys: dict[int, list[NDArray[np.int64]]] = field(default_factory=dict)
    """Stream: tables of (position of the packet in the order, presentation ms, packets spanned)."""
    first_key: int = -1


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
    live = header.broadcast
    survey = _survey(source, header_size, packet_size, order, header)
    unsound = int(np.count_nonzero(~survey.sound))
    if unsound:
        notes.append(f"{unsound} packets that do not parse were left out")
    keep = survey.sound.copy()
    if live and survey.first_key > 0:
        keep[: survey.first_key] = False
        notes.append(f"{survey.first_key} packets before the first key frame were left out")
    if not keep.any():
        keep = survey.sound.copy()
    shift = 0
    if live and survey.first_presentation > header.preroll_ms:
        shift = survey.first_presentation - header.preroll_ms
        shift = min(shift, survey.first_send)
        if shift:
            notes.append(f"times were moved {shift} ms back, so that the medium begins at its preroll")
    numbers = np.cumsum(keep) - 1
    index = _indexes(header, survey, keep, numbers, shift, notes)
    count = int(np.count_nonzero(keep))
    new_header = _repaired_header(
        header, header_bytes, survey, count, packet_size, sum(map(len, index)), shift, bool(index), notes
    )
    out.write(new_header)
    tell(_header_edits(header_bytes, new_header))
    written = len(new_header)
    for block in _blocks(order[keep], packet_size):
        data = _read(source, header_size, packet_size, block)
        rows = restore_padding(data, packet_size, np.ascontiguousarray(sizes[block]))
        heads, payloads = walk_payloads(data, packet_size)
        if shift:
            _shift_times(data, packet_size, heads, payloads, shift)
        tell(_packet_edits(block, header_size, packet_size, rows, heads, payloads, written, shift))
        out.write(data)
        written += len(data)
    for raw in index:
        out.write(raw)
        tell(np.array([(written, len(raw), -1, Edit.INDEX)], dtype=EDIT))
        written += len(raw)
    return PlayableResult(
        size=written,
        packets=count,
        header_bytes=new_header,
        notes=tuple(notes),
    )


def _blocks(order: NDArray[np.int64], packet_size: int) -> Iterator[NDArray[np.int64]]:
    step = max(BLOCK // packet_size, 1)
    for begin in range(0, len(order), step):
        yield order[begin : begin + step]


def _read(source: Source, header_size: int, packet_size: int, block: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Read packets by their numbers, neighbours at once."""
    data = np.empty(len(block) * packet_size, dtype=np.uint8)
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(block) != 1) + 1, [len(block)]))
    for begin, end in pairwise(cuts):
        source.seek(header_size + int(block[begin]) * packet_size)
        part = data[int(begin) * packet_size : int(end) * packet_size]
        if source.readinto(part.data) != len(part):
            raise OSError("the faithful file ends before its last packet")
    return data


def _survey(
    source: Source, header_size: int, packet_size: int, order: NDArray[np.int64], header: Header
) -> _Survey:
    survey = _Survey(np.zeros(len(order), dtype=np.bool_))
    videos = [s.number for s in header.streams if s.type == "video"]
    begin = 0
    for block in _blocks(order, packet_size):
        data = _read(source, header_size, packet_size, block)
        heads, payloads = walk_payloads(data, packet_size)
        sound = heads["ok"].astype(np.bool_)
        survey.sound[begin : begin + len(block)] = sound
        if sound.any():
            send = heads["send_time_ms"][sound]
            if survey.first_send < 0:
                survey.first_send = int(send[0])
            survey.last_send = max(survey.last_send, int(send.max()))
            survey.last_duration = int(heads["duration_ms"][sound][-1])
        if len(payloads):
            presentation = payloads["presentation_ms"]
            if survey.first_presentation < 0:
                survey.first_presentation = int(presentation[:64].min())
            survey.last_presentation = max(survey.last_presentation, int(presentation.max()))
            for number in videos:
                found = _key_frames(payloads, number, begin)
                if len(found):
                    survey.keys.setdefault(number, []).append(found)
        begin += len(block)
    first = [int(tables[0][0, 0]) for tables in survey.keys.values()]
    survey.first_key = min(first) if first else -1
    return survey


def _key_frames(payloads: NDArray[np.void], stream: int, begin: int) -> NDArray[np.int64]:
    """Key frames of a stream: position of the packet they begin in, presentation time, packets spanned."""
    mine = payloads[payloads["stream"] == stream]
    starts = np.flatnonzero((mine["key"] == 1) & (mine["object_offset"] == 0))
    ends = np.concatenate((np.flatnonzero(mine["object_offset"] == 0)[1:], [len(mine)]))
    firsts = np.flatnonzero(mine["object_offset"] == 0)
    table = np.empty((len(starts), 3), dtype=np.int64)
    table[:, 0] = mine["packet"][starts] + begin
    table[:, 1] = mine["presentation_ms"][starts]
    last = ends[np.searchsorted(firsts, starts)] - 1
    table[:, 2] = mine["packet"][last] + begin - table[:, 0] + 1
    return table


def _indexes(
    header: Header,
    survey: _Survey,
    keep: NDArray[np.bool_],
    numbers: NDArray[np.int64],
    shift: int,
    notes: list[str],
) -> list[bytes]:
    """A Simple Index for each video stream with key frames, in order of stream numbers [ASF 6.1]."""
    made = []
    end_ms = survey.last_presentation - shift
    entries = end_ms // INDEX_INTERVAL_MS + 1
    for stream in sorted(survey.keys):
        table = np.concatenate(survey.keys[stream])
        table = table[keep[table[:, 0]]]
        if not len(table):
            continue
        if entries > MAX_INDEX_ENTRIES:
            notes.append(f"no index for stream {stream}: its times reach {end_ms} ms")
            continue
        times = np.arange(entries, dtype=np.int64) * INDEX_INTERVAL_MS + shift
        nearest = np.maximum(np.searchsorted(table[:, 1], times, side="right") - 1, 0)
        rows = np.empty(entries, dtype=np.dtype([("packet", "<u4"), ("count", "<u2")]))
        rows["packet"] = numbers[table[nearest, 0]]
        rows["count"] = np.minimum(table[nearest, 2], 0xFFFF)
        body = (
            header.file_id.ljust(16, b"\0")
            + (INDEX_INTERVAL_MS * 10_000).to_bytes(8, "little")
            + int(rows["count"].max()).to_bytes(4, "little")
            + int(entries).to_bytes(4, "little")
            + rows.tobytes()
        )
        made.append(guid_of("Simple Index Object") + (24 + len(body)).to_bytes(8, "little") + body)
        notes.append(f"an index of {entries} entries was built for stream {stream}")
    return made


def _repaired_header(
    header: Header,
    original: bytes,
    survey: _Survey,
    count: int,
    packet_size: int,
    index_size: int,
    shift: int,
    indexed: bool,
    notes: list[str],
) -> bytes:
    """The header with the fields that depend on what follows written anew; its size stays."""
    raw = bytearray(original[: header.size])
    head = bytearray(DATA_OBJECT_HEAD)
    head[:16] = guid_of("Data Object")
    head[16:24] = (DATA_OBJECT_HEAD + count * packet_size).to_bytes(8, "little")
    head[24:40] = header.file_id.ljust(16, b"\0")
    head[40:48] = count.to_bytes(8, "little")
    head[48:50] = b"\x01\x01"
    size = len(raw) + len(head) + count * packet_size + index_size
    whole = not header.broadcast and header.packet_count == count and header.play_duration > 0
    for item in _flat(header.tree):
        if item.name == "File Properties" and item.size >= 104:
            at = item.offset
            flags = header.flags & ~(BROADCAST | SEEKABLE)
            audio_only = not any(s.type == "video" for s in header.streams)
            if indexed or audio_only:
                flags |= SEEKABLE
            _put(raw, at + 40, size, 8)
            _put(raw, at + 56, count, 8)
            if not whole:
                end = survey.last_presentation - shift + survey.last_duration
                _put(raw, at + 64, end * 10_000, 8)
                _put(raw, at + 72, (survey.last_send - shift + survey.last_duration) * 10_000, 8)
                notes.append("durations were computed from the packets")
            _put(raw, at + 88, flags, 4)
            _put(raw, at + 92, packet_size, 4)
            _put(raw, at + 96, packet_size, 4)
        elif item.name == "Digital Signature":
            raw[item.offset : item.offset + 16] = guid_of("Padding")
            notes.append("a Digital Signature, void after any change, was turned into a Padding Object")
    if len(header.tree) != int.from_bytes(raw[24:28], "little"):
        _put(raw, 24, len(header.tree), 4)
        notes.append(f"the number of header objects was set to {len(header.tree)}")
    if bytes(raw) != original[: header.size]:
        notes.append("File Properties were repaired")
    return bytes(raw + head)


def _put(raw: bytearray, at: int, value: int, width: int) -> None:
    raw[at : at + width] = value.to_bytes(width, "little")


def _flat(objects: tuple[AsfObject, ...]) -> Iterator[AsfObject]:
    for item in objects:
        yield item
        yield from _flat(item.children)


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
    room = 8 * len(block) + 2 * len(payloads) + 8
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
    return _merged(out[:n])


@njit(cache=True, nogil=True)
def _emit(out, n, to, length, source, kind):
    if length <= 0:
        return n
    row = out[n]
    row["file_offset"], row["length"], row["source_offset"], row["kind"] = to, length, source, kind
    return n + 1


@njit(cache=True, nogil=True)
def _edits(source, size, rows, heads, payloads, file_offset, shifted, out):
    n = 0
    p = 0
    for i in range(len(rows)):
        row = rows[i]
        to = file_offset + i * size
        inserted = np.int64(row["inserted"])
        end = np.int64(row["kept"]) + inserted
        at = np.int64(0)  # position in the packet up to which edits are written
        moved = np.int64(0)  # how far bytes have moved against the faithful file
        if row["written"]:
            begin = np.int64(row["flags_at"]) if row["flags_new"] else np.int64(row["field_at"])
            stop = np.int64(row["field_at"]) + np.int64(row["written"])
            n = _emit(out, n, to, begin, source[i], 0)
            n = _emit(out, n, to + begin, stop - begin, -1, 2)
            at, moved = stop, inserted
        if shifted and heads[i]["ok"]:
            begin = np.int64(heads[i]["body_at"]) - 6
            n = _emit(out, n, to + at, begin - at, source[i] + at - moved, 0)
            n = _emit(out, n, to + begin, 4, -1, 2)
            at = begin + 4
        while shifted and p < len(payloads) and payloads[p]["packet"] == i:
            begin = np.int64(payloads[p]["time_at"])
            if begin >= at and begin > 0:
                n = _emit(out, n, to + at, begin - at, source[i] + at - moved, 0)
                n = _emit(out, n, to + begin, 4, -1, 2)
                at = begin + 4
            p += 1
        n = _emit(out, n, to + at, end - at, source[i] + at - moved, 0)
        n = _emit(out, n, to + end, size - end, -1, 3)
    return n


def _merged(edits: NDArray[np.void]) -> NDArray[np.void]:
    """Adjacent stretches of one kind that go on in the source made one."""
    if len(edits) < 2:
        return edits
    before, after = edits[:-1], edits[1:]
    copied = (before["source_offset"] >= 0) & (
        after["source_offset"] == before["source_offset"] + before["length"]
    )
    new = (before["source_offset"] < 0) & (after["source_offset"] < 0)
    joined = (before["kind"] == after["kind"]) & (copied | new)
    first = np.flatnonzero(np.concatenate(([True], ~joined)))
    merged = edits[first].copy()
    merged["length"] = np.add.reduceat(edits["length"], first)
    return merged
