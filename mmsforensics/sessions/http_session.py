"""The stories on an HTTP connection: MMS over HTTP (MS-WMSP), push distribution (MS-WMHTTP), plain downloads.

Rules of this file:

* an exchange becomes part of a session when its request or its body shows Windows Media; any other
  exchange on the connection leaves no trace in the case;
* which session that is, `joining.py` decides; of a file that comes in several responses, `fetching.py`;
* a refusal fails the session only where it refuses media: not a log, nor a keep-alive; the same goes for
  a response that sends the player elsewhere, which is recorded in any case;
* a Stop has stopped once the server answers it: what it had sent before is on the wire till then.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

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
    Reset,
    Response,
    StreamEnd,
    WmspPacket,
)
from mmsforensics.protocols.detect import ASF_HEADER_GUID
from mmsforensics.protocols.messages import At, Direction
from mmsforensics.protocols.wmsp_directives import PUSH_REQUEST_TYPES, read_pragma
from mmsforensics.sessions.documents import Document, DocumentBody
from mmsforensics.sessions.download import MiddleOfDownload
from mmsforensics.sessions.exchange import Exchange, exchange_url
from mmsforensics.sessions.fetching import PARTIAL_CONTENT, Fetch, Fetches, Key
from mmsforensics.sessions.header_parts import payload_of
from mmsforensics.sessions.mms_session import part_of
from mmsforensics.sessions.push import setup_details
from mmsforensics.sessions.redirections import Redirection, moved
from mmsforensics.sessions.story import Story
from mmsforensics.sessions.uploads import Upload
from mmsforensics.sessions.wmsp_telling import (
    CHALLENGED,
    REDIRECTS,
    answered_scheme,
    challenge_details,
    metadata_details,
    position_asked,
    push_id,
    reason_name,
    request_details,
    response_details,
    sends_elsewhere,
    where,
)
from mmsforensics.streams.flow import Endpoint

KEPT_EXCHANGES = 64
"""Requests remembered while their responses are outstanding."""

END_OF_STREAM_MORE = 1
"""Reason of an $E after which another entry follows [MS-WMSP 2.2.3.4]."""

STARTING = frozenset(("Describe", "Play", "PlayNextEntry", *PUSH_REQUEST_TYPES))
"""Requests without which there are no media: refused, they fail the session."""

NewStory = Callable[[Endpoint, Endpoint, int], Story]
FindStory = Callable[[Exchange, Endpoint, Endpoint, int], Story]
ReadDocument = Callable[[Document], None]
Redirect = Callable[[Redirection], None]


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
        new_story: NewStory,
    ) -> None:
        self._new_story = new_story
        self._upload: Upload | None = None  # of the request whose body comes in
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
        self._tunnel: Exchange | None = None  # a CONNECT that was granted
        self._sending: Exchange | None = None  # the one whose request's body comes in
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
                story = self._carrying(message.at.direction).story
                if story is not None and message.kind == "D":
                    story.cut(message)
            case WmspPacket():
                self._wmsp(message)
            case StreamEnd():
                self._stream_end(message)
            case Reset():
                self._left()
            case Hole() | Malformed() | Overlap():
                self._anomaly(message)
            case _:
                pass

    def story_of(self, number: int) -> Story | None:
        """The session that a request and its response belong to."""
        exchange = self._exchanges.get(number)
        return exchange.story if exchange is not None else None

    def close(self) -> None:
        """Finish the media that this connection carried to their end; others may go on on the next one."""
        for story in self.stories:
            self._over(story)
            mine = story.carried_by == self._first_frame and story.entry_ended
            if mine and story.medium is not None and story.medium.packets:
                story.close_medium()

    def _over(self, story: Story) -> None:
        """Take note that a Play on this connection, if there was one, is over."""
        if story.played_on == self._first_frame:
            story.played_on = 0

    def _exchange(self, number: int) -> Exchange:
        if number not in self._exchanges:
            self._exchanges[number] = Exchange()
            for old in list(self._exchanges)[:-KEPT_EXCHANGES]:
                del self._exchanges[old]
        return self._exchanges[number]

    def _request(self, message: Request) -> None:
        exchange = self._sending = self._exchange(message.number)
        exchange.ask(message)
        if self._tunnel is not None:
            exchange.tunnel = self._tunnel.target
        if exchange.connects:
            return  # what goes through the tunnel tells whose it is
        if exchange.pushes:
            self._attribute(exchange, "push")
        elif exchange.shows_player():
            known = self._fetches.story(self._key(exchange), message.header("range"), message.at.ts)
            self._attribute(exchange, "mmsh" if known is None else "http", known)

    def _response(self, message: Response) -> None:
        exchange = self._exchange(message.number)
        exchange.response = message
        self._current = exchange
        if exchange.connects and message.status < 300:
            self._tunnel = exchange
        elif exchange.connects and exchange.shows_player():
            self._attribute(exchange, "mmsh")
        if exchange.story is not None:
            self._tell_exchange(exchange)
            self._answered(exchange, exchange.story, message)
        elif exchange.upload is not None:
            exchange.upload.tell("HttpResponse", message.at, response_details(message, ""))
        self._moved(exchange, message)

    def _answered(self, exchange: Exchange, story: Story, message: Response) -> None:
        """Take what a response means for its session."""
        if message.status >= 300 and (exchange.kind in STARTING or exchange.connects):
            self._refused(story, message)
        elif exchange.kind == "Stop" and message.status < 300 and exchange.request is not None:
            story.stopped_at = exchange.request.at
            story.advance("StopPlaying")
        elif exchange.kind == "Play":
            story.carry(self._first_frame)

    def _refused(self, story: Story, message: Response) -> None:
        """Take an answer other than what was asked for."""
        self._over(story)
        location = message.header("location")
        story.challenged = message.status in CHALLENGED
        if message.status in REDIRECTS and location:
            story.tell("HttpRedirect", message.at, {"status": message.status, "location": location})
            story.advance("Redirect")
        elif message.status >= 400:
            story.failure = f"{message.status} {message.reason}".strip()
            story.advance("Failure")
        if story.challenged:
            story.tell("HttpChallenge", message.at, challenge_details(message))

    def _moved(self, exchange: Exchange, message: Response) -> None:
        """Take note of a response that sends the client elsewhere."""
        url = exchange_url(exchange, self._server, "http")
        found = moved(message.status, message.header("location"), url)
        if found is None:
            return
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
            if story is None:
                story = self._find(exchange, self._client, self._server, self._first_frame)
            story.connections.add(self._first_frame)
            exchange.story = story
            if story not in self.stories:
                self.stories.append(story)
                self._carries(story)  # it may be known only when the connection is over
            if self._tunnel is not None and self._tunnel.story is None:
                self._tunnel.story = story
                self._tell_exchange(self._tunnel)
            self._tell_exchange(exchange)
            for anomaly in exchange.unheard:
                story.anomaly(anomaly)
            exchange.unheard.clear()
        story = exchange.story
        plain = transport == "http" and not story.received and story.medium is None  # a player's download
        if exchange.target != "*" and (transport != "http" or not story.transport or plain):
            story.transport = transport
            story.media_side = "client" if transport == "push" else "server"
            scheme = "mmsh" if transport == "mmsh" else "http"
            story.url = exchange.url(self._server, scheme)
            story.content_name = story.url
        return story

    def _tell_exchange(self, exchange: Exchange) -> None:
        story = exchange.story
        assert story is not None
        kind = exchange.kind if exchange.pushes or exchange.shows_player() else ""
        if exchange.told == 0 and exchange.request is not None:
            exchange.told = 1
            self._tell_request(story, exchange, exchange.request, kind)
        if exchange.told < 2 and exchange.response is not None:
            response = exchange.response
            exchange.told = 2 * (response.status >= 200) or exchange.told
            story.server_version = story.server_version or response.header("server")
            number = read_pragma(response).number("client-id")
            story.tokens |= {f"client-id={number}"} if number else set()
            story.tokens |= {f"push-id={push_id(response)}"} if push_id(response) else set()
            story.tell("HttpResponse", response.at, response_details(response, kind))

    def _tell_request(self, story: Story, exchange: Exchange, request: Request, kind: str) -> None:
        story.client_version = story.client_version or request.header("user-agent")
        story.player_guid = story.player_guid or exchange.guid
        story.tokens |= exchange.tokens
        details = request_details(request, kind)
        if kind == "Play":
            details["from"] = position_asked(exchange.pragma)
            story.played_on = self._first_frame
        story.tell("HttpRequest", request.at, details)
        selection = story.selection.take(exchange.pragma)
        if selection is not None:
            story.tell("WmspStreamSelection", request.at, selection)
        answer = answered_scheme(request)
        if answer is not None:
            story.tell("HttpCredentials", request.at, {"header": answer[0], "scheme": answer[1]})

    def _carrying(self, direction: Direction) -> Exchange:
        """The exchange whose body comes in."""
        if direction == "server":
            return self._playing()
        if self._sending is None:
            self._sending = Exchange()
            self._sending.kind = "PushStart"  # what else has framed media
        return self._sending

    def _playing(self) -> Exchange:
        if self._current is None:
            self._current = Exchange()
        return self._current

    def _data(self, block: DataPackets) -> None:
        exchange = self._carrying(block.at.direction)
        pushed = block.at.direction == "client"
        if pushed and not exchange.pushes:
            exchange.kind = "PushStart"  # by its body
        story = self._attribute(exchange, "push" if pushed else "mmsh")
        exchange.at_once += block.at_once
        if block.kind == "H":
            for packet in block.packets:
                self._from_zero(exchange, packet, block)
                story.header_part(packet, block, expected=True)
                if story.parts.done:
                    story.pushed.begin()
                    self._elsewhere(story, exchange, where(packet, block.at))
        elif block.kind == "M":
            for packet in block.packets:
                metadata = exchange.metadata.add(packet, block)
                if metadata is not None:
                    story.tell("WmspMetadata", where(packet, block.at), metadata_details(metadata))
        else:
            if pushed:
                story.pushed.number(block)
            story.carry(self._first_frame)
            story.client, story.server = self._client, self._server
            story.media(part_of(block, block.packets))

    def _elsewhere(self, story: Story, exchange: Exchange, at: At) -> None:
        """Take note of a header that sends the player elsewhere instead of describing something."""
        location = sends_elsewhere(story.medium.header) if story.medium is not None else ""
        if location and exchange.kind == "Describe":
            story.tell("HttpRedirect", at, {"status": "FILENAME", "location": location})
            story.advance("Redirect")

    def _from_zero(self, exchange: Exchange, packet: np.void, block: DataPackets) -> None:
        """Let the parts of a header count from 0 [2.2.3.1.2]; VLC counts on from the media."""
        if payload_of(packet, block)[:16].tobytes() == ASF_HEADER_GUID:
            exchange.header_at = int(packet["location"])
        packet["location"] = max(int(packet["location"]) - exchange.header_at, 0)

    def _wmsp(self, packet: WmspPacket) -> None:
        direction = packet.at.direction
        story = self._attribute(self._carrying(direction), "push" if direction == "client" else "mmsh")
        details: dict[str, object] = {"reason": packet.reason, "repeated": packet.repeated}
        match packet.kind:
            case "C":
                story.new_content = True
                story.selection.forget()
                details["meaning"] = reason_name("C", packet.reason)
                story.tell("WmspStreamChange", packet.at, details)
            case "E":
                failed = packet.reason is not None and bool(packet.reason & 0x80000000)
                details["meaning"] = reason_name("E", packet.reason)
                if not failed:
                    story.entry_ended, story.ended_at = True, packet.at
                    more = packet.reason == END_OF_STREAM_MORE
                    story.advance("EndOfEntry" if more else "EndOfStream")
                else:
                    story.failure = f"{details['meaning']}"
                    story.advance("Failure")
                story.tell("WmspEndOfStream", packet.at, details)
            case "P":
                story.tell("WmspPacketPair", packet.at, details)
            case "F":
                story.tell("WmspFiller", packet.at, details)
            case _:
                story.tell("WmspPipelineTest", packet.at, details)

    def _body(self, message: Body) -> None:
        exchange = self._playing() if message.at.direction == "server" else self._exchange(message.number)
        if message.at.direction == "client":
            self._sent(exchange, message)
            if exchange.story is not None and message.offset == 0:
                text = message.data[:4096].tobytes().decode("utf-8", "backslashreplace")
                details: dict[str, object] = {"length": len(message.data), "text": text}
                if exchange.kind == "PushSetup":
                    details |= setup_details(text)
                exchange.story.tell("HttpRequestBody", message.at, details)
            return
        if message.number < 0:
            self._middle(exchange, message)
            return
        partial = exchange.response is not None and exchange.response.status == PARTIAL_CONTENT
        if exchange.fetch is None and (message.offset == 0 or partial):
            exchange.fetch = self._fetch(exchange, message)
        if exchange.fetch is not None:
            exchange.fetch.body(message)

    def _sent(self, exchange: Exchange, message: Body) -> None:
        """Look for a file in what the client sends."""
        if message.offset == 0:
            self._upload = None
            if exchange.request is not None and not exchange.pushes:
                self._upload = Upload(exchange.request, lambda *found: self._uploaded(exchange, *found))
        if self._upload is not None:
            self._upload.body(message)

    def _uploaded(self, exchange: Exchange, at: At, offset: int, name: str) -> Story:
        """Begin the session of a file that the client sends; who sends a file is its server."""
        story = exchange.upload = self._new_story(self._server, self._client, self._first_frame)
        self.stories.append(story)
        self._carries(story)
        story.transport = "carved"
        story.url = exchange_url(exchange, self._server, "http")
        if exchange.request is not None:
            story.tell("HttpRequest", exchange.request.at, request_details(exchange.request, ""))
        story.tell("UploadedFile", at, {"body_offset": offset, "name": name})
        return story

    def _fetch(self, exchange: Exchange, first: Body) -> Fetch | None:
        """The file of which a body is all or a part, if it is one of Windows Media."""
        return self._fetches.begin(
            self._key(exchange),
            exchange.target,
            exchange.response,
            first,
            lambda story: self._claimed(exchange, story),
            resumes=exchange.request is not None and bool(exchange.request.header("range")),
            asker=exchange.story,
        )

    def _claimed(self, exchange: Exchange, story: Story | None) -> Story:
        """Make a response part of the session of a file, a new one for None."""
        story = self._attribute(exchange, "http", story)
        story.ends_with = self._first_frame
        return story

    def _key(self, exchange: Exchange) -> Key:
        """What tells the file that a request means from others."""
        url = exchange_url(exchange, self._server, "http")
        return (self._client.address, self._server.address, self._server.port, url)

    def _middle(self, exchange: Exchange, message: Body) -> None:
        if exchange.middle is None:
            exchange.middle = MiddleOfDownload()
        block = exchange.middle.body(message)
        if block is not None:
            self._attribute(exchange, "http").media(block)

    def _body_end(self, message: BodyEnd) -> None:
        if message.at.direction == "client" and not self._carrying("client").pushes:
            if self._upload is not None:
                self._upload.end(message)
            self._upload = None
            return
        exchange = self._carrying(message.at.direction)
        if message.at.direction == "server" and exchange.fetch is not None:
            exchange.fetch.end(message)
            exchange.fetch = None
        if exchange.story is None:
            return
        details: dict[str, object] = {"length": message.length, "complete": message.complete}
        if message.at.direction == "server":
            self._over(exchange.story)
        if exchange.at_once:
            details["packets_sent_at_once"] = exchange.at_once
        exchange.story.tell("HttpBodyEnd", message.at, details)

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
                tunnel=exchange.tunnel,
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
            if message.at.direction == story.media_side == "client" and not isinstance(message, Overlap):
                story.pushed.lost(message.packets_cut)

    def _stream_end(self, message: StreamEnd) -> None:
        for story in self.stories:
            story.ends(message, self._first_frame)
        if message.at.direction == "server":
            self.ended = True
        else:
            self._left()

    def _left(self) -> None:
        """Take note that an end has hung up: what is still on its way belongs to a play that is over."""
        for story in self.stories:
            self._over(story)


__all__ = ["HttpSessions"]
