"""Capture formats by their first bytes; light enough to be asked before anything heavy is loaded."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
"""Evidence bytes: one-dimensional, contiguous, read-only."""

CaptureFormat = Literal["pcap", "pcapng", "snoop", "netmon"]

DocumentFormat = Literal["w3c log", "nsc", "redirector"]
"""Evidence that is no capture and is given beside captures: a server's log, a station file of multicast, an
ASX or ``[Reference]`` file."""

Format = CaptureFormat | DocumentFormat | Literal["unknown", "empty"]

Wrapping = Literal["gzip", "zstd", "lz4", "xz", "bzip2"]
"""How a capture may be compressed."""

WRAPPINGS: Final[dict[bytes, Wrapping]] = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
}
"""First bytes of compressed data [RFC 1952, RFC 8878, LZ4 frame format, XZ file format; bzip2]."""

PCAP_MAGICS: Final = {
    b"\xa1\xb2\xc3\xd4": (True, False),
    b"\xd4\xc3\xb2\xa1": (False, False),
    b"\xa1\xb2\x3c\x4d": (True, True),
    b"\x4d\x3c\xb2\xa1": (False, True),
}
"""Magic number as it stands in a pcap file: (big-endian, nanoseconds) [draft-ietf-opsawg-pcap 4]."""

IXIA_MAGICS: Final = {
    b"\x1c\x00\x01\xac": (True, True),
    b"\xac\x01\x00\x1c": (False, True),
    b"\x1c\x00\x01\xab": (True, False),
    b"\xab\x01\x00\x1c": (False, False),
}
"""The same of Ixia's variant: four bytes more in the file header."""

KUZNETZOV_MAGICS: Final = {
    b"\xa1\xb2\xcd\x34": (True, False),
    b"\x34\xcd\xb2\xa1": (False, False),
}
"""The same of Kuznetzov's variant, which old Linux systems wrote: longer record headers."""

ALL_PCAP_MAGICS: Final = {**PCAP_MAGICS, **IXIA_MAGICS, **KUZNETZOV_MAGICS}

SNOOP_MAGIC: Final = b"snoop\0\0\0"
"""First bytes of a snoop file [RFC 1761]."""

NETMON_MAGICS: Final = {b"RTSS": 1, b"GMBU": 2}
"""First bytes of a Microsoft Network Monitor file and its major version."""

SHB_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
"""Block type of a section header, the same in both byte orders [draft-ietf-opsawg-pcapng 4.1]."""


DOCUMENTS: Final[dict[bytes, DocumentFormat]] = {
    b"#software:": "w3c log",
    b"#version:": "w3c log",
    b"#startdate:": "w3c log",
    b"#date:": "w3c log",
    b"#fields:": "w3c log",
    b"#enddate:": "w3c log",
    b"#timeformat:": "w3c log",
    b"#encodingformat:": "w3c log",
    b"#servername:": "w3c log",
    b"#remark:": "w3c log",
    b"[address]": "nsc",
    b"[reference]": "redirector",
    b"<asx": "redirector",
}
"""How documents begin, white space and byte order marks set aside, in lower case [W3C Extended Log File
Format; MS-MSB 2.2.3; ASX files of Windows Media]."""

BYTE_ORDER_MARKS: Final = (b"\xef\xbb\xbf", b"\xff\xfe")


FOREIGN: Final = {
    b"XCP\0": "a NetXRay or Sniffer file",
    b"TRSNIFF data": "a Network General Sniffer file",
    b"btsnoop\0": "a Bluetooth snoop file",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive, which must be unpacked first",
    b"Rar!\x1a\x07": "a RAR archive, which must be unpacked first",
    b"MSCF": "a Cabinet archive, which must be unpacked first",
    b"PK\x03\x04": "a ZIP archive in which no capture was found",
}
"""First bytes of files that an examiner may take for a capture this package reads, and what they are."""


def describe(head: bytes) -> str:
    """Say what a file that is not recognised begins with."""
    for magic, name in FOREIGN.items():
        if head.startswith(magic):
            return f"{name} (bytes {head.hex(' ')})"
    return f"bytes {head.hex(' ')}"


def archive_of(head: bytes) -> Literal["zip", "tar"] | None:
    """Tell by its first 512 bytes whether a file is an archive [APPNOTE.TXT 4.3.7; POSIX.1 ustar]."""
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    return "tar" if _is_tar(head) else None


TAR_BLOCK: Final = 512


def _is_tar(head: bytes) -> bool:
    """Whether the checksum of a tar header is right: older ones have no other mark."""
    stated = head[148:156].strip(b" \0")
    if len(head) < TAR_BLOCK or not stated.isdigit() or any(c > ord("7") for c in stated):
        return False
    block = head[:148] + b" " * 8 + head[156:TAR_BLOCK]
    return bool(head[0]) and int(stated, 8) in (sum(block), sum(c - 256 * (c > 127) for c in block))


def wrapping_of(head: bytes) -> Wrapping | None:
    """Tell by its first bytes how a file is compressed."""
    return next((kind for magic, kind in WRAPPINGS.items() if head.startswith(magic)), None)


def recognise(head: bytes) -> Format:
    """Tell a capture's format by its first bytes, not fewer than four unless the file has no more."""
    if not head:
        return "empty"
    if head[:4] in ALL_PCAP_MAGICS:
        return "pcap"
    if head[:4] == SHB_MAGIC:
        return "pcapng"
    if head[:8] == SNOOP_MAGIC:
        return "snoop"
    if head[:4] in NETMON_MAGICS:
        return "netmon"
    return document_of(head) or "unknown"


def document_of(head: bytes) -> DocumentFormat | None:
    """Tell by its first bytes, 16 or more, whether evidence is a document, in UTF-8, ANSI or UTF-16LE."""
    for mark in BYTE_ORDER_MARKS:
        head = head.removeprefix(mark)
    text = head.replace(b"\0", b"").lstrip().lower()
    return next((kind for begin, kind in DOCUMENTS.items() if text.startswith(begin)), None)
