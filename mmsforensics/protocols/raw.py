"""Connections that speak none of the protocols, and in which an ASF file lies: an FTP data connection, say.

Rules of this file:

* the bytes are handed on as they are, with their holes; what lies in them the sessions room finds out;
* a place is the beginning of a file when a Header Object stands there with the reserved bytes and sizes that
  the specification asks for [ASF 3.1]; a capture that is being transferred is left alone, since files lie in
  it in pieces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from mmsforensics.evidence.formats import recognise
from mmsforensics.protocols.messages import At, Body, Direction, Hole, Message, Overlap, StreamEnd
from mmsforensics.streams import Conflict, Gap, Run, locate

ASF_HEADER: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
HEADER_FIELDS: Final = 30
"""Bytes of a Header Object before its first child [ASF 3.1]."""

LARGEST_HEADER: Final = 16 << 20
"""Bytes of a header that are believed."""

MOST_OBJECTS: Final = 4096
"""Objects in a header that are believed; encoders write a dozen."""

CAPTURES: Final = ("pcap", "pcapng", "snoop", "netmon")


def find_asf_header(data: bytes, start: int = 0) -> int:
    """Position of the first Header Object that is plausible, -1 where there is none."""
    at = data.find(ASF_HEADER, start)
    while at >= 0:
        size = int.from_bytes(data[at + 16 : at + 24], "little")
        count = int.from_bytes(data[at + 24 : at + 28], "little")
        sizes = HEADER_FIELDS + 24 <= size <= LARGEST_HEADER and 0 < count <= MOST_OBJECTS
        if sizes and data[at + 28 : at + 30] == b"\x01\x02":
            return at
        at = data.find(ASF_HEADER, at + 1)
    return -1


def holds_file(first: bytes) -> bool:
    """Whether an ASF file begins in the first bytes of a direction, and these are no capture."""
    return recognise(first[:16]) not in CAPTURES and find_asf_header(first) >= 0


class RawDecoder:
    """Hands on what both directions hold; offsets of bodies are those of the stream."""

    __slots__ = ()

    def __init__(self, *, client_from_start: bool = True, server_from_start: bool = True) -> None:
        """Take what every decoder takes; nothing depends on it here."""

    def feed(self, direction: Direction, run: Run) -> Iterator[Message]:
        """Take the next bytes of one direction."""
        frame, ts = locate(run.pieces, run.offset + len(run.data) - 1)
        at = At(direction=direction, offset=run.offset, frame=frame, ts=ts)
        yield Body(at=at, number=0, offset=run.offset, data=run.data, pieces=run.pieces)

    def gap(self, direction: Direction, gap: Gap) -> Iterator[Message]:
        """Take note of a hole."""
        at = At(direction=direction, offset=gap.offset, frame=gap.frame, ts=gap.ts)
        yield Hole(at=at, length=gap.length)

    def conflict(self, direction: Direction, item: Conflict) -> Iterator[Message]:
        """Take note of bytes that were sent twice, differently."""
        yield Overlap.of(item, direction)

    def end(self, direction: Direction, reason: str, frame: int, ts: int) -> Iterator[Message]:
        """Take note of the end of one direction."""
        at = At(direction=direction, offset=0, frame=frame, ts=ts)
        yield StreamEnd(at=at, reason=reason)  # type: ignore[arg-type]
