"""The language in which ASF objects are declared, a reader and a writer for it.

A layout is a tuple of ``(type, name)`` that begins behind the object's 24-byte frame. Types:

=================  ======================================================================
``u8 u16 u32 u64``  unsigned integer, little-endian
``guid``           GUID, by its name
``bytes4 bytes16``  so many bytes
``bytes:F``        bytes, field F counts them
``text:F``         UTF-16LE, field F counts its bytes
``chars:F``        UTF-16LE, field F counts its characters
``ansi:F``         single-byte text, field F counts its bytes
``rest``           bytes up to the object's end
=================  ======================================================================

A list of records is a `Records`, a long table of numbers an `Array`. Counting fields may stand in an
enclosing record.

Rules of this file:

* reading loses nothing: text stands in fields as a person reads it; where its bytes do not follow from it
  (an odd byte, half a surrogate pair), they stand beside it as ``NAME (bytes)``;
* the writer makes of the fields the bytes that they were read from.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, slots=True)
class Array:
    """A table of numbers, read as a structured array that shares the object's memory.

    A column is ``(type, name)``, or ``(type, name, F)`` for as many numbers as field F says.
    """

    count: str
    name: str
    columns: tuple[tuple[str, str] | tuple[str, str, str], ...]


Layout = tuple["tuple[str, str] | Records | Array", ...]

EXACT = " (bytes)"
"""Behind a field's name: the bytes of a text that does not give them again."""

_SIZES = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q"}
_DTYPES = {"u8": "u1", "u16": "<u2", "u32": "<u4", "u64": "<u8"}


class ShortError(Exception):
    """The object ends before a field.

    Attributes
    ----------
    offset : int
        Where the field would begin.
    field : str
    sound : int
        Behind the last field or record that is whole: what follows stands in no field.
    """

    def __init__(self, offset: int, field: str, sound: int | None = None) -> None:
        super().__init__(field)
        self.offset = offset
        self.field = field
        self.sound = offset if sound is None else sound


@dataclass(slots=True)
class Budget:
    """Records that may still be read; each costs memory far beyond its bytes."""

    records: int = MAX_RECORDS


