"""The sessions of captures that belong together: connections decoded, their messages told as stories.

Rules of this file:

* the messages of all flows of a batch are put in the order of their frames before any story hears them:
  a command decides what the data behind it mean, on whichever flow they come;
* sessions are numbered in the order in which they are recognised.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mmsforensics.protocols import DataPackets, Message, Protocol, decode_datagrams
from mmsforensics.sessions import automaton
from mmsforensics.sessions.connection import Connection
from mmsforensics.sessions.http_session import Exchange, HttpSessions, exchange_url
from mmsforensics.sessions.mms_session import MmsSession
from mmsforensics.sessions.model import Recorder
from mmsforensics.sessions.story import Story
from mmsforensics.streams import PIECE, Datagrams
from mmsforensics.streams.flows import Endpoint, Flow, FlowPackets, copy_payloads

UDP = 17

JOIN_WITHIN_NS = 60_000_000_000
"""A connection that plays joins one that described the same URL at most this long ago. Players reconnect at
once; a minute leaves room for a slow one, and keeps two viewings of one URL apart."""

HELD_LIMIT = 4 << 20
"""Bytes of UDP data held for a control connection or a header that comes later, as it does where it is known
from another tap whose clock is behind."""

Heard = tuple[int, int, int, Message]


class SessionRoom:
    """Turns the packets of wanted flows into sessions."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._connections: dict[int, Connection] = {}
        self._mms: dict[int, MmsSession] = {}
        self._http: dict[int, HttpSessions] = {}
        self._done: set[int] = set()
        self._stories: list[Story] = []
        self._described: dict[tuple[bytes, bytes, int, str], Story] = {}
        self._udp_flows: dict[int, tuple[Flow, Endpoint]] = {}
        self._held: list[tuple[Flow, Endpoint, DataPackets, bool]] = []  # and whether a session knows

    def feed(self, batch: Iterable[FlowPackets]) -> None:
        """Take the wanted packets of one batch."""
        heard: list[Heard] = []
        for packets in batch:
            uid = packets.flow.uid
            if packets.flow.proto == UDP:
                self._datagrams(packets, heard)
            elif uid not in self._done:
                connection = self._connections.get(uid)
                if connection is None:
                    connection = self._connections[uid] = Connection(packets.flow)
                _add(heard, uid, connection.feed(packets))
                if connection.hopeless:
                    self._forget(uid)
        self._dispatch(heard)

    def finish(self) -> None:
        """Take note that the capture ends; tells every session."""
        heard: list[Heard] = []
        for uid, connection in self._connections.items():
            _add(heard, uid, connection.finish())
        self._dispatch(heard)
        for flow, receiver, block, _ in self._held:
            self._let_go(flow, receiver, block)
        for story in self._stories:
            story.finish()

    def _forget(self, uid: int) -> None:
        self._connections.pop(uid, None)
        self._done.add(uid)

    def _datagrams(self, packets: FlowPackets, heard: list[Heard]) -> None:
        rows = packets.rows
        filled = rows["payload_len"] > 0
        for side in (0, 1):
            mine = np.flatnonzero(filled & (packets.direction == side))
            if not len(mine):
                continue
            length = rows["payload_len"][mine].astype(np.int64)
            data, start = copy_payloads(packets.data, packets.start[mine], length)
            pieces = np.empty(len(mine), dtype=PIECE)
            pieces["offset"], pieces["length"] = start, length
            pieces["ts"], pieces["frame"] = rows["ts"][mine], rows["frame"][mine]
            pieces["frame_offset"] = rows["payload"][mine]
            datagrams = Datagrams(data, pieces, rows["payload_wire"][mine])
            _add(heard, _udp_key(packets.flow, side), decode_datagrams(datagrams, "server"))
            self._udp_flows[_udp_key(packets.flow, side)] = (
                packets.flow,
                packets.flow.b if side == 0 else packets.flow.a,
            )

    def _dispatch(self, heard: list[Heard]) -> None:
        heard.sort(key=lambda h: h[:3])
        control = False  # whether a control connection has spoken since data were last claimed
        for _, _, uid, message in heard:
            if uid < 0:
                if control and self._held:
                    self._claim_held()
                control = False
                flow, receiver = self._udp_flows[uid]
                self._udp_message(flow, receiver, message)
            else:
                self._tcp_message(uid, message)
                control = True
        self._claim_held()
        self._close_ended()

    def _tcp_message(self, uid: int, message: Message) -> None:
        if uid in self._mms:
            self._mms[uid].handle(message)
        elif uid in self._http:
            self._http[uid].handle(message)
        else:
            connection = self._connections[uid]
            if connection.protocol is Protocol.MMS:
                story = self._new_story(connection.client, connection.server, connection.flow.first_frame)
                self._mms[uid] = MmsSession(story)
            else:
                self._http[uid] = HttpSessions(
                    connection.client, connection.server, connection.flow.first_frame, self._find_story
                )
            self._tcp_message(uid, message)

    def _new_story(self, client: Endpoint, server: Endpoint, first_frame: int) -> Story:
        story = Story(self._recorder, len(self._stories) + 1, client, server, first_frame)
        self._recorder.begin(story.number, first_frame)
        self._stories.append(story)
        return story

    def _find_story(self, exchange: Exchange, client: Endpoint, server: Endpoint, first_frame: int) -> Story:
        """The session an exchange belongs to: one that has described the same content, or a new one."""
        key = (client.address, server.address, server.port, exchange_url(exchange, server, "mmsh"))
        known = self._described.get(key)
        first = exchange.request or exchange.response
        if known is not None and first is not None:
            near = first.at.ts - known.end_ts <= JOIN_WITHIN_NS
            same_player = not exchange.guid or not known.player_guid or exchange.guid == known.player_guid
            same_connection = known.first_frame == first_frame
            # A POST (log, stop, keep-alive) belongs to what was played; a GET begins a viewing of its own.
            reports = exchange.request is not None and exchange.request.method == "POST"
            waiting = reports or (known.received == 0 and known.phase != automaton.FAILED)
            if same_connection or (near and same_player and waiting):
                return known
        story = self._new_story(client, server, first_frame)
        self._described[key] = story
        return story

    def _udp_message(self, flow: Flow, receiver: Endpoint, message: Message, *, known: bool = False) -> None:
        if not isinstance(message, DataPackets) or not len(message.packets):
            return
        session = self._claimant(flow, receiver)
        if session is not None and not session.story.lacks_header(message):
            waited = session.story.medium is None
            session.handle(message)
            if waited and session.story.medium is not None:
                self._claim_held()  # before what comes next: the order of sending is that of the first packet
                session.story.media_wait = False
            return
        if session is not None and not known:
            session.story.wait(message)
        self._held.append((flow, receiver, message, session is not None))
        while sum(len(h[2].data) for h in self._held) > HELD_LIMIT:
            self._let_go(*self._held.pop(0)[:3])

    def _let_go(self, flow: Flow, receiver: Endpoint, message: DataPackets) -> None:
        """Hold data no longer: nothing that would explain them came."""
        session = self._claimant(flow, receiver)
        if session is not None:
            session.handle(message)
        else:
            self._recorder.unclaimed(message.packets["frame"])

    def _claimant(self, flow: Flow, receiver: Endpoint) -> MmsSession | None:
        """The session that asked for UDP data at this endpoint: the newest, if several did."""
        for session in reversed(self._mms.values()):
            story = session.story
            if session.udp_port == receiver.port and story.client.address == receiver.address:
                sender = flow.a if receiver == flow.b else flow.b
                if sender.address == story.server.address:
                    return session
        return None

    def _claim_held(self) -> None:
        held, self._held = self._held, []
        for flow, receiver, message, known in held:
            self._udp_message(flow, receiver, message, known=known)

    def _close_ended(self) -> None:
        """Finish the media of connections that have ended; UDP data may follow their control connection."""
        for session in self._mms.values():
            if session.ended and session.story.transport != "mmsu":
                session.story.close_medium()
        for http in self._http.values():
            if http.ended:
                http.close()
        for uid in [u for u, c in self._connections.items() if c.ended]:
            self._forget(uid)
            self._http.pop(uid, None)


def _udp_key(flow: Flow, side: int) -> int:
    """A key below zero, apart from the uids of TCP flows, for one direction of a UDP flow."""
    return -1 - 2 * flow.uid - side


def _add(heard: list[Heard], uid: int, messages: Iterable[Message]) -> None:
    for message in messages:
        heard.append((message.at.frame, len(heard), uid, message))
