"""The slow road: dpkt decodes the few frames that the compiled pass leaves to it.

dpkt reads each header; where the next one begins is counted here, for a row says where in the frame its
payload lies. The rules are those of `mmsforensics.packets.decode`, and a test holds the two to the same
answer. This is the one module that knows dpkt.

Rules of this file:

* each step gives dpkt the bytes of one header only: its classes decode all that they are given, and an
  error far inside would hide what is sound further out;
* each step reads one header at the cursor and names the next step, or ends with a status;
* whatever dpkt raises makes the frame MALFORMED: nothing passes the edge of `decode_slow`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import dpkt
import numpy as np
from numpy.typing import NDArray

from mmsforensics.packets import links
from mmsforensics.packets.table import Status

MAX_STEPS: Final = 32
"""Headers of a frame that are followed; real stacks of tunnels stay below ten."""

ISL_DESTINATIONS: Final = (b"\x01\x00\x0c\x00\x00", b"\x03\x00\x0c\x00\x00")
"""First bytes of a Cisco ISL frame."""

ISL_HEADER: Final = 26
PPPOE_HEADER: Final = 6
SLL_HEADER: Final = 16
SLL2_HEADER: Final = 20
TCP_MAX: Final = 60
GRE_HEADER: Final = 4
SNAP_HEADER: Final = 8
MPLS_LABEL: Final = 4
CONTROL_WORD: Final = 4
"""Bytes of headers; of a pseudowire's control word [RFC 4385 3]."""

SAP_IP: Final = 0x06
SAP_SNAP: Final = 0xAA
"""Service access points [IEEE 802.2]."""

FIELDS: Final = (
    "src_hi",
    "src_lo",
    "dst_hi",
    "dst_lo",
    "seq",
    "ack",
    "payload",
    "payload_len",
    "payload_wire",
    "src_port",
    "dst_port",
    "window",
    "version",
    "proto",
    "flags",
)
"""What a step may set; the rest of a row comes from the record."""


class _Cursor:
    """A frame, where the next header begins in it, and where what carries it ends."""

    __slots__ = ("at", "end", "fields", "frame", "wire_end")

    def __init__(self, frame: bytes, wire: int) -> None:
        self.frame = frame
        self.at = 0
        self.end = len(frame)
        """Captured bytes end here."""
        self.wire_end = max(wire, len(frame))
        """The bytes on the wire ended here."""
        self.fields: dict[str, int] = {}

    @property
    def rest(self) -> bytes:
        """The captured bytes from the cursor on."""
        return self.frame[self.at : self.end]

    def cut(self, length: int) -> None:
        """End what is carried `length` bytes behind the cursor."""
        self.wire_end = self.at + length
        self.end = min(self.end, self.wire_end)

    def carry(self, status: Status) -> Status:
        """Make the bytes from the cursor on the payload."""
        self.fields["payload"] = self.at
        self.fields["payload_len"] = self.end - self.at
        self.fields["payload_wire"] = self.wire_end - self.at
        return status


_Step: TypeAlias = Callable[[_Cursor], Any]
"""Reads the header at the cursor; returns the next step, or the frame's status."""


class _MalformedError(Exception):
    """A header that contradicts itself where dpkt does not mind."""


def decode_slow(frame: bytes, row: np.void) -> None:
    """Decode one frame with dpkt into its row.

    Parameters
    ----------
    frame : bytes
        The captured bytes.
    row : void of `PACKET`
        `wirelen` and `link` are read; the decoded fields and `status` are written. Never raises.
    """
    _settle(_Cursor(frame, int(row["wirelen"])), row, LINKS.get(int(row["link"]), _other))


def _settle(cursor: _Cursor, row: np.void | NDArray[np.void], step: _Step) -> None:
    """Decode from `step` on and write what was found into the row."""
    try:
        status = _decode(cursor, step)
    except Exception:  # dpkt raises many types on hostile input; all mean the same here
        status = Status.MALFORMED
    if status is Status.MALFORMED:
        addresses = ("src_hi", "src_lo", "dst_hi", "dst_lo", "version", "proto")
        cursor.fields = {name: cursor.fields.get(name, 0) for name in addresses}
    for name in FIELDS:
        row[name] = cursor.fields.get(name, 0)
    row["status"] = status


