"""The sessions of captures that belong together: connections decoded, their messages told as stories.

Rules of this file:

* the messages of all flows of a batch are put in the order of their frames before any story hears them:
  a command decides what the data behind it mean, on whichever flow they come;
* sessions are numbered in the order in which they are recognised.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol as Interface

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols import CutPacket, DataPackets, Message, Protocol
from mmsforensics.protocols.datagrams import DATAGRAM_DECODERS, DatagramDecoder, recognise_datagrams
from mmsforensics.protocols.messages import Direction
from mmsforensics.protocols.middle import LARGEST_STEP, LINKS
from mmsforensics.sessions import automaton
from mmsforensics.sessions.carving import CarvedFiles, CarvedStream
from mmsforensics.sessions.connection import Connection
from mmsforensics.sessions.documents import Document
from mmsforensics.sessions.fetching import Fetches
from mmsforensics.sessions.http_session import Exchange, HttpSessions, document_url, exchange_url
from mmsforensics.sessions.mms_session import MmsSession
from mmsforensics.sessions.model import Recorder
from mmsforensics.sessions.redirections import redirection_of
from mmsforensics.sessions.story import Story
from mmsforensics.streams import PIECE, Datagrams, FlowSummary, FlowWatch, Policy
from mmsforensics.streams.flows import Endpoint, Flow, FlowPackets, copy_payloads

UDP = 17

JOIN_WITHIN_NS = 60_000_000_000
"""A connection that plays joins one that described the same URL at most this long ago. Players reconnect at
once; a minute leaves room for a slow one, and keeps two viewings of one URL apart."""

HELD_LIMIT = 4 << 20
"""Bytes of UDP data held for a control connection or a header that comes later, as it does where it is known
from another tap whose clock is behind; beyond it they are taken for a session whose control was not
captured, if they agree."""

Heard = tuple[int, int, int, Message]


class Reader(Interface):
    """Reads the messages of one TCP connection."""

    stories: list[Story]
    """Sessions that it carries."""
    ended: bool
    """Whether the server's side has ended."""

    def handle(self, message: Message) -> None:
        """Take the next message, in order of frames."""

    def close(self) -> None:
        """Finish the media that the connection carried, as far as nothing of them can follow elsewhere."""


