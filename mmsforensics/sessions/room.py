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

from mmsforensics.protocols import (
    CutPacket,
    DataPackets,
    Malformed,
    Message,
    MmsMessage,
    Protocol,
    RtcpPacket,
    RtpPackets,
)
from mmsforensics.protocols.datagrams import DATAGRAM_DECODERS, DatagramDecoder, recognise_datagrams
from mmsforensics.protocols.messages import Direction
from mmsforensics.protocols.middle import LARGEST_STEP, LINKS
from mmsforensics.sessions import steady
from mmsforensics.sessions.carving import CarvedFiles, CarvedStream
from mmsforensics.sessions.connection import Connection
from mmsforensics.sessions.documents import Document
from mmsforensics.sessions.exchange import document_url
from mmsforensics.sessions.fetching import Fetches
from mmsforensics.sessions.http_session import HttpSessions
from mmsforensics.sessions.joining import HttpJoining
from mmsforensics.sessions.mms_session import MmsSession
from mmsforensics.sessions.model import Recorder
from mmsforensics.sessions.msbd_session import MsbdSession
from mmsforensics.sessions.order import Heard, cut_at_commands
from mmsforensics.sessions.redirections import redirection_of
from mmsforensics.sessions.rtsp_room import RtspRoom, in_order
from mmsforensics.sessions.rtsp_session import RtspSession
from mmsforensics.sessions.stations import Station, Stations, is_multicast
from mmsforensics.sessions.story import Story
from mmsforensics.sessions.witness import Witness
from mmsforensics.streams import PIECE, Datagrams, FlowSummary, FlowWatch, InOrder, Policy, Predicted
from mmsforensics.streams.flow import Endpoint, Flow, FlowPackets
from mmsforensics.streams.keeping import copy_payloads

UDP = 17

HELD_LIMIT = 4 << 20
"""Bytes of UDP data held for a control connection or a header that comes later, as it does where it is known
from another tap whose clock is behind; beyond it they are taken for a session whose control was not
captured, if they agree."""

HELD_MESSAGES = 1024
"""The same, in blocks and requests: small ones are looked at again and again."""

