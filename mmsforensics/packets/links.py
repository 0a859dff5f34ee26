"""Numbers of link types and of what they carry, each named once."""

from __future__ import annotations

from typing import Final

DLT_NULL: Final = 0
DLT_EN10MB: Final = 1
DLT_IEEE802: Final = 6
DLT_SLIP: Final = 8
DLT_PPP: Final = 9
DLT_FDDI: Final = 10
DLT_ATM_RFC1483_BSD: Final = 11
DLT_RAW_12: Final = 12
DLT_RAW_14: Final = 14
DLT_PPP_SERIAL: Final = 50
DLT_PPP_ETHER: Final = 51
DLT_ATM_RFC1483: Final = 100
DLT_RAW: Final = 101
DLT_C_HDLC: Final = 104
DLT_IEEE802_11: Final = 105
DLT_FRELAY: Final = 107
DLT_LOOP: Final = 108
DLT_ENC: Final = 109
DLT_LINUX_SLL: Final = 113
DLT_PFLOG: Final = 117
DLT_PRISM_HEADER: Final = 119
DLT_SUNATM: Final = 123
DLT_IEEE802_11_RADIO: Final = 127
DLT_APPLE_IP_OVER_IEEE1394: Final = 138
DLT_IEEE802_11_RADIO_AVS: Final = 163
DLT_PPP_PPPD: Final = 166
DLT_PPI: Final = 192
DLT_PPP_WITH_DIR: Final = 204
DLT_MPLS: Final = 219
DLT_IPNET: Final = 226
DLT_IPV4: Final = 228
DLT_IPV6: Final = 229
DLT_NFLOG: Final = 239
DLT_NETANALYZER: Final = 240
DLT_LINUX_SLL2: Final = 276
"""Link types [tcpdump.org/linktypes.html]; 12 and 14 are what BSDs write for raw IP."""

NAMES: Final = {
    DLT_NULL: "BSD loopback",
    DLT_EN10MB: "Ethernet",
    DLT_IEEE802: "Token Ring",
    7: "ARCNET",
    DLT_SLIP: "SLIP",
    DLT_PPP: "PPP",
    DLT_FDDI: "FDDI",
    DLT_ATM_RFC1483_BSD: "ATM (RFC 1483)",
    DLT_RAW_12: "raw IP",
    DLT_RAW_14: "raw IP",
    DLT_PPP_SERIAL: "PPP with HDLC framing",
    DLT_PPP_ETHER: "PPPoE",
    DLT_ATM_RFC1483: "ATM (RFC 1483)",
    DLT_RAW: "raw IP",
    DLT_C_HDLC: "Cisco HDLC",
    DLT_IEEE802_11: "IEEE 802.11",
    DLT_FRELAY: "Frame Relay",
    DLT_LOOP: "OpenBSD loopback",
    DLT_ENC: "OpenBSD encapsulated",
    DLT_LINUX_SLL: "Linux cooked v1",
    DLT_PFLOG: "OpenBSD packet filter log",
    DLT_PRISM_HEADER: "IEEE 802.11 with Prism header",
    DLT_SUNATM: "ATM (SunATM)",
    DLT_IEEE802_11_RADIO: "IEEE 802.11 with radiotap header",
    DLT_APPLE_IP_OVER_IEEE1394: "IP over IEEE 1394",
    DLT_IEEE802_11_RADIO_AVS: "IEEE 802.11 with AVS header",
    DLT_PPP_PPPD: "PPP with direction",
    DLT_PPI: "PPI",
    DLT_PPP_WITH_DIR: "PPP with direction",
    DLT_MPLS: "MPLS",
    DLT_IPNET: "Solaris ipnet",
    DLT_IPV4: "raw IPv4",
    DLT_IPV6: "raw IPv6",
    DLT_NFLOG: "Linux netfilter log",
    DLT_NETANALYZER: "netANALYZER",
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
ETHERTYPE_MACSEC: Final = 0x88E5
ETHERTYPE_PBB: Final = 0x88E7
ETHERTYPE_VNTAG: Final = 0x8926
ETHERTYPE_ERSPAN: Final = 0x88BE
ETHERTYPE_ERSPAN_3: Final = 0x22EB
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
IPPROTO_ETHERIP: Final = 97
IPPROTO_MPLS: Final = 137
"""IP protocol numbers [IANA protocol-numbers]."""

IPV6_EXTENSIONS: Final = (
    IPPROTO_HOPOPTS,
    IPPROTO_ROUTING,
    IPPROTO_FRAGMENT,
    IPPROTO_AH,
    IPPROTO_DSTOPTS,
)
"""Next headers that are IPv6 extension headers [RFC 8200 4.1]."""


PORT_L2TP: Final = 1701
PORT_GTP_U: Final = 2152
PORT_TEREDO: Final = 3544
PORT_VXLAN: Final = 4789
PORT_GENEVE: Final = 6081
PORT_MPLS: Final = 6635
PORT_VXLAN_LINUX: Final = 8472
"""UDP ports of tunnels [IANA service-names-port-numbers]; the last is what Linux used for VXLAN at first."""


def link_type_name(dlt: int) -> str:
    """Return a link type's name for a person, its number where it has none here."""
    return NAMES.get(dlt, f"link type {dlt}")
