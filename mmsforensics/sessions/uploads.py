"""Files of Windows Media that a client sends to an HTTP server: PUT and POST, raw or in a form.

Rules of this file:

* a body, or each part of a body of the type multipart/form-data [RFC 7578], is carved as a connection of an
  unknown protocol is; one that begins with a file is the file, all of it;
* who sent the file is the `server` of its session, as ever where files are carved: the client of HTTP;
* a part ends at its delimiter; behind a hole over a part's head the next delimiter is searched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from mmsforensics.protocols import Body, BodyEnd, Request, StreamEnd
from mmsforensics.protocols.byteranges import at_offset
from mmsforensics.protocols.messages import At, StreamBuffer
from mmsforensics.sessions.carving import Carver
from mmsforensics.sessions.story import Story

MAX_PART_HEAD: Final = 4096
"""Bytes of a part's head: a few lines, with a file name."""

_FORM = re.compile(
    r"multipart/form-data\s*;.{0,256}?boundary\s*=\s*(\"[^\"]{1,200}\"|[^\s;\"]{1,200})", re.IGNORECASE
)
_HEAD_END = re.compile(rb"\r\n\r\n")
_FILE_NAME = re.compile(rb'filename\s*=\s*"([^"\r\n]{1,1024})"', re.IGNORECASE)

Begin = Callable[[At, int, str], Story]
"""Begins a session: what shows the file, where in the body it begins, and its name."""


class Upload:
    """The body of one request."""

    __slots__ = ("_begin", "_buffer", "_carver", "_delimiter", "_name", "_next", "_start")

    def __init__(self, request: Request, begin: Begin) -> None:
        form = _FORM.match(request.header("content-type"))
        self._delimiter = b"--" + form[1].strip('"').encode("latin-1", "replace") if form is not None else b""
        self._begin = begin
        self._name = request.target.split("?", 1)[0].rsplit("/", 1)[-1]
        self._buffer = StreamBuffer()
        self._next = 0  # offset in the body behind the last byte taken
        self._start = 0  # of the part at hand
        self._carver = self._part() if not self._delimiter else None

    def body(self, body: Body) -> None:
        """Take a stretch of the body."""
        if body.offset > self._next:
            self._advance(body.at, final=self._carver is not None)
            self._buffer.clear(body.offset)
        self._next = body.offset + len(body.data)
        self._buffer.append(body.offset, body.data, body.pieces)
        self._advance(body.at, final=False)
        self._buffer.settle()

    def end(self, end: BodyEnd) -> None:
        """Take the end of the body."""
        self._advance(end.at, final=True)
        self._end_part(end.at, whole=end.complete or (end.ended and not self._delimiter))

    def _part(self) -> Carver:
        def begin(at: At) -> Story:
            return self._begin(at, self._start + at.offset, self._name)

        return Carver(begin, self._name)

    def _advance(self, at: At, *, final: bool) -> None:
        raw, base = (self._buffer.data.tobytes() if self._delimiter else b""), self._buffer.offset
        mark = b"\r\n" + self._delimiter
        while len(self._buffer.data):
            here = self._buffer.offset - base
            if self._carver is None:
                if not self._head(raw, here):
                    return
                continue
            found = raw.find(mark, here) - here if self._delimiter else -1
            n = found if found >= 0 else len(self._buffer.data)
            if self._delimiter and found < 0 and not final:
                n = max(n - len(mark) + 1, 0)
            self._hand(n, at)
            if found < 0:
                return
            self._end_part(at, whole=True)
            self._buffer.consume(2)  # the line end belongs to the delimiter

    def _hand(self, n: int, at: At) -> None:
        """Hand the first bytes of the buffer to the part at hand."""
        if n == 0 or self._carver is None:
            return
        data, offset = self._buffer.data[:n], self._buffer.offset - self._start
        pieces = at_offset(data, self._buffer.pieces, self._buffer.offset, offset)
        self._carver.body(Body(at=at, number=0, offset=offset, data=data, pieces=pieces), alone=True)
        self._buffer.consume(n)

    def _end_part(self, at: At, *, whole: bool) -> None:
        carver = self._carver
        self._carver = None
        if carver is not None:
            carver.end(StreamEnd(at=at, reason="fin" if whole else "capture ended"))

    def _head(self, raw: bytes, here: int) -> bool:
        """Find the next delimiter behind `here` and read its head. Returns whether to go on."""
        found = raw.find(self._delimiter, here)
        if found < 0:
            self._buffer.consume(max(len(raw) - here - len(self._delimiter) + 1, 0))
            return False
        self._buffer.consume(found - here)
        head = raw[found : found + 2 * MAX_PART_HEAD]
        end = _HEAD_END.search(head)
        if end is None:
            if len(head) == 2 * MAX_PART_HEAD:
                self._buffer.consume(MAX_PART_HEAD)  # a delimiter that stands there has too long a head
            return len(head) == 2 * MAX_PART_HEAD
        name = _FILE_NAME.search(head, 0, end.end())
        self._name = name[1].decode("utf-8", "backslashreplace") if name is not None else ""
        self._buffer.consume(end.end())
        self._start = self._buffer.offset
        self._carver = self._part()
        return True


__all__ = ["Upload"]
