"""What IP carries on the slow road: TCP and UDP, and tunnels, in which a frame begins anew."""

from __future__ import annotations

import struct
from typing import Any, Final

import dpkt

from mmsforensics.packets import links
from mmsforensics.packets.slow_cursor import Cursor, MalformedError, Onward, Step, carried, other
from mmsforensics.packets.slow_ethernet import ETHERTYPES, ethernet, mpls, ppp
from mmsforensics.packets.slow_ip import ipv4, ipv6, raw
from mmsforensics.packets.table import Status

MAX_STEPS: Final = 32
"""Headers of a frame that are followed; real stacks of tunnels stay below ten."""

TCP_MAX: Final = 60
GRE_HEADER: Final = 4
"""Bytes of headers."""

MAX_TUNNELS: Final = 4
"""Tunnels over UDP in each other that are followed."""


def decode(cursor: Cursor, step: Any) -> Status:  # noqa: ANN401
    """Go from step to step until one ends with a status."""
    for _ in range(MAX_STEPS):
        result = step(cursor)
        if isinstance(result, Status):
            return result
        step = TRANSPORTS.get(cursor.fields["proto"], carried) if result is Onward.TRANSPORT else result
    raise MalformedError


def _tcp(cursor: Cursor) -> Status:
    tcp = dpkt.tcp.TCP(cursor.rest[:TCP_MAX])
    size = tcp.off << 2
    if size > len(cursor.rest):
        raise MalformedError
    cursor.transport()
    cursor.at += size
    cursor.fields |= {
        "src_port": tcp.sport,
        "dst_port": tcp.dport,
        "seq": tcp.seq,
        "ack": tcp.ack,
        "flags": tcp.flags & 0xFF,
        "window": tcp.win,
    }
    return cursor.carry(Status.DECODED)


def _udp(cursor: Cursor) -> Status:
    udp = dpkt.udp.UDP(cursor.rest)
    if udp.ulen:
        if udp.ulen < udp.__hdr_len__:
            raise MalformedError
        length = min(udp.ulen, cursor.wire_end - cursor.at)
        cursor.cut(length)
    cursor.transport()
    cursor.at += udp.__hdr_len__
    cursor.fields |= {"src_port": udp.sport, "dst_port": udp.dport}
    for port in (udp.dport, udp.sport):
        if port in UDP_TUNNELS:
            inside = _tried(cursor, UDP_TUNNELS[port])
            if inside is not None:
                return inside
    return cursor.carry(Status.DECODED)


def _tried(cursor: Cursor, step: Step) -> Status | None:
    """What lies in a tunnel if it holds together; a port alone proves nothing."""
    if cursor.depth >= MAX_TUNNELS:
        return None
    inner = cursor.copy()
    try:
        status = decode(inner, step)
    except Exception:  # as in `slow`
        return None
    if status not in (Status.DECODED, Status.FRAGMENT):
        return None
    cursor.fields = inner.fields
    return status


def _authentication(cursor: Cursor) -> Any:  # noqa: ANN401
    """AH [RFC 4302 2] in IPv4."""
    following, size = cursor.number(0, 1), (cursor.number(1, 1) + 2) * 4
    cursor.skip(size)
    cursor.fields["proto"] = following
    return TRANSPORTS.get(following, carried)


def _etherip(cursor: Cursor) -> Any:  # noqa: ANN401
    if cursor.number(0, 2) != 0x3000:  # version 3 [RFC 3378 3]
        return carried
    cursor.skip(2)
    return ethernet


def _gre(cursor: Cursor) -> Any:  # noqa: ANN401
    shape = dpkt.gre.GRE(flags=int.from_bytes(cursor.rest[:2], "big"))
    size = GRE_HEADER + struct.calcsize("!" + "".join(shape.opt_fields_fmts()[1]))
    if size > len(cursor.rest):
        raise MalformedError
    if shape.flags & dpkt.gre.GRE_RP:  # source routes, given up with RFC 2784
        return carried
    header = dpkt.gre.GRE(cursor.rest[:size])
    if header.p == links.ETHERTYPE_ERSPAN:  # type II if there are sequence numbers, else I
        cursor.skip(size + (8 if shape.flags & dpkt.gre.GRE_SP else 0))
        return ethernet
    if header.p == links.ETHERTYPE_ERSPAN_3:
        cursor.skip(size)
        cursor.skip(12 + (8 if cursor.number(11, 1) & 1 else 0))
        return ethernet
    if header.p not in ETHERTYPES:
        return carried
    cursor.at += size
    return ETHERTYPES[header.p]


def _vxlan(cursor: Cursor) -> Any:  # noqa: ANN401
    if not cursor.number(0, 1) & 0x08:  # [RFC 7348 5]
        return Status.OTHER
    cursor.skip(8)
    return ethernet


def _geneve(cursor: Cursor) -> Any:  # noqa: ANN401
    first, kind = cursor.number(0, 1), cursor.number(2, 2)
    if first >> 6:  # version [RFC 8926 3.4]
        return Status.OTHER
    cursor.skip(8 + (first & 0x3F) * 4)
    return ETHERTYPES.get(kind, other)


def _gtp(cursor: Cursor) -> Any:  # noqa: ANN401
    """GTP-U [3GPP TS 29.281 5.1]: only T-PDUs carry packets."""
    flags, kind, length = cursor.number(0, 1), cursor.number(1, 1), cursor.number(2, 2)
    if flags & 0xF0 != 0x30 or kind != 0xFF:
        return Status.OTHER
    cursor.skip(8)
    cursor.cut(length)
    if flags & 0x07:
        following = cursor.number(3, 1) if flags & 0x04 else 0
        cursor.skip(4)
        while following:
            size = cursor.number(0, 1) * 4
            if not size:
                raise MalformedError
            following = cursor.number(size - 1, 1)
            cursor.skip(size)
    return raw


def _teredo(cursor: Cursor) -> Any:  # noqa: ANN401
    """IPv6, behind an authentication or an origin indication [RFC 4380 5.1.1]."""
    if cursor.number(0, 2) == 1:
        cursor.skip(13 + cursor.number(2, 1) + cursor.number(3, 1))
    if cursor.number(0, 2) == 0:
        cursor.skip(8)
    return ipv6


def _l2tp(cursor: Cursor) -> Any:  # noqa: ANN401
    """L2TP version 2 [RFC 2661 3.1]: data messages carry PPP."""
    flags = cursor.number(0, 2)
    if flags & 0x000F != 2 or flags & 0x8000:
        return Status.OTHER
    size = 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)
    if flags & 0x0200:
        size += 2 + cursor.number(size, 2)
    cursor.skip(size)
    return ppp


UDP_TUNNELS: Final[dict[int, Step]] = {
    links.PORT_L2TP: _l2tp,
    links.PORT_GTP_U: _gtp,
    links.PORT_TEREDO: _teredo,
    links.PORT_VXLAN: _vxlan,
    links.PORT_GENEVE: _geneve,
    links.PORT_MPLS: mpls,
    links.PORT_VXLAN_LINUX: _vxlan,
}

TRANSPORTS: Final[dict[int, Step]] = {
    links.IPPROTO_TCP: _tcp,
    links.IPPROTO_UDP: _udp,
    links.IPPROTO_IPIP: ipv4,
    links.IPPROTO_IPV6: ipv6,
    links.IPPROTO_GRE: _gre,
    links.IPPROTO_AH: _authentication,
    links.IPPROTO_ETHERIP: _etherip,
    links.IPPROTO_MPLS: mpls,
}
