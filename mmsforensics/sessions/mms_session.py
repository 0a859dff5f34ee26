"""The story of an MMS session over TCP or UDP (MS-MMSP 3.1, 3.2).

Rules of this file:

* a Data packet belongs to the header while one is awaited (from ReadBlock or StreamChange on) and the packet
  can be a part of it; everything else is media. AFFlags, LocationId and the incarnation alone tell
  nothing: real peers mix them up;
* an EndOfStream that answers a StopPlaying is no end of the content [2.2.4.5];
* over UDP the end of the control connection is not the end of the data, and packets of the content before may
  come among the parts of a header;
* numbers of packets may jump where a play begins; a play that strides, or is thinned to key frames, leaves
  packets out throughout: what is missing of it the sequence numbers alone tell.
"""

from __future__ import annotations

import re
from collections import Counter

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
from mmsforensics.protocols.detect import ASF_HEADER_GUID
from mmsforensics.protocols.messages import At
from mmsforensics.sessions import automaton
from mmsforensics.sessions.media import Medium
from mmsforensics.sessions.story import Story
from mmsforensics.sessions.trick_play import KEY_FRAMES, attributes, selection, start_told
from mmsforensics.sessions.wording import hresult_name
from mmsforensics.streams.flow import Endpoint

MMS_PORT = 1755
PACKET_PAIR_LOCATIONS = (0xF0F0F000, 0xF0F0F001)
PACKET_PAIR_FLAGS = 0x10
PACKET_PAIR_INCARNATION = 0xFF
STREAM_CHANGE_INCARNATION = 0xFF

STRAY_AMONG_PARTS = 256
"""Datagrams taken for late media while a header is put together; then it is given up."""

_FUNNEL = re.compile(r"\\\\(.+)\\(TCP|UDP)\\([0-9]{1,5})$", re.IGNORECASE)
_GUID = re.compile(r"\{[^{}]{8,64}\}")
_HOST = re.compile(r"Host:\s*([^\s;]+)", re.IGNORECASE)


def ip_text(address: bytes) -> str:
    """An address as text."""
    import ipaddress

    return str(ipaddress.ip_address(address))


def url_host(named: str, server: Endpoint) -> str:
    """A server as a player names it, with a port or without, as it stands in a URL.

    An IPv6 address gets its brackets [RFC 3986 3.2.2]: FFmpeg and VLC leave them out.
    """
    if named.count(":") < 2 or named.startswith("["):
        return named
    host, _, port = named.rpartition(":")
    known = host == ip_text(server.address) or not _is_ipv6(named)
    if port == str(server.port) and known and _is_ipv6(host):
        return f"[{host}]:{port}"
    return f"[{named}]" if _is_ipv6(named) else named


