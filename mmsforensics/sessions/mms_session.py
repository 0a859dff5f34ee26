"""The story of an MMS session over TCP or UDP (MS-MMSP 3.1, 3.2).

Rules of this file:

* a Data packet belongs to the header while one is awaited (from ReadBlock or StreamChange on) and the packet
  can be a part of it; everything else is media. AFFlags, LocationId and the incarnation alone tell
  nothing: real peers mix them up;
* an EndOfStream that answers a StopPlaying is no end of the content [2.2.4.5];
* over UDP the end of the control connection is not the end of the data.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from mmsforensics.protocols import (
    CutPacket,
    DataPackets,
    Hole,
    Malformed,
    Message,
    MmsMessage,
    Overlap,
    StreamEnd,
)
from mmsforensics.protocols.messages import At
from mmsforensics.sessions import automaton
from mmsforensics.sessions.media import ASF_HEADER_GUID, Medium
from mmsforensics.sessions.story import Story
from mmsforensics.sessions.wording import hresult_name

MMS_PORT = 1755
PACKET_PAIR_LOCATIONS = (0xF0F0F000, 0xF0F0F001)
PACKET_PAIR_FLAGS = 0x10
PACKET_PAIR_INCARNATION = 0xFF
STREAM_CHANGE_INCARNATION = 0xFF

_FUNNEL = re.compile(r"\\\\(.+)\\(TCP|UDP)\\([0-9]{1,5})$", re.IGNORECASE)
_GUID = re.compile(r"\{[^{}]{8,64}\}")
_HOST = re.compile(r"Host:\s*([^\s;]+)", re.IGNORECASE)
_GUID_HEAD = int.from_bytes(ASF_HEADER_GUID[:8], "little")


def ip_text(address: bytes) -> str:
    """An address as text."""
    import ipaddress

    return str(ipaddress.ip_address(address))


class MmsSession:
    """Reads the messages of one MMS control connection, and of the UDP flow that goes with it."""

    def __init__(self, story: Story) -> None:
        self.story = story
        story.transport = "mmst"
        self.udp_port: int | None = None
        """Port at which the client wants UDP data, once it has said so."""
        self.ended = False
        """Whether the server's side of the control connection has ended."""
        self._awaiting = True
        self._header_incarnation = -1
        self._asked_udp = False
        self._answered = False  # whether any word of the server was captured
        self._stopping = False
        self._host = ""

    def take_datagrams(self, port: int) -> None:
        """Take UDP data at `port` for this session's, although the request for them was not captured."""
        self.udp_port = port
        self.story.transport = "mmsu"
        self._set_url()

    @property
    def medium_sent(self) -> Medium | None:
        """The medium that the next Data packets over TCP belong to, if nothing else can come."""
        story = self.story
        if self._awaiting or self.ended or story.media_wait or story.transport != "mmst":
            return None
        return story.medium

    def handle(self, message: Message) -> None:
        """Take the next message, in order of frames."""
        match message:
            case MmsMessage():
                self._command(message)
            case DataPackets():
                self._data(message)
            case CutPacket():
                self._cut(message)
            case Hole() | Malformed() | Overlap():
                self.story.anomaly(message)
            case StreamEnd():
                self.story.anomaly(message)
                self.ended |= message.at.direction == "server"
            case _:
                pass

    def _command(self, message: MmsMessage) -> None:
        fields = message.fields
        details = {"mid": message.mid, "size": message.size, **fields}
        hr = fields.get("hr", 0)
        self._answered |= message.at.direction == "server"
        failed = isinstance(hr, int) and bool(hr & 0x80000000)
        match message.name:
            case "Connect":
                self._identify(str(fields.get("subscriberName", "")))
            case "ConnectFunnel":
                self._funnel(str(fields.get("funnelName", "")))
            case "OpenFile":
                self._open(str(fields.get("fileName", "")))
            case "ReadBlock":
                self._awaiting = True
                incarnation = fields.get("playIncarnation")
                self._header_incarnation = incarnation & 0xFF if isinstance(incarnation, int) else -1
            case "StartPlaying" | "StartStriding":
                self._stopping = False
                if self.udp_port is not None and not self._answered:  # else it would not come to this
                    self.take_datagrams(self.udp_port)
            case "StopPlaying":
                self._stopping = True
                self.story.stopped_at = message.at
                self.story.advance("StopPlaying")
            case "CloseFile":
                self.story.stopped_at = self.story.stopped_at or message.at
                self.story.advance("CloseFile")
            case "ReportConnectedEX":
                self.story.server_version = str(fields.get("ServerVersionInfo", ""))
            case "ReportConnectedFunnel" if not failed:
                self.story.transport = "mmsu" if self._asked_udp else "mmst"
                self._set_url()
            case "ReportOpenFile" if not failed:
                size = fields.get("filePacketSize", 0)
                self.story.packet_size_hint = size if isinstance(size, int) else 0
                self.story.advance("ReportOpenFile")
            case "ReportStreamChange":
                self._awaiting = True
                self._header_incarnation = STREAM_CHANGE_INCARNATION
                self.story.new_content = True
                size = fields.get("cbPacketSize", 0)
                self.story.packet_size_hint = size if isinstance(size, int) else 0
            case "ReportEndOfStream" if not failed:
                self._end_of_stream(hr, message.at)
            case "ReportRedirect":
                self.story.advance("Redirect")
            case _:
                pass
        if failed:
            self.story.failure = hresult_name(hr)
            self.story.advance("Failure")
        self.story.tell(message.name, message.at, details)

    def _identify(self, subscriber: str) -> None:
        self.story.client_version = re.split(r"[;\n]", subscriber, maxsplit=1)[0].strip()
        guid = _GUID.search(subscriber)
        self.story.player_guid = guid[0] if guid else ""
        host = _HOST.search(subscriber)
        self._host = host[1] if host else ""
        self._set_url()

    def _funnel(self, name: str) -> None:
        found = _FUNNEL.match(name)
        self._asked_udp = found is not None and found[2].upper() == "UDP"
        if found is not None and self._asked_udp:
            self.udp_port = int(found[3])

    def _open(self, name: str) -> None:
        self.story.content_name = name
        self.story.new_content = True
        self.story.entry_ended &= self.story.medium is not None  # the end of what had no header
        self._set_url()

    def _set_url(self) -> None:
        server = self.story.server
        host = self._host
        if not host:
            host = ip_text(server.address)
            host = f"[{host}]" if ":" in host else host
            if server.port != MMS_PORT:
                host = f"{host}:{server.port}"
        elif server.port != MMS_PORT and not re.search(r":[0-9]+$", host):
            host = f"{host}:{server.port}"
        scheme = "mmsu" if self.story.transport == "mmsu" else "mms"
        name = self.story.content_name
        self.story.url = f"{scheme}://{host}/{name.removeprefix('/')}" if name else f"{scheme}://{host}/"

    def _end_of_stream(self, hr: object, at: At) -> None:
        if self._stopping:
            self._stopping = False
            return
        self.story.entry_ended, self.story.ended_at = True, at
        self.story.advance("EndOfEntry" if hr == 1 else "EndOfStream")

    def _data(self, block: DataPackets) -> None:
        block = self._without_probes(block)
        n = len(block.packets)
        done = 0
        while done < n:
            if self._awaiting:
                done = self._header(block, done)
                if self._awaiting:
                    return
            rest = block.packets[done:]
            upto = self._next_header(rest, block)
            self.story.media(part_of(block, rest[:upto]))
            done += upto
            self._awaiting = done < n

    def _cut(self, packet: CutPacket) -> None:
        """Hand a hurt packet on, unless it is a probe or a part of the header that is awaited."""
        header = self._awaiting and packet.incarnation == self._header_incarnation
        if not header and packet.location not in PACKET_PAIR_LOCATIONS:
            self.story.cut(packet)

    def _header(self, block: DataPackets, begin: int) -> int:
        """Take header parts from packet `begin` on; returns the first packet that is none."""
        for i in range(begin, len(block.packets)):
            packet = block.packets[i]
            expected = int(packet["incarnation"]) == self._header_incarnation
            if not self.story.header_part(packet, block, expected=expected):
                if expected and self.story.parts.started:
                    continue  # a part that can't be used: its beginning was not captured
                self._awaiting = False
                return i
            if self.story.parts.done:
                self._awaiting = False
                return i + 1
        return len(block.packets)

    def _next_header(self, packets: NDArray[np.void], block: DataPackets) -> int:
        """Index of the first packet that begins a header after all, or their number."""
        start = packets["start"]
        long_enough = packets["size"] >= 16
        head = block.data[np.where(long_enough, start, 0)] == ASF_HEADER_GUID[0]
        for i in np.flatnonzero(long_enough & head):
            if block.data[start[i] : start[i] + 16].tobytes() == ASF_HEADER_GUID:
                return int(i)
        return len(packets)

    def _without_probes(self, block: DataPackets) -> DataPackets:
        packets = block.packets
        probes = packets["incarnation"] == PACKET_PAIR_INCARNATION
        if not probes.any():
            return block
        probes &= np.isin(packets["location"], PACKET_PAIR_LOCATIONS) & (
            packets["flags"] == PACKET_PAIR_FLAGS
        )
        if not probes.any():
            return block
        self.story.tell("PacketPair", block.at, {"packets": int(np.count_nonzero(probes))})
        return part_of(block, packets[~probes])


def part_of(block: DataPackets, packets: NDArray[np.void]) -> DataPackets:
    """The same block with some of its packets."""
    if len(packets) == len(block.packets):
        return block
    return DataPackets(
        at=block.at,
        kind=block.kind,
        packets=packets,
        data=block.data,
        base=block.base,
        pieces=block.pieces,
        reliable=block.reliable,
        inferred=block.inferred,
    )


__all__ = ["MmsSession", "automaton", "ip_text", "part_of"]
