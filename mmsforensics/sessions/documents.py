"""Texts that travel over HTTP beside media: redirectors, station files, logs that players post.

Rules of this file:

* a document is a body that is no media, put together as far as it was captured, up to `DOCUMENT_LIMIT`;
* what it says is decided by its bytes; who reads it, the room.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmsforensics.protocols import Body, BodyEnd, Request, Response
from mmsforensics.protocols.messages import At

if TYPE_CHECKING:
    from mmsforensics.sessions.story import Story
    from mmsforensics.streams.flow import Endpoint

DOCUMENT_LIMIT = 1 << 18
"""Bytes kept of one body. A redirector of Windows Media has some hundred, a log of a session some thousand, a
station file with the headers of several formats some ten thousand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """The body of a request or a response."""

    at: At
    """Of its first byte captured."""
    client: Endpoint
    server: Endpoint
    request: Request | None
    response: Response | None
    """The exchange it belongs to; a request's body is told before its response is known."""
    story: Story | None
    """The session of the exchange, if it is part of one."""
    data: bytes
    """Zero bytes do not stand for what was not captured: a hole ends the document."""
    whole: bool
    """Whether the framing says that this is all of it, and no byte is missing."""
    tunnel: str = ""
    """Host and port of the CONNECT through which the exchange went."""


class DocumentBody:
    """Puts one body together."""

    __slots__ = ("_parts", "_size", "_sound", "at")

    def __init__(self) -> None:
        self.at: At | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self._sound = True

    def add(self, body: Body) -> None:
        """Take the next bytes; behind a hole, or beyond the limit, no more are taken."""
        self.at = self.at or body.at
        if body.offset != self._size:
            self._sound = False
        if not self._sound:
            return
        room = DOCUMENT_LIMIT - self._size
        part = body.data[:room].tobytes()
        self._parts.append(part)
        self._size += len(part)
        self._sound = len(part) == len(body.data)

    def end(self, end: BodyEnd) -> tuple[bytes, bool]:
        """What was put together, and whether it is the whole body."""
        data = b"".join(self._parts)
        return data, self._sound and end.complete and end.length == len(data)
