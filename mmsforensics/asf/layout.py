"""The objects of an ASF header, declared once in the order of the specification's field tables.

A layout is a tuple of ``(type, name)`` that begins behind the object's 24-byte frame. Types:

=================  ======================================================================
``u8 u16 u32 u64``  unsigned integer, little-endian
``guid``           GUID, by its name
``bytes4 bytes16``  so many bytes
``bytes:F``        bytes, field F counts them
``text:F``         UTF-16LE, field F counts its bytes
``chars:F``        UTF-16LE, field F counts its characters
``ansi:F``         single-byte text, field F counts its bytes
=================  ======================================================================

A list of records is a `Records`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from mmsforensics.asf.guids import guid_name, guid_of

Fields = dict[str, object]

MAX_RECORDS = 1 << 16
"""Records of a header read at most: real headers have some hundred, and a count may lie."""


@dataclass(frozen=True, slots=True)
class Records:
    """A list of records; field `count` says how many."""

    count: str
    name: str
    layout: Layout


Layout = tuple["tuple[str, str] | Records", ...]

LAYOUTS: dict[bytes, tuple[str, Layout]] = {
    guid_of(name): (section, layout)
    for name, section, layout in (
        (
            "File Properties",
            "3.2",
            (
                ("bytes16", "File ID"),
                ("u64", "File Size"),
                ("u64", "Creation Date"),
                ("u64", "Data Packets Count"),
                ("u64", "Play Duration"),
                ("u64", "Send Duration"),
                ("u64", "Preroll"),
                ("u32", "Flags"),
                ("u32", "Minimum Data Packet Size"),
                ("u32", "Maximum Data Packet Size"),
                ("u32", "Maximum Bitrate"),
            ),
        ),
        (
            "Stream Properties",
            "3.3",
            (
                ("guid", "Stream Type"),
                ("guid", "Error Correction Type"),
                ("u64", "Time Offset"),
                ("u32", "Type-Specific Data Length"),
                ("u32", "Error Correction Data Length"),
                ("u16", "Flags"),
                ("u32", "Reserved"),
                ("bytes:Type-Specific Data Length", "Type-Specific Data"),
                ("bytes:Error Correction Data Length", "Error Correction Data"),
            ),
        ),
        (
            "Content Description",
            "3.10",
            (
                ("u16", "Title Length"),
                ("u16", "Author Length"),
                ("u16", "Copyright Length"),
                ("u16", "Description Length"),
                ("u16", "Rating Length"),
                ("text:Title Length", "Title"),
                ("text:Author Length", "Author"),
                ("text:Copyright Length", "Copyright"),
                ("text:Description Length", "Description"),
                ("text:Rating Length", "Rating"),
            ),
        ),
        (
            "Extended Content Description",
            "3.11",
            (
                ("u16", "Content Descriptors Count"),
                Records(
                    "Content Descriptors Count",
                    "Content Descriptors",
                    (
                        ("u16", "Name Length"),
                        ("text:Name Length", "Name"),
                        ("u16", "Value Data Type"),
                        ("u16", "Value Length"),
                        ("bytes:Value Length", "Value"),
                    ),
                ),
            ),
        ),
        (
            "Metadata",
            "4.7",
            (
                ("u16", "Description Records Count"),
                Records(
                    "Description Records Count",
                    "Description Records",
                    (
                        ("u16", "Reserved"),
                        ("u16", "Stream Number"),
                        ("u16", "Name Length"),
                        ("u16", "Value Data Type"),
                        ("u32", "Value Length"),
                        ("text:Name Length", "Name"),
                        ("bytes:Value Length", "Value"),
                    ),
                ),
            ),
        ),
        (
            "Metadata Library",
            "4.8",
            (
                ("u16", "Description Records Count"),
                Records(
                    "Description Records Count",
                    "Description Records",
                    (
                        ("u16", "Language List Index"),
                        ("u16", "Stream Number"),
                        ("u16", "Name Length"),
                        ("u16", "Value Data Type"),
                        ("u32", "Value Length"),
                        ("text:Name Length", "Name"),
                        ("bytes:Value Length", "Value"),
                    ),
                ),
            ),
        ),
        (
            "Language List",
            "4.6",
            (
                ("u16", "Language ID Records Count"),
                Records(
                    "Language ID Records Count",
                    "Language ID Records",
                    (("u8", "Language ID Length"), ("text:Language ID Length", "Language ID")),
                ),
            ),
        ),
        (
            "Codec List",
            "3.5",
            (
                ("guid", "Reserved"),
                ("u32", "Codec Entries Count"),
                Records(
                    "Codec Entries Count",
                    "Codec Entries",
                    (
                        ("u16", "Type"),
                        ("u16", "Codec Name Length"),
                        ("chars:Codec Name Length", "Codec Name"),
                        ("u16", "Codec Description Length"),
                        ("chars:Codec Description Length", "Codec Description"),
                        ("u16", "Codec Information Length"),
                        ("bytes:Codec Information Length", "Codec Information"),
                    ),
                ),
            ),
        ),
        (
            "Stream Bitrate Properties",
            "3.12",
            (
                ("u16", "Bitrate Records Count"),
                Records(
                    "Bitrate Records Count",
                    "Bitrate Records",
                    (("u16", "Flags"), ("u32", "Average Bitrate")),
                ),
            ),
        ),
        (
            "Script Command",
            "3.6",
            (
                ("guid", "Reserved"),
                ("u16", "Commands Count"),
                ("u16", "Command Types Count"),
                Records(
                    "Command Types Count",
                    "Command Types",
                    (
                        ("u16", "Command Type Name Length"),
                        ("chars:Command Type Name Length", "Command Type Name"),
                    ),
                ),
                Records(
                    "Commands Count",
                    "Commands",
                    (
                        ("u32", "Presentation Time"),
                        ("u16", "Type Index"),
                        ("u16", "Command Name Length"),
                        ("chars:Command Name Length", "Command Name"),
                    ),
                ),
            ),
        ),
        (
            "Content Encryption",
            "3.14",
            (
                ("u32", "Secret Data Length"),
                ("bytes:Secret Data Length", "Secret Data"),
                ("u32", "Protection Type Length"),
                ("ansi:Protection Type Length", "Protection Type"),
                ("u32", "Key ID Length"),
                ("ansi:Key ID Length", "Key ID"),
                ("u32", "License URL Length"),
                ("ansi:License URL Length", "License URL"),
            ),
        ),
        (
            "Extended Content Encryption",
            "3.15",
            (("u32", "Data Size"), ("text:Data Size", "Data")),
        ),
        (
            "Header Extension",
            "3.4",
            (
                ("guid", "Reserved Field 1"),
                ("u16", "Reserved Field 2"),
                ("u32", "Header Extension Data Size"),
            ),
        ),
        (
            "Marker",
            "3.7",
            (
                ("guid", "Reserved"),
                ("u32", "Markers Count"),
                ("u16", "Reserved 2"),
                ("u16", "Name Length"),
                ("text:Name Length", "Name"),
                Records(
                    "Markers Count",
                    "Markers",
                    (
                        ("u64", "Offset"),
                        ("u64", "Presentation Time"),
                        ("u16", "Entry Length"),
                        ("u32", "Send Time"),
                        ("u32", "Flags"),
                        ("u32", "Marker Description Length"),
                        ("chars:Marker Description Length", "Marker Description"),
                    ),
                ),
            ),
        ),
        (
            "Bitrate Mutual Exclusion",
            "3.8",
            (
                ("guid", "Exclusion Type"),
                ("u16", "Stream Numbers Count"),
                Records("Stream Numbers Count", "Stream Numbers", (("u16", "Stream Number"),)),
            ),
        ),
        (
            "Error Correction",
            "3.9",
            (
                ("guid", "Error Correction Type"),
                ("u32", "Error Correction Data Length"),
                ("bytes:Error Correction Data Length", "Error Correction Data"),
            ),
        ),
        (
            "Content Branding",
            "3.13",
            (
                ("u32", "Banner Image Type"),
                ("u32", "Banner Image Data Size"),
                ("bytes:Banner Image Data Size", "Banner Image Data"),
                ("u32", "Banner Image URL Length"),
                ("ansi:Banner Image URL Length", "Banner Image URL"),
                ("u32", "Copyright URL Length"),
                ("ansi:Copyright URL Length", "Copyright URL"),
            ),
        ),
        (
            "Digital Signature",
            "3.16",
            (
                ("u32", "Signature Type"),
                ("u32", "Signature Data Length"),
                ("bytes:Signature Data Length", "Signature Data"),
            ),
        ),
        (
            "Extended Stream Properties",
            "4.1",
            (
                ("u64", "Start Time"),
                ("u64", "End Time"),
                ("u32", "Data Bitrate"),
                ("u32", "Buffer Size"),
                ("u32", "Initial Buffer Fullness"),
                ("u32", "Alternate Data Bitrate"),
                ("u32", "Alternate Buffer Size"),
                ("u32", "Alternate Initial Buffer Fullness"),
                ("u32", "Maximum Object Size"),
                ("u32", "Flags"),
                ("u16", "Stream Number"),
                ("u16", "Stream Language ID Index"),
                ("u64", "Average Time Per Frame"),
                ("u16", "Stream Name Count"),
                ("u16", "Payload Extension System Count"),
                Records(
                    "Stream Name Count",
                    "Stream Names",
                    (
                        ("u16", "Language ID Index"),
                        ("u16", "Stream Name Length"),
                        ("text:Stream Name Length", "Stream Name"),
                    ),
                ),
                Records(
                    "Payload Extension System Count",
                    "Payload Extension Systems",
                    (
                        ("guid", "Extension System ID"),
                        ("u16", "Extension Data Size"),
                        ("u32", "Extension System Info Length"),
                        ("bytes:Extension System Info Length", "Extension System Info"),
                    ),
                ),
            ),
        ),
    )
}

AUDIO: Layout = (
    ("u16", "Codec ID / Format Tag"),
    ("u16", "Number of Channels"),
    ("u32", "Samples Per Second"),
    ("u32", "Average Number of Bytes Per Second"),
    ("u16", "Block Alignment"),
    ("u16", "Bits Per Sample"),
    ("u16", "Codec Specific Data Size"),
    ("bytes:Codec Specific Data Size", "Codec Specific Data"),
)
"""WAVEFORMATEX; some writers leave out the codec data and its size [ASF 9.1]."""

VIDEO: Layout = (
    ("u32", "Encoded Image Width"),
    ("u32", "Encoded Image Height"),
    ("u8", "Reserved Flags"),
    ("u16", "Format Data Size"),
    ("u32", "Format Data Size (BITMAPINFOHEADER)"),
    ("u32", "Image Width"),
    ("u32", "Image Height"),
    ("u16", "Reserved"),
    ("u16", "Bits Per Pixel Count"),
    ("bytes4", "Compression ID"),
    ("u32", "Image Size"),
    ("u32", "Horizontal Pixels Per Meter"),
    ("u32", "Vertical Pixels Per Meter"),
    ("u32", "Colors Used Count"),
    ("u32", "Important Colors Count"),
)
"""Encoded image and BITMAPINFOHEADER; codec data follow up to Format Data Size [ASF 9.2]."""

JFIF: Layout = (("u32", "Image Width"), ("u32", "Image Height"), ("u32", "Reserved"))
"""[ASF 9.4.1]"""

DEGRADABLE_JPEG: Layout = (
    ("u32", "Image Width"),
    ("u32", "Image Height"),
    ("u16", "Reserved 1"),
    ("u16", "Reserved 2"),
    ("u16", "Reserved 3"),
    ("u16", "Interchange Data Length"),
    ("bytes:Interchange Data Length", "Interchange Data"),
)
"""[ASF 9.4.2]"""

BINARY: Layout = (
    ("guid", "Major Media Type"),
    ("guid", "Media Subtype"),
    ("u32", "Fixed-Size Samples"),
    ("u32", "Temporal Compression"),
    ("u32", "Sample Size"),
    ("guid", "Format Type"),
    ("u32", "Format Data Size"),
    ("bytes:Format Data Size", "Format Data"),
)
"""File transfer and binary media [ASF 9.5]."""

TYPE_SPECIFIC: dict[str, Layout] = {
    "Audio Media": AUDIO,
    "Video Media": VIDEO,
    "JFIF Media": JFIF,
    "Degradable JPEG Media": DEGRADABLE_JPEG,
    "File Transfer Media": BINARY,
    "Binary Media": BINARY,
}
"""Layout of Type-Specific Data by Stream Type."""

_SIZES = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q"}


class ShortError(Exception):
    """The object ends before a field; the offset says where."""

    def __init__(self, offset: int, field: str) -> None:
        super().__init__(field)
        self.offset = offset
        self.field = field


@dataclass(slots=True)
class Budget:
    """Records that may still be read; each costs memory far beyond its bytes."""

    records: int = MAX_RECORDS


def parse_layout(
    layout: Layout, data: bytes, at: int, into: Fields | None = None, budget: Budget | None = None
) -> tuple[Fields, int]:
    """Read fields from ``data[at:]``.

    Parameters
    ----------
    layout : Layout
    data : bytes
    at : int
    into : dict, optional
        Takes the fields.
    budget : Budget, optional
        Shared by all objects of a header.

    Returns
    -------
    fields : dict
    end : int
        Position behind the last field.

    Raises
    ------
    ShortError
        A field does not fit, or the records are too many; `into` holds those that did.
    """
    fields: Fields = {} if into is None else into
    budget = Budget() if budget is None else budget
    for item in layout:
        if isinstance(item, Records):
            records: list[Fields] = []
            fields[item.name] = records
            for _ in range(_number(fields, item.count)):
                if budget.records == 0:
                    raise ShortError(at, f"{item.name} (no more than {MAX_RECORDS} records are read)")
                budget.records -= 1
                record, at = parse_layout(item.layout, data, at, None, budget)
                records.append(record)
            continue
        kind, name = item
        size = _size(kind, fields)
        if size < 0 or at + size > len(data):
            raise ShortError(at, name)
        fields[name] = _value(kind, data[at : at + size])
        at += size
    return fields, at


def _size(kind: str, fields: Mapping[str, object]) -> int:
    base, _, argument = kind.partition(":")
    if base in _SIZES:
        return struct.calcsize(_SIZES[base])
    if base in ("guid", "bytes16"):
        return 16
    if base == "bytes4":
        return 4
    return _number(fields, argument) * (2 if base == "chars" else 1)


def _value(kind: str, raw: bytes) -> object:
    base = kind.partition(":")[0]
    if base in _SIZES:
        return struct.unpack(_SIZES[base], raw)[0]
    if base == "guid":
        return guid_name(raw)
    if base in ("text", "chars"):
        return utf16(raw)
    if base == "ansi":
        return raw.rstrip(b"\0").decode("cp1252", "backslashreplace")
    return raw


def _number(fields: Mapping[str, object], name: str) -> int:
    value = fields[name]
    assert isinstance(value, int)
    return value


def utf16(raw: bytes) -> str:
    """Decode UTF-16LE without the NULs at its end; what follows a NUL within is evidence and stays.

    Lone surrogates show as escapes, so that the text can be encoded as UTF-8; an odd byte is left out.
    """
    text = raw[: len(raw) & ~1].decode("utf-16-le", "surrogatepass").rstrip("\0")
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
