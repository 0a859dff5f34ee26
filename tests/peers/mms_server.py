"""The rest of [MS-MMSP] behind `mmst_server`: data over UDP, trick play, redirects, errors, logins.

Written from the specification with independent `struct` code, as the module it extends.
"""

import select
import socket
import struct
import time
from dataclasses import dataclass

from .asf_file import SIZES, parsing_information
from .mmst_server import (
    NO_PACKET_PAIR,
    REPORT_CONNECTED_FUNNEL,
    REPORT_FUNNEL_INFO,
    REPORT_OPEN_FILE,
    SESSION_ID,
    MmstOptions,
    Session,
    data_packet,
    media_count,
    message,
    messages_of,
    take_record,
    text,
)
from .tcp_server import TcpServer

SECURITY_RESPONSE, START_STRIDING = 0x0003001A, 0x00030028
REPORT_DISCONNECTED_FUNNEL, REPORT_START_STRIDING = 0x00040003, 0x0004000A
SECURITY_CHALLENGE, REPORT_REDIRECT = 0x0004001A, 0x00040022

CLIENT_ID = 0x1234
"""nCubs of ReportFunnelInfo [2.2.4.6]."""

BROADCAST, LIVE = 0x02000000, 0x04000000
PACKET_PAIR_UDP = 0xF0F0F901
PACKET_PAIR_BYTES = 1464
E_FAIL = 0x80004005
RESEND = 0xBEEFF00D


@dataclass(frozen=True, slots=True)
class MmsOptions(MmstOptions):
    """Choices of the server that `MmstOptions` does not have."""

    udp: bool = True  # whether a funnel over UDP is agreed to
    challenges: tuple[bytes, ...] = ()  # pTokens sent before a file is opened, one an answer
    refuse: int = 0  # hr of ReportOpenFile, once all challenges are answered
    redirect: tuple[int, str] | None = None  # RedirectType and where to
    live: bool = False
    first_live: int = 0  # packet number of the live content at which the client joins
    authentication: str = ""  # AuthenPackage of ReportConnectedEX
    version_info: str = ""
    version_url: str = ""
    stride: int = 2  # packets from one that is sent to the next, at a rate of 1
    stride_error: int = 0  # hr of ReportStartStriding
    header_over_tcp: bool = False  # of a session whose media go over UDP, as some servers do


