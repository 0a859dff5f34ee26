"""A client of [MS-MMSP] as a script, for what no player can be made to do, and its session as frames.

Written from the specification with independent `struct` code.
"""

import struct

from builders import ethernet, ipv4, udp

from .mms_server import FullSession, resend_request
from .mmst_server import (
    CLOSE_FILE,
    CONNECT_FUNNEL,
    DBL_MAX,
    GUID,
    LOGGING,
    READ_BLOCK,
    START_PLAYING,
    STOP_PLAYING,
    STREAM_SWITCH,
    Client,
    logging_body,
    text,
)
from .recorder import START, frames_of

CLIENT, SERVER = "192.0.2.20", "192.0.2.10"
UNUSED = 0xFFFFFFFF
SLOT = 2_000_000  # ns between the units of a session
FRAGMENT = 1480  # bytes of IP payload in a fragment at an MTU of 1500


class Script(Client):
    """NSPlayer 9, step by step.

    Items of `conversation` are (side, bytes): `s` and `c` over TCP, `S` and `C` over UDP.
    """

    def __init__(self, files, options=None, *, port=None, host="media.example.com", guid=GUID):
        super().__init__(
            FullSession(files, options),
            host=host,
            guid=guid,
            packet_pair=False,
            record_padding=0,
            chunk_count="client",
        )
        self.port = port
        self.incarnation = 9

    @property
    def segments(self):
        """What was played."""
        return [s for s in self.session.segments if s.incarnation is not None]

    def _take(self, units):
        super()._take(units)
        begin = len(self.conversation) - len(units)
        for i in range(begin, len(self.conversation)):
            side, unit = self.conversation[i]
            if side == "s" and self.session.over_udp(unit):
                self.conversation[i] = ("S", unit)

    def funnel(self, address=CLIENT, *, protocol=None, port=None):
        """Ask where the data shall go."""
        protocol = protocol or ("TCP" if self.port is None else "UDP")
        port = port or self.port or 1037
        head = struct.pack("<IIIII", 0, UNUSED, 0, 10_000_000, 2)
        self.send(CONNECT_FUNNEL, head + text(rf"\\{address}\{protocol}\{port}"))

    def connect(self, *, pair=0xF0F0F0EF, funnel_address=CLIENT):
        """Connect, up to the funnel."""
        subscriber = text(f"NSPlayer/9.0.0.2980; {self._guid}; Host: {self._host}")
        body = struct.pack("<III", 0xF0F0F0EF, 0x0004000B, 0x0003001C) + subscriber
        self.send(0x00030001, body + text(f"HOST: {self._host}"))
        self.send(0x00030018, struct.pack("<I", pair))
        self.funnel(funnel_address)

    def begin(self, name, streams=None, **how):
        """Connect, open a file, read its header, select its streams (default: 1 and 2)."""
        self.connect(**how)
        opened = self.open_file(name)
        if opened:
            self.header()
            self.switch(streams or self.session._file.streams)
        return opened

    def header(self, incarnation=1):
        """Ask for the header."""
        fields = struct.pack("<IIIIII", 1, 0, 0, 0x8000, UNUSED, 0)
        self.send(READ_BLOCK, fields + struct.pack("<ddII", 0.0, 3600.0, incarnation, 0))

    def select(self, entries):
        """Select streams by (source, destination, thinning level)."""
        body = b"".join(struct.pack("<HHH", *entry) for entry in entries)
        self.send(STREAM_SWITCH, struct.pack("<I", len(entries)) + body)

    def at(self, *, seconds=None, byte=UNUSED, packet=UNUSED, keep=False):
        """Play from a position in one of its three forms; with `keep` under the incarnation before."""
        self.incarnation += not keep
        position = DBL_MAX if seconds is None else struct.pack("<d", seconds)
        fields = struct.pack("<II", 1, 0) + position + struct.pack("<II", byte, packet)
        fields += struct.pack("<II", 0, self.incarnation)
        self.send(START_PLAYING, fields + struct.pack("<III", 1_000_000, 5000, 2_000_000))

    def stride(self, rate, *, packet=UNUSED):
        """Play at a rate."""
        self.incarnation += 1
        fields = struct.pack("<II", 1, 0) + DBL_MAX + struct.pack("<II", UNUSED, packet)
        self.send(0x00030028, fields + struct.pack("<IId", 0, self.incarnation, rate))

    def stop(self):
        """Stop playing."""
        self.send(STOP_PLAYING, struct.pack("<II", 1, self.incarnation))

    def answer(self, token, cookie=1):
        """Answer a challenge."""
        return self.send(0x0003001A, struct.pack("<III", 9, cookie, len(token)) + token)

    def resend(self, *numbers):
        """Ask for packets again; those that the server still has come."""
        request = resend_request(numbers)
        self.conversation.append(("C", request))
        self._take(self.session.resend(request))

    def end(self, url="mms://media.example.com/film.wmv"):
        """Report and close."""
        self.send(LOGGING, logging_body(url))
        self.send(CLOSE_FILE, struct.pack("<II", 0, 1))


def frames(
    script,
    *,
    client=CLIENT,
    server=SERVER,
    tcp_port=40001,
    udp_port=None,
    server_udp=1755,
    lost=(),
    start_ns=START,
):
    """Frames of a script, as (frame, ts): its TCP connection, and its datagrams, large ones in fragments.

    `udp_port` is where the datagrams go if not where the client asked for them; those whose places among the
    server's datagrams are in `lost` are left out.
    """
    controls, found, sent = [], [], 0
    port = udp_port or script.port
    for i, (side, unit) in enumerate(script.conversation):
        ts = start_ns + (i + 1) * SLOT
        if side in "cs":
            controls.append((side, unit, ts))
            continue
        if side == "S":
            sent += 1
            if sent - 1 in lost:
                continue
        ends = (server, client, server_udp, port) if side == "S" else (client, server, port, 1755)
        found += [(frame, ts) for frame in datagram(*ends, unit, ip_id=i + 1)]
    whole = frames_of(controls, client=(client, tcp_port), server=(server, 1755), start_ns=start_ns)
    return sorted(whole + found, key=lambda item: item[1])


def datagram(src, dst, sport, dport, payload, *, ip_id):
    """Ethernet frames of one datagram; more than one where it does not fit the MTU [RFC 791 2.3]."""
    body = udp(src, dst, sport, dport, payload)
    out = []
    for at in range(0, len(body), FRAGMENT):
        part = body[at : at + FRAGMENT]
        more = 0x2000 if at + FRAGMENT < len(body) else 0
        out.append(ethernet(ipv4(src, dst, 17, part, ip_id=ip_id, fragment=more | at // 8)))
    return out
