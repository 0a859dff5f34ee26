"""What MMS and HTTP sessions have in common: events, media, counts, the phase."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mmsforensics.protocols import DataPackets, Hole, Malformed, Overlap, StreamEnd
from mmsforensics.protocols.messages import At
from mmsforensics.sessions import automaton
from mmsforensics.sessions.media import ASF_HEADER_GUID, HeaderParts, Medium
from mmsforensics.sessions.medium import PROVENANCE, MediumBlock, media_rows
from mmsforensics.sessions.model import Event, Recorder, SessionSummary
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
        self.stray = 0
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
                if self.medium is not None:
                    self.medium.hole(message.packets_cut)
                self.tell("Gap", at, {**where, "length": message.length, "packets_cut": message.packets_cut})
            case Malformed():
                if self.medium is not None:
                    self.medium.hole(message.packets_cut)
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
            self.close_medium()
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
        if self.medium is None or self.medium.packet_size == 0:
            self._without_header(block, here)
            return
        if self.medium.packets == 0 and self._last_packet is None:
            self.tell("FirstMediaPacket", here, {"location": int(first["location"])})
        self.medium.add(block)
        end = At(
            direction=block.at.direction, offset=block.at.offset, frame=int(last["frame"]), ts=int(last["ts"])
        )
        self.saw(end)
        self._last_packet = (end, int(last["location"]))

    def _without_header(self, block: DataPackets, here: At) -> None:
        if not self.stray:
            self.tell("MediaWithoutHeader", here, {"packets": len(block.packets)})
        self.stray += len(block.packets)
        self.recorder.stray_packets(
            self.number,
            MediumBlock(
                np.empty(0, dtype=np.uint8),
                media_rows(block.packets),
                np.empty(0, dtype=PROVENANCE),
            ),
        )

    def close_medium(self) -> None:
        """Finish the medium that is open."""
        medium, self.medium = self.medium, None
        ended, self.entry_ended = self.entry_ended, False
        if medium is None:
            return
        medium.close(ended=ended)
        self.missing += medium.packets_missing
        if medium.rejected and self._last_packet is not None:
            self.tell("PacketTooLarge", self._last_packet[0], {"packets": medium.rejected})
        if self._last_packet is not None:
            at, location = self._last_packet
            self.tell("LastMediaPacket", at, {"location": location, "packets": medium.packets})
            self._last_packet = None

    def finish(self) -> None:
        """Finish the session."""
        self.close_medium()
        self.recorder.session(
            SessionSummary(
                number=self.number,
                proto=6,
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