def parse_layout(
    layout: Layout,
    data: bytes | memoryview,
    at: int,
    into: Fields | None = None,
    budget: Budget | None = None,
    outer: Mapping[str, object] | None = None,
) -> tuple[Fields, int]:
    """Read fields from ``data[at:]``.

    Parameters
    ----------
    layout : Layout
    data : bytes or memoryview
    at : int
    into : dict, optional
        Takes the fields.
    budget : Budget, optional
        Shared by all objects of a header.
    outer : mapping, optional
        Fields of the enclosing record, for counts that stand there.

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
            at = _parse_records(item, data, at, fields, budget, outer)
        elif isinstance(item, Array):
            at = _parse_array(item, data, at, fields, outer)
        else:
            kind, name = item
            size = len(data) - at if kind == "rest" else _size(kind, fields, outer)
            if at + size > len(data):
                raise ShortError(at, name)
            raw = bytes(data[at : at + size])
            fields[name] = _value(kind, raw)
            if _lossy(kind, fields[name], raw):
                fields[name + EXACT] = raw
            at += size
    return fields, at


def _parse_records(
    item: Records,
    data: bytes | memoryview,
    at: int,
    fields: Fields,
    budget: Budget,
    outer: Mapping[str, object] | None,
) -> int:
    records: list[Mapping[str, object]] = []
    scope = {**(outer or {}), **fields}
    try:
        for _ in range(_number(item.count, fields, outer)):
            if budget.records == 0:
                raise ShortError(at, f"{item.name} (no more than {MAX_RECORDS} records are read)")
            budget.records -= 1
            record, end = parse_layout(item.layout, data, at, None, budget, scope)
            if end == at:
                raise ShortError(at, f"{item.name} (records without bytes)")
            records.append(MappingProxyType(record))
            at = end
    except ShortError as short:
        raise ShortError(short.offset, short.field, at) from None
    finally:
        fields[item.name] = tuple(records)
    return at


def _parse_array(
    item: Array, data: bytes | memoryview, at: int, fields: Fields, outer: Mapping[str, object] | None
) -> int:
    count = _number(item.count, fields, outer)
    row = sum(struct.calcsize(_SIZES[c[0]]) * _times(c, fields, outer) for c in item.columns)
    if row == 0 or at + count * row > len(data):
        raise ShortError(at, item.name)
    dtype = np.dtype(
        [
            (c[1], _DTYPES[c[0]], (_times(c, fields, outer),)) if len(c) == 3 else (c[1], _DTYPES[c[0]])
            for c in item.columns
        ]
    )
    table: NDArray[np.void] = np.frombuffer(data, dtype=dtype, count=count, offset=at)
    table.flags.writeable = False
    fields[item.name] = table
    return at + count * row


def _times(
    column: tuple[str, str] | tuple[str, str, str], fields: Fields, outer: Mapping[str, object] | None
) -> int:
    return _number(column[2], fields, outer) if len(column) == 3 else 1


def write_layout(layout: Layout, fields: Mapping[str, object]) -> bytes:
    """Write fields as `parse_layout` read them; ends at the first that is not there."""
    parts: list[bytes] = []
    for item in layout:
        if item.name not in fields if isinstance(item, Records | Array) else item[1] not in fields:
            break
        if isinstance(item, Records):
            records = fields[item.name]
            assert isinstance(records, tuple)
            parts.extend(write_layout(item.layout, record) for record in records)
        elif isinstance(item, Array):
            table = fields[item.name]
            assert isinstance(table, np.ndarray)
            parts.append(table.tobytes())
        else:
            parts.append(_written(*item, fields))
    return b"".join(parts)


def _written(kind: str, name: str, fields: Mapping[str, object]) -> bytes:
    value = fields.get(name + EXACT, fields[name])
    if isinstance(value, bytes):
        return value
    base, _, argument = kind.partition(":")
    if base in _SIZES:
        return struct.pack(_SIZES[base], value)
    if base == "guid":
        return guid_bytes(str(value))
    size = _number(argument, fields, None) * (2 if base == "chars" else 1)
    return _encoded(base, str(value)).ljust(size, b"\0")


def guid_bytes(name: str) -> bytes:
    """The bytes of a GUID by its name or, when it has none, by its text in braces.

    Raises
    ------
    KeyError
        There is no GUID of that name.
    """
    if name.startswith("{"):
        return uuid.UUID(name).bytes_le
    return guid_of(name)


def _encoded(base: str, text: str) -> bytes:
    return text.encode("cp1252" if base == "ansi" else "utf-16-le", "replace")


def _lossy(kind: str, value: object, raw: bytes) -> bool:
    base = kind.partition(":")[0]
    if base not in ("text", "chars", "ansi"):
        return False
    return _encoded(base, str(value)).ljust(len(raw), b"\0") != raw


def _size(kind: str, fields: Mapping[str, object], outer: Mapping[str, object] | None) -> int:
    base, _, argument = kind.partition(":")
    if base in _SIZES:
        return struct.calcsize(_SIZES[base])
    if base in ("guid", "bytes16"):
        return 16
    if base == "bytes4":
        return 4
    return _number(argument, fields, outer) * (2 if base == "chars" else 1)


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


def _number(name: str, fields: Mapping[str, object], outer: Mapping[str, object] | None) -> int:
    value = fields[name] if name in fields or outer is None else outer[name]
    assert isinstance(value, int)
    return value


def number(fields: Mapping[str, object], name: str) -> int:
    """An integer field, 0 when it is not there."""
    value = fields.get(name, 0)
    return value if isinstance(value, int) else 0


def bytes_of(fields: Mapping[str, object], name: str) -> bytes:
    """A field of bytes, none when it is not there."""
    value = fields.get(name, b"")
    return value if isinstance(value, bytes) else b""


def records_of(fields: Mapping[str, object], name: str) -> tuple[Fields, ...]:
    """The records of a list, none when it is not there."""
    value = fields.get(name, ())
    return value if isinstance(value, tuple) else ()


def utf16(raw: bytes) -> str:
    """Decode UTF-16LE without the NULs at its end; what follows a NUL within is evidence and stays.

    Lone surrogates show as escapes, so that the text can be encoded as UTF-8; an odd byte is left out.
    """
    raw = raw[: len(raw) & ~1]
    try:
        return raw.decode("utf-16-le").rstrip("\0")
    except UnicodeDecodeError:
        text = raw.decode("utf-16-le", "surrogatepass").rstrip("\0")
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
