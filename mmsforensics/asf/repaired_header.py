"""The header of a playable file: what depends on the packets written anew, in place.

Rules of this file:

* a header keeps its size, so that its bytes keep their offsets; what is void becomes a Padding Object;
* a stated figure that the packets do not contradict is kept: encoders know more than packets tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mmsforensics.asf.guids import guid_of
from mmsforensics.asf.header import BROADCAST, SEEKABLE, Header
from mmsforensics.asf.tree import DATA_OBJECT, DATA_OBJECT_HEAD, FRAME, HEADER_FIELDS, AsfObject

MS = 10_000
"""Units of 100 ns, those of durations [ASF 3.2]."""

SLACK_MS = 1000
"""A stated duration may fall short of the last time stamp by so much: encoders round."""

MAX_BITRATE = 1_000_000_000
"""Bit/s: what states more, as 2^32 - 1, states nothing."""

FILE_PROPERTIES_SIZE = 104
INDEX_PARAMETERS = frozenset(
    ("Index Parameters", "Media Object Index Parameters", "Timecode Index Parameters")
)
"""Objects that describe an index behind the packets; of those a playable file has Simple Indexes alone."""

MARKERS_AT = FRAME + 16 + 4 + 2 + 2
"""Offset of the name in a Marker Object, its length the two bytes before [ASF 3.7]."""


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """What the packets of a playable file say, times as they are written."""

    count: int
    packet_size: int
    index_size: int
    """Bytes of all indexes behind the packets."""
    seekable: bool
    same: bool
    """Whether they are those that the header was made for, each where it was."""
    play_end_ms: int
    """The last presentation time."""
    send_end_ms: int
    """The last send time."""
    last_duration_ms: int
    """Duration of the last packet."""


def repaired_header(header: Header, original: bytes, facts: PacketFacts, notes: list[str]) -> bytes:
    """Write a header and the head of the Data Object anew for the packets behind it.

    Parameters
    ----------
    header : Header
        Parsed from `original`.
    original : bytes
        As it was streamed.
    facts : PacketFacts
    notes : list of str
        What was repaired is added.

    Returns
    -------
    bytes
        As long as the Header Object and 50 bytes.
    """
    raw = bytearray(original[: header.size])
    head = bytearray(DATA_OBJECT_HEAD)
    head[:16] = DATA_OBJECT
    head[16:24] = (DATA_OBJECT_HEAD + facts.count * facts.packet_size).to_bytes(8, "little")
    head[24:40] = header.file_id.ljust(16, b"\0")
    head[40:48] = facts.count.to_bytes(8, "little")
    head[48:50] = b"\x01\x01"
    size = len(raw) + len(head) + facts.count * facts.packet_size + facts.index_size
    _repair_frame(raw, header, notes)
    for item in header.walk():
        if item.name == "File Properties" and item.size >= FILE_PROPERTIES_SIZE:
            _repair_properties(raw, item.offset, header, size, facts, notes)
            if raw[item.offset : item.end] != original[item.offset : item.end]:
                notes.append("File Properties were repaired")
        elif item.name == "Digital Signature":
            _void(raw, item)
            notes.append("a Digital Signature, void after any change, was turned into a Padding Object")
        elif item.name in INDEX_PARAMETERS:
            _void(raw, item)
            notes.append(f"{item.name}, of an index that is not there, were turned into a Padding Object")
        elif item.name == "Marker" and not facts.same:
            _void_marker_offsets(raw, item, notes)
    return bytes(raw + head)


def _repair_properties(
    raw: bytearray, at: int, header: Header, size: int, facts: PacketFacts, notes: list[str]
) -> None:
    """Write what File Properties say of the file [ASF 3.2]."""
    put(raw, at + 40, size, 8)
    put(raw, at + 56, facts.count, 8)
    _repair_durations(raw, at, header, facts, notes)
    put(raw, at + 88, header.flags & ~(BROADCAST | SEEKABLE) | SEEKABLE * facts.seekable, 4)
    put(raw, at + 92, facts.packet_size, 4)
    put(raw, at + 96, facts.packet_size, 4)
    if not 0 < header.max_bitrate <= MAX_BITRATE:
        bitrate, source = _bitrate(header, facts)
        put(raw, at + 100, bitrate, 4)
        notes.append(f"the maximum bitrate of {header.max_bitrate} bit/s was set to {bitrate}, {source}")


def _repair_durations(raw: bytearray, at: int, header: Header, facts: PacketFacts, notes: list[str]) -> None:
    kept = not header.broadcast and header.packet_count == facts.count
    changed = []
    for name, offset, stated, end in (
        ("play", 64, header.play_duration, facts.play_end_ms),
        ("send", 72, header.send_duration, facts.send_end_ms),
    ):
        if kept and stated and stated >= (end - SLACK_MS) * MS:
            continue
        put(raw, at + offset, (max(end, 0) + facts.last_duration_ms) * MS, 8)
        changed.append(name)
    if changed:
        said = "durations were" if len(changed) == 2 else f"the {changed[0]} duration was"
        notes.append(f"{said} computed from the packets")


def _bitrate(header: Header, facts: PacketFacts) -> tuple[int, str]:
    """The sum of the streams' bit rates where all state one, else what the packets need on the average."""
    stated = [stream.bitrate or 0 for stream in header.streams]
    if stated and all(stated) and sum(stated) <= MAX_BITRATE:
        return sum(stated), "the sum of the streams' bit rates"
    lasts = max(facts.send_end_ms + facts.last_duration_ms, 1)
    measured = facts.count * facts.packet_size * 8000 // lasts
    return max(min(measured, MAX_BITRATE), 1), "the average that the packets need"


