"""The stories on an HTTP connection: MMS over HTTP (MS-WMSP) and plain downloads of ASF files.

Rules of this file:

* an exchange becomes part of a session when its request or its body shows Windows Media; any other
  exchange on the connection leaves no trace in the case;
* exchanges for one URL on one connection are one session (describe, then play, then log); so is a
  connection that only described and the one that then plays, when client, server, URL and player GUID agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from mmsforensics.protocols import (
    Body,
    BodyEnd,
    CutPacket,
    DataPackets,
    Hole,
    Malformed,
    Message,
    Overlap,
    Request,
    Response,
    StreamEnd,
    WmspPacket,
)
from mmsforensics.sessions.documents import Document, DocumentBody
from mmsforensics.sessions.download import MiddleOfDownload
from mmsforensics.sessions.fetching import PARTIAL_CONTENT, Fetch, Fetches
from mmsforensics.sessions.media import ASF_HEADER_GUID, payload_of
from mmsforensics.sessions.mms_session import ip_text, part_of
from mmsforensics.sessions.redirections import Redirection, moved
from mmsforensics.sessions.story import Story
from mmsforensics.streams.flows import Endpoint

HTTP_PORT = 80
KEPT_EXCHANGES = 64
"""Requests remembered while their responses are outstanding."""

_PLAYER = re.compile(r"^(?:NSPlayer|NSServer|WMCacheProxy)/", re.IGNORECASE)
_PRAGMA = re.compile(r"xplaystrm|xclientguid|stream-switch|version11-enabled|request-context", re.IGNORECASE)
_GUID = re.compile(r"xclientguid\s*=\s*(\{[^{}]{8,64}\})", re.IGNORECASE)

END_OF_STREAM_MORE = 1
"""Reason of an $E after which another entry follows [MS-WMSP 2.2.3.4]."""

FindStory = Callable[["Exchange", Endpoint, Endpoint, int], Story]
ReadDocument = Callable[[Document], None]
Redirect = Callable[[Redirection], None]


class Exchange:
    """A request and its response."""

    __slots__ = ("fetch", "middle", "request", "response", "story", "told", "unheard")

    def __init__(self) -> None:
        self.request: Request | None = None
        self.response: Response | None = None
        self.story: Story | None = None
        self.fetch: Fetch | None = None
        self.middle: MiddleOfDownload | None = None
        self.told = 0  # how many of request and response stand in the story
        self.unheard: list[Hole | Malformed | Overlap] = []

    @property
    def target(self) -> str:
        """The request's target, empty when the request was not captured."""
        return self.request.target if self.request else ""

    @property
    def guid(self) -> str:
        """The player's GUID."""
        found = _GUID.search(self.request.header("pragma")) if self.request else None
        return found[1] if found else ""

    def shows_player(self) -> bool:
        """Whether the request is one of a Windows Media player."""
        if self.request is None:
            return False
        return bool(
            _PLAYER.match(self.request.header("user-agent")) or _PRAGMA.search(self.request.header("pragma"))
        )


def exchange_url(exchange: Exchange, server: Endpoint, scheme: str) -> str:
    """The URL that a request means."""
    return request_url(exchange.request, server, scheme)


def document_url(document: Document) -> str:
    """The URL of the request that a document belongs to."""
    return request_url(document.request, document.server, "http")


def request_url(request: Request | None, server: Endpoint, scheme: str) -> str:
    """The URL that a request means; of one that was not captured, the server's."""
    target = request.target if request else ""
    if re.match(r"^[a-z][a-z0-9+.-]*://", target, re.IGNORECASE):
        try:
            parts = urlsplit(target)
        except ValueError:  # brackets that hold no address
            return target
        return f"{scheme}://{parts.netloc}{parts.path}" + (f"?{parts.query}" if parts.query else "")
    host = request.header("host") if request else ""
    if not host:
        host = ip_text(server.address)
        host = f"[{host}]" if ":" in host else host
    if server.port != HTTP_PORT and not re.search(r":[0-9]+$", host):
        host = f"{host}:{server.port}"
    return f"{scheme}://{host}{target if target.startswith('/') else '/' + target}"


