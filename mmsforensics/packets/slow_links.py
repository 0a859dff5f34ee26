"""The first header of a frame on the slow road, by its link type."""

from __future__ import annotations

from typing import Any, Final

import dpkt

from mmsforensics.packets import links
from mmsforensics.packets.slow_cursor import Cursor, MalformedError, Step, other
from mmsforensics.packets.slow_ethernet import (
    BRIDGED_ETHERNET,
    OUI_BRIDGED,
    ethernet,
    ethertype,
    llc,
    mpls,
    ppp,
    pppoe,
)
from mmsforensics.packets.slow_ip import ipv4, ipv6, raw
from mmsforensics.packets.slow_wlan import avs, prism, radiotap, without_fcs, wlan
from mmsforensics.packets.table import Status

SLL_HEADER: Final = 16
SLL2_HEADER: Final = 20
"""Bytes of headers."""

PPI_COMMON: Final = 2
SUNATM_LLC: Final = 2
NFLOG_PAYLOAD: Final = 9
SOLARIS_AF_INET6: Final = 26
NLPID_SNAP: Final = 0x80


def _sll(cursor: Cursor) -> Any:  # noqa: ANN401
    header = dpkt.sll.SLL(cursor.rest[:SLL_HEADER])
    cursor.at += header.__hdr_len__
    return ethertype(cursor, header.ethtype)


def _sll2(cursor: Cursor) -> Any:  # noqa: ANN401
    header = dpkt.sll2.SLL2(cursor.rest[:SLL2_HEADER])
    cursor.at += header.__hdr_len__
    return ethertype(cursor, header.ethtype)


def _loopback(cursor: Cursor) -> Any:  # noqa: ANN401
    if len(cursor.rest) < 4:
        raise MalformedError
    family = min(int.from_bytes(cursor.rest[:4], "big"), int.from_bytes(cursor.rest[:4], "little"))
    cursor.at += 4
    if family == links.AF_INET:
        return ipv4
    return ipv6 if family in links.AF_INET6 else Status.OTHER


def _ppi(cursor: Cursor) -> Any:  # noqa: ANN401
    """Per-packet information [PPI 1.0.7]: a length, a link type, and fields of which one tells of the FCS."""
    size, link = cursor.number(2, 2, "little"), cursor.number(4, 4, "little")
    at, fcs = 8, False
    while at + 4 <= size:
        if cursor.number(at, 2, "little") == PPI_COMMON and at + 14 <= size:
            fcs = bool(cursor.number(at + 12, 2, "little") & 1)
        at += 4 + cursor.number(at + 2, 2, "little")
    cursor.skip(size)
    if fcs:
        without_fcs(cursor)
    return LINKS.get(link, other) if link != links.DLT_PPI else other


def _token_ring(cursor: Cursor) -> Any:  # noqa: ANN401
    """AC, FC, addresses; the source's highest bit tells of routing information [IEEE 802.5 3.2]."""
    if cursor.number(1, 1) & 0xC0 != 0x40:
        return Status.OTHER
    routed = cursor.number(8, 1) & 0x80
    cursor.skip(14)
    if routed:
        cursor.skip(cursor.number(0, 1) & 0x1F)
    return llc


def _fddi(cursor: Cursor) -> Any:  # noqa: ANN401
    if cursor.number(0, 1) & 0x70 != 0x50:  # frame control: LLC [ISO 9314-2 7.3.3]
        return Status.OTHER
    cursor.skip(13)
    return llc


def _ieee1394(cursor: Cursor) -> Any:  # noqa: ANN401
    kind = cursor.number(16, 2)
    cursor.skip(18)
    return ethertype(cursor, kind)


def _cisco_hdlc(cursor: Cursor) -> Any:  # noqa: ANN401
    kind = cursor.number(2, 2)
    cursor.skip(4)
    return ethertype(cursor, kind)


def _frame_relay(cursor: Cursor) -> Any:  # noqa: ANN401
    """An address of 2 to 4 bytes, then an NLPID [RFC 2427 3], or an Ethernet type as Cisco writes it."""
    size = next((n for n in (2, 3, 4) if cursor.number(n - 1, 1) & 1), 0)
    if not size or cursor.number(0, 1) & 1:
        return Status.MALFORMED
    cursor.skip(size)
    if cursor.number(0, 1) != 0x03:
        kind = cursor.number(0, 2)
        cursor.skip(2)
        return ethertype(cursor, kind)
    cursor.skip(2 if cursor.number(1, 1) == 0 else 1)  # padding
    kind = cursor.number(0, 1)
    cursor.skip(1)
    if kind != NLPID_SNAP:
        return NLPIDS.get(kind, other)
    organisation, kind = cursor.number(0, 3), cursor.number(3, 2)
    cursor.skip(5)
    if organisation == OUI_BRIDGED:
        return ethernet if kind in BRIDGED_ETHERNET else Status.OTHER
    return ethertype(cursor, kind)