def _is_ipv6(text: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False


class MmsSession:
    """Reads the messages of one MMS control connection, and of the UDP flow that goes with it."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.stories = [story]
        story.transport = "mmst"
        self.udp_port: int | None = None
        """Port at which the client wants UDP data, once it has said so."""
        self.ended = False
        """Whether the server's side of the control connection has ended."""
        self._awaiting = True
        self._header_incarnation = -1
        self._asked_udp = False
        self._answered = False  # whether any word of the server was captured
        self._asked = False  # and of the client: a tap of its own, with another clock, may give it later
        self._stopping = False
        self._host = ""
        self._stray = 0  # packets since the last part of a header that is not whole
        self._striding = False
        self._selected: dict[int, int] = {}  # thinning level of each stream that was named
        self._incarnations: set[int] = set()  # low bytes that the client's messages gave
        self._starts: Counter[int] = Counter()  # how often each was asked for
        self._played: set[int] = set()  # those of media of the content at hand
        self._played_before: set[int] = set()  # and of contents before it
        self._medium: Medium | None = None  # the content at hand
        self._sender: bytes | None = None  # of the data, where that is not the server
        self.client_id: int | None = None
        """The server's number for the client, once it has said so."""

    def take_datagrams(self, port: int) -> None:
        """Take UDP data at `port` for this session's, although the request for them was not captured."""
        self.udp_port = port
        self.story.transport = "mmsu"
        self._set_url()

    def asked_for(self, incarnation: int) -> bool:
        """Whether the client asked for packets of this incarnation."""
        return incarnation in self._incarnations

    def is_told(self, server: Endpoint, number: object) -> bool:
        """Whether a server gave the client this number."""
        return self.client_id == number and self.story.server.address == server.address

    def is_over_by(self, message: Message) -> bool:
        """Whether a message begins another session on the connection: a Connect behind a content's."""
        connects = isinstance(message, MmsMessage) and message.name == "Connect" and self._asked
        return connects and self.story.phase not in (automaton.BEGUN, automaton.CHALLENGED, automaton.FAILED)

    def takes_from(self, sender: Endpoint, at: At) -> bool:
        """Whether data from another address than the server's are this session's: if none come from there."""
        if self._sender is None and self.story.received == 0 and self.story.medium is None:
            self._sender = sender.address
            self.story.tell("OtherSender", at, {"sender": ip_text(sender.address), "port": sender.port})
        return self._sender == sender.address

    def asked_again(self, message: MmsMessage, sender: bytes) -> None:
        """Take a request to send packets again; one from another address than the client's proves no loss."""
        if sender == self.story.client.address:
            self.story.asked_again(message)
        else:
            self.story.tell("ForeignRequest", message.at, {**message.fields, "sender": ip_text(sender)})

    def close(self) -> None:
        """Finish the medium at the end of the connection; UDP data may follow it."""
        if self.story.transport != "mmsu":
            self.story.close_medium()

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
        self._asked |= message.at.direction == "client"
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
                self._header_incarnation = self._incarnation(message)
            case "StartPlaying" | "StartStriding":
                self._start(message)
                details["start"] = start_told(fields)
            case "ReportStartedPlaying" | "ReportStartStriding" if not failed:
                self._begin_play()
            case "StreamSwitch":
                chosen, details["streams"] = selection(fields)
                self._selected |= chosen
                if self.story.medium is not None:
                    self.story.medium.begin_play(sparse=self._sparse)
            case "StopPlaying":
                self._stopping = True
                self.story.stopped_at = message.at
                self.story.advance("StopPlaying")
            case "CloseFile":
                self.story.stopped_at = self.story.stopped_at or message.at
                self.story.advance("CloseFile")
            case "ReportConnectedEX":
                self.story.server_version = str(fields.get("ServerVersionInfo", ""))
            case "ReportFunnelInfo" if not failed:
                number = fields.get("nCubs")
                self.client_id = number if isinstance(number, int) else None
            case "SecurityChallenge":
                self.story.advance("SecurityChallenge")
            case "ReportConnectedFunnel" if not failed:
                self.story.transport = "mmsu" if self._asked_udp else "mmst"
                self._set_url()
            case "ReportOpenFile" if not failed:
                size = fields.get("filePacketSize", 0)
                self.story.packet_size_hint = size if isinstance(size, int) else 0
                details["attributes"] = attributes(fields)
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
                self.story.sent_elsewhere(message.at, "mms redirect", str(fields.get("wszLocation", "")))
            case _:
                pass
        if failed:
            self.story.failure = hresult_name(hr)
            self.story.advance("Failure")
        self.story.tell(message.name, message.at, details)

    def _incarnation(self, message: MmsMessage) -> int:
        """The byte that will mark what the client asks for, -1 where the message was cut short of it."""
        whole = message.fields.get("playIncarnation")
        if not isinstance(whole, int):
            return -1
        self._incarnations.add(whole & 0xFF)
        return whole & 0xFF

    def _start(self, message: MmsMessage) -> None:
        self._stopping = False
        self._striding = message.name == "StartStriding"
        self._starts[self._incarnation(message)] += 1
        self._begin_play()
        if self.udp_port is not None and not self._answered:  # else it would not come to this
            self.take_datagrams(self.udp_port)

    def _begin_play(self) -> None:
        self.story.begin_play(sparse=self._sparse)

    @property
    def _sparse(self) -> bool:
        """Whether the play leaves packets out by its nature."""
        return self._striding or KEY_FRAMES in self._selected.values()

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
        self.udp_port = int(found[3]) if found is not None and self._asked_udp else None

    def _open(self, name: str) -> None:
        self.story.content_name = name
        self.story.new_content = True
        self.story.entry_ended &= self.story.medium is not None  # the end of what had no header
        self._set_url()

    def _set_url(self) -> None:
        server = self.story.server
        host = url_host(self._host, server)
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
        done, refused = 0, -1
        while done < n:
            if self._awaiting:
                done = self._header(block, done)
                if self._awaiting:
                    return
            rest = block.packets[done:]
            if not len(rest):
                return
            if self._of_content_before(block):
                self.story.late(part_of(block, rest))
                return
            self._played.add(int(rest["incarnation"][0]))
            upto = self._next_header(rest, block)
            if upto == 0 and refused == done:  # it can be no part of a header
                upto = 1 + self._next_header(rest[1:], block)
            refused = done + upto
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
                if self._late(packet, block):
                    self.story.media(part_of(block, block.packets[i : i + 1]))
                    continue
                self._awaiting = False
                return i
            self._stray = 0
            if self.story.parts.done:
                self._awaiting = False
                self._note_content()
                return i + 1
        return len(block.packets)

    def _note_content(self) -> None:
        """Take note that a header was put together: what was played before may be of another content."""
        if self.story.medium is not self._medium:
            self._medium = self.story.medium
            self._played_before |= self._played
            self._played = set()

    def _of_content_before(self, block: DataPackets) -> bool:
        """Whether datagrams come too late: of a play of another content, by an incarnation asked for once."""
        incarnation = int(block.packets["incarnation"][0])
        once = self._starts[incarnation] == 1
        return once and incarnation in self._played_before and not block.reliable

    def _late(self, packet: np.void, block: DataPackets) -> bool:
        """Whether a packet among the parts of a header is one of the content before, delayed on its way."""
        parts = self.story.parts
        if block.reliable or self.story.medium is None or not parts.started or parts.done:
            return False
        self._stray += 1
        same = int(packet["incarnation"]) == self._header_incarnation
        return not same and self._stray <= STRAY_AMONG_PARTS

    def _next_header(self, packets: NDArray[np.void], block: DataPackets) -> int:
        """Index of the first packet that begins a header after all, or their number."""
        start = packets["start"]
        long_enough = (packets["size"] >= 16) & (packets["location"] == 0)
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


__all__ = ["MmsSession", "automaton", "ip_text", "part_of", "url_host"]