def decode_payload(payload: bytes, row: NDArray[np.void]) -> None:
    """Decode the payload of an IP packet that was put together from fragments.

    Parameters
    ----------
    payload : bytes
        What was captured of it, from its first byte on.
    row : ndarray of `PACKET`, shape ()
        Addresses, `version`, `proto` and `wirelen` are read; the decoded fields and `status` are written.
        Never raises.
    """
    cursor = _Cursor(payload, int(row["wirelen"]))
    outer = ("src_hi", "src_lo", "dst_hi", "dst_lo", "version", "proto")
    cursor.fields = {name: int(row[name]) for name in outer}
    _settle(cursor, row, _extension if row["version"] == 6 else TRANSPORTS.get(int(row["proto"]), _carried))


def _decode(cursor: _Cursor, step: Any) -> Status:  # noqa: ANN401
    for _ in range(MAX_STEPS):
        result = step(cursor)
        if isinstance(result, Status):
            return result
        step = result
    raise _MalformedError


def _ethernet(cursor: _Cursor) -> Any:  # noqa: ANN401
    rest = cursor.rest
    if rest.startswith(ISL_DESTINATIONS) and int.from_bytes(rest[12:14], "big") <= links.LENGTH_FIELD_MAX:
        dpkt.ethernet.VLANtagISL(rest)
        cursor.at += ISL_HEADER
        return _ethernet
    header = _EthernetHeader(rest)
    cursor.at += header.__hdr_len__
    if header.type > links.LENGTH_FIELD_MAX:
        return _ethertype(cursor, header.type)
    if cursor.rest.startswith(b"\xff\xff"):  # Novell IPX without LLC
        return Status.OTHER
    cursor.end = min(cursor.end, cursor.at + header.type)
    return _llc


def _ethertype(cursor: _Cursor, kind: int) -> Any:  # noqa: ANN401
    return ETHERTYPES.get(kind, _other)


def _vlan(cursor: _Cursor) -> Any:  # noqa: ANN401
    tag = dpkt.ethernet.VLANtag8021Q(cursor.rest)
    cursor.at += tag.__hdr_len__
    if tag.type <= links.LENGTH_FIELD_MAX:
        cursor.end = min(cursor.end, cursor.at + tag.type)
        return _llc
    return _ethertype(cursor, tag.type)


def _mpls(cursor: _Cursor) -> Any:  # noqa: ANN401
    label = dpkt.ethernet.MPLSlabel(cursor.rest)
    cursor.at += MPLS_LABEL
    if not label.s:
        return _mpls
    # What is carried is not said; the first half-byte tells it [RFC 4928 2].
    version = cursor.rest[0] >> 4
    if version == 4:
        return _ipv4
    if version == 6:
        return _ipv6
    if version == 0 and cursor.rest[:2] == b"\x00\x00":
        cursor.at += CONTROL_WORD
    return _ethernet


def _llc(cursor: _Cursor) -> Any:  # noqa: ANN401
    header = _LlcHeader(cursor.rest)
    if header.dsap == header.ssap == SAP_SNAP:
        kind = int.from_bytes(cursor.rest[6:8], "big")
        cursor.at += SNAP_HEADER
        if cursor.at > cursor.end:
            raise _MalformedError
        return _ethertype(cursor, kind)
    cursor.at += header.__hdr_len__
    return _ipv4 if header.dsap == SAP_IP else Status.OTHER


def _pppoe(cursor: _Cursor) -> Any:  # noqa: ANN401
    header = dpkt.pppoe.PPPoE(cursor.rest[:PPPOE_HEADER])
    if header.code != 0:
        return Status.OTHER
    cursor.at += header.__hdr_len__
    if header.len:
        cursor.end = min(cursor.end, cursor.at + header.len)
    return _ppp_protocol


def _ppp(cursor: _Cursor) -> Any:  # noqa: ANN401
    if cursor.rest[:2] == b"\xff\x03":  # may be left out [RFC 1661 6.6]
        cursor.at += 2
    return _ppp_protocol


