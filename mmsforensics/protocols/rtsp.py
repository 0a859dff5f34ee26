"""RTSP/1.0 over TCP (RFC 2326, MS-RTSP): requests both ways, responses, bodies, interleaved packets.

Rules of this file:

* both ends send requests and responses; the directions are decoded apart from each other, and a response is
  joined to its request by CSeq;
* a byte 0x24 where a message may begin is an interleaved packet [RFC 2326 10.12], anything else a message;
* a hole inside a body or an interleaved packet of known length costs that and nothing else; behind a hole
  over its end, the next start line, or packets that chain, are where decoding goes on;
* a body is as long as Content-Length says; without it there is none, also in responses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.protocols.messages import (
    At,
    Body,
    BodyEnd,
    Direction,
    Hole,
    Malformed,
    Message,
    Overlap,
    Request,
    Response,
    RtpPackets,
    StreamBuffer,
    StreamEnd,
    slice_pieces,
)
from mmsforensics.protocols.rtp import is_rtcp, parse_rtcp, rtp_packets
from mmsforensics.streams import Conflict, Gap, Run, locate

MAX_HEAD = 65536
"""Bytes of a start line and headers: eight times what common servers allow."""

USUAL_HEAD = 4096
"""Bytes of most heads at most."""

MAX_BODY = 1 << 24
"""Largest Content-Length taken for one: session descriptions with a large ASF header have some 100 KB."""

INTERLEAVED = 4
"""``$``, channel, length [RFC 2326 10.12]."""

PROOF = 3
"""Interleaved packets in a row that make a chain."""

LARGEST_FRAME = 65539

REQUEST = re.compile(rb"([A-Z_]{3,20}) ([^\r\n ]{1,16384}) (RTSP/[0-9]\.[0-9])[ \t]*\r?\n")
RESPONSE = re.compile(rb"(RTSP/[0-9]\.[0-9]) ([0-9]{3})(?: ([^\r\n]{0,1024}))?\r?\n")
_START = re.compile(REQUEST.pattern + rb"|" + RESPONSE.pattern)
_OF_CLIENT = re.compile(
    rb"(?:DESCRIBE|SETUP|PLAY|PAUSE|TEARDOWN|GET_PARAMETER) [^\r\n ]{1,16384} RTSP/|\nUser-Agent:",
    re.IGNORECASE,
)
_OF_SERVER = re.compile(
    rb"(?:ANNOUNCE|REDIRECT) [^\r\n ]{1,16384} RTSP/|\n(?:Server|X-Notice|Public|WWW-Authenticate):",
    re.IGNORECASE,
)
_HEAD_END = re.compile(rb"\r?\n\r?\n")


@njit(cache=True, nogil=True)
def walk(data):
    """Cut interleaved packets.

    Returns
    -------
    start, size : ndarray of int64
        Whole ones: position of the ``$``, bytes with the four before the packet.
    end : int
        Position behind the last of them.
    need : int
        Size of the one that begins there; 0 when it can't be told yet, -1 when none begins there.
    """
    capacity = len(data) // 4 + 1
    start = np.empty(capacity, dtype=np.int64)
    size = np.empty(capacity, dtype=np.int64)
    n = 0
    at = 0
    need = np.int64(0)
    while at < len(data):
        need = np.int64(0)
        if data[at] != 0x24:
            need = np.int64(-1)
            break
        if at + 4 > len(data):
            break
        need = np.int64(4) + ((np.int64(data[at + 2]) << 8) | np.int64(data[at + 3]))
        if at + need > len(data):
            break
        start[n], size[n] = at, need
        n += 1
        at += need
        need = np.int64(0)
    return start[:n].copy(), size[:n].copy(), at, need


@njit(cache=True, nogil=True)
def resync(data, proof, final):
    """Position of the first interleaved RTP or RTCP packet of a chain, or -1.

    A chain may end in an RTSP message. `final` says that no more bytes come before the next hole: then it may
    end where they end, after two whole packets.
    """
    for begin in range(len(data) - 16):
        at = begin
        links = 0
        while links < proof:
            left = len(data) - at
            if links and left >= 5 and data[at] != 0x24:
                if data[at] == 82 and data[at + 1] == 84 and data[at + 2] == 83 and data[at + 3] == 80:
                    links = proof  # "RTSP"
                break
            if left < 6:
                if final and links >= 2 and left >= 0:
                    links = proof
                break
            if data[at] != 0x24 or data[at + 4] >> 6 != 2:
                break
            size = (np.int64(data[at + 2]) << 8) | np.int64(data[at + 3])
            if size < 8:
                break
            links += 1
            at += 4 + size
        if links == proof:
            return begin
    return -1


def find_interleaved(data: NDArray[np.uint8]) -> int:
    """Position of the first interleaved packet of a chain that proves itself, or -1."""
    return int(resync(data, PROOF + 1, False))


def says_client(first: bytes) -> bool | None:
    """Whether the bytes of a direction are the client's; None when nothing tells.

    Both ends send requests and responses; some methods and headers are those of one end alone.
    """
    client, server = _OF_CLIENT.search(first), _OF_SERVER.search(first)
    if client is not None and server is not None:
        return client.start() < server.start()
    if client is not None or server is not None:
        return client is not None
    if find_interleaved(np.frombuffer(first, dtype=np.uint8)) >= 0:
        return False  # a client sends reports at most
    found = _START.search(first) if b"RTSP/" in first else None
    return None if found is None else found[1] is not None


class RtspStreamDecoder:
    """Decodes one direction of an RTSP connection."""

    __slots__ = (
        "_body",
        "_buffer",
        "_direction",
        "_holes",
        "_left",
        "_length",
        "_lost",
        "_number",
        "_skip",
    )

    def __init__(self, direction: Direction, *, from_start: bool) -> None:
        self._direction: Direction = direction
        self._buffer = StreamBuffer()
        self._lost = not from_start
        self._skip = 0  # bytes of an interleaved packet hurt by a hole that are still to come
        self._body = False  # whether a body has begun
        self._left = 0  # bytes of it still to come
        self._length = 0  # bytes of it so far, holes included
        self._holes = 0
        self._number = -1

    def feed(self, run: Run) -> Iterator[Message]:
        """Take the next bytes of the stream."""
        self._buffer.append(run.offset, run.data, run.pieces)
        yield from self._decode(final=False)
        self._buffer.settle()

    def conflict(self, item: Conflict) -> Iterator[Message]:
        """Take note of bytes that were sent twice, differently."""
        yield Overlap.of(item, self._direction)

    def gap(self, gap: Gap) -> Iterator[Message]:
        """Take note of a hole; decoding goes on behind it."""
        at = At(direction=self._direction, offset=gap.offset, frame=gap.frame, ts=gap.ts)
        if self._lost:
            yield from self._decode(final=True)
        have = len(self._buffer.data)
        if self._body:
            lost = min(gap.length, self._left)
            self._left, self._length, self._holes = self._left - lost, self._length + lost, 1
            self._lost = lost < gap.length
            if not self._left:
                yield self._end_body(at)
        elif self._skip:
            self._lost = gap.length > self._skip
            self._skip -= min(gap.length, self._skip)
        elif not self._lost:
            need = int(walk(self._buffer.data)[3]) if have else 0
            self._lost = need < have + gap.length
            if need > 0:
                yield from self._cut_packet(need)
            self._skip = max(need - have - gap.length, 0)
        self._buffer.clear(gap.offset + gap.length)
        yield Hole(at=at, length=gap.length)

    def end(self, reason: Literal["fin", "reset", "capture ended"], frame: int, ts: int) -> Iterator[Message]:
        """Take note of the end of the stream."""
        yield from self._decode(final=True)
        left = len(self._buffer.data)
        at = At(direction=self._direction, offset=self._buffer.offset + left, frame=frame, ts=ts)
        if self._body:
            yield self._end_body(at)
        self._buffer.clear(at.offset)
        yield StreamEnd(at=at, reason=reason, left=left)

    def _decode(self, *, final: bool) -> Iterator[Message]:
        buffer = self._buffer
        while len(buffer.data):
            before = buffer.offset, self._lost
            if self._body:
                yield from self._take_body()
            elif self._skip:
                n = min(self._skip, len(buffer.data))
                self._skip -= n
                buffer.consume(n)
            elif self._lost:
                yield from self._find(final=final)
            elif buffer.data[0] == 0x24:
                yield from self._interleaved()
            else:
                yield from self._head(final=final)
            if (buffer.offset, self._lost) == before:
                return

    def _at(self, start: int, size: int = 1) -> At:
        """Where ``data[start:start + size]`` of the buffer ends."""
        buffer = self._buffer
        frame, ts = locate(buffer.pieces, buffer.offset + start + max(size, 1) - 1)
        return At(direction=self._direction, offset=buffer.offset + start, frame=frame, ts=ts)

    def _passed_over(self, n: int, expected: str) -> Malformed:
        at = self._at(0)
        found = self._buffer.data[:16].tobytes().hex(" ")
        self._buffer.consume(n)
        return Malformed(at=at, length=n, expected=expected, found=found)

    def _find(self, *, final: bool) -> Iterator[Message]:
        """Find the next sound boundary: a start line, or interleaved packets that chain."""
        data = self._buffer.data
        start = _START.search(data.data)  # searched in place: hostile bytes may begin often
        chain = int(resync(data[: start.start() + 8] if start else data, PROOF, final))
        found = chain if chain >= 0 else (start.start() if start else -1)
        if found < 0:
            tail = 0 if final else min(len(data), PROOF * LARGEST_FRAME)
            if len(data) > tail:
                yield self._passed_over(len(data) - tail, "an RTSP message or an interleaved packet")
            return
        self._lost = False
        if found:
            yield self._passed_over(found, "an RTSP message or an interleaved packet")

    # --- interleaved packets -----------------------------------------------------------------------

    def _interleaved(self) -> Iterator[Message]:
        buffer = self._buffer
        data, base, pieces = buffer.data, buffer.offset, buffer.pieces
        start, size, end, _ = walk(data)
        if not len(start):
            return
        inner, length = start + INTERLEAVED, size - INTERLEAVED
        rtcp = is_rtcp(data, inner, length)
        packets = rtp_packets(data, base, inner, length, length, data[start + 1], pieces)
        odd = len(start) - int(np.count_nonzero(rtcp)) - len(packets)
        at = self._at(int(start[0]), int(size[0]))
        buffer.consume(int(end))
        if len(packets):
            yield RtpPackets(at=at, packets=packets, data=data, base=base, pieces=pieces, reliable=True)
        for i in np.flatnonzero(rtcp).tolist():
            frame, ts = locate(pieces, base + int(start[i] + size[i]) - 1)
            where = At(direction=self._direction, offset=base + int(start[i]), frame=frame, ts=ts)
            yield from parse_rtcp(data[inner[i] : inner[i] + length[i]].tobytes(), where)
        if odd:
            total = int(size.sum())
            yield Malformed(
                at=at, length=0, expected="RTP or RTCP", found=f"{odd} others among {total} bytes"
            )

    def _cut_packet(self, need: int) -> Iterator[Message]:
        """Hand on the begin of an interleaved packet that a hole has cut."""
        buffer = self._buffer
        have = len(buffer.data) - INTERLEAVED
        if have <= 0:
            return
        one = np.array([INTERLEAVED], dtype=np.int64)
        size, wire = np.array([have], dtype=np.int64), np.array([need - INTERLEAVED], dtype=np.int64)
        packets = rtp_packets(buffer.data, buffer.offset, one, size, wire, buffer.data[1:2], buffer.pieces)
        if len(packets):
            at, data, base = self._at(0, INTERLEAVED + have), buffer.data, buffer.offset
            yield RtpPackets(
                at=at, packets=packets, data=data, base=base, pieces=buffer.pieces, reliable=True
            )

    # --- messages ----------------------------------------------------------------------------------

    def _head(self, *, final: bool) -> Iterator[Message]:
        """Read a start line and its headers."""
        buffer = self._buffer
        raw = buffer.data[:USUAL_HEAD].tobytes()
        if _HEAD_END.search(raw) is None:
            raw = buffer.data[:MAX_HEAD].tobytes()
        blank = len(raw) - len(raw.lstrip(b"\r\n"))
        if blank:  # empty lines between messages [RFC 2326 4]
            buffer.consume(blank)
            return
        found = _START.match(raw)
        if found is None:
            if final or len(raw) >= MAX_HEAD or not _may_start(raw):
                self._lost = True
                yield self._passed_over(1, "an RTSP start line")
            return
        end = _HEAD_END.search(raw, found.end() - 2)
        if end is None:
            if final or len(raw) >= MAX_HEAD:
                self._lost = True
                n = len(raw) - USUAL_HEAD if len(raw) >= MAX_HEAD else found.end()
                yield self._passed_over(n, "the end of an RTSP head")
            return
        at = self._at(0, end.end())
        headers = _headers(raw[found.end() : end.start()])
        number, length = _whole(headers, "cseq"), _whole(headers, "content-length")
        buffer.consume(end.end())
        yield _message(found, headers, number, at)
        if length > 0:
            self._body, self._left, self._length, self._holes = True, min(length, MAX_BODY), 0, 0
            self._number = number
            if length > MAX_BODY:
                yield Malformed(
                    at=at, length=0, expected=f"Content-Length up to {MAX_BODY}", found=f"{length}"
                )

    def _take_body(self) -> Iterator[Message]:
        buffer = self._buffer
        n = min(self._left, len(buffer.data))
        pieces = slice_pieces(buffer.pieces, buffer.offset, n)
        pieces["offset"] += self._length - buffer.offset
        at, last = self._at(0, 1), self._at(max(n - 1, 0))
        data = buffer.data[:n]
        offset = self._length
        self._left, self._length = self._left - n, self._length + n
        buffer.consume(n)
        yield Body(at=at, number=self._number, offset=offset, data=data, pieces=pieces)
        if not self._left:
            yield self._end_body(last)

    def _end_body(self, at: At) -> BodyEnd:
        whole = self._left == 0
        end = BodyEnd(
            at=at,
            number=self._number,
            length=self._length,
            complete=whole and not self._holes,
            ended=whole,
        )
        self._body, self._left = False, 0
        return end


def _message(
    found: re.Match[bytes], headers: tuple[tuple[str, str], ...], number: int, at: At
) -> Request | Response:
    if found[1] is not None:
        method, target, version = (found[i].decode("utf-8", "backslashreplace") for i in (1, 2, 3))
        return Request(at=at, method=method, target=target, version=version, headers=headers, number=number)
    reason = (found[6] or b"").decode("utf-8", "backslashreplace").strip()
    return Response(
        at=at,
        version=found[4].decode("ascii"),
        status=int(found[5]),
        reason=reason,
        headers=headers,
        number=number,
    )


def _headers(raw: bytes) -> tuple[tuple[str, str], ...]:
    """Header fields; a line that begins with white space goes on with the one before [RFC 2326 4.2]."""
    found: list[tuple[str, str]] = []
    for line in raw.decode("utf-8", "backslashreplace").splitlines():
        if line[:1] in (" ", "\t") and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        if colon:
            found.append((name.strip(), value.strip()))
    return tuple(found)


def _whole(headers: tuple[tuple[str, str], ...], name: str) -> int:
    """A header's number, -1 where there is none."""
    for key, value in headers:
        if key.lower() == name:
            return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else -1
    return -1


def _may_start(raw: bytes) -> bool:
    """Whether the bytes may be the begin of a start line that has not ended yet."""
    line = raw.split(b"\n", 1)[0]
    return b"\n" not in raw and line[:1].isalpha() and line[:1].isupper() and len(line) < MAX_HEAD
