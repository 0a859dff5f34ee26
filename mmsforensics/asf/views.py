"""What a file carries beside sound and pictures: script commands, markers, attached pictures, protection.

Rules of this file:

* nothing is followed, opened or decoded: a URL of a script command and a picture's bytes are evidence;
* times are presentation times in ms as the file gives them, the preroll in them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf.header import Header
from mmsforensics.asf.layout import number, records_of, utf16
from mmsforensics.asf.tree import AsfObject

PICTURE = "WM/Picture"
"""Name of the attribute that holds a picture."""

PICTURE_TYPES: tuple[str, ...] = (
    "other",
    "file icon",
    "other file icon",
    "front cover",
    "back cover",
    "leaflet",
    "media",
    "lead artist",
    "artist",
    "conductor",
    "band",
    "composer",
    "lyricist",
    "recording location",
    "during recording",
    "during performance",
    "video screen capture",
    "bright coloured fish",
    "illustration",
    "band logotype",
    "publisher logotype",
)
"""Picture types of WM_PICTURE, which are those of the APIC frame [ID3v2.4.0 4.14]."""

MAX_COMMAND = 1 << 16
"""Bytes of one command of a stream: a media object of the largest packet."""


@dataclass(frozen=True, slots=True)
class ScriptCommand:
    """A command for the player, at a time."""

    time_ms: int
    type: str
    """``URL``, ``FILENAME``, ``TEXT``, ``CAPTION``, ``EVENT``, … as the file says it."""
    value: str
    stream: int = 0
    """Stream that carried it, 0 for the Script Command Object."""
    packet: int = -1
    """Index of the packet that it begins in; -1 for the header's."""


@dataclass(frozen=True, slots=True)
class Marker:
    """A named place [ASF 3.7]."""

    time_ms: int
    """Presentation time."""
    send_time_ms: int
    offset: int
    """Bytes behind the beginning of the Data Object, in the file that the header was made for."""
    description: str


@dataclass(frozen=True, slots=True)
class Picture:
    """An attached picture."""

    type: str
    mime: str
    description: str
    data: bytes
    source_object: str
    whole: bool
    """Whether as many bytes are there as it says."""


@dataclass(frozen=True, slots=True)
class Protection:
    """What an object says of encryption."""

    source_object: str
    system: str
    """Protection Type, or the version of a DRM header."""
    key_id: str
    licence_url: str
    """Where a player would ask for a licence: it opens this page."""
    text: str
    """All that the object says in text, at most `MAX_TEXT` characters."""


MAX_TEXT = 1 << 14
"""Characters of an encryption object's text that are kept; DRM headers have some thousand."""


def script_commands(header: Header) -> tuple[ScriptCommand, ...]:
    """Commands of the Script Command Object [ASF 3.6]."""
    found = []
    for item in header.walk():
        if item.name != "Script Command":
            continue
        types = [str(r.get("Command Type Name", "")) for r in records_of(item.fields, "Command Types")]
        for record in records_of(item.fields, "Commands"):
            index = number(record, "Type Index")
            kind = types[index] if index < len(types) else f"type {index}"
            text = str(record.get("Command Name", ""))
            found.append(ScriptCommand(number(record, "Presentation Time"), kind, text))
    return tuple(found)


class CommandReader:
    """Reads the commands that a command stream carries, packets by packets.

    A command is a media object of two texts, each ended by a zero [ASF 9.3]; one whose beginning or middle
    is not there is passed over.

    Parameters
    ----------
    stream : int
        Number of the command stream.
    """

    __slots__ = ("_begun", "_parts", "_stream")

    def __init__(self, stream: int) -> None:
        self._stream = stream
        self._parts = b""
        self._begun: tuple[int, int, int] | None = None  # time, object size, packet

    def feed(
        self, data: NDArray[np.uint8], size: int, payloads: NDArray[np.void], first: int = 0
    ) -> Iterator[ScriptCommand]:
        """Take the next packets, each of `size` bytes, with their PAYLOAD rows; `first` numbers the first."""
        for row in payloads[payloads["stream"] == self._stream]:
            begin = int(row["packet"]) * size + int(row["at"])
            part = data[begin : begin + min(int(row["length"]), MAX_COMMAND)].tobytes()
            if row["object_offset"] == 0:
                packet = first + int(row["packet"])
                self._parts = b""
                self._begun = int(row["presentation_ms"]), int(row["object_size"]), packet
            if row["object_offset"] != len(self._parts):
                self._begun = None
            if self._begun is None:
                continue
            self._parts += part
            time, whole, packet = self._begun
            if len(self._parts) >= min(whole, MAX_COMMAND):
                kind, value = _texts(self._parts)
                yield ScriptCommand(time, kind, value, self._stream, packet)
                self._begun = None