class FullSession(Session):
    """One client's session, every message of the specification.

    `over_udp` tells which of the units that `receive`, `next_units` and `resend` give go out as datagrams.
    """

    def __init__(self, files, options=None, commands=None):
        super().__init__(files, MmsOptions() if options is None else options, commands)
        self.udp_port = None
        self.numbered = {}  # unit by sequence number, for resending
        self._pair_wanted = self._pair_sent = False
        self._challenged = 0
        self._opening = b""
        self._thinned = set()
        self._headers = set()
        self._handlers |= {SECURITY_RESPONSE: self._security_response, START_STRIDING: self._start_striding}

    # --- connecting

    def _strings(self):
        options = self.options
        return options.version, options.version_info, options.version_url, options.authentication

    def _funnel_info(self, fields):
        (asked,) = struct.unpack_from("<I", fields)
        if asked == 0xF0F0F0F1:
            return super()._funnel_info(fields)
        self._pair_wanted = asked == PACKET_PAIR_UDP
        answer = PACKET_PAIR_UDP if self._pair_wanted else NO_PACKET_PAIR
        body = struct.pack("<10I", 0, answer, 8, 1, 0x10000, CLIENT_ID, 0, 1, 0, 0)
        return [self._record(message(REPORT_FUNNEL_INFO, body))]

    def _connect_funnel(self, fields):
        name = fields[20:].decode("utf-16-le", "replace").split("\0")[0]
        _, _, protocol, port = name.rsplit("\\", 3)[-4:] if name.count("\\") >= 4 else ("", "", "TCP", "0")
        if protocol.upper() == "UDP":
            if not self.options.udp:
                return [self._record(message(REPORT_DISCONNECTED_FUNNEL, struct.pack("<II", E_FAIL, 0)))]
            self.udp_port = int(port)
        body = struct.pack("<III", 0, 0xF0F0F0F0, 0x00000B00) + text("Funnel Of The Gods")
        return [self._record(message(REPORT_CONNECTED_FUNNEL, body))]

    # --- opening

    def _open_file(self, fields):
        self._opening, self._challenged = fields, 0
        return self._admit(fields[:4])

    def _security_response(self, fields):
        return self._admit(fields[:4])

    def _admit(self, incarnation):
        """The next challenge, or what becomes of the file once all are answered."""
        options = self.options
        if self._challenged < len(options.challenges):
            token = options.challenges[self._challenged]
            self._challenged += 1
            head = incarnation + struct.pack("<II", self._challenged, len(token))
            return [self._record(message(SECURITY_CHALLENGE, head + token))]
        if options.redirect is not None:
            kind, where = options.redirect
            location = text(where)
            self.closed = True
            return [
                self._record(message(REPORT_REDIRECT, struct.pack("<IHH", 0, kind, len(location)) + location))
            ]
        if options.refuse:
            body = struct.pack("<I", options.refuse) + incarnation
            return [self._record(message(REPORT_OPEN_FILE, body.ljust(108, b"\0")))]
        return super()._open_file(self._opening)

    def _content(self):
        return (BROADCAST | LIVE, 0.0, 0) if self.options.live else super()._content()

    def _read_block(self, fields):
        report, *header = super()._read_block(fields)
        self._headers |= set(header)
        if self.udp_port is None or not self._pair_wanted or self._pair_sent:
            return [report, *header]
        self._pair_sent = True  # two packets of the same size, one right behind the other [3.2.5.8]
        noise = bytes(i * 151 % 256 for i in range(PACKET_PAIR_BYTES))
        pair = [data_packet(0xF0F0F000 + i, 0xFF, 0x10, noise) for i in range(2)]
        return [*pair, report, *header]

    # --- playing

    def _stream_switch(self, fields):
        answer = super()._stream_switch(fields)
        (count,) = struct.unpack_from("<I", fields, 0)
        for i in range(min(count, (len(fields) - 4) // 6)):
            _, target, thinning = struct.unpack_from("<HHH", fields, 4 + 6 * i)
            (self._thinned.add if thinning == 1 else self._thinned.discard)(target)
        self._thin()
        return answer

    def _start(self, fields):
        if not super()._start(fields):
            return False
        if self.options.live and self._queue:
            self._queue = [n for n in self._queue if n >= self.options.first_live]
        self._thin()
        return True

    def _thin(self):
        """Leave out packets that hold nothing but pictures of thinned streams which are no key frames."""
        if self._queue and self._thinned:
            self._queue = [n for n in self._queue if self._shows(self._file.packets[n])]

    def _shows(self, packet):
        payloads = [(byte & 0x7F, byte & 0x80) for byte in stream_bytes(packet)]
        return any(key or s not in self._thinned for s, key in payloads if s in self._streams)

    def _start_striding(self, fields):
        """Every so many packets, backwards if the rate is negative [3.2.5.12]."""
        incarnation, rate = struct.unpack_from("<Id", fields, 28)
        hr = self.options.stride_error
        if not hr and self._start(fields[:32]) and self._queue:
            step = round(rate * self.options.stride)
            self._queue = list(range(self._queue[0], len(self._file.packets) if step > 0 else -1, step))
        return [self._record(message(REPORT_START_STRIDING, struct.pack("<III", hr, incarnation, 0)))]

    def next_units(self):
        """What streams next; Data packets are kept by their number, so that they can be sent again."""
        begun, number = media_count(self), self._sequence
        units = super().next_units()
        if media_count(self) > begun:
            self.numbered[number] = units[-1]
        return units

    def _next_entry(self):
        if self.udp_port is None:
            return super()._next_entry()
        self._queue = None  # the client asks for the header, and to start [3.2.4.2]
        return self._announce_entry()

    def over_udp(self, unit):
        """Whether a unit goes out as a datagram."""
        if self.udp_port is None or is_record(unit):
            return False
        return not (self.options.header_over_tcp and unit in self._headers)

    def resend(self, request):
        """The Data packets that a RequestPacketListResend asks for [3.2.5.13], or none if it is not valid."""
        signature, client_id, source_id, count = struct.unpack_from("<IIHH", request)
        if (signature, client_id, source_id) != (RESEND, CLIENT_ID, 1) or not 1 <= count <= 32:
            return []
        wanted = struct.unpack_from(f"<{count}I", request, 12)
        return [self.numbered[n] for n in wanted if n in self.numbered]


def stream_bytes(packet):
    """The stream number byte of each payload of a packet, key frame bit included [ASF 5.2.3]."""
    info = parsing_information(packet)
    flags, properties = packet[info.length_at - 2], packet[info.length_at - 1]
    at = info.times_at + 6
    if not flags & 1:
        return [packet[at]]
    count, length_size = packet[at] & 0x3F, SIZES[packet[at] >> 6]
    at, found = at + 1, []
    for _ in range(count):
        found.append(packet[at])
        at += 1 + SIZES[properties >> 4 & 3] + SIZES[properties >> 2 & 3]
        size = SIZES[properties & 3]
        at += size + int.from_bytes(packet[at : at + size], "little")
        at += length_size + int.from_bytes(packet[at : at + length_size], "little")
    return found


def is_record(unit):
    """Whether a unit is a TcpMessageHeader with messages, no Data packet."""
    return unit[4:8] == struct.pack("<I", SESSION_ID)


def resend_request(numbers, client_id=CLIENT_ID, source_id=1):
    """A RequestPacketListResend [2.2.5]."""
    return struct.pack(f"<IIHH{len(numbers)}I", RESEND, client_id, source_id, len(numbers), *numbers)


class MmsServer:
    """Serve `files` at 127.0.0.1:`port`, over TCP and, to clients that ask for it, over UDP.

    `datagrams` keeps what went over UDP: (client's port, payload, ns of the monotonic clock).
    """

    def __init__(self, files, options=None, *, idle=0.5, pause=0.0005):
        self._files, self._options, self._idle, self._pause = files, options, idle, pause
        self.sessions, self.commands, self.datagrams = [], [], []
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._server = TcpServer(self._serve)
        self.port, self.errors = self._server.port, self._server.errors

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.close()
        self._udp.close()

    @property
    def udp_port(self):
        """Port from which datagrams come."""
        return self._udp.getsockname()[1]

    @property
    def sent(self):
        """Segments of all sessions that were played."""
        return [s for session in self.sessions for s in session.segments if s.incarnation is not None]

    def wait(self, timeout=5.0):
        """Wait until the sessions begun so far have ended."""
        self._server.wait(timeout)

    def _send(self, connection, session, units):
        for unit in units:
            if not session.over_udp(unit):
                connection.sendall(unit)
                continue
            self.datagrams.append((session.udp_port, unit, time.monotonic_ns()))
            self._udp.sendto(unit, ("127.0.0.1", session.udp_port))
            time.sleep(self._pause)

    def _serve(self, connection):
        session = FullSession(self._files, self._options, self.commands)
        self.sessions.append(session)
        buffer = b""
        while not session.closed:
            if session.ended and not select.select([connection], [], [], self._idle)[0]:
                return
            if not session.streaming or select.select([connection], [], [], 0)[0]:
                data = connection.recv(65536)
                if not data:
                    return
                buffer += data
                body, buffer = take_record(buffer)
                while body is not None:
                    for mid, fields in messages_of(body):
                        self._send(connection, session, session.receive(mid, fields))
                    body, buffer = take_record(buffer)
            self._send(connection, session, session.next_units())


__all__ = [
    "CLIENT_ID",
    "FullSession",
    "MmsOptions",
    "MmsServer",
    "resend_request",
]
