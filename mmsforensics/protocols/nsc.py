"""Station files of Windows Media multicast, ``.nsc`` [MS-MSB 2.2.1]: what is sent where, and the ASF headers.

Rules of this file:

* a value is plain text, an integer (``0x`` and eight digits) or an encoded block (``02`` and characters of an
  alphabet of 64, six bits each, the most significant bit first);
* a block whose checksum is wrong is decoded and said to be so: files were edited by hand, and the
  specification's own samples are;
* sections, order and line ends are taken as they come; a property that is given twice counts as first given;
* nothing is decoded beyond the bytes that are there: a block that states more than it has is cut and said
  to be so.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz{}"
"""Characters of an encoded block by their six bits [2.2.1.3.2]."""

BLOCK_HEADER = 9
"""EncodedDataHeader: CRC, Key, Length [2.2.1.3.1]."""

FORMAT_ID = 0x07FF
"""Bits of Key that are a Format ID."""

MOST_LINES = 1 << 16
"""Lines read of a file; Windows Media Services writes some dozen."""

INTEGERS = (
    "IP Port",
    "Time To Live",
    "Default Ecc",
    "Allow Splitting",
    "Allow Caching",
    "Cache Expiration Time",
    "Network Buffer Time",
)
"""Properties that are integers [2.2.1.1]."""

_AS_BASE64 = bytes.maketrans(ALPHABET, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_BLOCK = re.compile(r"02[0-9A-Za-z{}]{12,}")
_INTEGER = re.compile(r"0x([0-9A-Fa-f]{1,8})")
_NUMBERED = re.compile(r"(Format|Description)\s*([0-9]{1,9})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Block:
    """An encoded block, decoded."""

    key: int
    length: int
    """As stated."""
    data: bytes
    """As many bytes as are stated, or as there are."""
    crc: int
    """As stated."""
    crc_ok: bool
    """Whether it is the XOR of Key, Length and data."""

    @property
    def whole(self) -> bool:
        """Whether all bytes that are stated are there."""
        return len(self.data) == self.length

    @property
    def text(self) -> str:
        """The data as a string: UTF-16LE up to its NUL [2.2.1.2]."""
        return self.data[: len(self.data) & ~1].decode("utf-16-le", "backslashreplace").split("\0", 1)[0]


@dataclass(frozen=True, slots=True)
class Format:
    """A format that a station sends, with its ASF header."""

    name: str
    """Of its property, as ``Format1``."""
    format_id: int
    header: bytes
    """ASF Header Object and the first 50 bytes of the Data Object."""
    description: str
    crc_ok: bool
    whole: bool


@dataclass(frozen=True, slots=True)
class StationFile:
    """What a station file says."""

    properties: Mapping[str, str]
    """All properties but the formats, blocks and integers decoded, by the names in the file."""
    formats: tuple[Format, ...]
    problems: tuple[str, ...]
    """What is wrong with it."""

    def text(self, name: str) -> str:
        """A property, whatever the case of its name; empty if it is absent."""
        return next((v for k, v in self.properties.items() if k.lower() == name.lower()), "")

    def number(self, name: str) -> int | None:
        """An integer property; None where it is absent or no number."""
        value = self.text(name)
        return int(value) if value.isdecimal() and len(value) <= 10 else None

    @property
    def address(self) -> str:
        """Multicast group."""
        return self.text("IP Address").strip()

    @property
    def port(self) -> int | None:
        """UDP port."""
        port = self.number("IP Port")
        return port if port is not None and port < 1 << 16 else None


def decode_block(text: str) -> Block | None:
    """Decode an encoded block, its prefix ``02`` included.

    Parameters
    ----------
    text : str
        White space in it (a line broken in two) is passed over.

    Returns
    -------
    Block or None
        None where it is none: no prefix, a character outside the alphabet, or shorter than its header.
    """
    text = "".join(text.split())
    if not _BLOCK.fullmatch(text):
        return None
    raw = _six_bits(text[2:].encode("ascii"))
    length = int.from_bytes(raw[5:9], "big")
    data = raw[BLOCK_HEADER : BLOCK_HEADER + length]
    total = np.bitwise_xor.reduce(np.frombuffer(raw[1:BLOCK_HEADER] + data, dtype=np.uint8))
    crc_ok = bool(total == raw[0]) and len(data) == length
    return Block(int.from_bytes(raw[1:5], "big"), length, data, raw[0], crc_ok)


def _six_bits(text: bytes) -> bytes:
    """Bytes of characters of six bits each: base64 with another alphabet and without padding."""
    whole = text + ALPHABET[:1] * (-len(text) % 4)
    return base64.b64decode(whole.translate(_AS_BASE64))[: len(text) * 6 // 8]


def is_station_file(data: bytes) -> bool:
    """Whether bytes begin as a station file does."""
    head = data[:64].removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").replace(b"\0", b"")
    return head.lstrip().lower().startswith(b"[address]")


def parse(data: bytes) -> StationFile:
    """Read a station file, whatever it holds.

    Parameters
    ----------
    data : bytes
        ASCII by the specification; UTF-8 and UTF-16LE with a byte order mark are read as well.
    """
    properties: dict[str, str] = {}
    formats: dict[int, tuple[str, Block]] = {}
    descriptions: dict[int, str] = {}
    problems: list[str] = []
    for name, value in _lines(_decoded(data)):
        numbered = _NUMBERED.fullmatch(name)
        block = decode_block(value)
        if block is not None:
            problems += [f"{name}: {problem}" for problem in _wrong(block)]
        if numbered is not None and numbered[1].lower() == "format":
            if block is None:
                problems.append(f"{name}: expected an encoded block; found {value[:40]!r}")
            else:
                formats.setdefault(int(numbered[2]), (name, block))
            continue
        plain = block.text if block is not None else _plain(name, value, problems)
        if numbered is not None:
            descriptions.setdefault(int(numbered[2]), plain)
        else:
            properties.setdefault(name, plain)
    found = tuple(
        Format(
            name=name,
            format_id=block.key & FORMAT_ID,
            header=block.data,
            description=descriptions.get(number, ""),
            crc_ok=block.crc_ok,
            whole=block.whole,
        )
        for number, (name, block) in sorted(formats.items())
    )
    return StationFile(properties, found, tuple(problems))


def _decoded(data: bytes) -> str:
    if data.startswith(b"\xff\xfe"):
        return data[2 : 2 + (len(data) - 2 & ~1)].decode("utf-16-le", "backslashreplace")
    return data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "backslashreplace")


def _lines(text: str) -> list[tuple[str, str]]:
    """Names and values; a line that is neither section nor property goes on a block before it."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines()[:MOST_LINES]:
        stripped = line.strip()
        if not stripped or stripped.startswith("["):
            continue
        name, sign, value = stripped.partition("=")
        if sign:
            found.append((name.strip(), [value.strip()]))
        elif found and _BLOCK.match(found[-1][1][0]) and re.fullmatch(r"[0-9A-Za-z{}]+", stripped):
            found[-1][1].append(stripped)
    return [(name, "\n".join(parts)) for name, parts in found]


def _wrong(block: Block) -> list[str]:
    """What is wrong with a block."""
    if not block.whole:
        return [f"states {block.length} bytes, has {len(block.data)}"]
    return [] if block.crc_ok else [f"the checksum 0x{block.crc:02x} is not that of its bytes"]


def _plain(name: str, value: str, problems: list[str]) -> str:
    """A value that is no block: an integer as a decimal number, or the text as it stands."""
    integer = _INTEGER.fullmatch(value)
    if integer is not None:
        return str(int(integer[1], 16))
    if name in INTEGERS and value and not value.isdecimal():
        problems.append(f"{name}: expected 0x and eight digits; found {value[:40]!r}")
    return value
