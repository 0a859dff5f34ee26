"""The compiled header decode: link layer, IP, TCP and UDP of one frame into one `PACKET` row.

Rules of this file:

* nothing is read outside of the captured bytes, and the frame's padding is no payload: IP's length rules;
* an IP length of 0 means that the packet was captured before the network card cut it (off-loading): the
  frame's own length stands in for it;
* a header that is cut or contradicts itself is MALFORMED, whatever stands behind it;
* what is rare is SLOW: tunnels, IPv6 extension headers, Ethernet types that are not listed. dpkt decodes
  these (`mmsforensics.packets.slow`), by the same rules.

Layouts: IPv4 [RFC 791 3.1], IPv6 [RFC 8200 3], TCP [RFC 9293 3.1], UDP [RFC 768].
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from mmsforensics.evidence.compiled import Bytes, Int, Row, be16, be32, le32
from mmsforensics.packets import links
from mmsforensics.packets.links import (
    DLT_EN10MB,
    DLT_IPV4,
    DLT_IPV6,
    DLT_LINUX_SLL,
    DLT_LINUX_SLL2,
    DLT_LOOP,
    DLT_NULL,
    DLT_RAW,
    DLT_RAW_12,
    DLT_RAW_14,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    ETHERTYPE_QINQ,
    ETHERTYPE_QINQ_9100,
    ETHERTYPE_VLAN,
    IPPROTO_TCP,
    IPPROTO_UDP,
    VLAN_DEPTH,
)
from mmsforensics.packets.table import Status

DECODED: Final = int(Status.DECODED)
OTHER: Final = int(Status.OTHER)
SLOW: Final = int(Status.SLOW)
MALFORMED: Final = int(Status.MALFORMED)
FRAGMENT: Final = int(Status.FRAGMENT)

PLAIN_TYPES: Final = (
    links.ETHERTYPE_ARP,
    links.ETHERTYPE_RARP,
    links.ETHERTYPE_IPX,
    links.ETHERTYPE_PPPOE_DISCOVERY,
    links.ETHERTYPE_EAPOL,
    links.ETHERTYPE_LLDP,
    links.ETHERTYPE_LOOPBACK,
)
"""Ethernet types that are OTHER without asking dpkt."""

TUNNELS: Final = (
    links.IPPROTO_IPIP,
    links.IPPROTO_IPV6,
    links.IPPROTO_GRE,
    links.IPPROTO_AH,
    links.IPPROTO_ETHERIP,
    links.IPPROTO_MPLS,
)
"""IP protocols that carry packets of their own."""

TUNNEL_PORTS: Final = (
    links.PORT_L2TP,
    links.PORT_GTP_U,
    links.PORT_TEREDO,
    links.PORT_VXLAN,
    links.PORT_GENEVE,
    links.PORT_MPLS,
    links.PORT_VXLAN_LINUX,
)
"""UDP ports of tunnels; what is in such a datagram is looked at on the slow road."""

EXTENSIONS: Final = links.IPV6_EXTENSIONS

AF_INET: Final = links.AF_INET
AF_INET6: Final = links.AF_INET6
IPPROTO_FRAGMENT: Final = links.IPPROTO_FRAGMENT

PLAIN_TCP: Final = 54
"""Bytes of the smallest headers of Ethernet, IPv4 and TCP."""

STOP: Final = -1
"""In the place of an Ethernet type: there is none, and the second value is the frame's status."""


@njit(nogil=True)
def decode_frame(data: Bytes, start: Int, captured: Int, wire: Int, link: Int, row: Row) -> None:
    """Decode the frame ``data[start:start + captured]`` of `wire` bytes into `row`, all but its number.

    `data` must hold the captured bytes; `link` is the DLT.
    """
    if link == DLT_EN10MB and captured >= PLAIN_TCP and _plain_tcp(data, start, captured, wire, row):
        return
    row.src_hi = row.src_lo = row.dst_hi = row.dst_lo = np.uint64(0)
    row.caplen, row.wirelen = captured, wire
    row.seq = row.ack = np.uint32(0)
    row.payload = row.payload_len = row.payload_wire = row.network = row.transport = np.uint32(0)
    row.src_port = row.dst_port = row.window = np.uint16(0)
    row.link = link
    row.version = row.proto = row.flags = np.uint8(0)
    kind, at = _network(data, start, captured, link)
    if kind == STOP:
        row.status = at
    elif kind == ETHERTYPE_IPV4:
        row.status = _ipv4(data, start, at, captured, max(captured, wire), row)
    elif kind == ETHERTYPE_IPV6:
        row.status = _ipv6(data, start, at, captured, max(captured, wire), row)
    elif kind in PLAIN_TYPES:
        row.status = OTHER
    else:
        row.status = SLOW