def _ppp_protocol(cursor: _Cursor) -> Any:  # noqa: ANN401
    # A field whose first byte is odd is one byte long [RFC 1661 6.5].
    length = 1 if cursor.rest[0] & 1 else 2
    header = dpkt.pppoe.PPP(cursor.rest[:length])
    cursor.at += length
    return PPP_PROTOCOLS.get(header.p, _other)


def _sll(cursor: _Cursor) -> Any:  # noqa: ANN401
    header = dpkt.sll.SLL(cursor.rest[:SLL_HEADER])
    cursor.at += header.__hdr_len__
    return _ethertype(cursor, header.ethtype)


def _sll2(cursor: _Cursor) -> Any:  # noqa: ANN401
    header = dpkt.sll2.SLL2(cursor.rest[:SLL2_HEADER])
    cursor.at += header.__hdr_len__
    return _ethertype(cursor, header.ethtype)


def _loopback(cursor: _Cursor) -> Any:  # noqa: ANN401
    if len(cursor.rest) < 4:
        raise _MalformedError
    family = min(int.from_bytes(cursor.rest[:4], "big"), int.from_bytes(cursor.rest[:4], "little"))
    cursor.at += 4
    if family == links.AF_INET:
        return _ipv4
    return _ipv6 if family in links.AF_INET6 else Status.OTHER


def _raw(cursor: _Cursor) -> Any:  # noqa: ANN401
    version = cursor.rest[0] >> 4
    if version == 4:
        return _ipv4
    if version == 6:
        return _ipv6
    raise _MalformedError


def _ipv4(cursor: _Cursor) -> Any:  # noqa: ANN401
    size = (cursor.rest[0] & 15) << 2
    ip = dpkt.ip.IP(cursor.rest[:size])  # the header alone
    if ip.v != 4 or size > len(cursor.rest):
        raise _MalformedError
    cursor.fields = {
        "version": 4,
        "proto": ip.p,
        "src_lo": int.from_bytes(ip.src, "big"),
        "dst_lo": int.from_bytes(ip.dst, "big"),
    }
    if ip.len:
        if ip.len < size:
            raise _MalformedError
        cursor.cut(ip.len)
    cursor.at += size
    if ip.mf or ip.offset:
        cursor.fields |= {"seq": ip.id, "ack": ip.offset * 8, "flags": int(bool(ip.mf))}
        return cursor.carry(Status.FRAGMENT)
    return TRANSPORTS.get(ip.p, _carried)


def _ipv6(cursor: _Cursor) -> Any:  # noqa: ANN401
    size = dpkt.ip6.IP6.__hdr_len__
    ip = _Ip6Header(cursor.rest)
    if ip.first >> 4 != 6:
        raise _MalformedError
    cursor.fields = {
        "version": 6,
        "proto": ip.nxt,
        "src_hi": int.from_bytes(ip.src[:8], "big"),
        "src_lo": int.from_bytes(ip.src[8:], "big"),
        "dst_hi": int.from_bytes(ip.dst[:8], "big"),
        "dst_lo": int.from_bytes(ip.dst[8:], "big"),
    }
    cursor.at += size
    if ip.plen:
        cursor.cut(ip.plen)
    return _extension


class _EthernetHeader(dpkt.dpkt.Packet):  # type: ignore[misc]
    """dpkt's Ethernet header without what it carries."""

    __hdr__ = dpkt.ethernet.Ethernet.__hdr__


class _LlcHeader(dpkt.dpkt.Packet):  # type: ignore[misc]
    """dpkt's LLC header without what it carries."""

    __hdr__ = dpkt.llc.LLC.__hdr__


class _Ip6Header(dpkt.dpkt.Packet):  # type: ignore[misc]
    """dpkt's IPv6 header without what it carries."""

    __hdr__ = (("first", "B", 0x60), ("_rest", "3s", b""), *dpkt.ip6.IP6.__hdr__[1:])


