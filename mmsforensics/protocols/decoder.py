"""What every decoder of a TCP connection has in common, and which decoder a protocol has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Protocol

from mmsforensics.protocols.detect import Protocol as Spoken
from mmsforensics.protocols.http import HttpDecoder
from mmsforensics.protocols.messages import Direction, Message
from mmsforensics.protocols.mms import MmsStreamDecoder
from mmsforensics.protocols.msbd import MsbdDecoder
from mmsforensics.protocols.raw import RawDecoder
from mmsforensics.protocols.rtsp import RtspDecoder
from mmsforensics.protocols.smb import SmbDecoder
from mmsforensics.streams import Conflict, Gap, Run

Ending = Literal["fin", "reset", "capture ended"]
"""How one direction of a connection ended."""


class Decoder(Protocol):
    """Decodes both directions of one connection; it is fed the client's bytes of a stretch of time first."""

    def feed(self, direction: Direction, run: Run) -> Iterator[Message]:
        """Take the next bytes of one direction."""

    def gap(self, direction: Direction, gap: Gap) -> Iterator[Message]:
        """Take note of a hole; decoding goes on behind it."""

    def conflict(self, direction: Direction, item: Conflict) -> Iterator[Message]:
        """Take note of bytes that were sent twice, differently."""

    def end(self, direction: Direction, reason: Ending, frame: int, ts: int) -> Iterator[Message]:
        """Take note of the end of one direction, told by a frame."""


class MmsDecoder:
    """MMS over TCP: its directions are decoded apart from each other."""

    __slots__ = ("_sides",)

    def __init__(self, *, client_from_start: bool = True, server_from_start: bool = True) -> None:
        self._sides: dict[Direction, MmsStreamDecoder] = {
            "client": MmsStreamDecoder("client", from_start=client_from_start),
            "server": MmsStreamDecoder("server", from_start=server_from_start),
        }

    @property
    def server(self) -> MmsStreamDecoder:
        """The decoder of what the server sends."""
        return self._sides["server"]

    def feed(self, direction: Direction, run: Run) -> Iterator[Message]:
        """Take the next bytes of one direction."""
        return self._sides[direction].feed(run)

    def gap(self, direction: Direction, gap: Gap) -> Iterator[Message]:
        """Take note of a hole; decoding goes on behind it."""
        return self._sides[direction].gap(gap)

    def conflict(self, direction: Direction, item: Conflict) -> Iterator[Message]:
        """Take note of bytes that were sent twice, differently."""
        return self._sides[direction].conflict(item)

    def end(self, direction: Direction, reason: Ending, frame: int, ts: int) -> Iterator[Message]:
        """Take note of the end of one direction."""
        return self._sides[direction].end(reason, frame, ts)


DECODERS: dict[Spoken, Callable[..., Decoder]] = {
    Spoken.MMS: MmsDecoder,
    Spoken.HTTP: HttpDecoder,
    Spoken.MSBD: MsbdDecoder,
    Spoken.RTSP: RtspDecoder,
    Spoken.SMB: SmbDecoder,
    Spoken.RAW: RawDecoder,
}
"""How the decoder of a protocol is made: ``(*, client_from_start, server_from_start)``, whether the SYN of
that direction was captured."""
