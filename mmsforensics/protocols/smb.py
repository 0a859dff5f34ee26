"""SMB as far as files are read and written over it: which bytes of which file a message holds.

Both dialects over TCP: SMB 1 [MS-CIFS 2.2.4.42, 2.2.4.43], SMB 2 and 3 without encryption [MS-SMB2 2.2.13,
2.2.14, 2.2.19 to 2.2.21], framed as [MS-SMB2 2.1] says: a zero byte and the length in three, big-endian.

Rules of this file:

* a response of READ holds what its request asked for, found by its id; where the request was not captured the
  place in the file is not known, and the bytes are passed over, but for those that begin a file of Windows
  Media, which stand at its beginning;
* data are handed on as they come, never gathered; a hole in them moves nothing behind it;
* behind a hole over a message's head the next head is searched; encrypted messages show nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

from mmsforensics.protocols.byteranges import at_offset
from mmsforensics.protocols.messages import (
    At,
    Direction,
    FileBytes,
    Hole,
    Message,
    Overlap,
    StreamBuffer,
    StreamEnd,
)
from mmsforensics.protocols.raw import ASF_HEADER
from mmsforensics.streams import Conflict, Gap, Run, locate

T = TypeVar("T")

MAGICS: Final = (b"\xffSMB", b"\xfeSMB")
_START = re.compile(rb"\0[\s\S]{3}[\xfe\xff]SMB")

LOOKED_AT: Final = 4096
"""Bytes of a message that are looked at: a CREATE with a long name has some hundred."""

REMEMBERED: Final = 1024
"""Requests whose responses are outstanding, and files that are open."""

SMB2_HEAD: Final = 64
CREATE, READ, WRITE = 5, 8, 9  # commands of SMB 2 [MS-SMB2 2.2.1.2]
SMB1_HEAD: Final = 32
NT_CREATE_ANDX, READ_ANDX, WRITE_ANDX = 0xA2, 0x2E, 0x2F  # of SMB 1 [MS-CIFS 2.2.2.1]


@dataclass(frozen=True, slots=True)
class _Data:
    """File data in the message at hand."""

    file: bytes
    offset: int
    at: int
    """Of the first byte in the message, its frame included."""
    length: int


@dataclass(slots=True)
class _Open:
    """An open file."""

    name: str
    total: int | None


class _Side:
    __slots__ = ("buffer", "data", "direction", "lead", "left", "skip")

    def __init__(self, direction: Direction) -> None:
        self.direction: Direction = direction
        self.buffer = StreamBuffer()
        self.skip = 0  # bytes of a message that say nothing
        self.data: _Data | None = None
        self.lead = 0  # bytes before the data at hand
        self.left = 0  # bytes of the data at hand still to come


class SmbDecoder:
    """Decodes both directions of a connection."""

    __slots__ = ("_asked", "_names", "_open", "_sides")

    def __init__(self, *, client_from_start: bool = True, server_from_start: bool = True) -> None:
        self._sides: dict[Direction, _Side] = {"client": _Side("client"), "server": _Side("server")}
        self._asked: dict[bytes, tuple[bytes, int]] = {}  # by id of the request: file and offset
        self._names: dict[bytes, str] = {}  # by id of the request: name of the file to be opened
        self._open: dict[bytes, _Open] = {}

    def feed(self, direction: Direction, run: Run) -> Iterator[Message]:
        """Take the next bytes of one direction."""
        side = self._sides[direction]
        side.buffer.append(run.offset, run.data, run.pieces)
        yield from self._decode(side)
        side.buffer.settle()

    def gap(self, direction: Direction, gap: Gap) -> Iterator[Message]:
        """Take note of a hole; decoding goes on behind it."""
        side = self._sides[direction]
        yield Hole(
            at=At(direction=direction, offset=gap.offset, frame=gap.frame, ts=gap.ts), length=gap.length
        )
        lost = gap.length + len(side.buffer.data)  # a head that was not whole is lost too
        side.buffer.clear(gap.offset + gap.length)
        if lost <= side.lead + side.left + side.skip:
            for name in ("lead", "left", "skip"):
                here = min(lost, getattr(side, name))
                if name == "left" and side.data is not None:
                    side.data = _Data(side.data.file, side.data.offset + here, 0, 0)
                setattr(side, name, getattr(side, name) - here)
                lost -= here
        else:
            side.lead = side.left = side.skip = 0
            side.data = None

    def conflict(self, direction: Direction, item: Conflict) -> Iterator[Message]:
        """Take note of bytes that were sent twice, differently."""
        yield Overlap.of(item, direction)

    def end(self, direction: Direction, reason: str, frame: int, ts: int) -> Iterator[Message]:
        """Take note of the end of one direction."""
        at = At(direction=direction, offset=0, frame=frame, ts=ts)
        yield StreamEnd(at=at, reason=reason)  # type: ignore[arg-type]

    def _decode(self, side: _Side) -> Iterator[Message]:
        while len(side.buffer.data):
            if side.lead:
                side.lead -= self._passed(side, side.lead)
            elif side.left:
                yield self._part(side)
            elif side.skip:
                side.skip -= self._passed(side, side.skip)
            elif not self._message(side):
                return

    def _passed(self, side: _Side, n: int) -> int:
        n = min(n, len(side.buffer.data))
        side.buffer.consume(n)
        return n

    def _part(self, side: _Side) -> FileBytes:
        buffer, data = side.buffer, side.data
        assert data is not None
        n = min(side.left, len(buffer.data))
        frame, ts = locate(buffer.pieces, buffer.offset + n - 1)
        known = self._open.get(data.file, _Open("", None))
        found = FileBytes(
            at=At(direction=side.direction, offset=buffer.offset, frame=frame, ts=ts),
            file=data.file,
            name=known.name,
            total=known.total if side.direction == "server" else None,  # what is written makes it grow
            offset=data.offset,
            left=side.left - n,
            data=buffer.data[:n],
            pieces=at_offset(buffer.data[:n], buffer.pieces, buffer.offset, data.offset),
        )
        buffer.consume(n)
        side.left -= n
        side.data = _Data(data.file, data.offset + n, 0, 0)
        return found

    def _message(self, side: _Side) -> bool:
        """Read the head of the next message. Returns False when more bytes must come."""
        raw = side.buffer.data[:LOOKED_AT].tobytes()
        if len(raw) < 8:
            return False
        if raw[0] or raw[4:8] not in MAGICS:
            found = _START.search(raw, 1)
            side.buffer.consume(found.start() if found else max(len(raw) - 7, 1))
            return True
        size = 4 + int.from_bytes(raw[1:4], "big")
        if len(raw) < min(size, LOOKED_AT):
            head = _needed(raw)
            if len(raw) < min(size, head):
                return False
        message = raw[:size]
        data = self._smb2(side, message) if raw[4:5] == b"\xfe" else self._smb1(side, message)
        if data is not None and data.at <= size:
            length = min(data.length, size - data.at)
            side.lead, side.left, side.skip = data.at, length, size - data.at - length
            side.data = data
        else:
            side.skip = size
        return True

    def _smb2(self, side: _Side, raw: bytes) -> _Data | None:
        """Commands of a message, which may be several; returns the data of the one that has some."""
        at = 4
        while at + SMB2_HEAD <= len(raw) and raw[at : at + 4] == MAGICS[1]:
            following = int.from_bytes(raw[at + 20 : at + 24], "little")
            data = self._command(raw[at:])
            if data is not None:
                return _Data(data.file, data.offset, at + data.at, data.length)
            if following < SMB2_HEAD:
                return None
            at += following
        return None

    def _command(self, raw: bytes) -> _Data | None:
        command, answer = int.from_bytes(raw[12:14], "little"), bool(raw[16] & 1)
        key, body = raw[24:32], raw[SMB2_HEAD:]
        if command == CREATE and not answer and len(body) >= 48:
            at, size = (int.from_bytes(body[k : k + 2], "little") for k in (44, 46))
            self._remember(self._names, key, raw[at : at + size].decode("utf-16-le", "replace"))
        elif command == CREATE and len(body) >= 80:
            size = int.from_bytes(body[48:56], "little")
            self._remember(self._open, body[64:80], _Open(self._names.pop(key, ""), size))
        elif command == READ and not answer and len(body) >= 32:
            offset = int.from_bytes(body[8:16], "little")
            self._remember(self._asked, key, (body[16:32], offset))
        elif command == READ and len(body) >= 16 and not raw[8:12].strip(b"\0"):
            where = body[2], int.from_bytes(body[4:8], "little")
            return self._answer(key, raw, *where)
        elif command == WRITE and not answer and len(body) >= 32:
            at, size = int.from_bytes(body[2:4], "little"), int.from_bytes(body[4:8], "little")
            return _Data(body[16:32], int.from_bytes(body[8:16], "little"), at, size)
        return None

    def _smb1(self, side: _Side, raw: bytes) -> _Data | None:
        raw = raw[4:]
        if len(raw) < SMB1_HEAD + 1:
            return None
        command, answer = raw[4], bool(raw[9] & 0x80)
        key = raw[24:28] + raw[30:32]  # TID, PID, MID
        words, body = raw[SMB1_HEAD], raw[SMB1_HEAD + 1 :]
        if len(body) < 2 * words:
            return None
        data = None
        if command == READ_ANDX and not answer and words in (10, 12):
            offset = int.from_bytes(body[6:10], "little")
            offset += int.from_bytes(body[20:24], "little") << 32 if words == 12 else 0
            self._remember(self._asked, key, (raw[24:26] + body[4:6], offset))
        elif command == READ_ANDX and answer and words == 12:
            size = int.from_bytes(body[10:12], "little") + (int.from_bytes(body[14:16], "little") << 16)
            data = self._answer(key, raw, int.from_bytes(body[12:14], "little"), size)
        elif command == WRITE_ANDX and not answer and words in (12, 14):
            offset = int.from_bytes(body[6:10], "little")
            offset += int.from_bytes(body[24:28], "little") << 32 if words == 14 else 0
            size = (int.from_bytes(body[18:20], "little") << 16) + int.from_bytes(body[20:22], "little")
            at = int.from_bytes(body[22:24], "little")
            data = _Data(raw[24:26] + body[4:6], offset, at, size)
        elif command == NT_CREATE_ANDX:
            self._opened1(key, raw, body, answer=answer, words=words)
        return _Data(data.file, data.offset, data.at + 4, data.length) if data is not None else None

    def _opened1(self, key: bytes, raw: bytes, body: bytes, *, answer: bool, words: int) -> None:
        if not answer and words == 24:
            size = int.from_bytes(body[5:7], "little")
            wide = bool(raw[11] & 0x80)  # Flags2: strings are Unicode, and aligned to two bytes
            at = SMB1_HEAD + 1 + 2 * words + 2
            at += at % 2 if wide else 0
            name = raw[at : at + size].decode("utf-16-le" if wide else "latin-1", "replace")
            self._remember(self._names, key, name.rstrip("\0"))
        elif answer and words >= 34:
            size = int.from_bytes(body[55:63], "little")
            self._remember(self._open, raw[24:26] + body[5:7], _Open(self._names.pop(key, ""), size))

    def _answer(self, key: bytes, raw: bytes, at: int, size: int) -> _Data | None:
        """Where the data of a READ belong."""
        asked = self._asked.pop(key, None)
        if asked is not None:
            file, offset = asked
            return _Data(file, offset, at, size)
        if raw[at : at + 16] == ASF_HEADER:
            return _Data(b"asked " + key, 0, at, size)
        return None

    def _remember(self, memory: dict[bytes, T], key: bytes, value: T) -> None:
        memory[key] = value
        if len(memory) > REMEMBERED:
            del memory[next(iter(memory))]


def _needed(raw: bytes) -> int:
    """Bytes of a message needed to read its head: of one with data no more than stand before them."""
    if raw[4:5] == b"\xfe":
        if len(raw) < 4 + SMB2_HEAD:
            return 4 + SMB2_HEAD
        return 4 + SMB2_HEAD + {READ: 48, WRITE: 48, CREATE: LOOKED_AT}.get(raw[16], 0) + 16
    if len(raw) < 4 + SMB1_HEAD:
        return 4 + SMB1_HEAD
    return 4 + SMB1_HEAD + {READ_ANDX: 64, WRITE_ANDX: 64, NT_CREATE_ANDX: LOOKED_AT}.get(raw[8], 0)


def says_smb(first: bytes) -> bool:
    """Whether a direction speaks SMB, from its beginning or from some message on."""
    return _START.search(first[:LOOKED_AT]) is not None


def smb_request(first: bytes) -> bool | None:
    """Whether the first message is a client's; None when there is none."""
    found = _START.search(first[:LOOKED_AT])
    if found is None or len(first) < found.start() + 24:
        return None
    head = first[found.start() + 4 :]
    return not (head[16] & 1 if head[0] == 0xFE else head[9] & 0x80)