class SessionRoom:
    """Turns the packets of wanted flows into sessions."""

    def __init__(self, recorder: Recorder, policy: Policy = Policy.FIRST) -> None:
        self._recorder = recorder
        self._policy = policy
        self._watches: dict[int, FlowWatch] = {}
        self._seen_as: dict[int, tuple[str, Endpoint | None]] = {}  # protocol and client of each flow
        self._carried: dict[int, list[Story]] = {}  # sessions of each flow
        self._connections: dict[int, Connection] = {}
        self._mms: dict[int, MmsSession] = {}
        self._readers: dict[int, Reader] = {}
        self._done: set[int] = set()
        self._given_up: list[int] = []
        self._stories: list[Story] = []
        self._described: dict[tuple[bytes, bytes, int, str], Story] = {}
        self._fetches = Fetches()
        self._udp_decoders: dict[int, DatagramDecoder] = {}
        self._udp_flows: dict[int, tuple[Flow, Endpoint]] = {}
        self._held: list[
            tuple[Flow, Endpoint, DataPackets | CutPacket, bool]
        ] = []  # and whether a session knows

    def feed(self, batch: Iterable[FlowPackets]) -> None:
        """Take the wanted packets of one batch."""
        heard: list[Heard] = []
        for packets in batch:
            uid = packets.flow.uid
            watch = self._watches.get(uid)
            if watch is None:
                watch = self._watches[uid] = FlowWatch(packets.flow)
            if packets.flow.proto == UDP:
                watch.see(packets, watch.checks(packets))
                self._datagrams(packets, heard)
            elif uid not in self._done:
                connection = self._connections.get(uid)
                if connection is None:
                    connection = self._connections[uid] = Connection(packets.flow, watch, self._policy)
                _add(heard, uid, connection.feed(packets))
                if connection.hopeless:
                    self._forget(uid)
                    self._given_up.append(uid)
            else:
                watch.see(packets, watch.checks(packets))
            self._report(watch)
        self._dispatch(heard)

    def given_up(self) -> list[int]:
        """Flows that turned out to be nothing known since the last call."""
        given_up, self._given_up = self._given_up, []
        return given_up

    def _report(self, watch: FlowWatch) -> None:
        """Hand on what is odd about a flow's traffic."""
        rows = watch.told()
        if len(rows):
            self._recorder.anomalies(watch.flow, rows)
        for side, conflict in watch.contested():
            self._recorder.conflict(watch.flow, side, conflict)

    def finish(self) -> None:
        """Take note that the capture ends; tells every session."""
        heard: list[Heard] = []
        for uid, connection in self._connections.items():
            _add(heard, uid, connection.finish())
        self._dispatch(heard)
        self._adopt()
        self._fetches.finish()
        for uid in list(self._connections):
            self._forget(uid)
        for uid in sorted(self._watches):
            self._tell_flow(self._watches[uid])
        for story in self._stories:
            story.finish()

    def _tell_flow(self, watch: FlowWatch) -> None:
        summary = watch.finish()
        self._report(watch)
        uid = watch.flow.uid
        protocol, client = self._seen_as.get(uid, ("unknown", None))
        stories = self._carried.get(uid, [])
        for story in stories:
            here = story.client in (watch.flow.a, watch.flow.b)  # who got a file may be the server
            story.delivered(_client_word(summary, story.client if here else client))
        self._recorder.flow(summary, [s.number for s in stories], protocol, client)

    def _carries(self, uid: int, story: Story) -> None:
        """Note that a flow belongs to a session."""
        stories = self._carried.setdefault(uid, [])
        if story not in stories:
            stories.append(story)

    def _forget(self, uid: int) -> None:
        connection = self._connections.pop(uid, None)
        if connection is not None and connection.protocol is not None:
            self._seen_as[uid] = (connection.protocol.value, connection.client)
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
            uid = _udp_key(packets.flow, side)
            if uid not in self._udp_decoders:
                self._udp_decoders[uid] = DATAGRAM_DECODERS[recognise_datagrams(datagrams)]()
            for message in self._udp_decoders[uid].feed(datagrams, "server"):
                heard.append((message.at.frame, len(heard), uid, message))
            self._udp_flows[uid] = (
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
        reader = self._readers.get(uid)
        if reader is None:
            reader = self._readers[uid] = self._reader(uid, self._connections[uid])
        reader.handle(message)
        for story in reader.stories:
            self._carries(uid, story)

    def _reader(self, uid: int, connection: Connection) -> Reader:
        """Who reads the messages of a connection, by its protocol."""
        client, server, first_frame = connection.client, connection.server, connection.flow.first_frame
        if connection.protocol is Protocol.MMS:
            self._mms[uid] = MmsSession(self._new_story(client, server, first_frame))
            return self._mms[uid]
        if connection.protocol is Protocol.RAW:
            return CarvedStream(client, server, first_frame, self._new_story)
        if connection.protocol is Protocol.SMB:
            return CarvedFiles(client, server, first_frame, self._new_story)
        return HttpSessions(
            client,
            server,
            first_frame,
            self._find_story,
            self._document,
            self._recorder.redirection,
            self._fetches,
            lambda story: self._carries(uid, story),
        )

    def _document(self, document: Document) -> None:
        """Read a text that travelled beside media."""
        redirection = redirection_of(document, document_url(document))
        if redirection is not None:
            self._recorder.redirection(redirection)
            if document.story is not None:
                document.story.advance("Redirect")

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
        if not isinstance(message, DataPackets | CutPacket):
            return
        session = self._claimant(flow, receiver)
        waits = (
            isinstance(message, DataPackets) and session is not None and session.story.lacks_header(message)
        )
        if session is not None and not waits:
            waited = session.story.medium is None
            self._claimed(session, flow, receiver, message)
            if waited and session.story.medium is not None:
                self._claim_held()  # before what comes next: the order of sending is that of the first packet
                session.story.media_wait = False
            return
        if isinstance(message, DataPackets) and session is not None and not known:
            session.story.wait(message)
        self._held.append((flow, receiver, message, session is not None))
        if sum(len(h[2].data) for h in self._held) > HELD_LIMIT:
            self._adopt()

    def _claimed(
        self, session: MmsSession, flow: Flow, receiver: Endpoint, message: DataPackets | CutPacket
    ) -> None:
        """Hand UDP data to their session."""
        self._carries(flow.uid, session.story)
        self._seen_as[flow.uid] = (Protocol.MMS.value, receiver)
        session.handle(message)

    def _adopt(self) -> None:
        """Hold UDP data no longer: nothing that would explain them came.

        Those that a session asked for are its media, without a header; of the others those that agree among
        themselves are media.
        """
        held, self._held = self._held, []
        streams: dict[tuple[int, Endpoint], list[DataPackets | CutPacket]] = {}
        for flow, receiver, block, _ in held:
            streams.setdefault((flow.uid, receiver), []).append(block)
        flows = {flow.uid: flow for flow, _, _, _ in held}
        for (uid, receiver), blocks in streams.items():
            session = self._claimant(flows[uid], receiver)
            packets = [block.packets for block in blocks if isinstance(block, DataPackets)]
            if session is None and packets and agree(np.concatenate(packets)):
                session = self._without_control(flows[uid], receiver)
            if session is None:
                self._recorder.unclaimed(np.concatenate([_frames(block) for block in blocks]))
                continue
            session.story.media_wait = False
            for block in blocks:
                self._claimed(session, flows[uid], receiver, block)

    def _without_control(self, flow: Flow, receiver: Endpoint) -> MmsSession:
        """The session of datagrams that nobody asked for: the only one that may be it, or a new one."""
        sender = flow.a if receiver == flow.b else flow.b
        ends = receiver.address, sender.address
        known = [
            s
            for s in self._mms.values()
            if s.udp_port is None
            and s.story.received == 0
            and (s.story.client.address, s.story.server.address) == ends
        ]
        if len(known) == 1:
            session = known[0]
        else:
            session = MmsSession(self._new_story(receiver, sender, flow.first_frame))
            session.story.proto = UDP
            self._mms[_udp_key(flow, int(receiver == flow.b))] = session
        session.take_datagrams(receiver.port)
        return session

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
        for reader in self._readers.values():
            if reader.ended:
                reader.close()
        for uid in [u for u, c in self._connections.items() if c.ended]:
            self._forget(uid)
            self._readers.pop(uid, None)


def _client_word(summary: FlowSummary, client: Endpoint | None) -> tuple[int, int] | None:
    """Of what the server sent: bytes acknowledged and not captured, bytes captured and not acknowledged."""
    server = summary.sides[1 if client == summary.flow.a else 0]
    if client is None or server.acked_unseen is None or server.seen_unacked is None:
        return None
    return server.acked_unseen, server.seen_unacked


def _frames(message: DataPackets | CutPacket) -> NDArray[np.int64]:
    """Frames of the datagrams that a message is made of."""
    if isinstance(message, DataPackets):
        return message.packets["frame"].astype(np.int64)
    return np.array([message.at.frame], dtype=np.int64)


def agree(packets: NDArray[np.void]) -> bool:
    """Whether Data packets agree as a stream: most follow the one before by sequence and LocationId."""
    flags, location, incarnation = (
        np.diff(packets[name].astype(np.int64)) for name in ("flags", "location", "incarnation")
    )
    links = ((flags == 1) | (flags == -255)) & (location > 0) & (location <= LARGEST_STEP)
    count = int(np.count_nonzero(links & (incarnation == 0)))
    return len(packets) >= LINKS and count >= max(LINKS - 1, len(links) // 2)


def _udp_key(flow: Flow, side: int) -> int:
    """A key below zero, apart from the uids of TCP flows, for one direction of a UDP flow."""
    return -1 - 2 * flow.uid - side


def _add(heard: list[Heard], uid: int, messages: Iterable[Message]) -> None:
    """Put messages of one connection among the others; late frames leave a direction in its order."""
    reached: dict[Direction, int] = {}
    for message in messages:
        direction = message.at.direction
        frame = reached[direction] = max(message.at.frame, reached.get(direction, 0))
        heard.append((frame, len(heard), uid, message))