def _texts(raw: bytes) -> tuple[str, str]:
    """Type and parameter of a command, UTF-16LE."""
    text = raw[: len(raw) // 2 * 2].decode("utf-16-le", "backslashreplace")
    kind, _, rest = text.partition("\0")
    return kind, rest.split("\0", 1)[0]


def markers(header: Header) -> tuple[Marker, ...]:
    """Places of the Marker Object [ASF 3.7]."""
    return tuple(
        Marker(
            time_ms=number(record, "Presentation Time") // 10_000,
            send_time_ms=number(record, "Send Time"),
            offset=number(record, "Offset"),
            description=str(record.get("Marker Description", "")),
        )
        for item in header.walk()
        if item.name == "Marker"
        for record in records_of(item.fields, "Markers")
    )


def pictures(header: Header) -> tuple[Picture, ...]:
    """Pictures among the attributes [ASF 3.11, 4.8; WM_PICTURE of the Windows Media Format SDK]."""
    found = []
    for item in header.walk():
        for name in ("Content Descriptors", "Description Records"):
            for record in records_of(item.fields, name):
                raw = record.get("Value")
                if record.get("Name") == PICTURE and isinstance(raw, bytes):
                    found.append(_picture(raw, item))
    return tuple(found)


def _picture(raw: bytes, item: AsfObject) -> Picture:
    """Type u8, size u32, MIME type and description in UTF-16 ended by zeros, data."""
    kind, size = int.from_bytes(raw[:1], "little"), int.from_bytes(raw[1:5], "little")
    mime, at = _terminated(raw, 5)
    description, at = _terminated(raw, at)
    data = raw[at : at + size]
    return Picture(
        type=PICTURE_TYPES[kind] if kind < len(PICTURE_TYPES) else f"type {kind}",
        mime=mime,
        description=description,
        data=data,
        source_object=item.name,
        whole=len(raw) >= 5 and len(data) == size,
    )


def _terminated(raw: bytes, at: int) -> tuple[str, int]:
    """A text in UTF-16LE that a zero ends, and where it ends."""
    end = at
    while end + 2 <= len(raw) and raw[end : end + 2] != b"\0\0":
        end += 2
    return utf16(raw[at:end]), min(end + 2, len(raw))


def protections(header: Header) -> tuple[Protection, ...]:
    """What the header says of encryption [ASF 3.14, 3.15, 4.14]."""
    found = []
    for item in header.walk():
        if item.name == "Content Encryption":
            values = {n: str(item.fields.get(n, "")) for n in ("Protection Type", "Key ID", "License URL")}
            found.append(
                Protection(
                    source_object=item.name,
                    system=values["Protection Type"],
                    key_id=values["Key ID"],
                    licence_url=values["License URL"],
                    text="",
                )
            )
        elif item.name == "Extended Content Encryption":
            found.append(_drm_header(str(item.fields.get("Data", "")), item))
        elif "Content Encryption" in item.name:
            found.append(Protection(item.name, "", "", "", ""))
    return tuple(found)


def _drm_header(text: str, item: AsfObject) -> Protection:
    """Facts of a WRMHEADER; read by pattern, since nothing of it may be expanded or trusted to be XML."""

    def element(name: str) -> str:
        value = re.search(rf"<{name}>([^<]*)</{name}>", text)
        return value[1].strip() if value else ""

    version = re.search(r"<WRMHEADER[^<>]*\bversion=[\"']([^\"'<>]*)", text)
    return Protection(
        source_object=item.name,
        system=f"WRMHEADER {version[1]}" if version else "",
        key_id=element("KID"),
        licence_url=element("LAINFO") or element("LA_URL"),
        text=text[:MAX_TEXT],
    )