@njit(nogil=True)
def _plain_tcp(data: Bytes, start: Int, captured: Int, wire: Int, row: Row) -> Int:
    """Decode what most frames are, in a third of the time: Ethernet, IPv4 without options, a TCP segment.

    Returns
    -------
    bool
        False for anything else or unsound, which is left to the steps below; the row is untouched then.
    """
    i = np.uint64(start)
    # Type 0x0800, version 4 with a header of 20 bytes; neither fragment nor offset; TCP.
    if data[i + np.uint64(12)] != 8 or data[i + np.uint64(13)] != 0 or data[i + np.uint64(14)] != 0x45:
        return False
    if data[i + np.uint64(20)] & 0x3F or data[i + np.uint64(21)] or data[i + np.uint64(23)] != IPPROTO_TCP:
        return False
    end = 14 + be16(data, start + 16)
    body = 34 + (np.int64(data[i + np.uint64(46)] >> 4) << 2)
    kept = min(captured, end)
    if body < PLAIN_TCP or body > kept:
        return False
    row.src_hi = row.dst_hi = np.uint64(0)
    row.src_lo = np.uint64(be32(data, start + 26))
    row.dst_lo = np.uint64(be32(data, start + 30))
    row.caplen, row.wirelen, row.link = captured, wire, DLT_EN10MB
    row.src_port, row.dst_port = be16(data, start + 34), be16(data, start + 36)
    row.seq, row.ack = be32(data, start + 38), be32(data, start + 42)
    row.flags, row.window = data[i + np.uint64(47)], be16(data, start + 48)
    row.payload, row.payload_len, row.payload_wire = body, kept - body, end - body
    row.version, row.proto, row.status = 4, IPPROTO_TCP, DECODED
    row.network, row.transport = 14, 34
    return True


@njit(nogil=True)
def _network(data: Bytes, start: Int, captured: Int, link: Int) -> Int:
    """Return the Ethernet type of the network layer and its offset in the frame, or `STOP` and a status."""
    if link == DLT_EN10MB:
        if captured < 14:
            return STOP, MALFORMED
        return _untagged(data, start, captured, be16(data, start + 12), 14)
    if link in (DLT_RAW, DLT_RAW_12, DLT_RAW_14):
        if captured < 1:
            return STOP, MALFORMED
        version = data[start] >> 4
        if version == 4:
            return ETHERTYPE_IPV4, 0
        if version == 6:
            return ETHERTYPE_IPV6, 0
        return STOP, MALFORMED
    if link == DLT_LINUX_SLL:
        if captured < 16:
            return STOP, MALFORMED
        return _untagged(data, start, captured, be16(data, start + 14), 16)
    if link == DLT_LINUX_SLL2:
        if captured < 20:
            return STOP, MALFORMED
        return _untagged(data, start, captured, be16(data, start), 20)
    if link in (DLT_NULL, DLT_LOOP):
        return _loopback(data, start, captured)
    if link == DLT_IPV4:
        return ETHERTYPE_IPV4, 0
    if link == DLT_IPV6:
        return ETHERTYPE_IPV6, 0
    return STOP, SLOW


@njit(nogil=True)
def _untagged(data: Bytes, start: Int, captured: Int, kind: Int, at: Int) -> Int:
    """Go through VLAN tags [IEEE 802.1Q 9.3]."""
    for _ in range(VLAN_DEPTH):
        if kind != ETHERTYPE_VLAN and kind != ETHERTYPE_QINQ and kind != ETHERTYPE_QINQ_9100:
            break
        if at + 4 > captured:
            return STOP, MALFORMED
        kind = be16(data, start + at + 2)
        at += 4
    return kind, at


@njit(nogil=True)
def _loopback(data: Bytes, start: Int, captured: Int) -> Int:
    """Address family in the byte order of the machine that captured, which is not known."""
    if captured < 4:
        return STOP, MALFORMED
    family = min(be32(data, start), le32(data, start))
    if family == AF_INET:
        return ETHERTYPE_IPV4, 4
    if family in AF_INET6:
        return ETHERTYPE_IPV6, 4
    return STOP, OTHER


