"""Frames written into a pcapng file [draft-ietf-opsawg-pcapng]: one section, little-endian, nanoseconds.

Rules of this file:

* the same frames give the same bytes: neither the time of writing nor the machine stands in the file;
* what a block cannot say (that a frame has no time stamp) is said in its comment, never left open.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from mmsforensics.evidence.pcapng import (
    BYTE_ORDER_MAGIC,
    EPB,
    IDB,
    IF_TSOFFSET,
    IF_TSRESOL,
    NO_TIME,
    OPT_COMMENT,
    OPT_ENDOFOPT,
    SHB,
)

SHB_USERAPPL: Final = 4
IF_NAME: Final = 2
IF_DESCRIPTION: Final = 3
"""Options [sections 4.1, 4.2]."""

NANOSECONDS: Final = 9
"""if_tsresol: ticks of 10**-9 s."""

UNKNOWN_LENGTH: Final = -1
"""Section length that is not said [section 4.1]."""

NO_LIMIT: Final = 0
"""Snapshot length: what a capture was cut to stands with each frame, by its two lengths."""

MAX_OPTION: Final = 0xFFFF
"""Bytes of an option; its length has 16 bits [section 3.5]."""

WITHOUT_TIME: Final = "the capture has no time stamp for it"
SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Interface:
    """What is said of where frames were captured."""

    link: int
    """Link type (DLT)."""
    name: str
    description: str
    first_ts: int = 0
    """ns. Time stamps of the file count from here if it lies before 1970: they have no sign."""

    @property
    def offset(self) -> int:
        """if_tsoffset, in s."""
        return min(self.first_ts // SECOND, 0)


@dataclass(slots=True, eq=False)
class PcapngWriter:
    """Writes the blocks of one section.

    Parameters
    ----------
    file : binary file
        Open for writing, at its beginning.
    interfaces : sequence of Interface
        Frames name them by their number here.
    written_by : str
        The program, and its version.
    comment : str
        What the file is.
    """

    file: BinaryIO
    interfaces: Sequence[Interface]
    written_by: str
    comment: str

    def __post_init__(self) -> None:
        """Write what stands before the frames."""
        head = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, UNKNOWN_LENGTH)
        said = ((OPT_COMMENT, self.comment.encode()), (SHB_USERAPPL, self.written_by.encode()))
        self.file.write(_block(SHB, head + _options(said)))
        for interface in self.interfaces:
            self.file.write(_interface(interface))

    def packet(self, interface: int, ts: int, frame: bytes, wirelen: int, comment: str) -> None:
        """Write a frame as an enhanced packet block [section 4.3].

        Parameters
        ----------
        interface : int
            Its number.
        ts : int
            ns since 1970-01-01 UTC; for `NO_TIME` zero is written, and the comment says so.
        frame : bytes
            What was captured of it.
        wirelen : int
            Its bytes on the wire.
        comment : str
        """
        if ts == NO_TIME:
            ticks, comment = 0, f"{comment}; {WITHOUT_TIME}"
        else:
            ticks = ts - self.interfaces[interface].offset * SECOND
        head = struct.pack("<IIIII", interface, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), wirelen)
        said = _options(((OPT_COMMENT, comment.encode()),))
        self.file.write(_block(EPB, head + _padded(frame) + said))


def _interface(interface: Interface) -> bytes:
    """An interface description block [section 4.2]."""
    said = [
        (IF_NAME, interface.name.encode()),
        (IF_DESCRIPTION, interface.description.encode()),
        (IF_TSRESOL, bytes([NANOSECONDS])),
    ]
    if interface.offset:
        said.append((IF_TSOFFSET, struct.pack("<q", interface.offset)))
    return _block(IDB, struct.pack("<HHI", interface.link, 0, NO_LIMIT) + _options(said))


def _options(options: Sequence[tuple[int, bytes]]) -> bytes:
    """A list of options, with its end [section 3.5]."""
    out = bytearray()
    for code, value in options:
        kept = value[:MAX_OPTION]
        out += struct.pack("<HH", code, len(kept)) + _padded(kept)
    return bytes(out) + struct.pack("<HH", OPT_ENDOFOPT, 0)


def _block(kind: int, body: bytes) -> bytes:
    """A block [section 3.1]; the body's length is a multiple of four."""
    total = struct.pack("<I", 12 + len(body))
    return struct.pack("<I", kind) + total + body + total


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


__all__ = ["Interface", "PcapngWriter"]
