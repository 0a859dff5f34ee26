"""The object tree of an ASF file: read by the declared layouts, and written again to the same bytes.

Rules of this file:

* any bytes give a tree; what does not fit is a `HeaderProblem`, and the rest is still read;
* nothing is lost: what stands in no field of an object is its ``Trailing Data``, an object that nobody
  declared keeps its bytes as ``data``. `write_object` of a tree gives the bytes that it was read from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mmsforensics.asf.guids import guid_name, guid_of
from mmsforensics.asf.layout import Budget, Fields, Layout, ShortError, bytes_of, parse_layout, write_layout
from mmsforensics.asf.media_types import ERROR_CORRECTION, TYPE_SPECIFIC, WEB_STREAM
from mmsforensics.asf.objects import LAYOUTS

FRAME = 24
"""GUID and size of an object [ASF 2.1]."""

HEADER_FIELDS = 30
"""Frame, number of objects and two reserved bytes of the Header Object [ASF 3.1]."""

HEADER_OBJECT = guid_of("Header Object")
DATA_OBJECT = guid_of("Data Object")

DATA_OBJECT_HEAD = 50
"""Data Object up to its first packet [ASF 5.1]."""

MAX_DEPTH = 4
"""Objects nested deeper are hostile: Header, Header Extension, and an object inside one of its objects."""

MAX_OBJECTS = 4096
"""Objects of a header read at most."""

TRAILING = "Trailing Data"
"""Field of the bytes of an object that stand in no other field and no child."""


@dataclass(frozen=True, slots=True)
class HeaderProblem:
    """Something in an object that is not as it must be."""

    offset: int
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class AsfObject:
    """One object of the tree."""

    guid: bytes
    name: str
    offset: int
    """Offset of its GUID in the file."""
    size: int
    """Bytes, frame included, as far as they are there."""
    fields: Mapping[str, object]
    """By the specification's names; records are tuples of mappings, long tables read-only arrays."""
    children: tuple[AsfObject, ...] = ()
    declared_size: int = 0
    """What its size field says."""

    @property
    def end(self) -> int:
        """Offset behind it."""
        return self.offset + self.size

    def walk(self) -> Iterator[AsfObject]:
        """Itself and all objects in it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(slots=True)
class Reader:
    """Reads objects out of bytes, and notes what does not fit."""

    data: bytes | memoryview
    base: int = 0
    """Offset of the bytes in the file."""
    problems: list[HeaderProblem] = field(default_factory=list)
    objects: int = 0
    budget: Budget = field(default_factory=Budget)

    def problem(self, offset: int, expected: str, found: str) -> None:
        """Note a problem at an offset in the bytes."""
        self.problems.append(HeaderProblem(self.base + offset, expected, found))

    def number(self, at: int, width: int) -> int:
        """Read a little-endian integer."""
        return int.from_bytes(self.data[at : at + width], "little")

    def header(self, end: int) -> AsfObject:
        """Read the Header Object at the beginning, which ends at `end`."""
        fields: Fields = {}
        parse_layout(LAYOUTS[HEADER_OBJECT][1], self.data[:HEADER_FIELDS], FRAME, fields)
        children = self.children(HEADER_FIELDS, end, 1)
        sound = children[-1].end - self.base if children else HEADER_FIELDS
        if sound < end:
            fields[TRAILING] = self.data[sound:end]
        declared = self.number(16, 8)
        return AsfObject(
            HEADER_OBJECT,
            "Header Object",
            self.base,
            end,
            MappingProxyType(fields),
            children,
            declared,
        )

    def children(self, begin: int, end: int, depth: int) -> tuple[AsfObject, ...]:
        """Read the objects in a stretch; `depth` is 1 for those of the Header Object."""
        found: list[AsfObject] = []
        at = begin
        while at + FRAME <= end:
            guid = bytes(self.data[at : at + 16])
            size = declared = self.number(at + 16, 8)
            if depth == 1 and guid == DATA_OBJECT:
                break
            if self.objects >= MAX_OBJECTS:
                self.problem(at, f"no more than {MAX_OBJECTS} objects", "another")
                break
            if size < FRAME:
                self.problem(at + 16, f"an object size of at least {FRAME}", str(size))
                break
            if at + size > end:
                self.problem(at + 16, f"an object of at most {end - at} bytes", str(size))
                size = end - at
            found.append(self.object(guid, at, size, declared, depth))
            at += size
        if 0 < end - at < FRAME:
            self.problem(at, "an object", f"{end - at} bytes")
        return tuple(found)

    def object(self, guid: bytes, at: int, size: int, declared: int, depth: int) -> AsfObject:
        """Read the object at an offset, of which `size` bytes are there."""
        self.objects += 1
        name = guid_name(guid)
        fields: Fields = {}
        children: tuple[AsfObject, ...] = ()
        end = at + size
        if guid not in LAYOUTS:
            fields["data"] = self.data[at + FRAME : end]
            return AsfObject(guid, name, self.base + at, size, MappingProxyType(fields), (), declared)
        inner, sound = self._fields(guid, name, at + FRAME, end, fields)
        if name == "Header Extension":
            children = self._nested(inner, self._extension_end(inner, end, fields), depth)
        elif name == "Extended Stream Properties" and inner + FRAME <= end:
            children = self._nested(inner, end, depth)
        elif name == "Stream Properties":
            self._stream_data(inner, fields)
        if children:
            sound = children[-1].end - self.base
        if sound < end:
            fields[TRAILING] = self.data[sound:end]
        return AsfObject(guid, name, self.base + at, size, MappingProxyType(fields), children, declared)

    def _nested(self, begin: int, end: int, depth: int) -> tuple[AsfObject, ...]:
        if depth >= MAX_DEPTH:
            self.problem(begin, f"objects nested at most {MAX_DEPTH} deep", "deeper ones")
            return ()
        return self.children(begin, end, depth + 1)

    def _extension_end(self, begin: int, end: int, fields: Fields) -> int:
        size = fields.get("Header Extension Data Size", 0)
        assert isinstance(size, int)
        if begin + size != end and begin < end:
            self.problem(begin - 4, f"a Header Extension Data Size of {end - begin}", str(size))
        return min(begin + size, end)

    def _fields(self, guid: bytes, name: str, begin: int, end: int, fields: Fields) -> tuple[int, int]:
        """Read the declared fields; returns where children may begin, and the end of what is in fields."""
        section, layout = LAYOUTS[guid]
        body = memoryview(self.data)[begin:end]
        try:
            after = begin + parse_layout(layout, body, 0, fields, self.budget)[1]
        except ShortError as short:
            where = f" (ASF {section})" if section else ""
            self.problem(begin + short.offset, f"field {short.field} of {name}{where}", "its end")
            return end, begin + short.sound
        return after, after

    def _stream_data(self, end: int, fields: Fields) -> None:
        """Read what Stream Properties keep as bytes whose layout depends on the type."""
        correction = bytes_of(fields, "Error Correction Data")
        raw = bytes_of(fields, "Type-Specific Data")
        begin = end - len(correction) - len(raw)
        values = self._opaque(TYPE_SPECIFIC.get(str(fields.get("Stream Type"))), raw, begin)
        if values is not None:
            fields["Type-Specific Fields"] = values
            if values.get("Format Type") == "Web stream format":
                data = bytes_of(values, "Format Data")
                fields["Web Stream Fields"] = self._opaque(WEB_STREAM, data, begin + len(raw) - len(data))
        layout = ERROR_CORRECTION.get(str(fields.get("Error Correction Type")))
        values = self._opaque(layout, correction, end - len(correction))
        if values is not None:
            fields["Error Correction Fields"] = values

    def _opaque(self, layout: Layout | None, raw: bytes, begin: int) -> Fields | None:
        if layout is None or not raw:
            return None
        values: Fields = {}
        try:
            parse_layout(layout, raw, 0, values, self.budget)
        except ShortError as short:
            # Some writers leave out the codec data of audio, and their size.
            if not short.field.startswith("Codec Specific Data Size"):
                self.problem(begin + short.offset, f"field {short.field} of Stream Properties", "its end")
        return values


def write_object(item: AsfObject) -> bytes:
    """Write an object with all that is in it.

    Parameters
    ----------
    item : AsfObject
        Of a Data Object only its head is written: packets are not part of the tree.

    Returns
    -------
    bytes
        Those that the object was read from; `item.size` of them, but for a Data Object.
    """
    parts = [item.guid, item.declared_size.to_bytes(8, "little")]
    if item.guid in LAYOUTS:
        parts.append(write_layout(LAYOUTS[item.guid][1], item.fields))
    parts.extend(write_object(child) for child in item.children)
    for name in (TRAILING, "data"):
        value = item.fields.get(name, b"")
        assert isinstance(value, bytes | memoryview)
        parts.append(bytes(value))
    return b"".join(parts)
