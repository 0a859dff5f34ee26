"""What every decoder of a TCP connection has in common, and which decoder a protocol has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal, Protocol

from mmsforensics.protocols.detect import Protocol as Spoken
from mmsforensics.protocols.http import HttpDecoder
from mmsforensics.protocols.messages import Direction, Message
from mmsforensics.protocols.mms import MmsStreamDecoder
from mmsforensics.protocols.msbd import MsbdStreamDecoder
from mmsforensics.protocols.raw import RawDecoder
from mmsforensics.protocols.rtsp import RtspStreamDecoder
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


class Side(Protocol):
    """Decodes one direction of a connection, whatever the other one holds."""

    def feed(self, run: Run) -> Iterator[Message]:
        """Take the next bytes of the stream."""

    def gap(self, gap: Gap) -> Iterator[Message]:
        """Take note of a hole; decoding goes on behind it."""

    def conflict(self, item: Conflict) -> Iterator[Message]:
        """Take note of bytes that were sent twice, differently."""

    def end(self, reason: Ending, frame: int, ts: int) -> Iterator[Message]:
        """Take note of the end of the stream."""


class ApartDecoder:
    """A protocol whose directions are decoded apart from each other, by two decoders of the kind `side`."""

    __slots__ = ("_client", "server")

    def __init__(
        self, side: Callable[..., Side], *, client_from_start: bool = True, server_from_start: bool = True
    ) -> None:
        self._client = side("client", from_start=client_from_start)
        self.server = side("server", from_start=server_from_start)
        """The decoder of what the server sends."""

    def _side(self, direction: Direction) -> Side:
        return self._client if direction == "client" else self.server

    def feed(self, direction: Direction, run: Run) -> Iterator[Message]:
        """Take the next bytes of one direction."""
        return self._side(direction).feed(run)

    def gap(self, direction: Direction, gap: Gap) -> Iterator[Message]:
        """Take note of a hole; decoding goes on behind it."""
        return self._side(direction).gap(gap)

    def conflict(self, direction: Direction, item: Conflict) -> Iterator[Message]:
        """Take note of bytes that were sent twice, differently."""
        return self._side(direction).conflict(item)

    def end(self, direction: Direction, reason: Ending, frame: int, ts: int) -> Iterator[Message]:
        """Take note of the end of one direction."""
        return self._side(direction).end(reason, frame, ts)


DECODERS: dict[Spoken, Callable[..., Decoder]] = {
    Spoken.MMS: partial(ApartDecoder, MmsStreamDecoder),
    Spoken.HTTP: HttpDecoder,
    Spoken.MSBD: partial(ApartDecoder, MsbdStreamDecoder),
    Spoken.RTSP: partial(ApartDecoder, RtspStreamDecoder),
    Spoken.SMB: SmbDecoder,
    Spoken.RAW: RawDecoder,
}
"""How the decoder of a protocol is made: ``(*, client_from_start, server_from_start)``, whether the SYN of
that direction was captured."""
