"""Files of Windows Media in connections that know nothing of it: sessions of the transport `carved`.

Rules of this file:

* a file begins where a whole header stands, with streams and a packet size, and the packets behind it, as far
  as they are there, `PROOF` of them at most, parse. One that does not hold to this is none: files lie in
  captures, images and archives in pieces;
* it ends where its sizes say; when they do not, or when the file begins with the stream and the other side is
  silent (an FTP data connection), with the stream;
* a hole stays a hole; behind it only whole packets are taken, as in a download;
* of a file server's messages the reads and writes of one file are put together, whatever their order. Each
  opening that begins with the file's first bytes is a session of its own;
* `server` is the end that sent the file, `client` the one that got it, whoever opened the connection.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

import numpy as np

from mmsforensics.asf import Header, parse_header, walk_packets
from mmsforensics.asf.tree import DATA_OBJECT_HEAD
from mmsforensics.protocols import Body, BodyEnd, Hole, Malformed, Message, Overlap, StreamEnd
from mmsforensics.protocols.byteranges import at_offset
from mmsforensics.protocols.messages import At, Direction, FileBytes, StreamBuffer
from mmsforensics.protocols.raw import HEADER_FIELDS, find_asf_header
from mmsforensics.sessions.fetching import EVERYTHING, FetchedFile, Validators
from mmsforensics.sessions.mms_session import ip_text
from mmsforensics.sessions.story import Story
from mmsforensics.streams.flow import Endpoint

PROOF: Final = 8
"""Packets behind a header that must parse before the file is believed."""

NewStory = Callable[[Endpoint, Endpoint, int], Story]
"""Begins a session: client, server, first frame of the flow."""

_NAMED = re.compile(r"\.(?:asf|wm[av]?|dvr-ms)$", re.IGNORECASE)


class CarvedStream:
    """Reads a connection of which nothing is known but that a file lies in it."""

    def __init__(self, client: Endpoint, server: Endpoint, first_frame: int, new_story: NewStory) -> None:
        self.stories: list[Story] = []
        self.ended = False
        self._ends: dict[Direction, tuple[Endpoint, Endpoint]] = {
            "server": (client, server),
            "client": (server, client),
        }
        self._first_frame = first_frame
        self._new_story = new_story
        self._carvers: dict[Direction, Carver] = {side: Carver(self.begin) for side in self._ends}

    def handle(self, message: Message) -> None:
        """Take the next message, in order of frames."""
        direction = message.at.direction
        match message:
            case Body():
                other: Direction = "client" if direction == "server" else "server"
                self._carvers[direction].body(message, alone=self._carvers[other].silent)
            case Hole() | Overlap() | Malformed():
                for story in self.stories[-1:]:
                    story.anomaly(message)
            case StreamEnd():
                self._carvers[direction].end(message)
                for story in self.stories:
                    story.anomaly(message)
                self.ended = all(carver.over for carver in self._carvers.values())
            case _:
                pass

    def close(self) -> None:
        """Nothing waits: a file ends with its stream."""

    def begin(self, at: At) -> Story:
        """Begin a session for a file that was found."""
        client, server = self._ends[at.direction]
        story = self._new_story(client, server, self._first_frame)
        story.transport = "carved"
        story.tell("CarvedFile", at, {"stream_offset": at.offset})
        self.stories.append(story)
        return story


class Carver:
    """Finds the files in one stream of bytes; `begin` begins the session of one, where it begins."""

    __slots__ = (
        "_alone",
        "_begin_story",
        "_buffer",
        "_end",
        "_file",
        "_name",
        "_next",
        "_start",
        "over",
        "silent",
    )

    def __init__(self, begin: Callable[[At], Story], name: str = "") -> None:
        self._begin_story = begin
        self._name = name
        self._buffer = StreamBuffer()  # not looked through yet, or a header that is not whole
        self._next = 0
        self._file: FetchedFile | None = None
        self._start = 0
        self._end: int | None = None  # stream offset behind the file at hand
        self._alone = False
        self.silent = True
        self.over = False

    def body(self, body: Body, *, alone: bool) -> None:
        """Take a stretch of the stream; `alone` says that the other side has said nothing so far."""
        self.silent, self._alone = False, alone
        if body.offset > self._next and self._file is None:
            self._look(body.at, final=True)  # no more of it will come
            self._buffer.clear(body.offset)
        self._next = body.offset + len(body.data)
        self._buffer.append(body.offset, body.data, body.pieces)
        self._advance(body.at, final=False)
        self._buffer.settle()

    def end(self, message: StreamEnd) -> None:
        """Take the end of the stream."""
        self._advance(message.at, final=True)
        if self._file is not None:
            whole = message.reason == "fin" and self._end is None
            length = self._next - self._start
            self._file.sent(
                0, BodyEnd(at=message.at, number=0, length=length, complete=whole, ended=whole), None
            )
            self._file.finish()
            self._file = None
        self.over = True

    def _advance(self, at: At, *, final: bool) -> None:
        while len(self._buffer.data):
            if self._file is None and not self._look(at, final=final):
                return
            self._hand(at)

    def _hand(self, at: At) -> None:
        """Hand on what belongs to the file at hand."""
        buffer, file = self._buffer, self._file
        assert file is not None
        n = len(buffer.data)
        if self._end is not None:
            n = min(n, self._end - buffer.offset)
        data = buffer.data[:n]
        offset = buffer.offset - self._start
        pieces = at_offset(data, buffer.pieces, buffer.offset, offset)
        file.add(Body(at=at, number=0, offset=offset, data=data, pieces=pieces), jump=True)
        buffer.consume(n)
        if self._end is not None and buffer.offset >= self._end:
            length = self._end - self._start
            file.sent(0, BodyEnd(at=at, number=0, length=length, complete=True, ended=True), None)
            self._file = None

    def _look(self, at: At, *, final: bool) -> bool:
        """Look for a file in the buffer. Returns whether one begins at its first byte now."""
        while True:
            raw = self._buffer.data.tobytes()
            found = find_asf_header(raw)
            if found < 0:
                self._buffer.consume(max(len(raw) - HEADER_FIELDS + 1, 0))
                return False
            self._buffer.consume(found)
            header = believed(raw[found:], final=final)
            if header is None:
                return False
            if header.packet_size:
                self._begin(at, header)
                return True
            self._buffer.consume(1)

    def _begin(self, at: At, header: Header) -> None:
        offset = self._start = self._buffer.offset
        here = At(direction=at.direction, offset=offset, frame=at.frame, ts=at.ts)
        size = None if offset == 0 and self._alone else size_of(header)
        self._end = None if size is None else offset + size
        self._file = FetchedFile(self._name, Validators("", "", size))
        self._file.announce(0, EVERYTHING)
        self._file.claim(lambda story: story or self._begin_story(here))


NONE: Final = Header((), 0)


def believed(raw: bytes, *, final: bool) -> Header | None:
    """The header of a file whose bytes begin here.

    Returns
    -------
    Header or None
        One without a packet size when they are no file's; None when more bytes are needed.
    """
    size = int.from_bytes(raw[16:24], "little") + DATA_OBJECT_HEAD
    if len(raw) < size:
        return NONE if final else None
    header = parse_header(raw[:size])
    if not header.packet_size or not header.streams or header.data_offset != size:
        return NONE
    count = header.data_packets or PROOF
    wanted = min(count, PROOF) * header.packet_size
    there = min(len(raw) - size, wanted)
    if there < wanted and not final:
        return None
    packets = np.frombuffer(raw, dtype=np.uint8)[
        size : size + there // header.packet_size * header.packet_size
    ]
    return header if walk_packets(packets, header.packet_size)["ok"].all() else NONE


def size_of(header: Header) -> int | None:
    """Bytes of a file by its header; None when it does not say."""
    if header.broadcast or header.data_size <= DATA_OBJECT_HEAD:
        return None
    behind_data = header.data_offset - DATA_OBJECT_HEAD + header.data_size
    return max(header.file_size, behind_data)


class CarvedFiles:
    """Reads a connection to a file server."""

    def __init__(self, client: Endpoint, server: Endpoint, first_frame: int, new_story: NewStory) -> None:
        self.stories: list[Story] = []
        self.ended = False
        self._client, self._server = client, server
        self._first_frame = first_frame
        self._new_story = new_story
        self._files: dict[tuple[Direction, bytes], FetchedFile] = {}
        self._over: set[Direction] = set()

    def handle(self, message: Message) -> None:
        """Take the next message, in order of frames."""
        match message:
            case FileBytes():
                self._bytes(message)
            case StreamEnd():
                self._over.add(message.at.direction)
                self.ended = len(self._over) == 2
                for story in self.stories:
                    story.anomaly(message)
            case Hole() | Overlap() | Malformed():
                for story in self.stories[-1:]:
                    story.anomaly(message)
            case _:
                pass

    def close(self) -> None:
        """Finish the files: no more of them comes on this connection."""
        for file in self._files.values():
            file.finish()
        self._files.clear()

    def _bytes(self, message: FileBytes) -> None:
        key = message.at.direction, message.file
        begins = message.offset == 0 and find_asf_header(message.data[: HEADER_FIELDS + 16].tobytes()) == 0
        file = self._files.get(key)
        if file is None or (begins and file.over):
            if not begins and not _NAMED.search(message.name):
                return
            file = self._files[key] = FetchedFile(message.name, Validators("", "", message.total))
            file.claim(lambda story: story or self._begin(message))
        n = len(message.data)
        if begins and file.validators.total is None:
            size = size_of(parse_header(message.data.tobytes()))
            file.validators = Validators("", "", size)
        file.announce(message.offset, message.offset + n + message.left)
        file.add(
            Body(at=message.at, number=0, offset=message.offset, data=message.data, pieces=message.pieces)
        )
        end = BodyEnd(at=message.at, number=0, length=n, complete=True, ended=True)
        file.coming = 0
        file.sent(message.offset, end, message.offset + n)

    def _begin(self, message: FileBytes) -> Story:
        ends = (self._client, self._server)
        client, server = ends if message.at.direction == "server" else ends[::-1]
        story = self._new_story(client, server, self._first_frame)
        story.transport = "carved"
        host = ip_text(self._server.address)
        path = message.name.replace("\\", "/").lstrip("/")
        story.url = f"smb://{f'[{host}]' if ':' in host else host}/{path}" if path else ""
        story.tell("CarvedFile", message.at, {"stream_offset": message.at.offset, "name": message.name})
        self.stories.append(story)
        return story


__all__ = ["CarvedFiles", "CarvedStream", "Carver", "believed", "size_of"]
