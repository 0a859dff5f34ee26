"""The story of an RTSP session of Windows Media (MS-RTSP 3.1, 3.2).

Rules of this file:

* a connection is one of Windows Media when a header, a session description or an ASF packet in its RTP says
  so; what came before is then told. A session description without ASF, or `UNKNOWN_LIMIT` messages that say
  nothing, make it another dialect of RTSP: no session, and its flow is let go;
* a DESCRIBE for another URL, or behind a TEARDOWN, begins another session on the connection;
* only DESCRIBE, SETUP and PLAY fail a session; a log or a keep-alive that is refused does not;
* an end of stream with ``End-Of-Playlist-Entry`` is that of an entry, and the next is announced; each is one
  medium;
* over UDP the end of the control connection is not the end of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mmsforensics.protocols import (
    Body,
    BodyEnd,
    Hole,
    Malformed,
    Message,
    Overlap,
    Request,
    Response,
    RtcpPacket,
    RtpPackets,
    StreamEnd,
    WmspPacket,
)
from mmsforensics.protocols.messages import At, Direction
from mmsforensics.protocols.rtp import asf_beginnings
from mmsforensics.protocols.sdp import Sdp, parse_sdp
from mmsforensics.protocols.wmsp import WmspDecoder
from mmsforensics.sessions import automaton
from mmsforensics.sessions.documents import Document, DocumentBody
from mmsforensics.sessions.header_parts import HeaderParts
from mmsforensics.sessions.medium import decoded_origins
from mmsforensics.sessions.rtp_media import Payloads, RtpMedia
from mmsforensics.sessions.rtsp_headers import (
    SWITCH_BODY,
    Transport,
    body_fields,
    challenges,
    content_type,
    ends_alike,
    operation,
    path_of,
    player_guid,
    player_version,
    rtp_info,
    says_end,
    shows_windows_media,
    stream_entries,
    transport,
)
from mmsforensics.sessions.story import Story

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmsforensics.streams.flow import Endpoint

UNKNOWN_LIMIT = 64
"""Messages of a connection heard before it is another dialect's; players show themselves in the first."""

UNKNOWN_BYTES = 4 << 20
"""Bytes of bodies and interleaved packets heard before it is: the first seconds of media."""

KEPT_REQUESTS = 256
"""Requests remembered while their responses are outstanding."""

TEXT_LIMIT = 4096
"""Bytes of a body shown in its event."""

DOCUMENT_HEAD = 1 << 16
"""Bytes of a body searched for the names of Windows Media."""

OPENING = ("DESCRIBE", "SETUP", "PLAY")

FindMedia = Callable[["RtspSession"], RtpMedia]
"""The media of the session that a connection goes on with, or of a new one."""
ReadDocument = Callable[[Document], None]


