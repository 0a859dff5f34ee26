"""What MMS and HTTP sessions have in common: events, media, counts, the phase."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mmsforensics.protocols import CutPacket, DataPackets, Hole, Malformed, Overlap, StreamEnd
from mmsforensics.protocols.messages import At
from mmsforensics.sessions import automaton
from mmsforensics.sessions.media import ASF_HEADER_GUID, HeaderParts, Medium
from mmsforensics.sessions.model import Event, Recorder, SessionSummary
from mmsforensics.sessions.verdict import REASONS, Reason
from mmsforensics.sessions.wording import summarise
from mmsforensics.streams.flows import Endpoint


def plain(value: object) -> object:
    """A field's value as JSON can hold it: bytes in hex, numbers beyond JSON as text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float) and (not math.isfinite(value) or abs(value) > 1e300):
        return repr(value)
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value


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
        self.media_bytes = 0
        self.received = 0
        self.missing = 0
        self.acked_unseen: int | None = None
        self.seen_unacked: int | None = None
        self.stray = 0
        self._unplayed: list[Medium] = []
        self._played: set[bytes] = set()
        self._last_packet: tuple[At, int] | None = None
        self._closed_by: list[tuple[int, str, str]] = []
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
        self._incarnation = -1  # of the media that came last

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
                self._closed_by.append((at.frame, at.direction, message.reason))
                self.tell(
                    "StreamEnd",
                    at,
                    {**where, "side": at.direction, "reason": message.reason, "bytes_left": message.left},
                )

    def _hole(self, message: Hole | Malformed) -> None:
        """Tell the medium; what the client sent is none of it."""
        if self.medium is not None and message.at.direction == "server":
            self.medium.hole(message)

    def cut(self, packet: CutPacket) -> None:
        """Take what was seen of a media packet that a hole has hurt."""
        if self.medium is not None:
            self.medium.cut(packet)

    def header_part(self, packet: np.void, block: DataPackets, *, expected: bool) -> bool:
        """Take a part of a header. Returns False when the packet can't be one."""
        if self.parts.done:
            self.parts = HeaderParts()
        if not self.parts.add(packet, block, expected=expected):
            return False
        if self.parts.done:
            self._header_done(block.at, packet)
        return True

    def _header_done(self, at: At, packet: np.void) -> None:
        here = At(direction=at.direction, offset=at.offset, frame=int(packet["frame"]), ts=int(packet["ts"]))
        same = self.medium is not None and self.medium.header_bytes == self.parts.data
        if not same or self.new_content:
            # Over UDP the header may be known later than the end: from another tap, whose clock is ahead.
            late = self.medium is None and self.transport == "mmsu" and self.entry_ended
            self.close_medium(follows=True)
            self.entry_ended = late
            self.medium = Medium(
                self.recorder, self.number, self.parts, self.content_name or self.url, self.packet_size_hint
            )
            self.new_content = False
        assert self.medium is not None
        header = self.medium.header
        self.advance("AsfHeader")
        self.tell(
            "AsfHeader",
            here,
            {
                "size": len(self.medium.header_bytes),
                "packet_size": header.packet_size,
                "streams": len(header.streams),
                "title": header.title,
                "problems": [f"{p.expected}; found {p.found}" for p in header.problems],
            },
        )

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
        self._plays(block)

    def _plays(self, block: DataPackets) -> None:
        before, self._incarnation = self._incarnation, int(block.packets["incarnation"][-1])
        late = not block.reliable and self._incarnation == before  # of a play that may be over
        if late and self.phase in (automaton.STOPPED, automaton.COMPLETED):
            return
        self.advance("Media")
        self._closed_by.clear()  # a connection that only described may have closed before
        self.stopped_at = None

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
            self._plays(block)
        self.received += len(block.packets)
        self.media_bytes += int(block.packets["size"].sum())
        medium = self.medium
        if medium is None or (medium.packet_size == 0 and not medium.bare):
            medium = self._without_header(here, len(block.packets))
        elif not medium.bare and medium.packets == 0 and self._last_packet is None:
            self.tell("FirstMediaPacket", here, {"location": int(first["location"])})
        medium.add(block)
        end = At(
            direction=block.at.direction, offset=block.at.offset, frame=int(last["frame"]), ts=int(last["ts"])
        )
        self.saw(end)
        self._last_packet = (end, int(last["location"]))

    def _without_header(self, here: At, packets: int) -> Medium:
        """Begin a medium of packets alone: its header was not captured, or does not say their size."""
        self.close_medium()
        self.tell("MediaWithoutHeader", here, {"packets": packets})
        name = self.content_name or self.url
        self.medium = Medium(self.recorder, self.number, HeaderParts(), name, self.packet_size_hint)
        return self.medium

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
        if medium.packets:
            self._played.add(medium.header_bytes)
        elif not medium.bare:
            self._unplayed.append(medium)
        self.missing += medium.packets_missing
        if medium.rejected and self._last_packet is not None:
            self.tell("PacketTooLarge", self._last_packet[0], {"packets": medium.rejected})
        if self._last_packet is not None:
            at, location = self._last_packet
            self.tell("LastMediaPacket", at, {"location": location, "packets": medium.packets})
            self._last_packet = None

    def _ending(self, *, ended: bool, follows: bool) -> Reason:
        """How the sending of the medium at hand came to its end."""
        if ended:
            frame = self.ended_at.frame if self.ended_at is not None else 0
            return Reason("end of stream", REASONS["end of stream"], frame=frame)
        if self.stopped_at is not None:
            return Reason("client stopped", REASONS["client stopped"], frame=self.stopped_at.frame)
        if self._closed_by:
            frame, side, how = min(self._closed_by)
            word = how if how in REASONS else f"{side} closed"
            return Reason(word, REASONS[word], frame=frame)
        word = "next content" if follows else "end not seen"
        return Reason(word, REASONS[word])

    def finish(self) -> None:
        """Finish the session; a header that was never played is kept by itself, once."""
        self.close_medium()
        for medium in self._unplayed:
            if medium.header_bytes not in self._played:
                medium.keep_header()
                self._played.add(medium.header_bytes)
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
                packets_received=self.received,
                packets_missing=self.missing,
                gap_bytes=self.gap_bytes,
                acked_unseen=self.acked_unseen,
                seen_unacked=self.seen_unacked,
            )
        )

    def outcome(self) -> str:
        """The word for how the session came out."""
        if self.phase == automaton.FAILED and self.failure:
            return f"failed: {self.failure}"
        if self.phase != automaton.PLAYING or not self._closed_by:
            return automaton.OUTCOMES[self.phase]
        _, side, reason = min(self._closed_by)
        if reason == "capture ended":
            return "capture ended"
        if reason == "reset":
            return "reset"
        return "stopped by client" if side == "client" else "closed by server"
