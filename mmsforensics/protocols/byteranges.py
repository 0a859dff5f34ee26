"""Parts of a file in HTTP: Content-Range, and bodies of the type multipart/byteranges [RFC 9110 14.4, 14.6].

Rules of this file:

* a part's own Content-Range says where it stands and how long it is; its end is counted, never searched;
* a hole in a part leaves the rest of it where it was; behind a hole over a part's head the next delimiter is
  searched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols.messages import Body, StreamBuffer, slice_pieces

MAX_PART_HEAD: Final = 4096
"""Bytes of a part's head: two or three lines."""

_RANGE = re.compile(r"\s*bytes\s+(\d{1,18})\s*-\s*(\d{1,18})\s*/\s*(\d{1,18}|\*)\s*$", re.IGNORECASE)
_BOUNDARY = re.compile(
    r"multipart/(?:x-)?byteranges\s*;.{0,256}?boundary\s*=\s*(\"[^\"]{1,200}\"|[^\s;\"]{1,200})",
    re.IGNORECASE,
)
_HEAD_END = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Which part of a file a response holds."""

    start: int
    end: int
    """Behind the last byte."""
    total: int | None
    """Bytes of the file; None where the server does not say."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a file."""

    where: ContentRange
    """Of the whole part."""
    offset: int
    """In the file."""
    data: NDArray[np.uint8]
    pieces: NDArray[np.void]
    """Dtype PIECE, in the coordinates of the file."""


def content_range(text: str) -> ContentRange | None:
    """Read a Content-Range; None when it names no bytes, or makes no sense."""
    found = _RANGE.match(text)
    if found is None:
        return None
    start, end = int(found[1]), int(found[2]) + 1
    total = None if found[3] == "*" else int(found[3])
    if end <= start or (total is not None and end > total):
        return None
    return ContentRange(start, end, total)


def boundary(content_type: str) -> bytes | None:
    """The boundary of a multipart/byteranges body; None of any other body."""
    found = _BOUNDARY.match(content_type)
    return found[1].strip('"').encode("latin-1", "replace") if found else None


def at_offset(
    data: NDArray[np.uint8], pieces: NDArray[np.void], before: int, offset: int
) -> NDArray[np.void]:
    """Pieces of `data`, which lay at `before`, moved to `offset`."""
    moved = slice_pieces(pieces, before, len(data))
    moved["offset"] += offset - before
    return moved


class MultipartRanges:
    """Takes the parts out of one body."""

    __slots__ = ("_buffer", "_delimiter", "_left", "_next", "_offset", "_where")

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"--" + boundary
        self._buffer = StreamBuffer()
        self._next = 0  # body offset behind the last byte taken
        self._where: ContentRange | None = None  # of the part at hand
        self._offset = 0  # in the file, of its next byte
        self._left = 0

    def feed(self, body: Body) -> Iterator[Part]:
        """Take a stretch of the body."""
        gap = body.offset - self._next
        if gap > 0:
            self._buffer.clear(body.offset)
            if self._where is not None and gap <= self._left:
                self._left -= gap
                self._offset += gap
            else:
                self._where, self._left = None, 0
        self._next = body.offset + len(body.data)
        self._buffer.append(body.offset, body.data, body.pieces)
        while True:
            if self._where is not None and self._left:
                part = self._part(self._where)
                if part is None:
                    break
                yield part
            elif not self._head():
                break
        self._buffer.settle()

    def _part(self, where: ContentRange) -> Part | None:
        n = min(self._left, len(self._buffer.data))
        if n == 0:
            return None
        data = self._buffer.data[:n]
        part = Part(
            where, self._offset, data, at_offset(data, self._buffer.pieces, self._buffer.offset, self._offset)
        )
        self._buffer.consume(n)
        self._offset += n
        self._left -= n
        return part

    def _head(self) -> bool:
        """Find the next delimiter and read the head behind it. Returns whether a part begins."""
        while True:
            raw = self._buffer.data[: 2 * MAX_PART_HEAD].tobytes()
            at = raw.find(self._delimiter)
            if at < 0:
                keep = len(self._delimiter) - 1
                self._buffer.consume(max(len(raw) - keep, 0))
                if len(raw) < 2 * MAX_PART_HEAD:
                    return False
                continue
            end = _HEAD_END.search(raw, at)
            if end is None:
                if len(raw) - at < MAX_PART_HEAD:
                    self._buffer.consume(at)
                    return False
                self._buffer.consume(at + len(self._delimiter))
                continue
            where = _range_of(raw[at : end.start()])
            if where is None:
                self._buffer.consume(at + len(self._delimiter))
                continue
            self._buffer.consume(end.end())
            self._where, self._offset, self._left = where, where.start, where.end - where.start
            return True


def _range_of(head: bytes) -> ContentRange | None:
    for line in head.decode("latin-1").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-range":
            return content_range(value)
    return None
