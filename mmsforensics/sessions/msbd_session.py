"""The story of an MSBD connection: an encoder, or a server, that hands a live stream on (MS-MSBD 3.1, 3.2).

Rules of this file:

* a StreamInfo message begins an entry, unless it says the same again; one without a header that follows an
  IndEos says that nothing follows [3.1.5.3];
* media come on the connection, or where the server said so in ResConnect to a multicast group: they are then
  this session's, with the headers that this connection gives.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from mmsforensics.protocols import (
    CutPacket,
    DataPackets,
    Hole,
    Malformed,
    Message,
    MsbdMessage,
    MsbPackets,
    Overlap,
    StreamEnd,
)
from mmsforensics.protocols.messages import At
from mmsforensics.sessions.header_parts import HeaderParts
from mmsforensics.sessions.mms_session import ip_text
from mmsforensics.sessions.msb_player import MsbPlayer
from mmsforensics.sessions.story import Story
from mmsforensics.sessions.wording import hresult_name
from mmsforensics.streams.flow import Endpoint

MSBD_PORT = 7007
"""Port that MSBD servers often listen on [2.1]."""

AF_INET = 2
"""sin_family of a stream that is multicast [2.2.8]."""

MOST_HEADERS = 1024
"""Headers kept of one connection: entries of a playlist."""


class MsbdSession:
    """Reads the messages of one MSBD connection."""

    def __init__(self, story: Story, announce: Callable[[Endpoint, MsbdSession], None]) -> None:
        self.story = story
        self.stories = [story]
        self.ended = False
        self.headers: dict[int, HeaderParts] = {}
        """ASF headers by wStreamId, for packets that come by multicast."""
        self.player = MsbPlayer(story, window=0)
        self.datagrams: MsbPlayer | None = None
        """Plays the packets that come by multicast."""
        self._announce = announce
        self._multicast = False
        self._stream_id = 0  # of the last StreamInfo message
        story.transport = "msbd"
        host = ip_text(story.server.address)
        host = f"[{host}]" if ":" in host else host
        port = story.server.port
        story.url = f"msbd://{host}" + (f":{port}" if port != MSBD_PORT else "") + "/"

    def handle(self, message: Message) -> None:
        """Take the next message, in order of frames."""
        match message:
            case MsbdMessage():
                self._message(message)
            case DataPackets():
                self._header(message)
            case MsbPackets():
                self._play(message)
            case CutPacket():
                self.player.cut(message)
            case Hole() | Malformed() | Overlap():
                self.story.anomaly(message)
            case StreamEnd():
                self.story.anomaly(message)
                self.ended |= message.at.direction == "server"
            case _:
                pass

    def close(self) -> None:
        """Finish the medium at the end of the connection; UDP data may follow it."""
        if not self._multicast:
            self.player.end()
            self.story.close_medium()

    def finish(self) -> None:
        """Finish; a header whose packets never came is kept."""
        self.player.end()
        for header in self.headers.values() if self.story.received == 0 else ():
            self.story.given_header(header, self._at)

    def _message(self, message: MsbdMessage) -> None:
        self._at = message.at
        fields = message.fields
        hr = fields.get("hr", 0)
        failed = isinstance(hr, int) and bool(hr & 0x80000000)
        match message.name:
            case "REQ_CONNECT":
                self.story.content_name = str(fields.get("szChannel", ""))
            case "RES_CONNECT" if failed:
                self.story.failure = hresult_name(hr)
                self.story.advance("Failure")
            case "RES_CONNECT":
                self.story.advance("ReportOpenFile")
                self._group(message)
            case "IND_STREAMINFO" | "RES_STREAMINFO":
                stream_id = fields.get("wStreamId", 0)
                self._stream_id = stream_id if isinstance(stream_id, int) else 0
            case "IND_EOS":
                self._end_of_stream(message.at)
            case _:
                pass
        details = {"mid": message.mid, "size": message.size, **fields}
        self.story.tell(f"MSB_MSG_{message.name}", message.at, details)

    def _group(self, message: MsbdMessage) -> None:
        """Take note of the group that the server will send to."""
        fields = message.fields
        port, address = fields.get("sin_port"), fields.get("sin_addr")
        if fields.get("sin_family") != AF_INET or not isinstance(port, int) or not port:
            return
        self._multicast = True
        self._announce(Endpoint(ipaddress.IPv4Address(str(address)).packed, port), self)

    def _header(self, block: DataPackets) -> None:
        """Take the header of a StreamInfo message."""
        parts = HeaderParts()
        if not parts.add(block.packets[0], block, expected=True) or not parts.done:
            return
        if self._multicast:
            if len(self.headers) < MOST_HEADERS:
                self.headers[self._stream_id] = parts
            return
        medium = self.story.medium
        same = medium is not None and medium.header_bytes == parts.data
        if not same or self.player.stream_id != self._stream_id or self.story.entry_ended:
            self.player.begin(self._stream_id, parts, block.at)

    def _play(self, message: MsbPackets) -> None:
        if message.stream_id != self.player.stream_id:
            self.player.begin(message.stream_id, None, message.at)
        self.player.play(message)

    def _end_of_stream(self, at: At) -> None:
        self.player.flush()
        if self.datagrams is not None:
            self.datagrams.flush()
        self.story.entry_ended, self.story.ended_at = True, at
        self.story.advance("EndOfStream")


__all__ = ["MSBD_PORT", "MsbdSession"]
