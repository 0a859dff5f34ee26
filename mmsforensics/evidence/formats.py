"""Capture formats by their first bytes; light enough to be asked before anything heavy is loaded."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
"""Evidence bytes: one-dimensional, contiguous, read-only."""

Format = Literal["pcap", "pcapng", "unknown", "empty"]

PCAP_MAGICS: Final = {
    b"\xa1\xb2\xc3\xd4": (True, False),
    b"\xd4\xc3\xb2\xa1": (False, False),
    b"\xa1\xb2\x3c\x4d": (True, True),
    b"\x4d\x3c\xb2\xa1": (False, True),
}
"""Magic number as it stands in a pcap file: (big-endian, nanoseconds) [draft-ietf-opsawg-pcap 4]."""

SHB_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
"""Block type of a section header, the same in both byte orders [draft-ietf-opsawg-pcapng 4.1]."""


FOREIGN: Final = {
    b"GMBU": "a Microsoft Network Monitor 2 file",
    b"RTSS": "a Microsoft Network Monitor 1 file",
    b"snoop\0": "a snoop file",
    b"\xa1\xb2\xcd\x34": "a pcap file of Kuznetzov's variant",
    b"\x34\xcd\xb2\xa1": "a pcap file of Kuznetzov's variant",
    b"\x1f\x8b": "gzip-compressed data",
    b"\x28\xb5\x2f\xfd": "Zstandard-compressed data",
    b"\xfd7zXZ": "xz-compressed data",
    b"BZh": "bzip2-compressed data",
    b"PK\x03\x04": "a ZIP archive",
}
"""First bytes of files that an examiner may take for a capture this package reads, and what they are."""


def describe(head: bytes) -> str:
    """Say what a file that is not recognised begins with."""
    for magic, name in FOREIGN.items():
        if head.startswith(magic):
            return f"{name} (bytes {head.hex(' ')})"
    return f"bytes {head.hex(' ')}"


def recognise(head: bytes) -> Format:
    """Tell a capture's format by its first bytes, not fewer than four unless the file has no more."""
    if not head:
        return "empty"
    if head[:4] in PCAP_MAGICS:
        return "pcap"
    if head[:4] == SHB_MAGIC:
        return "pcapng"
    return "unknown"
