"""Multicasts and the station files that describe them (MS-MSB).

Rules of this file:

* a session is one numbering (dwPacketID) that one sender sends to one group and port: a multicast has no
  client, so that the group stands for it; entries of the sender's playlist are media of that session;
* packets are a session when some of them agree, or a station file names their group, port and Format ID;
* the header is the one that a station file gives for group, port and Format ID. Where station files give
  different ones, that of the file whose Multicast Adapter is the sender counts, else none;
* a station file may come later than the packets: these wait for it, up to `HELD_LIMIT`.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsforensics.asf import parse_header
from mmsforensics.protocols import CutPacket, Malformed, Message, MsbBeacon, MsbPackets
from mmsforensics.protocols.detect import ASF_HEADER_GUID
from mmsforensics.protocols.msb import FORMAT_ID, LARGEST_STEP
from mmsforensics.protocols.nsc import StationFile, is_station_file, parse
from mmsforensics.sessions.documents import Document
from mmsforensics.sessions.exchange import document_url
from mmsforensics.sessions.header_parts import HeaderParts
from mmsforensics.sessions.mms_session import ip_text
from mmsforensics.sessions.model import Recorder
from mmsforensics.sessions.msb_order import LARGEST_LOSS, WINDOW
from mmsforensics.sessions.msb_player import MsbPlayer, stream_id_of
from mmsforensics.sessions.msbd_session import MsbdSession
from mmsforensics.sessions.story import Story
from mmsforensics.streams.flow import Endpoint, Flow

UDP = 17

LINKS = 3
"""Packets of one numbering that must follow each other before they are taken for media."""

MOST_LANES = 64
"""Numberings followed on one flow, media or not; hostile traffic alone has more than one or two."""

HELD_LIMIT = 16 << 20
"""Bytes of packets that wait for a station file; beyond it they are media without a header."""

MOST_STATIONS = 4096
"""Station files kept."""

Heard = MsbPackets | CutPacket
NewStory = Callable[[Endpoint, Endpoint, int], Story]
Carries = Callable[[Flow, Endpoint, Story], None]


@dataclass(frozen=True, slots=True)
class Station:
    """A station file, and what it is called in the case."""

    file: StationFile
    label: str

    def names(self, group: Endpoint) -> bool:
        """Whether it names a group and port."""
        return self.file.port == group.port and _packed(self.file.address) == group.address

    def headers(self, format_id: int) -> list[HeaderParts]:
        """The headers that it gives for a Format ID, as far as they are some."""
        return [
            HeaderParts.given(f.header, f"{self.label}, {f.name} (Format ID 0x{f.format_id:03X})")
            for f in self.file.formats
            if f.format_id == format_id
            and f.header[:16] == ASF_HEADER_GUID
            and parse_header(f.header).packet_size
        ]


def station_row(file: StationFile, *, url: str, whole: bool) -> dict[str, object]:
    """Columns of the table `stations`, but for those that say where it was found."""
    port = file.port
    return {
        "url": url,
        "whole": whole,
        "name": file.text("Name"),
        "address": file.address,
        "port": port,
        "multicast_adapter": file.text("Multicast Adapter"),
        "ttl": _u32(file.number("Time To Live")),
        "default_ecc": _u32(file.number("Default Ecc")),
        "log_url": file.text("Log URL"),
        "unicast_url": file.text("Unicast URL"),
        "formats": [
            f"{f.name}: Format ID 0x{f.format_id:03X}, header of {len(f.header)} bytes"
            + (f", {f.description}" if f.description else "")
            for f in file.formats
        ],
        "problems": list(file.problems),
        "details": json.dumps(dict(file.properties), sort_keys=True),
    }


def _u32(number: int | None) -> int | None:
    return number if number is not None and number < 1 << 32 else None


def _packed(address: str) -> bytes:
    try:
        return ipaddress.ip_address(address).packed
    except ValueError:
        return b""


def is_multicast(address: bytes) -> bool:
    """Whether an address is one of a group."""
    return ipaddress.ip_address(address).is_multicast


@dataclass(slots=True, eq=False)
class Lane:
    """One numbering on one flow."""

    flow: Flow
    group: Endpoint
    stream_id: int
    newest: int
    """dwPacketID that came last in order."""
    begun: int = 0
    """When its first packets came, and its last: a count of what was heard."""
    last: int = 0
    packets: int = 0
    story: Story | None = None
    player: MsbPlayer | None = None
    msbd: MsbdSession | None = None
    queue: list[Heard] = field(default_factory=list)
    """Packets that wait to be played."""

    @property
    def sender(self) -> Endpoint:
        """The end that sends."""
        return self.flow.a if self.group == self.flow.b else self.flow.b

    def step_to(self, packet_id: int) -> int:
        """How far a dwPacketID is from the newest one, over the wrap."""
        step = (packet_id - self.newest) & 0xFFFFFFFF
        return step - (1 << 32) if step >= 1 << 31 else step

    def reach(self, packet_ids: NDArray[np.uint32]) -> None:
        """Take note of more packets."""
        ahead = (packet_ids - np.uint32(self.newest & 0xFFFFFFFF)).view(np.int32)
        self.newest = (self.newest + max(int(ahead.max()), 0)) & 0xFFFFFFFF


def _size(message: Heard) -> int:
    if isinstance(message, MsbPackets):
        return int(message.block.packets["size"].sum())
    return len(message.data)


class Stations:
    """The station files that are known, and the multicasts of the capture."""

    def __init__(
        self, recorder: Recorder, new_story: NewStory, carries: Carries, given: Iterable[Station] = ()
    ) -> None:
        self._recorder = recorder
        self._new_story = new_story
        self._carries = carries
        self._stations = list(given)
        self._lanes: dict[tuple[int, Endpoint], list[Lane]] = {}
        self._announced: dict[Endpoint, list[MsbdSession]] = {}
        self._held = 0
        self._heard = 0

    def document(self, document: Document) -> None:
        """Read a body that came over HTTP, if it is a station file."""
        if not is_station_file(document.data):
            return
        file = parse(document.data)
        url = document_url(document)
        session = document.story.number if document.story is not None else None
        self._recorder.row(
            "stations", session, document.at.frame, station_row(file, url=url, whole=document.whole)
        )
        if document.story is not None:
            said = {"address": file.address, "port": file.port, "name": file.text("Name"), "url": url}
            document.story.tell("StationFile", document.at, said)
        if len(self._stations) < MOST_STATIONS:
            self._stations.append(Station(file, url))
        for lanes in self._lanes.values():
            for lane in lanes:
                self._advance(lane)

    def announce(self, group: Endpoint, session: MsbdSession) -> None:
        """Take note that a server of MS-MSBD will send to a group."""
        self._announced.setdefault(group, []).append(session)

    def hear(self, flow: Flow, group: Endpoint, message: Message, transport: str) -> None:
        """Take the next message of a flow to a group (or to one receiver)."""
        lanes = self._lanes.setdefault((flow.uid, group), [])
        self._heard += 1
        match message:
            case MsbPackets():
                packets = message.block.packets
                lane = self._lane(lanes, flow, group, message)
                lane.reach(packets["location"])
                lane.stream_id = message.stream_id
                lane.packets += len(packets)
                lane.last = self._heard
                self._take(lanes, lane, message, transport)
            case CutPacket():
                for lane in lanes:
                    if lane.stream_id == stream_id_of(message):
                        self._take(lanes, lane, message, transport)
                        break
                else:
                    self._recorder.unclaimed(np.array([message.at.frame]))
            case MsbBeacon():
                self._beacon(lanes, flow, group, message, transport)
            case Malformed():
                said = {"length": message.length, "expected": message.expected, "found": message.found}
                for lane in [lane for lane in lanes if lane.story is not None][:1]:
                    lane.story.tell("Malformed", message.at, said)  # type: ignore[union-attr]
            case _:
                pass

    def finish(self) -> None:
        """Play what still waits; no more packets come."""
        for lanes in self._lanes.values():
            for lane in lanes:
                self._advance(lane, wait=False)
                if lane.player is not None:
                    self._late_header(lane, lane.player)
                    lane.player.end()
                self._unclaimed(lane)
        for sessions in self._announced.values():
            for session in sessions:
                session.finish()

    def _lane(self, lanes: list[Lane], flow: Flow, group: Endpoint, message: MsbPackets) -> Lane:
        """The numbering that a block goes on with; a new one if none."""
        number = int(message.block.packets["location"][0])
        same = [lane for lane in lanes if lane.stream_id == message.stream_id]
        near = [lane for lane in same if abs(lane.step_to(number)) <= LARGEST_STEP]
        if not near:
            near = [lane for lane in lanes if lane not in same and 0 < lane.step_to(number) <= LARGEST_STEP]
        if near:
            return near[-1]
        lane = Lane(flow, group, message.stream_id, number, begun=self._heard)
        lanes.append(lane)
        strays = [lane for lane in lanes if lane.story is None]
        if len(strays) > MOST_LANES:
            self._give_up(lanes, strays[0])
        return lane

    def _take(self, lanes: list[Lane], lane: Lane, message: Heard, transport: str) -> None:
        lane.queue.append(message)
        self._held += _size(message)
        few = sum(other.story is not None for other in lanes) < MOST_LANES
        if few and lane.story is None and (lane.packets >= LINKS or self._expected(lanes, lane)):
            earlier = _goes_on_from(lanes, lane)
            if earlier is not None:
                lanes.remove(lane)
                earlier.queue += lane.queue
                earlier.newest, earlier.stream_id = lane.newest, lane.stream_id
                earlier.packets += lane.packets
                lane = earlier
            else:
                self._establish(lane, transport)
        self._advance(lane)
        if self._held > HELD_LIMIT:
            for others in self._lanes.values():
                for other in list(others):
                    self._advance(other, wait=False)
                    if other.story is None:
                        self._give_up(others, other)

    def _expected(self, lanes: list[Lane], lane: Lane) -> bool:
        """Whether a station file tells of a numbering, and nothing else on the flow can be that."""
        alone = all(other.story is None or other.packets == 0 for other in lanes)
        return alone and bool(self._headers(lane, lane.stream_id))

    def _establish(self, lane: Lane, transport: str) -> None:
        """Make a session of a numbering, or make it the media of the one that was told of it."""
        sessions = [
            s for s in self._announced.get(lane.group, []) if s.story.server.address == lane.sender.address
        ]
        if transport == "msbd" and sessions:
            lane.msbd = sessions[0]
            lane.story = lane.msbd.story
        else:
            lane.story = self._new_story(lane.group, lane.sender, lane.flow.first_frame)
            lane.story.transport, lane.story.proto = transport, UDP
            host = ip_text(lane.group.address)
            host = f"[{host}]" if ":" in host else host
            lane.story.url = f"{'asfm' if transport == 'msb' else 'msbd'}://{host}:{lane.group.port}"
        lane.player = MsbPlayer(lane.story, WINDOW)
        if lane.msbd is not None:
            lane.msbd.datagrams = lane.player
        self._carries(lane.flow, lane.group, lane.story)

    def _advance(self, lane: Lane, *, wait: bool = True) -> None:
        """Play what waits, as long as headers are known; without `wait` all of it."""
        player = lane.player
        if player is None:
            return
        done = 0
        for message in lane.queue:
            stream_id = message.stream_id if isinstance(message, MsbPackets) else stream_id_of(message)
            if stream_id != player.stream_id:
                headers = self._headers(lane, stream_id)
                if len(headers) != 1 and wait:
                    break
                if len(headers) > 1:
                    self._ambiguous(lane, stream_id, headers, message)
                self._late_header(lane, player)
                player.begin(stream_id, headers[0] if len(headers) == 1 else None, message.at)
            if isinstance(message, MsbPackets):
                player.play(message)
            else:
                player.cut(message)
            self._held -= _size(message)
            done += 1
        del lane.queue[:done]

    def _headers(self, lane: Lane, stream_id: int) -> list[HeaderParts]:
        """The different headers that are given for a wStreamID at the lane's group."""
        if lane.msbd is not None:
            parts = lane.msbd.headers.get(stream_id)
            if parts is not None:
                return [parts]
        stations = [s for s in self._stations if s.names(lane.group)]
        ours = [s for s in stations if _packed(s.file.text("Multicast Adapter")) == lane.sender.address]
        headers = _different(h for s in stations for h in s.headers(stream_id & FORMAT_ID))
        if len(headers) > 1:
            headers = _different(h for s in ours for h in s.headers(stream_id & FORMAT_ID)) or headers
        return headers

    def _late_header(self, lane: Lane, player: MsbPlayer) -> None:
        """Give the entry that ends the header that came too late for it."""
        headers = self._headers(lane, player.stream_id) if player.stream_id >= 0 else []
        if len(headers) == 1:
            player.flush()  # the first packets may still wait for those that they have overtaken
            player.story.late_header(headers[0])

    def _ambiguous(self, lane: Lane, stream_id: int, headers: list[HeaderParts], message: Heard) -> None:
        if lane.story is not None:
            said: Mapping[str, object] = {"wStreamID": stream_id, "stations": [h.source for h in headers]}
            lane.story.tell("StationsDisagree", message.at, said)

    def _beacon(
        self, lanes: list[Lane], flow: Flow, group: Endpoint, message: MsbBeacon, transport: str
    ) -> None:
        """Tell of beacons; to a group they are a session of a sender that has nothing to send."""
        lane = next((lane for lane in reversed(lanes) if lane.story is not None), None)
        if lane is None and is_multicast(group.address):
            lane = Lane(flow, group, -1, -1)
            self._establish(lane, transport)
            lanes.append(lane)
        if lane is not None and lane.story is not None:
            lane.story.tell("MsbBeacon", message.at, {"repeated": message.repeated})

    def _give_up(self, lanes: list[Lane], lane: Lane) -> None:
        """Let a numbering go that is no session."""
        lanes.remove(lane)
        self._held -= sum(_size(message) for message in lane.queue)
        self._unclaimed(lane)

    def _unclaimed(self, lane: Lane) -> None:
        """Count the packets of a numbering that were too few to be media."""
        if lane.story is None:
            for message in lane.queue:
                frames = (
                    message.block.packets["frame"] if isinstance(message, MsbPackets) else [message.at.frame]
                )
                self._recorder.unclaimed(np.asarray(frames, dtype=np.int64))


T = TypeVar("T", bound=HeaderParts)


def _different(headers: Iterable[T]) -> list[T]:
    """One of each header, the first."""
    found: dict[bytes, T] = {}
    for header in headers:
        found.setdefault(header.data, header)
    return list(found.values())


def _goes_on_from(lanes: list[Lane], lane: Lane) -> Lane | None:
    """The session that a numbering is the rest of: behind a long loss, or behind beacons.

    One that has gone on since is another.
    """
    (number,) = {
        int(m.block.packets["location"][0]) for m in lane.queue[:1] if isinstance(m, MsbPackets)
    } or {0}
    for other in reversed(lanes):
        if other is lane or other.story is None or other.last > lane.begun:
            continue
        if other.packets == 0 or 0 < other.step_to(number) <= LARGEST_LOSS:
            return other
    return None
