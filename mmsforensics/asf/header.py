"""The header of an ASF file: the object tree, and what it says about the file, its streams and its tags.

Any bytes give a `Header`; what does not fit is a `HeaderProblem`, and the rest is still read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

from mmsforensics.asf.codecs import audio_codec, video_codec
from mmsforensics.asf.guids import guid_name
from mmsforensics.asf.layout import Fields, bytes_of, number, records_of, utf16
from mmsforensics.asf.tree import (
    DATA_OBJECT,
    DATA_OBJECT_HEAD,
    FRAME,
    HEADER_FIELDS,
    HEADER_OBJECT,
    MAX_OBJECTS,
    AsfObject,
    HeaderProblem,
    Reader,
)

MAX_PACKET_SIZE = 0xFFFF
"""Bytes of a data packet at most: transports carry its length in 16 bits, and a header may lie to make
a reader allocate much more."""

MAX_PREROLL_MS: Final = (1 << 63) - 1
"""What a stated preroll counts as at most, so that times less it are numbers of 64 bits; media have some
seconds, and presentation times have 32 bits."""

REMEMBERED: Final = 16
"""Headers whose parse is remembered."""

REMEMBERED_SIZE: Final = 64 << 10
"""Bytes of the largest of them."""

BROADCAST, SEEKABLE = 1, 2
ENCRYPTED = 0x8000

VALUE_TYPES = ("unicode", "bytes", "bool", "uint32", "uint64", "uint16", "guid")
"""Value data types of content descriptors and metadata records [ASF 3.11, 4.7, 4.8]."""

STREAM_TYPES = {
    "Audio Media": "audio",
    "Video Media": "video",
    "Command Media": "script",
    "JFIF Media": "image",
    "Degradable JPEG Media": "image",
    "File Transfer Media": "file",
    "Binary Media": "binary",
}


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a header declares of a stream; None where it does not say."""

    number: int
    type: str
    codec: str
    codec_tag: str
    bitrate: int | None = None
    width: int | None = None
    height: int | None = None
    bits: int | None = None
    """Bits per sample of audio, per pixel of video."""
    channels: int | None = None
    sample_rate: int | None = None
    encrypted: bool = False
    codec_name: str = ""
    """What the Codec List calls it."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One attribute."""

    name: str
    type: str
    value: str
    source_object: str


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header."""

    tree: tuple[AsfObject, ...]
    size: int
    """Bytes of the Header Object: up to the Data Object, where one stands behind it."""
    root: AsfObject | None = None
    """The Header Object itself; None when the bytes are none."""
    data_offset: int = 0
    """Offset of the first data packet, 0 when the head of the Data Object is not there."""
    file_id: bytes = b""
    file_size: int = 0
    creation_time: int = 0
    """100 ns since 1601, UTC; 0 unknown."""
    packet_count: int = 0
    play_duration: int = 0
    """100 ns, preroll included."""
    send_duration: int = 0
    preroll_ms: int = 0
    """At most `MAX_PREROLL_MS`."""
    flags: int = 0
    min_packet_size: int = 0
    max_packet_size: int = 0
    max_bitrate: int = 0
    data_size: int = 0
    """Size field of the Data Object, 0 when its head is not there."""
    data_packets: int = 0
    """Total Data Packets of the Data Object."""
    streams: tuple[StreamInfo, ...] = ()
    tags: tuple[Tag, ...] = ()
    title: str = ""
    author: str = ""
    copyright: str = ""
    description: str = ""
    rating: str = ""
    protected: bool = False
    """Whether the header has an object of content encryption (DRM)."""
    problems: tuple[HeaderProblem, ...] = ()

    def walk(self) -> Iterator[AsfObject]:
        """All objects of the tree, each before its children."""
        return _walk(self.tree)

    @property
    def broadcast(self) -> bool:
        """Whether sizes, counts and durations are void because the file was live [ASF 3.2]."""
        return bool(self.flags & BROADCAST)

    @property
    def seekable(self) -> bool:
        """The Seekable flag."""
        return bool(self.flags & SEEKABLE)

    @property
    def packet_size(self) -> int:
        """Size of every data packet; 0 when the header does not say or cannot be believed."""
        return self.max_packet_size if self.max_packet_size <= MAX_PACKET_SIZE else 0

    @property
    def created(self) -> datetime | None:
        """Creation time; None when it is unknown or beyond the calendar."""
        if not self.creation_time:
            return None
        try:
            return datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.creation_time // 10)
        except OverflowError:
            return None

    @property
    def duration_ms(self) -> int | None:
        """Play time without preroll; None for a live stream."""
        if self.broadcast or not self.play_duration:
            return None
        return max(self.play_duration // 10_000 - self.preroll_ms, 0)


def parse_header(data: bytes) -> Header:
    """Parse an ASF header.

    Parameters
    ----------
    data : bytes
        A Header Object, with or without the first 50 bytes of the Data Object behind it; it may be cut.

    Returns
    -------
    Header
        With what could be read; `problems` says what could not.
    """
    return _again(data) if len(data) <= REMEMBERED_SIZE else _parsed(data)


def _parsed(data: bytes) -> Header:
    reader = Reader(data)
    if data[:16] != HEADER_OBJECT or len(data) < HEADER_FIELDS:
        reader.problem(0, "an ASF Header Object of at least 30 bytes", data[:16].hex(" ") or "nothing")
        return Header((), 0, problems=tuple(reader.problems))
    size = int.from_bytes(data[16:24], "little")
    if not HEADER_FIELDS <= size <= len(data):
        reader.problem(16, f"a Header Object of 30 to {len(data)} bytes", str(size))
    if data[29] != 2:
        reader.problem(29, "2", str(data[29]))
    declared = min(max(size, HEADER_FIELDS), len(data))
    end = _data_object(data, declared)
    if end != declared and end != size:
        reader.problem(16, f"a Header Object of {end} bytes, up to the Data Object", str(size))
    if data[end : end + 16] not in (DATA_OBJECT, b""):
        reader.problem(end, "the Data Object behind the header", data[end : end + 16].hex(" "))
    root = reader.header(end)
    tree = root.children
    count = int.from_bytes(data[24:28], "little")
    if count != len(tree):
        reader.problem(24, f"the number of objects in the header, {len(tree)}", str(count))
    header = Header(tree, end, root)
    header = _with_file_properties(header)
    header = _with_data_object(header, data)
    everything = list(_walk(tree))
    return replace(
        header,
        streams=_streams(everything),
        tags=tuple(_tags(everything)),
        protected=any("Content Encryption" in o.name for o in everything),
        problems=tuple(reader.problems),
        **_description(everything),  # type: ignore[arg-type]
    )


_again = lru_cache(maxsize=REMEMBERED)(_parsed)
"""The same header comes from each viewer of a content, and is asked for when its medium begins and ends."""


def _data_object(data: bytes, declared: int) -> int:
    """Where the Data Object begins: where the header says it ends, or else where its objects lead to.

    Players go from object to object and do not look at the header's size.
    """
    if data[declared : declared + 16] == DATA_OBJECT:
        return declared
    at = HEADER_FIELDS
    for _ in range(MAX_OBJECTS):
        if data[at : at + 16] == DATA_OBJECT:
            return at
        size = int.from_bytes(data[at + 16 : at + FRAME], "little")
        if size < FRAME or at + size + FRAME > len(data):
            break
        at += size
    return declared


def _walk(objects: tuple[AsfObject, ...]) -> Iterator[AsfObject]:
    for item in objects:
        yield item
        yield from _walk(item.children)


def _with_file_properties(header: Header) -> Header:
    found = next((o for o in _walk(header.tree) if o.name == "File Properties"), None)
    if found is None:
        return header
    f = found.fields
    return replace(
        header,
        file_id=bytes_of(f, "File ID"),
        file_size=number(f, "File Size"),
        creation_time=number(f, "Creation Date"),
        packet_count=number(f, "Data Packets Count"),
        play_duration=number(f, "Play Duration"),
        send_duration=number(f, "Send Duration"),
        preroll_ms=min(number(f, "Preroll"), MAX_PREROLL_MS),
        flags=number(f, "Flags"),
        min_packet_size=number(f, "Minimum Data Packet Size"),
        max_packet_size=number(f, "Maximum Data Packet Size"),
        max_bitrate=number(f, "Maximum Bitrate"),
    )


def _with_data_object(header: Header, data: bytes) -> Header:
    head = data[header.size : header.size + DATA_OBJECT_HEAD]
    if len(head) < DATA_OBJECT_HEAD or head[:16] != DATA_OBJECT:
        return header
    return replace(
        header,
        data_offset=header.size + DATA_OBJECT_HEAD,
        data_size=int.from_bytes(head[16:24], "little"),
        data_packets=int.from_bytes(head[40:48], "little"),
    )


def _description(objects: list[AsfObject]) -> dict[str, str]:
    found = next((o for o in objects if o.name == "Content Description"), None)
    names = ("Title", "Author", "Copyright", "Description", "Rating")
    return {n.lower(): str(found.fields.get(n, "")) if found else "" for n in names}


def _tags(objects: list[AsfObject]) -> Iterator[Tag]:
    for item in objects:
        if item.name == "Content Description":
            for name in ("Title", "Author", "Copyright", "Description", "Rating"):
                value = item.fields.get(name)
                if value:
                    yield Tag(name, "unicode", str(value), item.name)
        records = records_of(item.fields, "Content Descriptors") or records_of(
            item.fields, "Description Records"
        )
        for record in records:
            kind = number(record, "Value Data Type")
            yield Tag(
                str(record.get("Name", "")),
                VALUE_TYPES[kind] if kind < len(VALUE_TYPES) else f"type {kind}",
                value_text(kind, bytes_of(record, "Value")),
                item.name,
            )


_INTEGERS = {3: 4, 4: 8, 5: 2}
"""Bytes of an integer by its value data type."""


def value_text(kind: int, raw: bytes) -> str:
    """A value of a content descriptor or metadata record as text; bytes in hex."""
    if kind == 0:
        return utf16(raw)
    if kind == 6 and len(raw) == 16:
        return guid_name(raw)
    if kind == 2:
        return "true" if any(raw) else "false"
    if kind in _INTEGERS:
        return str(int.from_bytes(raw[: _INTEGERS[kind]], "little"))
    return raw.hex()


def _streams(objects: list[AsfObject]) -> tuple[StreamInfo, ...]:
    declared: dict[int, int] = {}
    for item in objects:
        if item.name == "Extended Stream Properties":
            declared[number(item.fields, "Stream Number") & 0x7F] = number(item.fields, "Data Bitrate")
    for item in objects:
        for record in records_of(item.fields, "Bitrate Records"):
            declared[number(record, "Flags") & 0x7F] = number(record, "Average Bitrate")
    codecs = [r for item in objects for r in records_of(item.fields, "Codec Entries")]
    streams: dict[int, StreamInfo] = {}
    for item in objects:
        if item.name == "Stream Properties" and "Flags" in item.fields:
            stream = _stream(item.fields, declared)
            streams.setdefault(stream.number, stream)
    in_order = [streams[n] for n in sorted(streams)]
    return tuple(replace(s, codec_name=_codec_name(s, in_order, codecs)) for s in in_order)


def _codec_name(stream: StreamInfo, streams: list[StreamInfo], codecs: list[Fields]) -> str:
    """Name in the Codec List: of the entry with the stream's tag, or else in the order of its type.

    The list does not say which stream an entry is for [ASF 3.5].
    """
    kind = {"video": 1, "audio": 2}.get(stream.type)
    entries = [c for c in codecs if kind is not None and number(c, "Type") == kind]
    tagged = [
        c for c in entries if _tag_of(bytes_of(c, "Codec Information"), stream.type) == stream.codec_tag
    ]
    peers = [s for s in streams if s.type == stream.type and (not tagged or s.codec_tag == stream.codec_tag)]
    chosen = tagged or entries
    place = peers.index(stream)
    if not chosen or (not tagged and len(chosen) != len(peers)):
        return ""
    return str(chosen[min(place, len(chosen) - 1)].get("Codec Name", ""))


def _tag_of(information: bytes, kind: str) -> str:
    if kind == "audio":
        return f"0x{int.from_bytes(information[:2], 'little'):04x}"
    return information[:4].decode("ascii", "backslashreplace")


def _stream(fields: Mapping[str, object], declared: Mapping[int, int]) -> StreamInfo:
    flags = number(fields, "Flags")
    stream_number = flags & 0x7F
    stream = StreamInfo(
        number=stream_number,
        type=STREAM_TYPES.get(str(fields.get("Stream Type")), "binary"),
        codec="",
        codec_tag="",
        bitrate=declared.get(stream_number) or None,
        encrypted=bool(flags & ENCRYPTED),
    )
    values = fields.get("Type-Specific Fields")
    if not isinstance(values, dict):
        return stream
    if stream.type == "audio" and "Codec ID / Format Tag" in values:
        tag = number(values, "Codec ID / Format Tag")
        return replace(
            stream,
            codec=audio_codec(
                tag, number(values, "Bits Per Sample"), bytes_of(values, "Codec Specific Data")
            ),
            codec_tag=f"0x{tag:04x}",
            bitrate=stream.bitrate or number(values, "Average Number of Bytes Per Second") * 8 or None,
            channels=number(values, "Number of Channels"),
            sample_rate=number(values, "Samples Per Second"),
            bits=number(values, "Bits Per Sample"),
        )
    if stream.type == "video" and "Encoded Image Height" in values:
        tag_bytes = bytes_of(values, "Compression ID")
        return replace(
            stream,
            codec=video_codec(tag_bytes),
            codec_tag=tag_bytes.decode("ascii", "backslashreplace"),
            width=number(values, "Encoded Image Width"),
            height=number(values, "Encoded Image Height"),
            bits=number(values, "Bits Per Pixel Count"),
        )
    if stream.type == "image" and "Image Height" in values:
        return replace(stream, width=number(values, "Image Width"), height=number(values, "Image Height"))
    return stream