def _void(raw: bytearray, item: AsfObject) -> None:
    raw[item.offset : item.offset + 16] = guid_of("Padding")


def _void_marker_offsets(raw: bytearray, item: AsfObject, notes: list[str]) -> None:
    """Set the offsets of markers to 0, as encoders leave them: players go by the time [ASF 3.7]."""
    stale = 0
    for at in _marker_entries(item):
        if any(raw[at : at + 8]):
            raw[at : at + 8] = bytes(8)
            stale += 1
    if stale:
        notes.append(f"offsets of {stale} markers, those of the original file, were set to 0")


def _marker_entries(item: AsfObject) -> Iterator[int]:
    """Offsets of the entries of a Marker Object, as it was parsed."""
    markers, name = item.fields.get("Markers", ()), item.fields.get("Name Length", 0)
    if not isinstance(markers, Iterable) or not isinstance(name, int):
        return
    at = item.offset + MARKERS_AT + name
    for marker in markers:
        length = marker.get("Marker Description Length")
        if length is None or at + 8 > item.end:
            return
        yield at
        at += 30 + 2 * length


def _repair_frame(raw: bytearray, header: Header, notes: list[str]) -> None:
    """Make the sizes and the count of objects say what is there."""
    end, count = HEADER_FIELDS, len(header.tree)
    for item in header.walk():
        if int.from_bytes(raw[item.offset + 16 : item.offset + FRAME], "little") != item.size:
            put(raw, item.offset + 16, item.size, 8)
            notes.append(f"the size of the {item.name} object at {item.offset} was set to what is there")
    if header.tree:
        end = header.tree[-1].offset + header.tree[-1].size
    rest = len(raw) - end
    if rest >= FRAME:
        raw[end : end + FRAME] = guid_of("Padding") + rest.to_bytes(8, "little")
        count += 1
        notes.append(f"{rest} bytes of the header that are no objects were turned into a Padding Object")
    elif rest and header.tree:
        put(raw, header.tree[-1].offset + 16, header.tree[-1].size + rest, 8)
        notes.append(f"{rest} bytes behind the last object of the header were made part of it")
    if len(raw) != int.from_bytes(raw[16:24], "little"):
        put(raw, 16, len(raw), 8)
        notes.append(f"the size of the header was set to {len(raw)}")
    if count != int.from_bytes(raw[24:28], "little"):
        put(raw, 24, count, 4)
        notes.append(f"the number of header objects was set to {count}")


def put(raw: bytearray, at: int, value: int, width: int) -> None:
    """Write a number, or the largest that the field holds."""
    raw[at : at + width] = min(value, (1 << 8 * width) - 1).to_bytes(width, "little")
