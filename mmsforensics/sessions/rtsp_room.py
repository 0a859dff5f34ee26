"""The RTSP sessions of a case: connections, and the UDP flows that go with them.

Rules of this file:

* UDP data belong to the session whose SETUP named the client's port, to the one that has their source (SSRC)
  already, else to none, and wait: the SETUP may be known later, from another tap;
* data that nobody asked for, in which ASF packets begin, are a session of their own, without control: flows
  between two hosts that share a source are one. Other RTP is let go;
* a connection that names the Session of another one goes on with it [MS-RTSP 3.1.5: reconnecting].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from mmsforensics.protocols import Message, Request, Response, RtcpPacket, RtpPackets
from mmsforensics.protocols.messages import At
from mmsforensics.protocols.rtp import asf_beginnings
from mmsforensics.sessions.rtp_media import RtpMedia
from mmsforensics.sessions.rtsp_session import ReadDocument, RtspSession
from mmsforensics.sessions.story import Story
from mmsforensics.streams.flow import Endpoint, Flow

UDP = 17

HELD_LIMIT = 4 << 20
"""Bytes of RTP held for a SETUP that comes later; beyond it they are taken for a session of their own."""

HELD_AT_ALL = 64 << 20
"""Bytes held of all flows."""

COMPARED = 256
"""Latest sessions without control that a flow may belong to: a session has a few flows, near each other."""

NewStory = Callable[[Endpoint, Endpoint, int], Story]


@dataclass(slots=True)
class _Held:
    """What a UDP flow brought that no session knows yet."""

    flow: Flow
    items: list[tuple[Endpoint, RtpPackets | RtcpPacket]] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class _Orphan:
    """A session of which only UDP data were captured."""

    media: RtpMedia
    client: Endpoint
    server: Endpoint


class RtspRoom:
    """Knows which session RTP data belong to."""

    def __init__(self, new_story: NewStory, carries: Callable[[int, Story], None]) -> None:
        self._new_story = new_story
        self._carries = carries
        self._sessions: dict[int, RtspSession] = {}
        self._by_id: dict[tuple[bytes, bytes, str], RtpMedia] = {}
        self._orphans: list[_Orphan] = []
        self._orphan_of: dict[int, _Orphan] = {}
        self._held: dict[int, _Held] = {}
        self._held_bytes = 0
        self._given_up: list[int] = []
        self._strangers: set[int] = set()
        self.seen_as: dict[int, Endpoint] = {}
        """Client of each UDP flow that a session was found for."""

    def session(
        self, uid: int, client: Endpoint, server: Endpoint, first_frame: int, read: ReadDocument
    ) -> RtspSession:
        """The reader of a connection."""

        def find(session: RtspSession) -> RtpMedia:
            known = self._by_id.get((client.address, server.address, session.session_id))
            if known is None or not session.session_id:
                known = RtpMedia(self._new_story(client, server, first_frame))
            known.story.ends_with = first_frame
            return known

        session = self._sessions[uid] = RtspSession(client, server, first_frame, find, read)
        return session

    def heard(self, uid: int) -> None:
        """Take note that a connection has spoken: what waits may have found its session."""
        session = self._sessions[uid]
        if session.stranger and uid not in self._strangers:
            self._strangers.add(uid)
            self._given_up.append(uid)
        if session.media is None:
            return
        if session.session_id:
            key = (session.client.address, session.server.address, session.session_id)
            self._by_id.setdefault(key, session.media)
        if session.transports and self._held:
            for held in [h for h in self._held.values() if self._claimant(h.flow, _sources(h)) is not None]:
                self._release(held)

    def given_up(self) -> list[int]:
        """Flows that turned out to be none of Windows Media since the last call."""
        given_up, self._given_up = self._given_up, []
        return given_up

    # --- UDP ---------------------------------------------------------------------------------------

    def datagrams(self, flow: Flow, receiver: Endpoint, message: RtpPackets | RtcpPacket) -> None:
        """Take what a UDP flow brought."""
        if self._deliver(flow, receiver, message):
            return
        held = self._held.setdefault(flow.uid, _Held(flow))
        held.items.append((receiver, message))
        size = int(message.packets["size"].sum()) if isinstance(message, RtpPackets) else 64
        held.size += size
        self._held_bytes += size
        if held.size > HELD_LIMIT:
            self._adopt(held)
        elif self._held_bytes > HELD_AT_ALL:
            self._adopt(max(self._held.values(), key=lambda h: h.size))

    def _deliver(self, flow: Flow, receiver: Endpoint, message: RtpPackets | RtcpPacket) -> bool:
        """Hand a message to its session, if that is known."""
        found = self._claimant(flow, _named(message))
        if found is None:
            return False
        media, client = found
        self._carries(flow.uid, media.story)
        self.seen_as[flow.uid] = _end(flow, client)
        if isinstance(message, RtcpPacket):
            _tell_rtcp(media.story, message, from_client=receiver.address != client.address)
        elif receiver.address == client.address:
            media.take(message)
        return True

    def _claimant(self, flow: Flow, named: set[int]) -> tuple[RtpMedia, Endpoint] | None:
        """Whose the data of a flow are: the newest session that asked for them, or has their source."""
        alike = None
        for session in reversed(self._sessions.values()):
            if session.media is None:
                continue
            for client, server in ((flow.a, flow.b), (flow.b, flow.a)):
                if (client.address, server.address) != (session.client.address, session.server.address):
                    continue
                if any(client.port in _ports(t.client_ports) for t in session.transports):
                    return session.media, session.client
                if alike is None and named & set(session.media.sources):
                    alike = session.media, session.client
        if alike is not None:
            return alike
        orphan = self._orphan_of.get(flow.uid)
        return (orphan.media, orphan.client) if orphan is not None else None

    def _release(self, held: _Held) -> None:
        self._drop(held)
        for receiver, message in held.items:
            self._deliver(held.flow, receiver, message)

    def _drop(self, held: _Held) -> None:
        self._held_bytes -= self._held.pop(held.flow.uid).size

    def _adopt(self, held: _Held) -> None:
        """Hold the data of a flow no longer: media without control, or nothing of Windows Media."""
        receiver = _media_receiver(held)
        if receiver is None:
            if not self._joins_by_source(held):
                self._drop(held)
                self._given_up.append(held.flow.uid)
            return
        sender = held.flow.a if receiver == held.flow.b else held.flow.b
        orphan = self._orphan(held, receiver, sender)
        self._orphan_of[held.flow.uid] = orphan
        self._release(held)

    def _joins_by_source(self, held: _Held) -> bool:
        """Whether the flow carries packets of a source that a session has: packets sent again, or RTCP."""
        named = _sources(held)
        for orphan in self._orphans[-COMPARED:]:
            if named & set(orphan.media.sources):
                self._orphan_of[held.flow.uid] = orphan
                self._release(held)
                return True
        return False

    def _orphan(self, held: _Held, client: Endpoint, server: Endpoint) -> _Orphan:
        """The session of data that nobody asked for: one between these hosts, or a new one."""
        named = _sources(held)
        ends = client.address, server.address
        for orphan in self._orphans[-COMPARED:]:
            alike = (orphan.client.address, orphan.server.address) == ends
            if alike and named & set(orphan.media.sources):
                return orphan
        waiting = [
            s.media
            for s in self._sessions.values()
            if s.media is not None
            and (s.client.address, s.server.address) == ends
            and not s.transports
            and not s.media.story.received
        ]
        if len(waiting) == 1:
            media = waiting[0]
        else:
            story = self._new_story(client, server, held.flow.first_frame)
            story.transport, story.proto = "rtsp", UDP
            media = RtpMedia(story)
        media.story.datagrams = True
        self._orphans.append(_Orphan(media, client, server))
        return self._orphans[-1]

    def finish(self) -> None:
        """Take note that no more packets come."""
        order = sorted(self._held.values(), key=lambda h: (_media_receiver(h) is None, h.flow.uid))
        for held in order:
            if held.flow.uid in self._held:
                self._adopt(held)
        for session in self._sessions.values():
            for media in session.all_media:
                media.finish()
        for orphan in self._orphans:
            orphan.media.finish()


def _ports(ports: tuple[int, ...]) -> tuple[int, ...]:
    """Ports of RTP and RTCP: where only one is named, the next one is RTCP's [RFC 3550 11]."""
    return (*ports, ports[0] + 1) if len(ports) == 1 else ports


