"""One direction of an HTTP connection: what is buffered of it, and where in a message it stands."""

from __future__ import annotations

from typing import Literal

from mmsforensics.protocols.messages import At, Direction, Malformed, StreamBuffer
from mmsforensics.protocols.wmsp import WmspDecoder
from mmsforensics.streams import locate

State = Literal["head", "body", "until close", "chunk head", "chunk", "trailer", "lost"]


class Side:
    """One direction of the connection."""

    __slots__ = (
        "aligned",
        "answered",
        "begun",
        "body_holes",
        "body_length",
        "body_open",
        "buffer",
        "direction",
        "done",
        "frame",
        "inferred",
        "left",
        "number",
        "pushes",
        "refused",
        "sniffed",
        "state",
        "tail",
        "ts",
        "wmsp",
    )

    def __init__(self, direction: Direction, *, from_start: bool) -> None:
        self.direction: Direction = direction
        self.buffer = StreamBuffer()
        self.state: State = "head" if from_start else "lost"
        self.begun = from_start  # False: the capture may begin inside a body
        self.inferred = False  # whether the body's head was not captured: framed media end it
        self.aligned = False  # of such a body: whether the buffer begins with a packet
        self.left = 0  # bytes of the body or chunk still to come
        self.number = -1
        self.answered = 0  # final responses so far
        self.body_open = False  # whether a body has begun and not been finished
        self.tail = b""  # of framed media without a length: the last bytes handed on
        self.pushes = False  # whether the head of the body says that it is framed media
        self.refused = 0  # bytes at the head of the buffer that were taken for a message and are none
        self.body_length = 0
        self.body_holes = 0
        self.sniffed: Literal["", "wmsp", "plain"] = ""
        self.wmsp: WmspDecoder | None = None
        self.frame = 0
        self.ts = 0
        self.done = (0, 0)  # frame and time stamp of the last byte read

    def at(self, start: int, size: int = 1) -> At:
        """Where ``buffer.data[start:start + size]`` ends."""
        frame, ts = self.frame, self.ts
        if len(self.buffer.pieces):
            frame, ts = locate(self.buffer.pieces, self.buffer.offset + start + size - 1)
        return At(direction=self.direction, offset=self.buffer.offset + start, frame=frame, ts=ts)

    def consume(self, n: int) -> None:
        """Let go of the first `n` bytes of the buffer, and remember where they end."""
        if n and len(self.buffer.pieces):
            self.done = locate(self.buffer.pieces, self.buffer.offset + n - 1)
        self.buffer.consume(n)

    def passed_over(self, n: int, expected: str) -> Malformed:
        """Let go of `n` bytes that are not what was expected."""
        at = self.at(0)
        found = self.buffer.data[:16].tobytes().hex(" ")
        self.buffer.consume(n)
        return Malformed(at=at, length=n, expected=expected, found=found)
