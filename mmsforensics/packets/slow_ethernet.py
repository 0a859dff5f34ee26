"""Ethernet on the slow road, and what carries further headers by its numbers: tags, labels, LLC, PPP."""

from __future__ import annotations

from typing import Any, Final

import dpkt

from mmsforensics.packets import links
from mmsforensics.packets.slow_cursor import Cursor, Step, other
from mmsforensics.packets.slow_ip import ipv4, ipv6
from mmsforensics.packets.table import Status

ISL_DESTINATIONS: Final = (b"\x01\x00\x0c\x00\x00", b"\x03\x00\x0c\x00\x00")
"""First bytes of a Cisco ISL frame."""

ISL_HEADER: Final = 26
PPPOE_HEADER: Final = 6
SNAP_HEADER: Final = 8
MPLS_LABEL: Final = 4
CONTROL_WORD: Final = 4
"""Bytes of headers; of a pseudowire's control word [RFC 4385 3]."""

MACSEC_CHECK: Final = 16

OUI_BRIDGED: Final = 0x0080C2
BRIDGED_ETHERNET: Final = (1, 7)
"""Bridged Ethernet frames, with and without their check sequence [RFC 2684 B, RFC 2427 4.2]."""

SAP_IP: Final = 0x06
SAP_SNAP: Final = 0xAA
"""Service access points [IEEE 802.2]."""


class _EthernetHeader(dpkt.dpkt.Packet):  # type: ignore[misc]
    """dpkt's Ethernet header without what it carries."""

    __hdr__ = dpkt.ethernet.Ethernet.__hdr__


class _LlcHeader(dpkt.dpkt.Packet):  # type: ignore[misc]
    """dpkt's LLC header without what it carries."""

    __hdr__ = dpkt.llc.LLC.__hdr__


def ethernet(cursor: Cursor) -> Any:  # noqa: ANN401
    """Ethernet with a type or a length, or a frame of Cisco ISL."""
    rest = cursor.rest
    if rest.startswith(ISL_DESTINATIONS) and int.from_bytes(rest[12:14], "big") <= links.LENGTH_FIELD_MAX:
        dpkt.ethernet.VLANtagISL(rest)
        cursor.at += ISL_HEADER
        return ethernet
    header = _EthernetHeader(rest)
    cursor.at += header.__hdr_len__
    if header.type > links.LENGTH_FIELD_MAX:
        return ethertype(cursor, header.type)
    if cursor.rest.startswith(b"\xff\xff"):  # Novell IPX without LLC
        return Status.OTHER
    cursor.end = min(cursor.end, cursor.at + header.type)
    return llc


def ethertype(cursor: Cursor, kind: int) -> Any:  # noqa: ANN401
    """The step for an Ethernet type."""
    return ETHERTYPES.get(kind, other)


def _vlan(cursor: Cursor) -> Any:  # noqa: ANN401
    tag = dpkt.ethernet.VLANtag8021Q(cursor.rest)
    cursor.at += tag.__hdr_len__
    if tag.type <= links.LENGTH_FIELD_MAX:
        cursor.end = min(cursor.end, cursor.at + tag.type)
        return llc
    return ethertype(cursor, tag.type)


def mpls(cursor: Cursor) -> Any:  # noqa: ANN401
    """One label of MPLS [RFC 3032 2.1]."""
    label = dpkt.ethernet.MPLSlabel(cursor.rest)
    cursor.at += MPLS_LABEL
    if not label.s:
        return mpls
    # What is carried is not said; the first half-byte tells it [RFC 4928 2].
    version = cursor.rest[0] >> 4
    if version == 4:
        return ipv4
    if version == 6:
        return ipv6
    if version == 0 and cursor.rest[:2] == b"\x00\x00":
        cursor.at += CONTROL_WORD
    return ethernet


def llc(cursor: Cursor) -> Any:  # noqa: ANN401
    """LLC [IEEE 802.2], with or without SNAP."""
    header = _LlcHeader(cursor.rest)
    if header.dsap == header.ssap == SAP_SNAP:
        kind = cursor.number(6, 2)
        organisation = cursor.number(3, 3)
        cursor.skip(SNAP_HEADER)
        if organisation == OUI_BRIDGED:
            return ethernet if kind in BRIDGED_ETHERNET else Status.OTHER
        return ethertype(cursor, kind)
    cursor.at += header.__hdr_len__
    return ipv4 if header.dsap == SAP_IP else Status.OTHER


def pppoe(cursor: Cursor) -> Any:  # noqa: ANN401
    """PPPoE [RFC 2516 4]; only sessions carry packets."""
    header = dpkt.pppoe.PPPoE(cursor.rest[:PPPOE_HEADER])
    if header.code != 0:
        return Status.OTHER
    cursor.at += header.__hdr_len__
    if header.len:
        cursor.end = min(cursor.end, cursor.at + header.len)
    return _ppp_protocol


def ppp(cursor: Cursor) -> Any:  # noqa: ANN401
    """PPP [RFC 1661 2], with address and control or without."""
    if cursor.rest[:2] == b"\xff\x03":  # may be left out [RFC 1661 6.6]
        cursor.at += 2
    return _ppp_protocol


def _ppp_protocol(cursor: Cursor) -> Any:  # noqa: ANN401
    # A field whose first byte is odd is one byte long [RFC 1661 6.5].
    length = 1 if cursor.rest[0] & 1 else 2
    header = dpkt.pppoe.PPP(cursor.rest[:length])
    cursor.at += length
    return PPP_PROTOCOLS.get(header.p, other)


def _pbb(cursor: Cursor) -> Any:  # noqa: ANN401
    cursor.skip(4)  # the service's tag [IEEE 802.1ah 9.7]
    return ethernet


def _vntag(cursor: Cursor) -> Any:  # noqa: ANN401
    kind = cursor.number(4, 2)
    cursor.skip(6)
    return ethertype(cursor, kind)


def _macsec(cursor: Cursor) -> Any:  # noqa: ANN401
    control = cursor.number(0, 1)
    if control & 0x0C:  # encrypted, or changed [IEEE 802.1AE 9.5]
        return Status.OTHER
    cursor.skip(14 if control & 0x20 else 6)
    cursor.wire_end = max(cursor.wire_end - MACSEC_CHECK, cursor.at)
    cursor.end = min(cursor.end, cursor.wire_end)
    kind = cursor.number(0, 2)
    cursor.skip(2)
    return ethertype(cursor, kind)


ETHERTYPES: Final[dict[int, Step]] = {
    links.ETHERTYPE_IPV4: ipv4,
    links.ETHERTYPE_IPV6: ipv6,
    links.ETHERTYPE_VLAN: _vlan,
    links.ETHERTYPE_QINQ: _vlan,
    links.ETHERTYPE_QINQ_9100: _vlan,
    links.ETHERTYPE_QINQ_9200: _vlan,
    links.ETHERTYPE_MPLS: mpls,
    links.ETHERTYPE_MPLS_MULTICAST: mpls,
    links.ETHERTYPE_PPPOE: pppoe,
    links.ETHERTYPE_PPP: ppp,
    links.ETHERTYPE_BRIDGE: ethernet,
    links.ETHERTYPE_PBB: _pbb,
    links.ETHERTYPE_VNTAG: _vntag,
    links.ETHERTYPE_MACSEC: _macsec,
}

PPP_PROTOCOLS: Final[dict[int, Step]] = {dpkt.ppp.PPP_IP: ipv4, dpkt.ppp.PPP_IP6: ipv6}
