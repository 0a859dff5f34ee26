"""Numbers of link types and of what they carry, each named once."""

from __future__ import annotations

from typing import Final

DLT_NULL: Final = 0
DLT_EN10MB: Final = 1
DLT_PPP: Final = 9
DLT_RAW_12: Final = 12
DLT_RAW_14: Final = 14
DLT_PPP_SERIAL: Final = 50
DLT_PPP_ETHER: Final = 51
DLT_RAW: Final = 101
DLT_LOOP: Final = 108
DLT_LINUX_SLL: Final = 113
DLT_IPV4: Final = 228
DLT_IPV6: Final = 229
DLT_LINUX_SLL2: Final = 276
"""Link types [tcpdump.org/linktypes.html]; 12 and 14 are what BSDs write for raw IP."""

NAMES: Final = {
    DLT_NULL: "BSD loopback",
    DLT_EN10MB: "Ethernet",
    6: "Token Ring",
    7: "ARCNET",
    8: "SLIP",
    DLT_PPP: "PPP",
    10: "FDDI",
    11: "ATM (RFC 1483)",
    DLT_RAW_12: "raw IP",
    DLT_RAW_14: "raw IP",
    DLT_PPP_SERIAL: "PPP with HDLC framing",
    DLT_PPP_ETHER: "PPPoE",
    DLT_RAW: "raw IP",
    104: "Cisco HDLC",
    105: "IEEE 802.11",
    107: "Frame Relay",
    DLT_LOOP: "OpenBSD loopback",
    DLT_LINUX_SLL: "Linux cooked v1",
    119: "IEEE 802.11 with Prism header",
    127: "IEEE 802.11 with radiotap header",
    163: "IEEE 802.11 with AVS header",
    192: "PPI",
    DLT_IPV4: "raw IPv4",
    DLT_IPV6: "raw IPv6",
    DLT_LINUX_SLL2: "Linux cooked v2",
}
"""Link types as a person calls them."""

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_RARP: Final = 0x8035
ETHERTYPE_VLAN: Final = 0x8100
ETHERTYPE_IPX: Final = 0x8137
ETHERTYPE_IPV6: Final = 0x86DD
ETHERTYPE_PPP: Final = 0x880B
ETHERTYPE_MPLS: Final = 0x8847
ETHERTYPE_MPLS_MULTICAST: Final = 0x8848
ETHERTYPE_PPPOE_DISCOVERY: Final = 0x8863
ETHERTYPE_PPPOE: Final = 0x8864
ETHERTYPE_EAPOL: Final = 0x888E
ETHERTYPE_QINQ: Final = 0x88A8
ETHERTYPE_LLDP: Final = 0x88CC
ETHERTYPE_LOOPBACK: Final = 0x9000
ETHERTYPE_QINQ_9100: Final = 0x9100
ETHERTYPE_QINQ_9200: Final = 0x9200
ETHERTYPE_BRIDGE: Final = 0x6558
"""Ethernet types [IANA ieee-802-numbers]."""

LENGTH_FIELD_MAX: Final = 1500
"""An Ethernet type up to here is a length [IEEE 802.3 3.2.6]."""

VLAN_DEPTH: Final = 4
"""Tags the pass goes through; two are ordinary."""

AF_INET: Final = 2
AF_INET6: Final = (10, 24, 28, 30)
"""Address families that loopback headers hold: IPv6 is 10 on Linux, 24 on NetBSD and OpenBSD, 28 on
FreeBSD, 30 on Darwin."""

IPPROTO_HOPOPTS: Final = 0
IPPROTO_IPIP: Final = 4
IPPROTO_TCP: Final = 6
IPPROTO_UDP: Final = 17
IPPROTO_IPV6: Final = 41
IPPROTO_ROUTING: Final = 43
IPPROTO_FRAGMENT: Final = 44
IPPROTO_GRE: Final = 47
IPPROTO_AH: Final = 51
IPPROTO_DSTOPTS: Final = 60
"""IP protocol numbers [IANA protocol-numbers]."""


def link_type_name(dlt: int) -> str:
    """Return a link type's name for a person, its number where it has none here."""
    return NAMES.get(dlt, f"link type {dlt}")