def _end(flow: Flow, client: Endpoint) -> Endpoint:
    """The client's end of a flow."""
    return flow.a if flow.a.address == client.address else flow.b


def _media_receiver(held: _Held) -> Endpoint | None:
    """Who gets the ASF packets of a flow; None where there are none, or too few to tell."""
    packets: Counter[Endpoint] = Counter()
    begin: set[Endpoint] = set()
    for receiver, message in held.items:
        if isinstance(message, RtpPackets):
            packets[receiver] += len(message.packets)
            if asf_beginnings(message.packets, message.data).any():
                begin.add(receiver)
    return next((receiver for receiver in packets if receiver in begin and packets[receiver] > 1), None)


def _sources(held: _Held) -> set[int]:
    """SSRCs that a flow names."""
    found: set[int] = set()
    for _, message in held.items:
        found |= _named(message)
    return found


def _named(message: RtpPackets | RtcpPacket) -> set[int]:
    """SSRCs that a message names."""
    if isinstance(message, RtpPackets):
        return set(np.unique(message.packets["ssrc"]).tolist())
    values = (message.fields.get(name) for name in ("ssrc", "source"))
    return {value for value in values if isinstance(value, int)}


def _tell_rtcp(story: Story, packet: RtcpPacket, *, from_client: bool) -> None:
    """Tell of an RTCP packet; one that merely names its sender only if it is a player's."""
    if packet.kind == "SourceDescription":
        return
    at = packet.at
    side = "client" if from_client else "server"
    here = At(direction="client" if side == "client" else "server", offset=0, frame=at.frame, ts=at.ts)
    story.tell(f"Rtcp{packet.kind.replace(' ', '')}", here, packet.fields)


Heard = tuple[int, int, int, Message]


def in_order(heard: Sequence[Heard]) -> list[Heard]:
    """Messages by frame; blocks of RTP datagrams are cut where a control message of RTSP comes between."""
    frames = np.unique(
        [h[0] for h in heard if h[2] >= 0 and isinstance(h[3], Request | Response)] or [0]
    ).astype(np.int64)
    found: list[Heard] = []
    for frame, number, uid, message in heard:
        if uid >= 0 or not isinstance(message, RtpPackets):
            found.append((frame, number, uid, message))
            continue
        packets = message.packets
        cuts = np.searchsorted(packets["frame"], frames)
        for part in np.split(packets, np.unique(cuts)):
            if len(part):
                first = part[0]
                at = At(
                    direction=message.at.direction,
                    offset=0,
                    frame=int(first["frame"]),
                    ts=int(first["ts"]),
                )
                found.append((at.frame, number, uid, replace(message, at=at, packets=part)))
    found.sort(key=lambda h: h[:3])
    return found