@njit(nogil=True)
def _ipv4(data: Bytes, start: Int, at: Int, captured: Int, wire: Int, row: Row) -> Int:
    """Decode the IPv4 header at offset `at` of the frame and what it carries; return the status."""
    p = start + at
    if captured - at < 20 or data[p] >> 4 != 4:
        return MALFORMED
    header = np.int64(data[p] & 15) << 2
    if header < 20 or header > captured - at:
        return MALFORMED
    row.version = 4
    row.proto = data[p + 9]
    row.src_lo = np.uint64(be32(data, p + 12))
    row.dst_lo = np.uint64(be32(data, p + 16))
    total = be16(data, p + 2)
    if total != 0:
        if total < header:
            return MALFORMED
        wire = at + total
        captured = min(captured, wire)
    body = at + header
    place = be16(data, p + 6)
    if place & 0x3FFF:  # more fragments, or an offset
        row.seq = be16(data, p + 4)
        row.ack = (place & 0x1FFF) << 3
        row.flags = (place >> 13) & 1
        return _carry(row, body, captured, wire, FRAGMENT)
    return _transport(data, start, at, body, captured, wire, row)


@njit(nogil=True)
def _ipv6(data: Bytes, start: Int, at: Int, captured: Int, wire: Int, row: Row) -> Int:
    """Decode the IPv6 header at offset `at` of the frame and what it carries; return the status."""
    p = start + at
    if captured - at < 40 or data[p] >> 4 != 6:
        return MALFORMED
    row.version = 6
    row.src_hi = (np.uint64(be32(data, p + 8)) << np.uint64(32)) | np.uint64(be32(data, p + 12))
    row.src_lo = (np.uint64(be32(data, p + 16)) << np.uint64(32)) | np.uint64(be32(data, p + 20))
    row.dst_hi = (np.uint64(be32(data, p + 24)) << np.uint64(32)) | np.uint64(be32(data, p + 28))
    row.dst_lo = (np.uint64(be32(data, p + 32)) << np.uint64(32)) | np.uint64(be32(data, p + 36))
    following = data[p + 6]
    length = be16(data, p + 4)
    body = at + 40
    if length != 0:
        wire = body + length
        captured = min(captured, wire)
    if following == IPPROTO_FRAGMENT and captured - body >= 8 and be16(data, start + body + 2) & 0xFFF9:
        row.proto = data[start + body]
        row.seq = be32(data, start + body + 4)
        row.ack = be16(data, start + body + 2) & 0xFFF8
        row.flags = data[start + body + 3] & 1
        return _carry(row, body + 8, captured, wire, FRAGMENT)
    row.proto = following
    if following in EXTENSIONS:
        return SLOW
    return _transport(data, start, at, body, captured, wire, row)


@njit(nogil=True)
def _carry(row: Row, body: Int, captured: Int, wire: Int, status: Int) -> Int:
    """Set the payload of `row` to what stands between `body` and the ends; return `status`."""
    row.payload = body
    row.payload_len = captured - body
    row.payload_wire = wire - body
    return status


@njit(nogil=True)
def _transport(data: Bytes, start: Int, network: Int, body: Int, captured: Int, wire: Int, row: Row) -> Int:
    """Decode TCP or UDP at offset `body` of the frame, given where IP begins and ends; return the status."""
    p = start + body
    proto = row.proto
    if proto == IPPROTO_TCP:
        if captured - body < 20:
            return MALFORMED
        header = np.int64(data[p + 12] >> 4) << 2
        if header < 20 or header > captured - body:
            return MALFORMED
        row.seq = be32(data, p + 4)
        row.ack = be32(data, p + 8)
        row.flags = data[p + 13]
        row.window = be16(data, p + 14)
    elif proto == IPPROTO_UDP:
        if captured - body < 8:
            return MALFORMED
        header = np.int64(8)
        length = be16(data, p + 4)
        if be16(data, p) in TUNNEL_PORTS or be16(data, p + 2) in TUNNEL_PORTS:
            return SLOW
        if length != 0:
            if length < 8:
                return MALFORMED
            wire = min(wire, body + length)
            captured = min(captured, wire)
    elif proto in TUNNELS:
        return SLOW
    else:
        return _carry(row, body, captured, wire, OTHER)
    row.src_port = be16(data, p)
    row.dst_port = be16(data, p + 2)
    row.network, row.transport = network, body
    return _carry(row, body + header, captured, wire, DECODED)
