"""HTTP/1.x, as far as Windows Media rides on it: messages, transfer coding, framed and plain bodies.

Rules of this file:

* what a body holds is decided by its bytes, not by its Content-Type [MS-WMSP servers of version 4 send
  application/octet-stream for everything];
* both directions of a connection are one decoder: whether a response has a body depends on its request.
  Feed the client's bytes of a stretch of time before the server's;
* behind a CONNECT that was granted HTTP is expected to go on: what passes through the tunnel is read as if
  the proxy were the server [RFC 9110 9.3.6];
* framed media without a length go on until the connection closes, or until a response follows an $E: a server
  may keep the connection open [MS-WMSP 3.2.4.1];
* media that a request carries are those of push distribution [MS-WMHTTP], or none;
* a hole in a body is handed on as a hole; a hole over a message's end is followed by a search for the
  next start line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from mmsforensics.protocols import wmsp_framing
from mmsforensics.protocols.http_side import Side
from mmsforensics.protocols.messages import (
    At,
    Body,
    BodyEnd,
    Direction,
    Hole,
    Message,
    Overlap,
    Request,
    Response,
    StreamEnd,
    slice_pieces,
)
from mmsforensics.protocols.middle import find_asf_packets, find_framing
from mmsforensics.protocols.wmsp import WmspDecoder
from mmsforensics.protocols.wmsp_framing import PUSH, WMSP, looks_framed, looks_pushed
from mmsforensics.streams import Conflict, Gap, Run

MAX_HEAD = 65536
"""Bytes of a start line and headers: eight times what common servers allow."""

USUAL_HEAD = 4096
"""Bytes in which the end of a head is looked for first: a connection may hold 100,000 of them."""

MAX_CHUNK_LINE = 1024
"""Bytes of a chunk-size line with its extensions [RFC 9112 7.1]."""

MIDDLE_LIMIT = 1 << 18
"""Bytes of a connection without its beginning that are searched for framed media."""

_REQUEST = re.compile(r"([A-Za-z]{3,16}) (.{1,16384}?) (HTTP/1\.[0-9])\s*$")
_RESPONSE = re.compile(r"(HTTP/1\.[0-9]) ([0-9]{3})(?: (.*))?$")
_START = re.compile(
    rb"HTTP/1\.[0-9] [0-9]{3}|(?:GET|POST|HEAD|OPTIONS|PUT|CONNECT) [^\r\n]{1,16384} HTTP/1\."
)
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK = re.compile(rb"\s*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_NEXT_RESPONSE = re.compile(rb"[\x24\xa4]E\x04\0.{4}(?=HTTP/1\.[0-9] [0-9]{3})", re.DOTALL)
_NEXT_BEGUN = re.compile(
    rb"[\x24\xa4]E\x04\0.{4}(H(?:T(?:T(?:P(?:/(?:1(?:\.(?:[0-9](?: [0-9]{0,2})?)?)?)?)?)?)?)?)$", re.DOTALL
)
END_PACKET = 8
"""Bytes of an $E [MS-WMSP 2.2.3.4]."""
_CHUNK_RESYNC = re.compile(rb"\r\n([0-9A-Fa-f]{1,8})\r\n")

PUSH_START = "application/x-wms-pushstart"
"""Content-Type of a request whose body is framed media [MS-WMHTTP 2.2.1.1.2]."""


class HttpDecoder:
    """Decodes both directions of an HTTP connection."""

    __slots__ = ("_methods", "_sides")

    def __init__(self, *, client_from_start: bool = True, server_from_start: bool = True) -> None:
        self._methods: list[str] = []
        self._sides: dict[Direction, Side] = {
            "client": Side("client", from_start=client_from_start),
            "server": Side("server", from_start=server_from_start),
        }

    def feed(self, direction: Direction, run: Run) -> Iterator[Message]:
        """Take the next bytes of one direction."""
        side = self._sides[direction]
        side.buffer.append(run.offset, run.data, run.pieces)
        side.frame, side.ts = int(run.pieces["frame"][-1]), int(run.pieces["ts"][-1])
        yield from _joined(self._decode(side))
        side.buffer.settle()

    def conflict(self, direction: Direction, item: Conflict) -> Iterator[Message]:
        """Take note of bytes that were sent twice, differently."""
        yield Overlap.of(item, direction)

    def gap(self, direction: Direction, gap: Gap) -> Iterator[Message]:
        """Take note of a hole; decoding goes on behind it."""
        side = self._sides[direction]
        at = At(direction=direction, offset=gap.offset, frame=gap.frame, ts=gap.ts)
        if side.inferred:
            yield from self._body(side, len(side.buffer.data))
            side.aligned = False
        elif side.state == "until close":
            yield from self._body(side, len(side.buffer.data))
            side.tail = b""
        elif not side.body_open:
            side.begun = False  # the head of a response may be lost
        inside = side.state == "until close" or (
            side.state in ("body", "chunk") and side.left >= gap.length and not len(side.buffer.data)
        )
        if side.state in ("body", "chunk", "until close"):
            lost = min(gap.length, side.left) if side.state != "until close" else gap.length
            side.left -= lost if side.state != "until close" else 0
            yield from self._hole(side, at, lost)
            if inside:
                side.buffer.clear(gap.offset + gap.length)
                yield from self._after(side)
                return
            if side.state == "chunk":
                side.state = "lost"
                if side.wmsp is not None:
                    yield from side.wmsp.lose()
        else:
            yield Hole(at=at, length=gap.length)
            if side.state in ("chunk head", "trailer") and side.wmsp is not None:
                yield from self._hole(side, at, 0)
                yield from side.wmsp.lose()
        if side.state in ("body", "until close") and side.left == 0:
            yield from self._finish_body(side, complete=False)
        side.state = "lost"
        side.buffer.clear(gap.offset + gap.length)

    def end(
        self, direction: Direction, reason: Literal["fin", "reset", "capture ended"], frame: int, ts: int
    ) -> Iterator[Message]:
        """Take note of the end of one direction."""
        side = self._sides[direction]
        left = len(side.buffer.data)
        at = At(direction=direction, offset=side.buffer.offset + left, frame=frame, ts=ts)
        if side.inferred or side.state == "until close":
            yield from self._body(side, len(side.buffer.data))
        if side.body_open:
            complete, wmsp = side.state == "until close" and reason == "fin", side.wmsp
            yield from self._finish_body(side, complete=complete, broken_off=True)
            left += wmsp.left if wmsp is not None else 0
        side.buffer.clear(at.offset)
        yield StreamEnd(at=at, reason=reason, left=left)

    def _decode(self, side: Side) -> Iterator[Message]:
        while True:
            before = (side.state, side.buffer.offset)
            match side.state:
                case "head":
                    yield from self._head(side)
                case "body" | "chunk":
                    yield from self._counted(side)
                case "until close" if side.inferred:
                    yield from self._inferred_body(side)
                case "until close":
                    yield from self._until_close(side)
                case "chunk head":
                    yield from self._chunk_head(side)
                case "trailer":
                    if self._trailer(side):
                        side.state = "head"
                        yield from self._finish_body(side, complete=True)
                case "lost":
                    yield from self._search(side)
            if (side.state, side.buffer.offset) == before:
                return

    def _head(self, side: Side) -> Iterator[Message]:
        raw = side.buffer.data[:USUAL_HEAD].tobytes()
        if _HEAD_END.search(raw.lstrip(b"\r\n")) is None:
            raw = side.buffer.data[: MAX_HEAD + 4].tobytes()
        blank = len(raw) - len(raw.lstrip(b"\r\n"))
        if blank:
            side.consume(blank)
            raw = raw[blank:]
        if not raw:
            return
        end = _HEAD_END.search(raw)
        if end is None:
            if len(raw) > MAX_HEAD or not _may_start(raw):
                side.state, side.refused = "lost", 1
            return
        message = self._message(side, raw[: end.start()], end.end())
        if message is None:
            side.state, side.refused = "lost", 1
            return
        side.consume(end.end())
        yield message
        self._begin_body(side, message)
        yield from self._after(side)

    def _message(self, side: Side, head: bytes, size: int) -> Request | Response | None:
        lines = head.decode("latin-1").replace("\r\n", "\n").split("\n")
        headers: list[tuple[str, str]] = []
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if line[:1] in " \t" and headers:
                headers[-1] = (headers[-1][0], f"{headers[-1][1]} {line.strip()}")
            elif colon:
                headers.append((name.strip(), value.strip()))
        at = side.at(0, size)
        if side.direction == "client":
            found = _REQUEST.match(lines[0])
            if found is None:
                return None
            side.number += 1
            self._methods.append(found[1].upper())
            return Request(
                at=at,
                method=found[1].upper(),
                target=found[2],
                version=found[3],
                headers=tuple(headers),
                number=side.number,
            )
        found = _RESPONSE.match(lines[0])
        if found is None:
            return None
        side.number = side.answered
        side.answered += int(found[2]) >= 200  # an interim response has the number of the final one
        return Response(
            at=at,
            version=found[1],
            status=int(found[2]),
            reason=found[3] or "",
            headers=tuple(headers),
            number=side.number,
        )

    def _begin_body(self, side: Side, message: Request | Response) -> None:
        """How the body is delimited [RFC 9112 6.3]."""
        side.body_length, side.body_holes, side.left = 0, 0, 0
        side.tail = b""
        side.sniffed, side.wmsp = "", None
        side.pushes = message.header("content-type").lower().startswith(PUSH_START)
        coding = message.header("transfer-encoding").lower()
        length = message.header("content-length").split(",")[0].strip()
        side.state = "head"
        if isinstance(message, Response):
            method = self._methods[message.number] if message.number < len(self._methods) else "GET"
            tunnel = method == "CONNECT" and message.status < 300
            if method == "HEAD" or message.status in (204, 304) or message.status < 200 or tunnel:
                return
            if message.status == 206:  # a part of a file, which may begin with any bytes
                side.sniffed = "plain"
        if "chunked" in coding:
            side.state = "chunk head"
        elif length.isascii() and length.isdigit() and len(length) < 19:
            side.left = int(length)
            side.state = "body"
        elif isinstance(message, Response):
            side.state = "until close"
        side.body_open = side.state != "head"

    def _after(self, side: Side) -> Iterator[Message]:
        """Close a body of which nothing is left."""
        if side.state == "body" and side.left == 0:
            side.state = "head"
            yield from self._finish_body(side, complete=True)
        elif side.state == "chunk" and side.left == 0:
            side.state = "chunk head"

    def _until_close(self, side: Side) -> Iterator[Message]:
        """Hand on what has come of a body without a length; see whether a response follows it."""
        first = side.buffer.data[:2].tobytes()
        framed = side.wmsp is not None or (not side.sniffed and looks_framed(first) is not False)
        if not framed or side.direction == "client":
            yield from self._body(side, len(side.buffer.data))
            return
        raw = side.tail + side.buffer.data.tobytes()
        found = _NEXT_RESPONSE.search(raw) if b"HTTP/1." in raw else None
        if found is not None:
            yield from self._body(side, found.end() - len(side.tail))
            side.state, side.tail = "head", b""
            yield from self._finish_body(side, complete=True)
            return
        begun = _NEXT_BEGUN.search(raw, max(len(raw) - END_PACKET - len("HTTP/1.1 20"), 0))
        n = (begun.start(1) if begun is not None else len(raw)) - len(side.tail)
        side.tail = raw[: len(side.tail) + n][-END_PACKET:]
        yield from self._body(side, n)

    def _counted(self, side: Side) -> Iterator[Message]:
        n = min(side.left, len(side.buffer.data))
        side.left -= n
        yield from self._body(side, n)
        yield from self._after(side)

    def _chunk_head(self, side: Side) -> Iterator[Message]:
        raw = side.buffer.data[:MAX_CHUNK_LINE].tobytes()
        found = _CHUNK.match(raw)
        if found is None:
            if len(raw) >= MAX_CHUNK_LINE or (b"\n" in raw.strip()):
                yield side.passed_over(0, "a chunk size")
                side.state = "lost"
            return
        side.consume(found.end())
        side.left = int(found[1], 16)
        side.state = "chunk" if side.left else "trailer"

    def _trailer(self, side: Side) -> bool:
        """Pass over one line of a trailer. Returns whether it was the last, the empty one."""
        raw = side.buffer.data[:MAX_HEAD].tobytes()
        line = raw.find(b"\n")
        if line < 0:
            return False
        side.consume(line + 1)
        return not raw[:line].strip()

    def _enter_body(self, side: Side, first_head: int) -> bool:
        """Look for framed media whose response was not captured, before the first head that was.

        Returns whether to go on: they were found, or more bytes must come before it is known.
        """
        data = side.buffer.data[:first_head] if first_head >= 0 else side.buffer.data
        found = find_framing(data)
        if found is None and side.number < 0 and find_asf_packets(data) is not None:
            # A download: where its body ends is not known, but at the next head.
            side.begun, side.body_open, side.sniffed = True, True, "plain"
            side.body_length, side.body_holes = 0, 0
            side.state, side.inferred = "until close", True
            return True
        if found is None:
            side.begun = first_head >= 0 or len(data) > MIDDLE_LIMIT
            return not side.begun
        side.begun, side.body_open, side.sniffed = True, True, "wmsp"
        side.body_length, side.body_holes = 0, 0
        side.wmsp = WmspDecoder(side.direction, from_start=False)
        if found.chunked:
            side.state, side.left = "chunk", found.start
        else:
            side.state, side.inferred = "until close", True
        return True

    def _enter_push(self, side: Side, first_head: int) -> bool:
        """The same for media that are pushed by a request whose head was not captured."""
        data = side.buffer.data[:first_head] if first_head >= 0 else side.buffer.data
        if wmsp_framing.find(data, PUSH) < 0:
            side.begun = first_head >= 0 or len(data) > MIDDLE_LIMIT
            return not side.begun
        side.begun, side.body_open, side.sniffed = True, True, "wmsp"
        side.body_length, side.body_holes = 0, 0
        side.wmsp = WmspDecoder(side.direction, from_start=False, pushed=True)
        side.state, side.inferred = "until close", True
        return True

    def _inferred_body(self, side: Side) -> Iterator[Message]:
        """Hand on whole packets of a body whose head was not captured; the next response ends it."""
        if side.wmsp is None:
            head = _START.search(side.buffer.data.tobytes())
            yield from self._body(side, head.start() if head else len(side.buffer.data))
            if head:
                side.inferred, side.state = False, "head"
                yield from self._finish_body(side, complete=False)
            return
        framing = WMSP if side.direction == "server" else PUSH
        while len(side.buffer.data):
            if not side.aligned:
                at = wmsp_framing.find(side.buffer.data, framing)
                if at < 0:
                    yield from self._body(side, max(len(side.buffer.data) - MIDDLE_LIMIT, 0))
                    return
                yield from self._body(side, at)
                side.aligned = True
            end, need = wmsp_framing.whole(side.buffer.data, framing)
            yield from self._body(side, end)
            if need >= 0:
                return
            rest = side.buffer.data[:16].tobytes()
            if need == -1 and (_START.match(rest) or b"HTTP/1.0 200".startswith(rest)):
                if _START.match(rest):
                    side.inferred, side.state = False, "head"
                    yield from self._finish_body(side, complete=False)
                return
            side.aligned = False
            yield from self._body(side, 1)

    def _search(self, side: Side) -> Iterator[Message]:
        """Find the next start line, or the next chunk of a framed body."""
        raw = side.buffer.data.tobytes()
        found = _START.search(raw, side.refused)
        first_head = found.start() if found else -1
        enter = self._enter_body if side.direction == "server" else self._enter_push
        if not side.begun and enter(side, first_head):
            return
        if side.wmsp is not None:
            chunk = next((m for m in _CHUNK_RESYNC.finditer(raw) if _chunk_fits(raw, m)), None)
            if chunk is not None and (found is None or chunk.start() < found.start()):
                yield side.passed_over(chunk.start(), "an HTTP chunk")
                side.consume(2)
                side.state, side.refused = "chunk head", 0
                return
        if found is None:
            tail = min(len(raw), MAX_CHUNK_LINE)
            if len(raw) > tail:
                yield side.passed_over(len(raw) - tail, "an HTTP message")
                side.refused = 0
            return
        if side.body_open:
            yield from self._finish_body(side, complete=False)
        if found.start():
            yield side.passed_over(found.start(), "an HTTP message")
        side.state, side.refused = "head", 0

    def _body(self, side: Side, n: int) -> Iterator[Message]:
        """Hand on the first `n` bytes of the buffer as bytes of the body."""
        if n == 0:
            return
        data = side.buffer.data[:n]
        if not side.sniffed:
            if side.direction == "server":
                framed = looks_framed(data[:2].tobytes()) is not False
            else:
                framed = side.pushes or looks_pushed(data[:16].tobytes())
            side.sniffed = "wmsp" if framed else "plain"
            if framed:
                side.wmsp = WmspDecoder(side.direction, pushed=side.direction == "client")
        pieces = slice_pieces(side.buffer.pieces, side.buffer.offset, n)
        pieces["offset"] += side.body_length - side.buffer.offset
        offset = side.body_length
        side.body_length += n
        if side.wmsp is not None:
            yield from side.wmsp.feed(offset, data, pieces)
        else:
            yield Body(at=side.at(0, n), number=side.number, offset=offset, data=data, pieces=pieces)
        side.consume(n)

    def _hole(self, side: Side, at: At, length: int) -> Iterator[Message]:
        side.body_length += length
        side.body_holes += length
        if side.wmsp is not None:
            yield from side.wmsp.gap(at, length)
        else:
            yield Hole(at=at, length=length)

    def _finish_body(self, side: Side, *, complete: bool, broken_off: bool = False) -> Iterator[Message]:
        frame, ts = side.done if side.done[0] else (side.frame, side.ts)
        at = At(direction=side.direction, offset=side.buffer.offset, frame=frame, ts=ts)
        if side.wmsp is not None:
            yield from side.wmsp.end(broken_off=broken_off)
        yield BodyEnd(
            at=at,
            number=side.number,
            length=side.body_length,
            complete=complete and side.body_holes == 0,
            ended=complete,
        )
        side.wmsp, side.sniffed, side.body_open = None, "", False


def _joined(messages: Iterable[Message]) -> Iterator[Message]:
    """Parts of a body that end in the same frame as one: chunks may be of one byte each."""
    parts: list[Body] = []
    for message in messages:
        if isinstance(message, Body):
            last = parts[-1] if parts else None
            if last and (last.number, last.at.frame) != (message.number, message.at.frame):
                yield _one(parts)
                parts = []
            parts.append(message)
            continue
        if parts:
            yield _one(parts)
            parts = []
        yield message
    if parts:
        yield _one(parts)


def _one(parts: list[Body]) -> Body:
    if len(parts) == 1:
        return parts[0]
    data = np.concatenate([part.data for part in parts])
    return replace(parts[0], data=data, pieces=np.concatenate([part.pieces for part in parts]))


def _may_start(raw: bytes) -> bool:
    """Whether the bytes may be the beginning of a start line that has not ended yet."""
    line = raw.split(b"\n", 1)[0]
    if b"\n" in raw:
        return bool(_START.match(raw))
    return line[:1].isalpha() and len(line) < MAX_HEAD


def _chunk_fits(raw: bytes, found: re.Match[bytes]) -> bool:
    """Whether a supposed chunk ends where a line ends, as far as the bytes reach."""
    end = found.end() + int(found[1], 16)
    return end + 2 > len(raw) or raw[end : end + 2] == b"\r\n"
