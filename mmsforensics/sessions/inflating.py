"""Bodies with a content coding, decoded as they come.

Rules of this file:

* what is decoded is what the client saved, so it is the medium; its bytes stand in no frame, and its
  provenance says so (kind ``decoded``). Each packet still has the frame by which it was complete;
* behind a hole nothing can be decoded; what came before is kept;
* a body that grows beyond `LARGEST_GAIN` times its size is hostile and decoded no further.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np

from mmsforensics.protocols import Body
from mmsforensics.streams import PIECE, locate

AT_ONCE: Final = 1 << 20
"""Bytes decoded at once."""

LARGEST_GAIN: Final = 64
"""Times that a body may grow. Media hardly shrink by coding; DEFLATE's most is a thousand."""

CODINGS: Final = ("gzip", "x-gzip", "deflate")


class Inflated:
    """Decodes one body."""

    __slots__ = ("_coded", "_inflate", "_next", "broken", "length")

    def __init__(self, coding: str) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS + (0 if coding == "deflate" else 16))
        self._next = 0
        self._coded = 0
        self.length = 0
        """Bytes decoded."""
        self.broken = False
        """Whether decoding came to an end before the body did."""

    @property
    def whole(self) -> bool:
        """Whether the coded data say that this is all."""
        return self._inflate.eof and not self.broken

    def feed(self, body: Body) -> Iterator[Body]:
        """Take a stretch of the coded body."""
        self.broken |= body.offset != self._next
        self._next = body.offset + len(body.data)
        data = body.data.tobytes()
        self._coded += len(data)
        while data and not self.broken and not self._inflate.eof:
            try:
                out = self._inflate.decompress(data, AT_ONCE)
            except zlib.error:
                self.broken = True
                return
            data = self._inflate.unconsumed_tail
            if out:
                yield self._decoded(body, out)
            self.broken |= self.length > LARGEST_GAIN * self._coded + AT_ONCE

    def _decoded(self, body: Body, out: bytes) -> Body:
        frame, ts = locate(body.pieces, body.offset + len(body.data) - 1)
        pieces = np.zeros(1, dtype=PIECE)
        pieces["offset"], pieces["length"] = self.length, len(out)
        pieces["frame"], pieces["ts"] = frame, ts
        data = np.frombuffer(out, dtype=np.uint8)
        found = Body(at=body.at, number=body.number, offset=self.length, data=data, pieces=pieces)
        self.length += len(out)
        return found