class HttpSessions:
    """Reads the messages of one HTTP connection."""

    def __init__(
        self,
        client: Endpoint,
        server: Endpoint,
        first_frame: int,
        find: FindStory,
        read: ReadDocument,
        redirect: Redirect,
        fetches: Fetches,
        carries: Callable[[Story], None],
    ) -> None:
        self._client = client
        self._server = server
        self._first_frame = first_frame
        self._find = find
        self._read = read
        self._redirect = redirect
        self._fetches = fetches
        self._carries = carries
        self._bodies: dict[str, DocumentBody] = {}  # by direction: the document that comes in
        self._exchanges: dict[int, Exchange] = {}
        self._current: Exchange | None = None
        self.stories: list[Story] = []
        self.ended = False

    def handle(self, message: Message) -> None:
        """Take the next message, in order of frames."""
        match message:
            case Request():
                self._request(message)
            case Response():
                self._response(message)
            case Body():
                self._bodies.setdefault(message.at.direction, DocumentBody()).add(message)
                self._body(message)
            case BodyEnd():
                self._body_end(message)
                self._document(message)
            case DataPackets():
                self._data(message)
            case CutPacket():
                story = self._playing().story
                if story is not None and message.kind == "D":
                    story.cut(message)
            case WmspPacket():
                self._wmsp(message)
            case StreamEnd():
                self._stream_end(message)
            case Hole() | Malformed() | Overlap():
                self._anomaly(message)
            case _:
                pass

    def close(self) -> None:
        """Finish the media that this connection carried; a header alone waits for the play to come."""
        for story in self.stories:
            if story.client == self._client and story.medium is not None and story.medium.packets:
                story.close_medium()

    def _exchange(self, number: int) -> Exchange:
        if number not in self._exchanges:
            self._exchanges[number] = Exchange()
            for old in list(self._exchanges)[:-KEPT_EXCHANGES]:
                del self._exchanges[old]
        return self._exchanges[number]

    def _request(self, message: Request) -> None:
        exchange = self._exchange(message.number)
        exchange.request = message
        if exchange.shows_player():
            self._attribute(exchange, "mmsh")

    def _response(self, message: Response) -> None:
        exchange = self._exchange(message.number)
        exchange.response = message
        self._current = exchange
        if exchange.story is not None:
            self._tell_exchange(exchange)
            if message.status >= 400:
                exchange.story.failure = f"{message.status} {message.reason}".strip()
                exchange.story.advance("Failure")
        self._moved(exchange, message)

    def _moved(self, exchange: Exchange, message: Response) -> None:
        """Take note of a response that sends the client elsewhere."""
        url = exchange_url(exchange, self._server, "http")
        found = moved(message.status, message.header("location"), url)
        if found is None:
            return
        if exchange.story is not None:
            exchange.story.advance("Redirect")
        self._redirect(
            Redirection(
                session=exchange.story.number if exchange.story is not None else None,
                frame=message.at.frame,
                ts=message.at.ts,
                client_ip=self._client.address,
                server_ip=self._server.address,
                url=url,
                redirector=found,
                whole=True,
            )
        )

    def _attribute(self, exchange: Exchange, transport: str, story: Story | None = None) -> Story:
        """Make the exchange part of a session, and the transport what its body shows it to be."""
        if exchange.story is None:
            story = story or self._find(exchange, self._client, self._server, self._first_frame)
            exchange.story = story
            if story not in self.stories:
                self.stories.append(story)
                self._carries(story)  # it may be known only when the connection is over
            self._tell_exchange(exchange)
            for anomaly in exchange.unheard:
                story.anomaly(anomaly)
            exchange.unheard.clear()
        story = exchange.story
        plain = transport == "http" and not story.received and story.medium is None  # a player's download
        if transport == "mmsh" or not story.transport or plain:
            story.transport = transport
            scheme = "http" if transport == "http" else "mmsh"
            story.url = exchange_url(exchange, self._server, scheme)
            story.content_name = story.url
        return story

    def _tell_exchange(self, exchange: Exchange) -> None:
        story = exchange.story
        assert story is not None
        if exchange.told == 0 and exchange.request is not None:
            request = exchange.request
            exchange.told = 1
            story.client_version = story.client_version or request.header("user-agent")
            story.player_guid = story.player_guid or exchange.guid
            story.tell(
                "HttpRequest",
                request.at,
                {
                    "method": request.method,
                    "target": request.target,
                    "version": request.version,
                    "agent": request.header("user-agent"),
                    "headers": [list(h) for h in request.headers],
                },
            )
        if exchange.told < 2 and exchange.response is not None:
            response = exchange.response
            exchange.told = 2
            story.server_version = story.server_version or response.header("server")
            story.tell(
                "HttpResponse",
                response.at,
                {
                    "version": response.version,
                    "status": response.status,
                    "reason": response.reason,
                    "server": response.header("server"),
                    "content_type": response.header("content-type"),
                    "headers": [list(h) for h in response.headers],
                },
            )

    def _playing(self) -> Exchange:
        if self._current is None:
            self._current = Exchange()
        return self._current

    def _data(self, block: DataPackets) -> None:
        exchange = self._playing()
        story = self._attribute(exchange, "mmsh")
        if block.kind == "H":
            for packet in block.packets:
                story.header_part(packet, block, expected=True)
        elif block.kind == "M":
            text = b"".join(payload_of(p, block).tobytes() for p in block.packets)
            story.tell("WmspMetadata", block.at, {"text": text.decode("utf-8", "backslashreplace")})
        else:
            story.client, story.server = self._client, self._server
            story.media(part_of(block, block.packets))

    def _wmsp(self, packet: WmspPacket) -> None:
        story = self._attribute(self._playing(), "mmsh")
        details = {"reason": packet.reason, "repeated": packet.repeated}
        match packet.kind:
            case "C":
                story.new_content = True
                story.tell("WmspStreamChange", packet.at, details)
            case "E":
                failed = packet.reason is not None and bool(packet.reason & 0x80000000)
                if not failed:
                    story.entry_ended, story.ended_at = True, packet.at
                    more = packet.reason == END_OF_STREAM_MORE
                    story.advance("EndOfEntry" if more else "EndOfStream")
                else:
                    story.failure = f"reason 0x{packet.reason:08X}"
                    story.advance("Failure")
                story.tell("WmspEndOfStream", packet.at, details)
            case "P":
                story.tell("WmspPacketPair", packet.at, details)
            case _:
                story.tell("WmspPipelineTest", packet.at, details)

    def _body(self, message: Body) -> None:
        exchange = self._playing() if message.at.direction == "server" else self._exchange(message.number)
        if message.at.direction == "client":
            if exchange.story is not None and message.offset == 0:
                text = message.data[:4096].tobytes().decode("utf-8", "backslashreplace")
                exchange.story.tell(
                    "HttpRequestBody", message.at, {"length": len(message.data), "text": text}
                )
            return
        if message.number < 0:
            self._middle(exchange, message)
            return
        partial = exchange.response is not None and exchange.response.status == PARTIAL_CONTENT
        if exchange.fetch is None and (message.offset == 0 or partial):
            exchange.fetch = self._fetch(exchange, message)
        if exchange.fetch is not None:
            exchange.fetch.body(message)

    def _fetch(self, exchange: Exchange, first: Body) -> Fetch | None:
        """The file of which a body is all or a part, if it is one of Windows Media."""
        url = exchange_url(exchange, self._server, "http")
        return self._fetches.begin(
            (self._client.address, self._server.address, self._server.port, url),
            exchange.target,
            exchange.response,
            first,
            lambda story: self._attribute(exchange, "http", story),
            resumes=exchange.request is not None and bool(exchange.request.header("range")),
        )

    def _middle(self, exchange: Exchange, message: Body) -> None:
        if exchange.middle is None:
            exchange.middle = MiddleOfDownload()
        block = exchange.middle.body(message)
        if block is not None:
            self._attribute(exchange, "http").media(block)

    def _body_end(self, message: BodyEnd) -> None:
        if message.at.direction == "client":
            return
        exchange = self._playing()
        if exchange.fetch is not None:
            exchange.fetch.end(message)
            exchange.fetch = None
        if exchange.story is None:
            return
        exchange.story.tell(
            "HttpBodyEnd", message.at, {"length": message.length, "complete": message.complete}
        )

    def _document(self, end: BodyEnd) -> None:
        """Hand on a body that was no media."""
        body = self._bodies.pop(end.at.direction, None)
        if body is None or body.at is None or end.number < 0:
            return
        data, whole = body.end(end)
        exchange = self._exchange(end.number)
        if data[:16] == ASF_HEADER_GUID:
            return
        self._read(
            Document(
                at=body.at,
                client=self._client,
                server=self._server,
                request=exchange.request,
                response=exchange.response if end.at.direction == "server" else None,
                story=exchange.story,
                data=data,
                whole=whole,
            )
        )

    def _anomaly(self, message: Hole | Malformed | Overlap) -> None:
        exchange = self._playing() if message.at.direction == "server" else None
        if exchange is not None and exchange.story is None:
            exchange.unheard.append(message)
            return
        story = exchange.story if exchange is not None else (self.stories[-1] if self.stories else None)
        if story is not None:
            story.anomaly(message)

    def _stream_end(self, message: StreamEnd) -> None:
        for story in self.stories:
            story.anomaly(message)
        if message.at.direction == "server":
            self.ended = True


__all__ = ["Exchange", "HttpSessions", "document_url", "exchange_url"]