def _extension(cursor: _Cursor) -> Any:  # noqa: ANN401
    """Go through one IPv6 extension header, or on to the transport."""
    kind = cursor.fields["proto"]
    if kind not in EXTENSIONS:
        return TRANSPORTS.get(kind, _carried)
    header = dpkt.ip6.EXT_HDRS_CLS[kind](cursor.rest)
    if header.length > len(cursor.rest):
        raise _MalformedError
    cursor.at += header.length
    cursor.fields["proto"] = header.nxt
    if kind == links.IPPROTO_FRAGMENT and (header.frag_off or header.m_flag):
        cursor.fields |= {"seq": header.id, "ack": header.frag_off * 8, "flags": header.m_flag}
        return cursor.carry(Status.FRAGMENT)
    return _extension


def _gre(cursor: _Cursor) -> Any:  # noqa: ANN401
    shape = dpkt.gre.GRE(flags=int.from_bytes(cursor.rest[:2], "big"))
    size = GRE_HEADER + struct.calcsize("!" + "".join(shape.opt_fields_fmts()[1]))
    if size > len(cursor.rest):
        raise _MalformedError
    if shape.flags & dpkt.gre.GRE_RP:  # source routes, given up with RFC 2784
        return _carried
    header = dpkt.gre.GRE(cursor.rest[:size])
    if header.p not in ETHERTYPES:
        return _carried
    cursor.at += size
    return ETHERTYPES[header.p]


def _tcp(cursor: _Cursor) -> Status:
    tcp = dpkt.tcp.TCP(cursor.rest[:TCP_MAX])
    size = tcp.off << 2
    if size > len(cursor.rest):
        raise _MalformedError
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


def _udp(cursor: _Cursor) -> Status:
    udp = dpkt.udp.UDP(cursor.rest)
    if udp.ulen:
        if udp.ulen < udp.__hdr_len__:
            raise _MalformedError
        length = min(udp.ulen, cursor.wire_end - cursor.at)
        cursor.cut(length)
    cursor.at += udp.__hdr_len__
    cursor.fields |= {"src_port": udp.sport, "dst_port": udp.dport}
    return cursor.carry(Status.DECODED)


def _carried(cursor: _Cursor) -> Status:
    return cursor.carry(Status.OTHER)


def _other(cursor: _Cursor) -> Status:
    return Status.OTHER


EXTENSIONS: Final = (
    links.IPPROTO_HOPOPTS,
    links.IPPROTO_ROUTING,
    links.IPPROTO_FRAGMENT,
    links.IPPROTO_AH,
    links.IPPROTO_DSTOPTS,
)

LINKS: Final[dict[int, _Step]] = {
    links.DLT_NULL: _loopback,
    links.DLT_EN10MB: _ethernet,
    links.DLT_PPP: _ppp,
    links.DLT_RAW_12: _raw,
    links.DLT_RAW_14: _raw,
    links.DLT_PPP_SERIAL: _ppp,
    links.DLT_PPP_ETHER: _pppoe,
    links.DLT_RAW: _raw,
    links.DLT_LOOP: _loopback,
    links.DLT_LINUX_SLL: _sll,
    links.DLT_IPV4: _ipv4,
    links.DLT_IPV6: _ipv6,
    links.DLT_LINUX_SLL2: _sll2,
}

ETHERTYPES: Final[dict[int, _Step]] = {
    links.ETHERTYPE_IPV4: _ipv4,
    links.ETHERTYPE_IPV6: _ipv6,
    links.ETHERTYPE_VLAN: _vlan,
    links.ETHERTYPE_QINQ: _vlan,
    links.ETHERTYPE_QINQ_9100: _vlan,
    links.ETHERTYPE_QINQ_9200: _vlan,
    links.ETHERTYPE_MPLS: _mpls,
    links.ETHERTYPE_MPLS_MULTICAST: _mpls,
    links.ETHERTYPE_PPPOE: _pppoe,
    links.ETHERTYPE_PPP: _ppp,
    links.ETHERTYPE_BRIDGE: _ethernet,
}

PPP_PROTOCOLS: Final[dict[int, _Step]] = {dpkt.ppp.PPP_IP: _ipv4, dpkt.ppp.PPP_IP6: _ipv6}

TRANSPORTS: Final[dict[int, _Step]] = {
    links.IPPROTO_TCP: _tcp,
    links.IPPROTO_UDP: _udp,
    links.IPPROTO_IPIP: _ipv4,
    links.IPPROTO_IPV6: _ipv6,
    links.IPPROTO_GRE: _gre,
}