def _atm(cursor: Cursor) -> Any:  # noqa: ANN401
    """LLC; bridged frames stand behind two bytes of padding [RFC 2684 5.2]."""
    if cursor.rest[:6] == b"\xaa\xaa\x03\x00\x80\xc2" and cursor.number(6, 2) in BRIDGED_ETHERNET:
        cursor.skip(10)
        return ethernet
    return llc


def _sunatm(cursor: Cursor) -> Any:  # noqa: ANN401
    kind = cursor.number(0, 1) & 0x0F
    cursor.skip(4)
    return _atm if kind == SUNATM_LLC else Status.OTHER


def _behind(count: int, following: Step) -> Step:
    """A step that passes over a header of a fixed size."""

    def step(cursor: Cursor) -> Any:  # noqa: ANN401
        cursor.skip(count)
        return following

    return step


def _by_family(family: int) -> Any:  # noqa: ANN401
    if family == links.AF_INET:
        return ipv4
    return ipv6 if family in (*links.AF_INET6, SOLARIS_AF_INET6) else Status.OTHER


def _enc(cursor: Cursor) -> Any:  # noqa: ANN401
    family = min(cursor.number(0, 4), cursor.number(0, 4, "little"))
    cursor.skip(12)
    return _by_family(family)


def _pflog(cursor: Cursor) -> Any:  # noqa: ANN401
    size, family = cursor.number(0, 1), cursor.number(1, 1)
    cursor.skip((size + 3) // 4 * 4)
    return _by_family(family)


def _ipnet(cursor: Cursor) -> Any:  # noqa: ANN401
    family = cursor.number(1, 1)
    cursor.skip(24)
    return _by_family(family)


def _nflog(cursor: Cursor) -> Any:  # noqa: ANN401
    """Family, version, resource, then values with length and type in the order of the host."""
    family = cursor.number(0, 1)
    cursor.skip(4)
    while True:
        size, kind = cursor.number(0, 2, "little"), cursor.number(2, 2, "little")
        if size < 4:
            raise MalformedError
        if kind == NFLOG_PAYLOAD:
            cursor.cut(size)
            cursor.skip(4)
            return _by_family(family)
        cursor.skip((size + 3) // 4 * 4)


NLPIDS: Final[dict[int, Step]] = {0xCC: ipv4, 0x8E: ipv6}
"""Network layer protocol identifiers [ISO/IEC TR 9577]."""

LINKS: Final[dict[int, Step]] = {
    links.DLT_NULL: _loopback,
    links.DLT_EN10MB: ethernet,
    links.DLT_PPP: ppp,
    links.DLT_RAW_12: raw,
    links.DLT_RAW_14: raw,
    links.DLT_PPP_SERIAL: ppp,
    links.DLT_PPP_ETHER: pppoe,
    links.DLT_RAW: raw,
    links.DLT_LOOP: _loopback,
    links.DLT_LINUX_SLL: _sll,
    links.DLT_IPV4: ipv4,
    links.DLT_IPV6: ipv6,
    links.DLT_LINUX_SLL2: _sll2,
    links.DLT_IEEE802: _token_ring,
    links.DLT_SLIP: _behind(16, raw),
    links.DLT_FDDI: _fddi,
    links.DLT_ATM_RFC1483_BSD: _atm,
    links.DLT_ATM_RFC1483: _atm,
    links.DLT_C_HDLC: _cisco_hdlc,
    links.DLT_IEEE802_11: wlan,
    links.DLT_FRELAY: _frame_relay,
    links.DLT_ENC: _enc,
    links.DLT_PFLOG: _pflog,
    links.DLT_PRISM_HEADER: prism,
    links.DLT_SUNATM: _sunatm,
    links.DLT_IEEE802_11_RADIO: radiotap,
    links.DLT_APPLE_IP_OVER_IEEE1394: _ieee1394,
    links.DLT_IEEE802_11_RADIO_AVS: avs,
    links.DLT_PPP_PPPD: _behind(1, ppp),
    links.DLT_PPI: _ppi,
    links.DLT_PPP_WITH_DIR: _behind(1, ppp),
    links.DLT_MPLS: mpls,
    links.DLT_IPNET: _ipnet,
    links.DLT_NFLOG: _nflog,
    links.DLT_NETANALYZER: _behind(4, ethernet),
}