Datagram = DataPackets | CutPacket | MmsMessage | Malformed
"""What UDP carries of MMS: data for the client, and its requests to send some again."""


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

    def __init__(
        self, recorder: Recorder, policy: Policy = Policy.FIRST, stations: Iterable[Station] = ()
    ) -> None:
        self._recorder = recorder
        self._witness = Witness(recorder)
        self._policy = policy
        self._watches: dict[int, FlowWatch] = {}
        self._seen_as: dict[int, tuple[str, Endpoint | None]] = {}  # protocol and client of each flow
        self._carried: dict[int, list[Story]] = {}  # sessions of each flow
        self._noted: dict[int, int] = {}  # how many of a reader's sessions are among these
        self._connections: dict[int, Connection] = {}
        self._mms: dict[int, MmsSession] = {}
        self._between: dict[tuple[bytes, bytes], list[MmsSession]] = {}  # by client's and server's address
        self._of_client: dict[bytes, list[MmsSession]] = {}  # by client's address
        self._readers: dict[int, Reader] = {}
        self._done: set[int] = set()
        self._heard_of: set[int] = set()  # connections of which packets came in the last batch
        self._laid: list[Story] = []  # sessions whose media came the short way in it
        self._given_up: list[int] = []
        self._stories: list[Story] = []
        self._fetches = Fetches()
        self._joining = HttpJoining(self._new_story)
        self._rtsp = RtspRoom(self._new_story, self._carries)
        self._udp_decoders: dict[int, DatagramDecoder] = {}
        self._udp_flows: dict[int, tuple[Flow, Endpoint]] = {}
        self._held: list[tuple[Flow, Endpoint, Datagram, bool]] = []  # and whether a session knows
        self._udp_protocols: dict[int, Protocol] = {}
        self._stations = Stations(recorder, self._new_story, self._carries_multicast, stations)

    def feed(self, batch: Iterable[FlowPackets | InOrder]) -> None:
        """Take the wanted packets of one batch."""
        heard: list[Heard] = []
        waiting = self._heard_of = set()  # connections whose messages are still to be told
        for packets in batch:
            if isinstance(packets, InOrder):
                self._in_order(packets, heard, waiting)
                continue
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
                waiting.add(uid)
                if connection.hopeless:
                    self._forget(uid)
                    self._given_up.append(uid)
            else:
                watch.see(packets, watch.checks(packets))
            self._report(watch)
        if heard:
            self._dispatch(heard)
        for story in self._laid:
            story.count.settle()
        self._laid.clear()

    def _in_order(self, packets: InOrder, heard: list[Heard], waiting: set[int]) -> None:
        """Take bytes of a connection that came on the fast path."""
        uid = packets.uid
        self._report(self._watches[uid])
        if not len(packets.run.data):
            return
        connection = self._connections[uid]
        session = self._mms.get(uid) if uid not in waiting else None
        if session is not None and steady.take(connection, session, packets):
            self._laid.append(session.story)
            return
        _add(heard, uid, connection.in_order(packets.run.copy()))
        waiting.add(uid)

    def predicted(self) -> list[Predicted]:
        """Connections of the last batch that carry media: of what comes next is known all but the bytes."""
        found = []
        for uid in sorted(self._heard_of):
            connection, session = self._connections.get(uid), self._mms.get(uid)
            if connection is None or session is None or session.medium_sent is None:
                continue
            predicted = connection.predicted
            if predicted is not None and session.medium_sent.steady:
                found.append(predicted)
        return found

    def given_up(self) -> list[int]:
        """Flows that turned out to be nothing known since the last call."""
        given_up, self._given_up = self._given_up, []
        strangers = self._rtsp.given_up()
        for uid in strangers:
            self._forget(uid)
            self._readers.pop(uid, None)
        return given_up + strangers

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
        self._stations.finish()
        self._rtsp.finish()
        for uid, client in self._rtsp.seen_as.items():
            self._seen_as[uid] = Protocol.RTSP.value, client
        for uid in list(self._connections):
            self._forget(uid)
        for uid in sorted(self._watches):
            self._tell_flow(self._watches[uid])
        self._witness.finish()
        for story in self._stories:
            story.finish()

    def _tell_flow(self, watch: FlowWatch) -> None:
        summary = watch.finish()
        self._report(watch)
        uid = watch.flow.uid
        protocol, client = self._seen_as.get(uid, ("unknown", None))
        stories = self._carried.get(uid, [])
        for story in stories:
            story.delivered(_client_word(summary, _receiver(story, watch.flow, client)))
        receivers = {_receiver(story, watch.flow, client) for story in stories} or {client}
        receiver = receivers.pop() if len(receivers) == 1 else None  # a file server's may go both ways
        self._recorder.flow(summary, [s.number for s in stories], protocol, client, receiver)

    def _carries(self, uid: int, story: Story) -> None:
        """Note that a flow belongs to a session."""
        stories = self._carried.setdefault(uid, [])
        if story not in stories:
            stories.append(story)

    def _carries_multicast(self, flow: Flow, group: Endpoint, story: Story) -> None:
        """Note that a flow to a group belongs to a session; the group stands for the client."""
        self._carries(flow.uid, story)
        self._seen_as[flow.uid] = (story.transport, group)

    def _forget(self, uid: int) -> None:
        connection = self._connections.pop(uid, None)
        self._witness.close(uid)
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
                receiver = packets.flow.b if side == 0 else packets.flow.a
                spoken = recognise_datagrams(datagrams, multicast=is_multicast(receiver.address))
                self._udp_decoders[uid] = DATAGRAM_DECODERS[spoken]()
                self._udp_protocols[uid] = spoken
            for message in self._udp_decoders[uid].feed(datagrams, "server"):
                heard.append((message.at.frame, len(heard), uid, message))
            self._udp_flows[uid] = (
                packets.flow,
                packets.flow.b if side == 0 else packets.flow.a,
            )

    def _dispatch(self, heard: list[Heard]) -> None:
        heard = in_order(cut_at_commands(heard))
        control = False  # whether a control connection has spoken since data were last claimed
        for _, _, uid, message in heard:
            if uid < 0 and self._udp_protocols[uid] in (Protocol.MSB, Protocol.MSBD):
                self._stations.hear(*self._udp_flows[uid], message, self._udp_protocols[uid].value)
            elif uid < 0:
                if control and self._held:
                    self._claim_held()
                control = False
                flow, receiver = self._udp_flows[uid]
                self._udp_message(flow, receiver, message)
            else:
                self._tcp_message(uid, message)
                control = True
        self._claim_held()
        for story in self._stories:
            story.count.settle()
        self._close_ended()

    def _tcp_message(self, uid: int, message: Message) -> None:
        reader = self._readers.get(uid)
        if reader is None:
            reader = self._readers[uid] = self._reader(uid, self._connections[uid])
        elif isinstance(reader, MmsSession) and reader.is_over_by(message):
            reader.close()
            reader = self._readers[uid] = self._reader(uid, self._connections[uid])
            self._noted.pop(uid, None)
        reader.handle(message)
        if isinstance(reader, RtspSession):
            self._rtsp.heard(uid)
        self._witness.hear(uid, message, reader, self._connections[uid])
        for story in reader.stories[self._noted.get(uid, 0) :]:
            self._carries(uid, story)
        self._noted[uid] = len(reader.stories)

    def _reader(self, uid: int, connection: Connection) -> Reader:
        """Who reads the messages of a connection, by its protocol."""
        client, server, first_frame = connection.client, connection.server, connection.flow.first_frame
        if connection.protocol is Protocol.MMS:
            return self._mms_session(uid, self._new_story(client, server, first_frame))
        if connection.protocol is Protocol.MSBD:
            return MsbdSession(self._new_story(client, server, first_frame), self._stations.announce)
        if connection.protocol is Protocol.RTSP:
            return self._rtsp.session(uid, client, server, first_frame, self._document)
        if connection.protocol is Protocol.RAW:
            return CarvedStream(client, server, first_frame, self._new_story)
        if connection.protocol is Protocol.SMB:
            return CarvedFiles(client, server, first_frame, self._new_story)
        return HttpSessions(
            client,
            server,
            first_frame,
            self._joining.find,
            self._document,
            self._recorder.redirection,
            self._fetches,
            lambda story: self._carries(uid, story),
            self._new_story,
        )

    def _mms_session(self, uid: int, story: Story) -> MmsSession:
        session = self._mms[uid] = MmsSession(story)
        self._between.setdefault((story.client.address, story.server.address), []).append(session)
        self._of_client.setdefault(story.client.address, []).append(session)
        return session

    def _document(self, document: Document) -> None:
        """Read a text that travelled beside media."""
        self._witness.read(document)
        self._stations.document(document)
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

    def _udp_message(self, flow: Flow, receiver: Endpoint, message: Message, *, known: bool = False) -> None:
        if isinstance(message, RtpPackets | RtcpPacket):
            self._rtsp.datagrams(flow, receiver, message)
            return
        if isinstance(message, MmsMessage | Malformed):
            receiver = flow.a if receiver == flow.b else flow.b  # the client, who sent it
        elif not isinstance(message, DataPackets | CutPacket):
            return
        self._datagram(flow, receiver, message, known=known)

    def _datagram(self, flow: Flow, client: Endpoint, message: Datagram, *, known: bool = False) -> None:
        session = self._claimant(flow, client, message)
        waits = (
            isinstance(message, DataPackets) and session is not None and session.story.lacks_header(message)
        )
        if session is not None and not waits:
            waited = session.story.medium is None
            self._claimed(session, flow, client, message)
            if waited and session.story.medium is not None:
                self._claim_held()  # before what comes next: the order of sending is that of the first packet
                session.story.media_wait = False
            return
        if isinstance(message, DataPackets) and session is not None and not known:
            session.story.wait(message)
        self._held.append((flow, client, message, session is not None))
        size = sum(len(h[2].data) for h in self._held if isinstance(h[2], DataPackets | CutPacket))
        if size > HELD_LIMIT or len(self._held) > HELD_MESSAGES:
            self._adopt()

    def _claimed(self, session: MmsSession, flow: Flow, client: Endpoint, message: Datagram) -> None:
        """Hand what came over UDP to its session."""
        self._carries(flow.uid, session.story)
        self._seen_as[flow.uid] = (Protocol.MMS.value, client)
        if isinstance(message, MmsMessage):
            session.asked_again(message, client.address)
        else:
            session.handle(message)

    def _adopt(self) -> None:
        """Hold UDP data no longer: nothing that would explain them came.

        Those that a session asked for are its media, without a header; of the others those that agree among
        themselves are media.
        """
        held, self._held = self._held, []
        streams: dict[tuple[int, Endpoint], list[Datagram]] = {}
        for flow, receiver, block, _ in held:
            streams.setdefault((flow.uid, receiver), []).append(block)
        flows = {flow.uid: flow for flow, _, _, _ in held}
        only_requests = [k for k, v in streams.items() if not any(isinstance(b, DataPackets) for b in v)]
        for uid, receiver in [*(k for k in streams if k not in only_requests), *only_requests]:
            blocks = streams[uid, receiver]
            session = self._claimant(flows[uid], receiver, blocks[0])
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
        known = [s for s in self._between.get(ends, []) if s.story.received == 0]
        unasked = [s for s in known if s.udp_port is None]
        known = unasked or known  # a port that was asked for and got nothing may have been changed on the way
        if len(known) == 1:
            session = known[0]
        else:
            story = self._new_story(receiver, sender, flow.first_frame)
            story.proto = UDP
            session = self._mms_session(_udp_key(flow, int(receiver == flow.b)), story)
        session.take_datagrams(receiver.port)
        return session

    def _claimant(self, flow: Flow, client: Endpoint, message: Datagram) -> MmsSession | None:
        """The session that a datagram from or for a client belongs to: the newest, if several may be it."""
        server = flow.a if client == flow.b else flow.b
        between = self._between.get((client.address, server.address), [])[::-1]
        if not between and isinstance(message, DataPackets | CutPacket):
            return self._from_elsewhere(client, server, message)
        there = [s for s in between if s.udp_port == client.port]
        if isinstance(message, MmsMessage):
            number = message.fields["dwClientId"]
            mine = [s for s in there or between if s.client_id in (None, number)]
            ours = mine or [s for s in reversed(self._mms.values()) if s.is_told(server, number)]
            return next(iter(ours), None)
        if len(there) > 1 and isinstance(message, DataPackets):
            incarnation = int(message.packets["incarnation"][0])
            there = [s for s in there if s.asked_for(incarnation)] or there
        return there[0] if there else None

    def _from_elsewhere(
        self, client: Endpoint, sender: Endpoint, message: DataPackets | CutPacket
    ) -> MmsSession | None:
        """The session of data from an address of no control connection, as where servers share the load.

        They are those of the newest session that named the port and asked for their incarnation, unless its
        own server sends there.
        """
        number = int(message.packets["incarnation"][0]) if isinstance(message, DataPackets) else None
        asked = [
            s
            for s in reversed(self._of_client.get(client.address, []))
            if s.udp_port == client.port and (number is None or s.asked_for(number))
        ]
        session = asked[0] if asked else None
        return session if session is not None and session.takes_from(sender, message.at) else None

    def _claim_held(self) -> None:
        held, self._held = self._held, []
        for flow, client, message, known in held:
            self._datagram(flow, client, message, known=known)

    def _close_ended(self) -> None:
        """Finish the media of connections that have ended; UDP data may follow their control connection."""
        for reader in self._readers.values():
            if reader.ended:
                reader.close()
        for uid in [u for u, c in self._connections.items() if c.ended]:
            self._forget(uid)
            self._readers.pop(uid, None)


def _receiver(story: Story, flow: Flow, client: Endpoint | None) -> Endpoint | None:
    """Which end of a flow gets a session's media; who got a file that was carved may be the server."""
    ends = (flow.a, flow.b)
    client = story.client if story.client in ends else client
    if client is None or story.media_side == "server":
        return client
    return flow.b if client == flow.a else flow.a


def _client_word(summary: FlowSummary, client: Endpoint | None) -> tuple[int, int] | None:
    """Of what the server sent: bytes acknowledged and not captured, bytes captured and not acknowledged."""
    server = summary.sides[1 if client == summary.flow.a else 0]
    if client is None or server.acked_unseen is None or server.seen_unacked is None:
        return None
    return server.acked_unseen, server.seen_unacked


def _frames(message: Datagram) -> NDArray[np.int64]:
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