class RtspSession:
    """Reads the messages of one RTSP connection, and of the UDP flows that go with it."""

    def __init__(
        self, client: Endpoint, server: Endpoint, first_frame: int, find: FindMedia, read: ReadDocument
    ) -> None:
        self.client = client
        self.server = server
        self._first_frame = first_frame
        self._find = find
        self._read = read
        self.stories: list[Story] = []
        self.ended = False
        self.stranger = False
        """Whether it has turned out to be another dialect of RTSP."""
        self.media: RtpMedia | None = None
        """Those of the session at hand."""
        self.all_media: list[RtpMedia] = []
        self.transports: list[Transport] = []
        """What SETUP agreed on for the session at hand."""
        self.session_id = ""
        self._unheard: list[Message] = []
        self._unheard_bytes = 0
        self._requests: dict[tuple[Direction, int], Request] = {}
        self._heads: dict[Direction, Request | Response] = {}
        self._bodies: dict[Direction, tuple[DocumentBody, list[NDArray[np.void]]]] = {}
        self._roles: dict[str, int] = {}  # SSRC by stream URL
        self._sdp: Sdp | None = None
        self._over = False  # whether a TEARDOWN was heard since the last DESCRIBE

    @property
    def story(self) -> Story | None:
        """The session at hand."""
        return self.media.story if self.media is not None else None

    # --- hearing -----------------------------------------------------------------------------------

    def handle(self, message: Message) -> None:
        """Take the next message, in order of frames."""
        if self.stranger:
            self.ended |= isinstance(message, StreamEnd) and message.at.direction == "server"
            return
        if self.story is None and not self._shows(message):
            self._unheard.append(message)
            self._unheard_bytes += len(message.data) if isinstance(message, Body | RtpPackets) else 0
            self.ended |= isinstance(message, StreamEnd) and message.at.direction == "server"
            self.stranger = self._is_stranger()
            if self.stranger:
                self._unheard.clear()
            return
        if self.story is None:
            if isinstance(message, Request | Response):
                self._note_session(message)
            self._begin()
            unheard, self._unheard = self._unheard, []
            for earlier in unheard:
                self._hear(earlier)
        self._hear(message)

    def _shows(self, message: Message) -> bool:
        """Whether a message shows Windows Media."""
        match message:
            case Request() | Response():
                return shows_windows_media(message)
            case RtpPackets():
                return bool(asf_beginnings(message.packets, message.data).any())
            case Body() if b"x-asf-pf" in message.data[:DOCUMENT_HEAD].tobytes():
                return True
            case Body():
                return b"vnd.ms.wms-hdr" in message.data[:DOCUMENT_HEAD].tobytes()
        return False

    def _is_stranger(self) -> bool:
        """Whether what was heard is another dialect's: described otherwise, or silent for too long."""
        if len(self._unheard) > UNKNOWN_LIMIT or self._unheard_bytes > UNKNOWN_BYTES:
            return True
        described = False
        for message in self._unheard:
            if isinstance(message, Response):
                described = message.status == 200 and content_type(message) == "application/sdp"
            elif isinstance(message, BodyEnd) and described:
                return True
        return False

    def _begin(self) -> None:
        """Begin a session."""
        if self.media is not None:
            self.media.finish()
            self.media.story.close_medium()
        media = self._find(self)
        media.story.transport = "rtsp"
        if media not in self.all_media:
            self.all_media.append(media)
        if media.story not in self.stories:
            self.stories.append(media.story)
        self.media = media
        self.transports, self._over = [], False
        self._roles, self._sdp = {}, None

    def _hear(self, message: Message) -> None:
        match message:
            case Request():
                self._request(message)
            case Response():
                self._response(message)
            case Body():
                body, pieces = self._bodies.setdefault(message.at.direction, (DocumentBody(), []))
                body.add(message)
                pieces.append(message.pieces)
            case BodyEnd():
                self._body_end(message)
            case RtpPackets():
                if message.at.direction == "server":
                    self._media.take(message)
            case RtcpPacket():
                self.rtcp(message)
            case Hole() | Malformed() | Overlap():
                if not isinstance(message, Overlap) and message.at.direction == "server":
                    self._media.hole()
                self._story.anomaly(message)
            case StreamEnd():
                self._stream_end(message)
            case _:
                pass

    @property
    def _media(self) -> RtpMedia:
        assert self.media is not None
        return self.media

    @property
    def _story(self) -> Story:
        return self._media.story

    # --- requests and responses --------------------------------------------------------------------

    def _request(self, request: Request) -> None:
        direction = request.at.direction
        if direction == "client" and request.method == "DESCRIBE":
            self._describes(request)
        self._requests[direction, request.number] = request
        for old in list(self._requests)[:-KEPT_REQUESTS]:
            del self._requests[old]
        self._heads[direction] = request
        story = self._story
        if direction == "client":
            story.client_version = story.client_version or player_version(request.header("user-agent"))
            story.player_guid = story.player_guid or player_guid(request)
            self._note_session(request)
            if not story.url and request.method in OPENING:
                self._set_url(request.target)
        name = operation(request)
        story.tell("RtspRequest", request.at, _told(request, {"operation": name}))
        match name:
            case "Pause":
                story.stopped_at = request.at
                story.advance("StopPlaying")
            case "Teardown" if self._of_session(request.target):
                self._over = True
                story.stopped_at = story.stopped_at or request.at
                story.advance("CloseFile")
            case "REDIRECT":
                story.advance("Redirect")
                story.sent_elsewhere(request.at, "rtsp redirect", request.header("location"))
            case _:
                pass
        if says_end(request) and not request.header("content-length").strip("0"):
            self._end_of_stream(request, {})

    def _describes(self, request: Request) -> None:
        """Begin another session where the client describes another content, or the same again."""
        story = self._story
        other = bool(story.url) and path_of(request.target) != path_of(story.url)
        again = self._over and story.received > 0
        if other or again:
            self.session_id = ""
        if (other and story.phase != automaton.BEGUN) or again:
            self._begin()
        self._set_url(request.target)

    def _set_url(self, target: str) -> None:
        if self._story.url and self._sdp is not None:
            return
        self._story.url = self._story.content_name = target

    def _of_session(self, target: str) -> bool:
        """Whether a URL is that of the whole session, not of one of its streams."""
        return target not in self._roles or len(self._roles) == 1

    def _note_session(self, message: Request | Response) -> None:
        self.session_id = message.header("session").split(";", 1)[0].strip() or self.session_id

    def _response(self, response: Response) -> None:
        direction = response.at.direction
        asked: Direction = "client" if direction == "server" else "server"
        request = self._requests.pop((asked, response.number), None)
        self._heads[direction] = response
        story = self._story
        if direction == "server":
            story.server_version = story.server_version or response.header("server")
            self._note_session(response)
        details = {
            "method": request.method if request is not None else None,
            "operation": operation(request) if request is not None else None,
            "status": response.status,
            "reason": response.reason,
        }
        story.tell("RtspResponse", response.at, _told(response, details))
        schemes = challenges(response)
        if schemes:
            story.tell("RtspChallenge", response.at, {"status": response.status, "schemes": schemes})
        if direction == "client":
            return
        method = request.method if request is not None else ""
        if response.status >= 400:
            self._refused(response, request)
        elif response.status >= 300:
            story.advance("Redirect")
            story.sent_elsewhere(response.at, f"rtsp {response.status}", response.header("location"))
        elif response.status >= 200:
            self._agreed(response, request, method)

    def _refused(self, response: Response, request: Request | None) -> None:
        if request is not None and request.method not in OPENING:
            return
        if request is None and self._story.received:
            return
        self._story.failure = f"{response.status} {response.reason}".strip()
        self._story.advance("Failure")

    def _agreed(self, response: Response, request: Request | None, method: str) -> None:
        agreed = transport(response.header("transport"))
        if agreed is not None:
            self._set_up(agreed, request.target if request is not None else "")
        if method in OPENING or (request is None and agreed is not None):
            self._story.advance("ReportOpenFile")
        if method == "PLAY" or (request is None and response.header("rtp-info")):
            self._media.plays(self._sequences(response))

    def _set_up(self, agreed: Transport, url: str) -> None:
        self.transports.append(agreed)
        if agreed.ssrc is None:
            return
        if self._is_retransmission(url):
            self._media.probe_sources.add(agreed.ssrc)
        else:
            self._roles[url] = agreed.ssrc

    def _is_retransmission(self, url: str) -> bool:
        """Whether a stream's URL is that of the retransmission stream [MS-RTSP 2.2.5.5]."""
        for media in self._sdp.media if self._sdp is not None else ():
            if media.control and url.endswith(media.control):
                return "x-wms-rtx" in media.encodings.values()
        return url.rstrip("/").endswith("/rtx")

    def _sequences(self, message: Request | Response) -> dict[int, int]:
        """Sequence numbers that a message names, by SSRC."""
        found = {}
        for entry in rtp_info(message):
            ssrc = entry.ssrc
            if ssrc is None:
                ssrc = next((s for url, s in self._roles.items() if ends_alike(url, entry.url)), None)
            sources = self._media.sources or list(self._roles.values())
            if ssrc is None and len(sources) == 1:
                ssrc = sources[0]
            if ssrc is not None and ssrc not in self._media.probe_sources and entry.sequence is not None:
                found[ssrc] = entry.sequence
        return found

    # --- bodies ------------------------------------------------------------------------------------

    def _body_end(self, end: BodyEnd) -> None:
        direction = end.at.direction
        body, pieces = self._bodies.pop(direction, (DocumentBody(), []))
        head = self._heads.get(direction)
        at = body.at or end.at
        data, whole = body.end(end)
        kind = content_type(head) if head is not None else ""
        if kind == "application/sdp" or data.startswith(b"v=0"):
            self._description(data, pieces, end.at, announced=isinstance(head, Request))
            return
        text = data[:TEXT_LIMIT].decode("utf-8", "backslashreplace")
        details = {"content_type": kind, "length": end.length, "complete": whole}
        probe = "packetpair" in kind and direction == "server"
        entries = {"streams": stream_entries(text)} if kind == SWITCH_BODY else {}
        self._story.tell("RtspBody", at, details if probe else {**details, "text": text, **entries})
        if probe and whole and pieces:
            packets = _probes(data, np.concatenate(pieces))
            self._story.tell("PacketPair", at, {"packets": packets})
        if isinstance(head, Request) and says_end(head):
            self._end_of_stream(head, body_fields(text))
            return
        if not probe:
            self._document(head, data, at, whole=whole)

    def _document(self, head: Request | Response | None, data: bytes, at: At, *, whole: bool) -> None:
        self._read(
            Document(
                at=at,
                client=self.client,
                server=self.server,
                request=head if isinstance(head, Request) else None,
                response=head if isinstance(head, Response) else None,
                story=self._story,
                data=data,
                whole=whole,
            )
        )

    def _description(self, data: bytes, pieces: list[NDArray[np.void]], at: At, *, announced: bool) -> None:
        """Take a session description: that of the content, or of the next entry of a playlist."""
        sdp = parse_sdp(data)
        head = self._heads.get(at.direction)
        starts = self._sequences(head) if announced and head is not None else {}
        details: dict[str, object] = {
            "media": [
                {"kind": m.kind, "encodings": m.encodings, "control": m.control, "stream": m.stream}
                for m in sdp.media
            ],
            "header_size": len(sdp.header),
            "packet_size": sdp.max_packet_size,
            "types": list(sdp.types),
            "content_description": sdp.content_description,
            "problem": sdp.problem,
            "announced": announced,
        }
        self._story.tell("RtspDescription", at, details)
        if not announced:
            self._take_description(sdp, pieces, at)
            return

        def begin() -> None:
            self._story.new_content = True
            self._take_description(sdp, pieces, at)

        self._media.switch(begin, starts)

    def _take_description(self, sdp: Sdp, pieces: list[NDArray[np.void]], at: At) -> None:
        self._sdp = sdp
        self._media.payloads = Payloads(
            media=sdp.payload_types("x-asf-pf"),
            retransmission=sdp.payload_types("x-wms-rtx"),
            correction=sdp.payload_types("x-wms-fec"),
            known=bool(sdp.payload_types("x-asf-pf")),
        )
        self._story.packet_size_hint = sdp.max_packet_size
        if sdp.header:
            origins = decoded_origins(len(sdp.header), sdp.header_at, np.concatenate(pieces))
            self._story.whole_header(HeaderParts.of_text(sdp.header, origins), at)

    def _end_of_stream(self, request: Request, fields: Mapping[str, str]) -> None:
        """The server says that it has sent everything, or all of an entry [MS-RTSP 2.2.7.3]."""
        story = self._story
        entry = fields.get("end-of-playlist-entry", "").lower() == "true"
        broken_off = fields.get("administrativedisconnection", "").lower() == "true"
        self._media.ends(self._sequences(request))
        details = {"notice": request.header("x-notice"), **fields}
        story.tell("RtspEndOfStream", request.at, details)
        if broken_off:
            return
        story.entry_ended, story.ended_at = True, request.at
        story.advance("EndOfEntry" if entry else "EndOfStream")

    # --- the rest ----------------------------------------------------------------------------------

    def rtcp(self, packet: RtcpPacket) -> None:
        """Take an RTCP packet; what merely names its sender is not told."""
        if packet.kind != "SourceDescription":
            self._story.tell(f"Rtcp{packet.kind.replace(' ', '')}", packet.at, packet.fields)

    def _stream_end(self, message: StreamEnd) -> None:
        self._story.ends(message, self._first_frame)
        if message.at.direction == "server":
            self.ended = True

    def close(self) -> None:
        """Finish the media at the end of the connection.

        UDP data may follow it; and where nobody said that it was over, another connection may go on.
        """
        if self.media is None or self.over_udp:
            return
        self.media.finish()
        if self._over or self._story.entry_ended:
            self._story.close_medium()

    @property
    def over_udp(self) -> bool:
        """Whether media come over UDP."""
        return self.media is not None and (
            self.media.story.datagrams or any(t.lower == "UDP" for t in self.transports)
        )


def _told(message: Request | Response, details: Mapping[str, object]) -> dict[str, object]:
    """Details of the event of a message."""
    told: dict[str, object] = dict(details)
    if isinstance(message, Request):
        told |= {"method": message.method, "target": message.target}
        told["agent"] = message.header("user-agent") or message.header("server")
    else:
        told["server"] = message.header("server")
    return told | {"cseq": message.number, "headers": [list(h) for h in message.headers]}


def _probes(data: bytes, pieces: NDArray[np.void]) -> int:
    """How many $P packets a body holds, framed as those of MS-WMSP [MS-RTSP 2.2.7.12]."""
    decoder = WmspDecoder("server")
    found = [*decoder.feed(0, np.frombuffer(data, dtype=np.uint8), pieces), *decoder.end()]
    return sum(isinstance(m, WmspPacket) and m.kind == "P" for m in found)
