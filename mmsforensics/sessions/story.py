"""What MMS and HTTP sessions have in common: events, media, counts, the phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf import Header, script_commands
from mmsforensics.protocols import (
    CutPacket,
    DataPackets,
    Hole,
    Malformed,
    MmsMessage,
    Overlap,
    StreamEnd,
)
from mmsforensics.protocols.detect import ASF_HEADER_GUID
from mmsforensics.protocols.messages import UNKNOWN_LOCATION, At, Direction
from mmsforensics.sessions import automaton
from mmsforensics.sessions.header_parts import HeaderParts
from mmsforensics.sessions.media import Medium
from mmsforensics.sessions.media_count import MediaCount
from mmsforensics.sessions.model import Event, Recorder, SessionSummary
from mmsforensics.sessions.msb_order import RestoredPacket
from mmsforensics.sessions.push import ENDINGS, PushedNumbers
from mmsforensics.sessions.redirections import script_kind, told_to_go
from mmsforensics.sessions.verdict import REASONS, Reason
from mmsforensics.sessions.wmsp_telling import Selection
from mmsforensics.sessions.wording import plain, summarise
from mmsforensics.streams.flow import Endpoint

UDP = 17

MOST_COMMANDS = 4096
"""Script commands of a header that are followed; encoders write some dozen."""


def numbered(location: int) -> int | None:
    """The number of a media packet, where its protocol gives one."""
    return None if location == UNKNOWN_LOCATION else location


class Story:
    """One session as it unfolds."""

    def __init__(
        self, recorder: Recorder, number: int, client: Endpoint, server: Endpoint, first_frame: int
    ) -> None:
        self.recorder = recorder
        self.number = number
        self.client = client
        self.server = server
        self.first_frame = first_frame
        self.proto = 6
        """Of the flow that carried the control messages, or where these were not captured, the data."""
        self.transport = ""
        self.url = ""
        self.client_version = ""
        self.server_version = ""
        self.player_guid = ""
        self.start_ts: int | None = None
        self.end_ts = 0
        self.phase = automaton.BEGUN
        self.gap_bytes = 0
        self.medium: Medium | None = None
        self.parts = HeaderParts()
        self.received = 0
        self.packets = 0
        self.media_bytes = 0
        self.missing = 0
        self.acked_unseen: int | None = None
        self.seen_unacked: int | None = None
        self.stray = 0
        self._unplayed: list[Medium] = []
        self._played: set[bytes] = set()
        self._last_packet: tuple[At, int] | None = None
        self._closed_by: list[tuple[int, str, str, int]] = []  # frame, side, how, connection's first frame
        self.failure = ""
        """Why the server refused, in words."""
        self.content_name = ""
        """What the client asked for last."""
        self.packet_size_hint = 0
        """Packet size by the control messages, 0 when they do not say."""
        self.new_content = False
        """Whether the next header begins a new medium even if it equals the last one."""
        self.entry_ended = False
        """Whether the server said that it had sent all of the medium that is open."""
        self.ended_at: At | None = None
        """Where it said so."""
        self.stopped_at: At | None = None
        """Where the client stopped, if nothing was sent since."""
        self.media_wait = False
        """Whether media have come that wait for their header."""
        self.media_side: Direction = "server"
        """Who sends the media."""
        self.asked = ""
        """The URL by which other connections are joined."""
        self.connections: set[int] = set()
        """First frames of the connections that are part of it."""
        self.tokens: set[str] = set()
        """Numbers by which client and server name it."""
        self.challenged = False
        """Whether the client was asked last who it is."""
        self.carried_by = 0
        """First frame of the connection that carries the media, 0 before there are any."""
        self.ends_with = 0
        """First frame of the connection whose end is that of the media; 0 where there is but one."""
        self.played_on = 0
        """First frame of the connection on which a Play is running, 0 if there is none."""
        self.selection = Selection()
        self.pushed = PushedNumbers()
        self.count = MediaCount()
        self.first_media_ts: int | None = None
        self.datagrams = False
        """Whether media come in datagrams that are put in order before they are told of."""
        self._incarnation = -1  # of the media that came last
        self.resend_requests = 0
        """Packets that the client asked to be sent again."""
        self.packets_resent = 0
        """Packets that came once they had been asked for again."""
        self._sparse = False  # whether the play at hand leaves packets out by its nature
        self._next_sequence = -1  # of the datagrams behind the media that are finished
        self._next_reliable = -1  # and of packets that come over TCP

    def saw(self, at: At) -> None:
        """Widen the session's time to a message."""
        if self.start_ts is None or at.ts < self.start_ts:
            self.start_ts = at.ts
        self.end_ts = max(self.end_ts, at.ts)

    def tell(self, event: str, at: At, details: Mapping[str, object]) -> None:
        """Record an event."""
        self.saw(at)
        safe = {k: plain(v) for k, v in details.items()}
        self.recorder.event(
            self.number,
            Event(
                ts=at.ts,
                frame=at.frame,
                direction=at.direction,
                event=event,
                summary=summarise(event, safe),
                details=safe,
            ),
        )

    def advance(self, event: str) -> None:
        """Change the phase."""
        self.phase = automaton.advance(self.phase, event)

    def anomaly(self, message: Hole | Malformed | Overlap | StreamEnd) -> None:
        """Record what is missing, wrong or over."""
        at = message.at
        where: dict[str, object] = {"stream_offset": at.offset}
        match message:
            case Hole():
                self.gap_bytes += message.length
                self._hole(message)
                self.tell("Gap", at, {**where, "length": message.length, "packets_cut": message.packets_cut})
            case Malformed():
                self._hole(message)
                self.tell(
                    "Malformed",
                    at,
                    {**where, "length": message.length, "expected": message.expected, "found": message.found},
                )
            case Overlap():
                self.tell(
                    "OverlapConflict",
                    at,
                    {**where, "length": message.length, "kept_frame": message.kept_frame},
                )
            case StreamEnd():
                self.ends(message)

    def ends(self, message: StreamEnd, connection: int = 0) -> None:
        """Record that a direction is over; `connection` is the first frame of one that may be of several."""
        at = message.at
        if not at.frame:  # nothing of that direction was captured
            return
        self._closed_by.append((at.frame, at.direction, message.reason, connection))
        details = {"stream_offset": at.offset, "side": at.direction, "reason": message.reason}
        self.tell("StreamEnd", at, {**details, "bytes_left": message.left})

    def _first_end(self) -> tuple[int, str, str] | None:
        """Frame, side and way of the first end of the connection that carried the media."""
        mine = [found[:3] for found in self._closed_by if self.ends_with in (0, found[3])]
        return min(mine, default=None)

    def carry(self, first_frame: int) -> None:
        """Take note that media come on a connection.

        It may go on with what another one carried, but for what was sent to its end.
        """
        before, self.carried_by = self.carried_by, first_frame
        self.ends_with = first_frame
        if self.medium is None or before in (0, first_frame):
            return
        if self.entry_ended:
            self.close_medium()
        else:
            self.medium.new_play()

    def _hole(self, message: Hole | Malformed) -> None:
        """Tell the medium; what the other side sent is none of it."""
        if self.medium is not None and message.at.direction == self.media_side:
            self.medium.hole(message)

    def cut(self, packet: CutPacket) -> None:
        """Take what was seen of a media packet that a hole has hurt."""
        if self.medium is not None:
            self.medium.cut(packet if self.medium.numbered else replace(packet, location=self.pushed.next))

    def header_part(self, packet: np.void, block: DataPackets, *, expected: bool) -> bool:
        """Take a part of a header. Returns False when the packet can't be one."""
        if self.parts.done:
            self.parts = HeaderParts()
        if not self.parts.add(packet, block, expected=expected):
            return False
        if self.parts.done:
            at, frame, ts = block.at, int(packet["frame"]), int(packet["ts"])
            self._header_done(At(direction=at.direction, offset=at.offset, frame=frame, ts=ts))
        return True

    def whole_header(self, parts: HeaderParts, at: At) -> None:
        """Take a header that came whole, as text."""
        self.parts = parts
        self._header_done(at)

    def _header_done(self, here: At) -> None:
        same = self.medium is not None and self.medium.header_bytes == self.parts.data
        if not same or self.new_content:
            # Over UDP the header may be known later than the end: from another tap, whose clock is ahead.
            late = self.medium is None and self.transport == "mmsu" and self.entry_ended
            self.close_medium(follows=True)
            self.entry_ended = late
            self.medium = self._medium(self.parts)
            self.new_content = False
            self.commanded(self.medium.header, here)
        self.advance("AsfHeader")
        self._tell_header(here, {})

    def _tell_header(self, at: At, more: Mapping[str, object]) -> None:
        assert self.medium is not None
        header = self.medium.header
        self.tell(
            "AsfHeader",
            at,
            {
                **more,
                "size": len(self.medium.header_bytes),
                "packet_size": header.packet_size,
                "streams": len(header.streams),
                "title": header.title,
                "problems": [f"{p.expected}; found {p.found}" for p in header.problems],
            },
        )

    def given_header(self, header: HeaderParts, at: At) -> None:
        """Begin a medium whose header came apart from it, whole."""
        self.close_medium(follows=True)
        name = self.content_name or self.url
        self.medium = Medium(self.recorder, self.number, header, name, self.packet_size_hint)
        self.new_content = False
        self.commanded(self.medium.header, at)
        self.advance("AsfHeader")
        self._tell_header(at, {"from": header.source} if header.source else {})

    def late_header(self, header: HeaderParts) -> None:
        """Take a header for the medium that is open, if that began without one."""
        if self.medium is not None and self.medium.bare:
            self.medium.late_header = header

    def restored(self, packet: RestoredPacket) -> None:
        """Take a media packet that was computed from parity."""
        if self.medium is not None:
            self.medium.restore(packet)

    def lacks_header(self, block: DataPackets) -> bool:
        """Whether no header is known of the packets of a block, and none begins in it."""
        if self.medium is not None or self.parts.started:
            return False
        start = block.packets["start"][block.packets["size"] >= len(ASF_HEADER_GUID)]
        likely = start[block.data[start] == ASF_HEADER_GUID[0]]
        return not any(block.data[at : at + 16].tobytes() == ASF_HEADER_GUID for at in likely.tolist())

    def wait(self, block: DataPackets) -> None:
        """Take note that media have come, which will be handed on when their header is known."""
        self.media_wait = True
        self._plays(int(block.packets["incarnation"][-1]), reliable=block.reliable)

    def _plays(self, incarnation: int, *, reliable: bool) -> None:
        before, self._incarnation = self._incarnation, incarnation
        datagrams = self.datagrams or not reliable
        late = datagrams and self._incarnation == before  # of a play that may be over
        if late and self.phase in (automaton.STOPPED, automaton.COMPLETED, automaton.FAILED):
            return
        self.advance("Media")
        self._closed_by.clear()  # a connection that only described may have closed before
        self.stopped_at = None

    def begin_play(self, *, sparse: bool) -> None:
        """Take note that the client asked for a play; a `sparse` one leaves packets out by its nature."""
        self._sparse = sparse
        self._incarnation = -1
        if self.medium is not None:
            self.medium.begin_play(sparse=sparse)

    def sent_elsewhere(self, at: At, kind: str, location: str) -> None:
        """Record where a message of this session, of this kind, sends the player."""
        if location:
            ends = self.client.address, self.server.address
            self.recorder.redirection(told_to_go(self.number, at, kind, location, self.url, *ends))

    def commanded(self, header: Header, at: At) -> None:
        """Record where the script commands of a header send the player."""
        for command in script_commands(header)[:MOST_COMMANDS]:
            if kind := script_kind(command.type):
                self.sent_elsewhere(at, kind, command.value)

    def asked_again(self, message: MmsMessage) -> None:
        """Take note that the client asked for packets again, and of what the capture held of them."""
        numbers = message.fields["dwBeginPacketList"]
        assert isinstance(numbers, tuple)
        self.resend_requests += len(numbers)
        details: dict[str, object] = dict(message.fields)
        if self.medium is not None:
            captured, not_captured = self.medium.asked_again(numbers)
            details |= {"captured_before": captured, "not_captured_before": not_captured}
        self.tell(message.name, message.at, details)

    def media(self, block: DataPackets) -> None:
        """Take media packets, in order of arrival."""
        if not len(block.packets):
            return
        first, last = block.packets[0], block.packets[-1]
        here = At(
            direction=block.at.direction,
            offset=block.at.offset,
            frame=int(first["frame"]),
            ts=int(first["ts"]),
        )
        if not self.media_wait:  # else that was told when they came
            self._plays(int(block.packets["incarnation"][-1]), reliable=block.reliable)
        self.received += len(block.packets)
        self.count.add(block.packets)
        self.first_media_ts = here.ts if self.first_media_ts is None else self.first_media_ts
        medium = self.medium
        if medium is None or (medium.packet_size == 0 and not medium.bare):
            medium = self._without_header(here, len(block.packets))
        elif not medium.bare and medium.packets == 0 and self._last_packet is None:
            self.tell("FirstMediaPacket", here, {"location": numbered(int(first["location"]))})
        medium.add(block)
        end = At(
            direction=block.at.direction, offset=block.at.offset, frame=int(last["frame"]), ts=int(last["ts"])
        )
        self.saw(end)
        self._last_packet = (end, int(last["location"]))

    def late(self, block: DataPackets) -> None:
        """Take datagrams of the content before, which came too late for it."""
        self.received += len(block.packets)
        if self.medium is not None:
            self.medium.order.late += len(block.packets)

    def laid(self, packets: NDArray[np.void]) -> None:
        """Take note of media packets over TCP, of dtype MEDIA_PACKET, that the medium has already."""
        last = packets[-1]
        self._plays(int(last["incarnation"]), reliable=True)
        self.count.add(packets)
        self.received += len(packets)
        # No event tells the offset.
        end = At(direction="server", offset=0, frame=int(last["frame"]), ts=int(last["ts"]))
        self.saw(end)
        self._last_packet = (end, int(last["location"]))

    def _without_header(self, here: At, packets: int) -> Medium:
        """Begin a medium of packets alone: its header was not captured, or does not say their size."""
        self.close_medium()
        self.tell("MediaWithoutHeader", here, {"packets": packets})
        self.medium = self._medium(HeaderParts())
        return self.medium

    def _medium(self, parts: HeaderParts) -> Medium:
        medium = Medium(
            self.recorder,
            self.number,
            parts,
            self.content_name or self.url,
            self.packet_size_hint,
            first_sequence=self._next_sequence,
            next_sequence=self._next_reliable,
        )
        medium.numbered = self.transport != "push"
        if self._sparse:
            medium.begin_play(sparse=True)
        return medium

    def resumed(self) -> None:
        """Take note that another connection goes on with what one has left off."""
        self._closed_by.clear()

    def delivered(self, word: tuple[int, int] | None) -> None:
        """Take the client's word of one of the session's connections.

        Bytes acknowledged and not captured, bytes captured and not acknowledged; None where no
        acknowledgement was captured.
        """
        if word is not None:
            self.acked_unseen = (self.acked_unseen or 0) + word[0]
            self.seen_unacked = (self.seen_unacked or 0) + word[1]

    def close_medium(self, *, follows: bool = False) -> None:
        """Finish the medium that is open; `follows` says that another content begins."""
        medium, self.medium = self.medium, None
        ended, self.entry_ended = self.entry_ended, False
        ending = self._ending(ended=ended, follows=follows)
        self.ended_at = self.stopped_at = None
        if medium is None:
            return
        medium.close(ended=ended, endings=(ending,))
        self._next_sequence = medium.order.next_sequence
        self._next_reliable = medium.next_sequence
        self.packets_resent += medium.order.resends.copies
        if medium.packets:
            self._played.add(medium.header_bytes)
        elif not medium.bare:
            self._unplayed.append(medium)
        self.packets += medium.packets
        self.media_bytes += medium.bytes
        self.missing += medium.packets_missing
        if medium.rejected and self._last_packet is not None:
            self.tell("PacketTooLarge", self._last_packet[0], {"packets": medium.rejected})
        if medium.order.late and self._last_packet is not None:
            self.tell("LatePackets", self._last_packet[0], {"packets": medium.order.late})
        if self._last_packet is not None:
            at, location = self._last_packet
            self.tell("LastMediaPacket", at, {"location": numbered(location), "packets": medium.packets})
            self._last_packet = None

    def _ending(self, *, ended: bool, follows: bool) -> Reason:
        """How the sending of the medium at hand came to its end."""
        if ended:
            frame = self.ended_at.frame if self.ended_at is not None else 0
            return Reason("end of stream", self._meaning("end of stream"), frame=frame)
        if self.stopped_at is not None:
            return Reason("client stopped", REASONS["client stopped"], frame=self.stopped_at.frame)
        first_end = self._first_end()
        if first_end is not None:
            frame, side, how = first_end
            word = how if how in REASONS else f"{side} closed"
            return Reason(word, self._meaning(word), frame=frame)
        word = "next content" if follows else "end not seen"
        return Reason(word, REASONS[word])

    def _meaning(self, word: str) -> str:
        """What a reason says here, by who sends the media."""
        return ENDINGS.get(word, REASONS[word]) if self.media_side == "client" else REASONS[word]

    def finish(self) -> None:
        """Finish the session; a header that was never played is kept by itself, once."""
        self.close_medium()
        kept: dict[bytes, Medium] = {}
        for medium in self._unplayed:  # one that was played, though nothing of it is whole, says more
            known = kept.get(medium.header_bytes)
            if known is None or medium.packets_missing > known.packets_missing:
                kept[medium.header_bytes] = medium
        for header, medium in kept.items():
            if header not in self._played:
                medium.keep_header()
        self.recorder.session(
            SessionSummary(
                number=self.number,
                proto=self.proto,
                transport=self.transport,
                client_ip=self.client.address,
                client_port=self.client.port,
                server_ip=self.server.address,
                server_port=self.server.port,
                url=self.url,
                client_version=self.client_version,
                server_version=self.server_version,
                player_guid=self.player_guid,
                first_frame=self.first_frame,
                start_ts=self.start_ts or 0,
                end_ts=self.end_ts,
                outcome=self.outcome(),
                media_bytes=self.media_bytes,
                packets_received=self.packets,
                packets_missing=self.missing,
                gap_bytes=self.gap_bytes,
                acked_unseen=self.acked_unseen,
                seen_unacked=self.seen_unacked,
                resend_requests=self.resend_requests if self.transport == "mmsu" else None,
                packets_resent=self.packets_resent if self.transport == "mmsu" else None,
            )
        )

    def outcome(self) -> str:
        """The word for how the session came out."""
        if self.phase == automaton.FAILED and self.failure:
            return f"failed: {self.failure}"
        if self.phase == automaton.PLAYING and self.transport in ("msb", "msbd") and self.proto == UDP:
            return "end not seen"  # a multicast has no word for it
        first_end = self._first_end()
        if self.phase != automaton.PLAYING or first_end is None:
            return automaton.OUTCOMES[self.phase]
        _, side, reason = first_end
        if reason == "capture ended":
            return "capture ended"
        if reason == "reset":
            return "reset"
        return "stopped by client" if side == "client" else "closed by server"
