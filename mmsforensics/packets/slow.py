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
from typing import Any, Final, Literal, TypeAlias

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

WLAN_HEADER: Final = 24
WLAN_MORE_FRAGMENTS: Final = 0x04
WLAN_PROTECTED: Final = 0x40
WLAN_ORDER: Final = 0x80
"""Of a data frame with three addresses; bits of the second byte of its frame control."""

FCS: Final = 4
AVS_MAGIC: Final = 0x80211000
PRISM_MAX: Final = 4096
"""A Prism header that would be longer stands in the other byte order."""
PPI_COMMON: Final = 2
SUNATM_LLC: Final = 2
NFLOG_PAYLOAD: Final = 9
SOLARIS_AF_INET6: Final = 26
MACSEC_CHECK: Final = 16
NLPID_SNAP: Final = 0x80

OUI_BRIDGED: Final = 0x0080C2
BRIDGED_ETHERNET: Final = (1, 7)
"""Bridged Ethernet frames, with and without their check sequence [RFC 2684 B, RFC 2427 4.2]."""

MAX_TUNNELS: Final = 4
"""Tunnels over UDP in each other that are followed."""

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
    "network",
    "transport",
    "version",
    "proto",
    "flags",
)
"""What a step may set; the rest of a row comes from the record."""


class _Cursor:
    """A frame, where the next header begins in it, and where what carries it ends."""

    __slots__ = ("at", "depth", "end", "fields", "frame", "network", "wire_end")

    def __init__(self, frame: bytes, wire: int) -> None:
        self.frame = frame
        self.at = 0
        self.end = len(frame)
        """Captured bytes end here."""
        self.wire_end = max(wire, len(frame))
        """The bytes on the wire ended here."""
        self.fields: dict[str, int] = {}
        self.depth = 0
        """Tunnels over UDP entered."""
        self.network: int | None = None
        """Where the innermost IP header begins."""

    def copy(self) -> _Cursor:
        """A cursor at the same place, one tunnel further in."""
        other = _Cursor(self.frame, self.wire_end)
        other.at, other.end, other.wire_end = self.at, self.end, self.wire_end
        other.fields, other.depth = dict(self.fields), self.depth + 1
        other.network = self.network
        return other

    def number(self, at: int, size: int, order: Literal["big", "little"] = "big") -> int:
        """An integer `at` bytes behind the cursor."""
        start = self.at + at
        if start + size > self.end:
            raise _MalformedError
        return int.from_bytes(self.frame[start : start + size], order)

    def skip(self, count: int) -> None:
        """Go on behind bytes that must be there."""
        if self.at + count > self.end:
            raise _MalformedError
        self.at += count

    @property
    def rest(self) -> bytes:
        """The captured bytes from the cursor on."""
        return self.frame[self.at : self.end]

    def cut(self, length: int) -> None:
        """End what is carried `length` bytes behind the cursor."""
        self.wire_end = self.at + length
        self.end = min(self.end, self.wire_end)

    def transport(self) -> None:
        """Note that the header at the cursor is that of TCP or UDP, unless it and IP's are in no frame."""
        if self.network is not None:
            self.fields |= {"network": self.network, "transport": self.at}

    def carry(self, status: Status) -> Status:
        """Make the bytes from the cursor on the payload."""
        self.fields["payload"] = self.at
        self.fields["payload_len"] = self.end - self.at
        self.fields["payload_wire"] = self.wire_end - self.at
        return status


_Step: TypeAlias = Callable[[_Cursor], Any]
"""Reads the header at the cursor; returns the next step, or the frame's status."""


def decode_inside(frame: bytes, at: int, end: int, row: NDArray[np.void]) -> None:
    """Decode a frame's part that begins with an LLC header: a subframe of an aggregate.

    Parameters
    ----------
    frame : bytes
        The captured bytes of the whole frame.
    at, end : int
        Where the part begins and ends.
    row : ndarray of `PACKET`, shape ()
        As of `decode_slow`.
    """
    cursor = _Cursor(frame, len(frame))
    cursor.at = at
    cursor.cut(end - at)
    _settle(cursor, row, _llc)


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
        kind = cursor.number(6, 2)
        organisation = cursor.number(3, 3)
        cursor.skip(SNAP_HEADER)
        if organisation == OUI_BRIDGED:
            return _ethernet if kind in BRIDGED_ETHERNET else Status.OTHER
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
    cursor.network = cursor.at
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
    cursor.network = cursor.at
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


# --- IEEE 802.11 [IEEE 802.11-2020 9.2, 9.3.2] ------------------------------------------------------


def _wlan(cursor: _Cursor, *, padded: bool = False) -> Any:  # noqa: ANN401
    control, flags = cursor.number(0, 1), cursor.number(1, 1)
    if control & 0x0C != 0x08 or control & 0x40:  # management, control, or data without data
        return Status.OTHER
    if flags & (WLAN_PROTECTED | WLAN_MORE_FRAGMENTS) or cursor.number(22, 1) & 0x0F:
        return Status.OTHER
    size = WLAN_HEADER + (6 if flags & 0x03 == 0x03 else 0)
    aggregate = False
    if control & 0x80:  # QoS
        aggregate = bool(cursor.number(size, 1) & 0x80)
        size += 2 + (4 if flags & WLAN_ORDER else 0)
    cursor.skip((size + 3) // 4 * 4 if padded else size)
    return cursor.carry(Status.AGGREGATE) if aggregate else _llc


def _without_fcs(cursor: _Cursor) -> None:
    """Leave out the frame check sequence at the end of the frame."""
    cursor.wire_end = max(cursor.wire_end - FCS, cursor.at)
    cursor.end = min(cursor.end, cursor.wire_end)


def _radiotap(cursor: _Cursor) -> Any:  # noqa: ANN401
    """A header of fields that are there by bits [radiotap.org]; the flags say what is at the frame's end."""
    size = cursor.number(2, 2, "little")
    present = cursor.number(4, 4, "little")
    at, word = 8, present
    while word & 1 << 31:
        word = cursor.number(at, 4, "little")
        at += 4
    if present & 1:  # TSFT, aligned to its size
        at = (at + 7) // 8 * 8 + 8
    flags = cursor.number(at, 1) if present & 2 and at < size else 0
    cursor.skip(size)
    if flags & 0x10:
        _without_fcs(cursor)
    return _wlan(cursor, padded=bool(flags & 0x20))


def _prism(cursor: _Cursor) -> Any:  # noqa: ANN401
    if cursor.number(0, 4) >> 4 == AVS_MAGIC >> 4:
        return _avs
    size = cursor.number(4, 4, "little")
    cursor.skip(size if size <= PRISM_MAX else cursor.number(4, 4))
    return _wlan(cursor)


def _avs(cursor: _Cursor) -> Any:  # noqa: ANN401
    cursor.skip(cursor.number(4, 4))
    return _wlan(cursor)


def _ppi(cursor: _Cursor) -> Any:  # noqa: ANN401
    """Per-packet information [PPI 1.0.7]: a length, a link type, and fields of which one tells of the FCS."""
    size, link = cursor.number(2, 2, "little"), cursor.number(4, 4, "little")
    at, fcs = 8, False
    while at + 4 <= size:
        if cursor.number(at, 2, "little") == PPI_COMMON and at + 14 <= size:
            fcs = bool(cursor.number(at + 12, 2, "little") & 1)
        at += 4 + cursor.number(at + 2, 2, "little")
    cursor.skip(size)
    if fcs:
        _without_fcs(cursor)
    return LINKS.get(link, _other) if link != links.DLT_PPI else _other


# --- other links -----------------------------------------------------------------------------------


def _token_ring(cursor: _Cursor) -> Any:  # noqa: ANN401
    """AC, FC, addresses; the source's highest bit tells of routing information [IEEE 802.5 3.2]."""
    if cursor.number(1, 1) & 0xC0 != 0x40:
        return Status.OTHER
    routed = cursor.number(8, 1) & 0x80
    cursor.skip(14)
    if routed:
        cursor.skip(cursor.number(0, 1) & 0x1F)
    return _llc


def _fddi(cursor: _Cursor) -> Any:  # noqa: ANN401
    if cursor.number(0, 1) & 0x70 != 0x50:  # frame control: LLC [ISO 9314-2 7.3.3]
        return Status.OTHER
    cursor.skip(13)
    return _llc


def _ieee1394(cursor: _Cursor) -> Any:  # noqa: ANN401
    kind = cursor.number(16, 2)
    cursor.skip(18)
    return _ethertype(cursor, kind)


def _cisco_hdlc(cursor: _Cursor) -> Any:  # noqa: ANN401
    kind = cursor.number(2, 2)
    cursor.skip(4)
    return _ethertype(cursor, kind)


def _frame_relay(cursor: _Cursor) -> Any:  # noqa: ANN401
    """An address of 2 to 4 bytes, then an NLPID [RFC 2427 3], or an Ethernet type as Cisco writes it."""
    size = next((n for n in (2, 3, 4) if cursor.number(n - 1, 1) & 1), 0)
    if not size or cursor.number(0, 1) & 1:
        return Status.MALFORMED
    cursor.skip(size)
    if cursor.number(0, 1) != 0x03:
        kind = cursor.number(0, 2)
        cursor.skip(2)
        return _ethertype(cursor, kind)
    cursor.skip(2 if cursor.number(1, 1) == 0 else 1)  # padding
    kind = cursor.number(0, 1)
    cursor.skip(1)
    if kind != NLPID_SNAP:
        return NLPIDS.get(kind, _other)
    organisation, kind = cursor.number(0, 3), cursor.number(3, 2)
    cursor.skip(5)
    if organisation == OUI_BRIDGED:
        return _ethernet if kind in BRIDGED_ETHERNET else Status.OTHER
    return _ethertype(cursor, kind)


def _atm(cursor: _Cursor) -> Any:  # noqa: ANN401
    """LLC; bridged frames stand behind two bytes of padding [RFC 2684 5.2]."""
    if cursor.rest[:6] == b"\xaa\xaa\x03\x00\x80\xc2" and cursor.number(6, 2) in BRIDGED_ETHERNET:
        cursor.skip(10)
        return _ethernet
    return _llc


def _sunatm(cursor: _Cursor) -> Any:  # noqa: ANN401
    kind = cursor.number(0, 1) & 0x0F
    cursor.skip(4)
    return _atm if kind == SUNATM_LLC else Status.OTHER


def _behind(count: int, following: _Step) -> _Step:
    """A step that passes over a header of a fixed size."""

    def step(cursor: _Cursor) -> Any:  # noqa: ANN401
        cursor.skip(count)
        return following

    return step


def _by_family(family: int) -> Any:  # noqa: ANN401
    if family == links.AF_INET:
        return _ipv4
    return _ipv6 if family in (*links.AF_INET6, SOLARIS_AF_INET6) else Status.OTHER


def _enc(cursor: _Cursor) -> Any:  # noqa: ANN401
    family = min(cursor.number(0, 4), cursor.number(0, 4, "little"))
    cursor.skip(12)
    return _by_family(family)


def _pflog(cursor: _Cursor) -> Any:  # noqa: ANN401
    size, family = cursor.number(0, 1), cursor.number(1, 1)
    cursor.skip((size + 3) // 4 * 4)
    return _by_family(family)


def _ipnet(cursor: _Cursor) -> Any:  # noqa: ANN401
    family = cursor.number(1, 1)
    cursor.skip(24)
    return _by_family(family)


def _nflog(cursor: _Cursor) -> Any:  # noqa: ANN401
    """Family, version, resource, then values with length and type in the order of the host."""
    family = cursor.number(0, 1)
    cursor.skip(4)
    while True:
        size, kind = cursor.number(0, 2, "little"), cursor.number(2, 2, "little")
        if size < 4:
            raise _MalformedError
        if kind == NFLOG_PAYLOAD:
            cursor.cut(size)
            cursor.skip(4)
            return _by_family(family)
        cursor.skip((size + 3) // 4 * 4)


def _pbb(cursor: _Cursor) -> Any:  # noqa: ANN401
    cursor.skip(4)  # the service's tag [IEEE 802.1ah 9.7]
    return _ethernet


def _vntag(cursor: _Cursor) -> Any:  # noqa: ANN401
    kind = cursor.number(4, 2)
    cursor.skip(6)
    return _ethertype(cursor, kind)


def _macsec(cursor: _Cursor) -> Any:  # noqa: ANN401
    control = cursor.number(0, 1)
    if control & 0x0C:  # encrypted, or changed [IEEE 802.1AE 9.5]
        return Status.OTHER
    cursor.skip(14 if control & 0x20 else 6)
    cursor.wire_end = max(cursor.wire_end - MACSEC_CHECK, cursor.at)
    cursor.end = min(cursor.end, cursor.wire_end)
    kind = cursor.number(0, 2)
    cursor.skip(2)
    return _ethertype(cursor, kind)


# --- tunnels over IP and UDP -----------------------------------------------------------------------


def _etherip(cursor: _Cursor) -> Any:  # noqa: ANN401
    if cursor.number(0, 2) != 0x3000:  # version 3 [RFC 3378 3]
        return _carried
    cursor.skip(2)
    return _ethernet


def _authentication(cursor: _Cursor) -> Any:  # noqa: ANN401
    """AH [RFC 4302 2] in IPv4."""
    following, size = cursor.number(0, 1), (cursor.number(1, 1) + 2) * 4
    cursor.skip(size)
    cursor.fields["proto"] = following
    return TRANSPORTS.get(following, _carried)


def _vxlan(cursor: _Cursor) -> Any:  # noqa: ANN401
    if not cursor.number(0, 1) & 0x08:  # [RFC 7348 5]
        return Status.OTHER
    cursor.skip(8)
    return _ethernet


def _geneve(cursor: _Cursor) -> Any:  # noqa: ANN401
    first, kind = cursor.number(0, 1), cursor.number(2, 2)
    if first >> 6:  # version [RFC 8926 3.4]
        return Status.OTHER
    cursor.skip(8 + (first & 0x3F) * 4)
    return ETHERTYPES.get(kind, _other)


def _gtp(cursor: _Cursor) -> Any:  # noqa: ANN401
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
                raise _MalformedError
            following = cursor.number(size - 1, 1)
            cursor.skip(size)
    return _raw


def _teredo(cursor: _Cursor) -> Any:  # noqa: ANN401
    """IPv6, behind an authentication or an origin indication [RFC 4380 5.1.1]."""
    if cursor.number(0, 2) == 1:
        cursor.skip(13 + cursor.number(2, 1) + cursor.number(3, 1))
    if cursor.number(0, 2) == 0:
        cursor.skip(8)
    return _ipv6


def _l2tp(cursor: _Cursor) -> Any:  # noqa: ANN401
    """L2TP version 2 [RFC 2661 3.1]: data messages carry PPP."""
    flags = cursor.number(0, 2)
    if flags & 0x000F != 2 or flags & 0x8000:
        return Status.OTHER
    size = 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)
    if flags & 0x0200:
        size += 2 + cursor.number(size, 2)
    cursor.skip(size)
    return _ppp


def _tried(cursor: _Cursor, step: _Step) -> Status | None:
    """What lies in a tunnel if it holds together; a port alone proves nothing."""
    if cursor.depth >= MAX_TUNNELS:
        return None
    inner = cursor.copy()
    try:
        status = _decode(inner, step)
    except Exception:  # as in `_settle`
        return None
    if status not in (Status.DECODED, Status.FRAGMENT):
        return None
    cursor.fields = inner.fields
    return status


def _gre(cursor: _Cursor) -> Any:  # noqa: ANN401
    shape = dpkt.gre.GRE(flags=int.from_bytes(cursor.rest[:2], "big"))
    size = GRE_HEADER + struct.calcsize("!" + "".join(shape.opt_fields_fmts()[1]))
    if size > len(cursor.rest):
        raise _MalformedError
    if shape.flags & dpkt.gre.GRE_RP:  # source routes, given up with RFC 2784
        return _carried
    header = dpkt.gre.GRE(cursor.rest[:size])
    if header.p == links.ETHERTYPE_ERSPAN:  # type II if there are sequence numbers, else I
        cursor.skip(size + (8 if shape.flags & dpkt.gre.GRE_SP else 0))
        return _ethernet
    if header.p == links.ETHERTYPE_ERSPAN_3:
        cursor.skip(size)
        cursor.skip(12 + (8 if cursor.number(11, 1) & 1 else 0))
        return _ethernet
    if header.p not in ETHERTYPES:
        return _carried
    cursor.at += size
    return ETHERTYPES[header.p]


def _tcp(cursor: _Cursor) -> Status:
    tcp = dpkt.tcp.TCP(cursor.rest[:TCP_MAX])
    size = tcp.off << 2
    if size > len(cursor.rest):
        raise _MalformedError
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


def _udp(cursor: _Cursor) -> Status:
    udp = dpkt.udp.UDP(cursor.rest)
    if udp.ulen:
        if udp.ulen < udp.__hdr_len__:
            raise _MalformedError
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
    links.DLT_IEEE802: _token_ring,
    links.DLT_SLIP: _behind(16, _raw),
    links.DLT_FDDI: _fddi,
    links.DLT_ATM_RFC1483_BSD: _atm,
    links.DLT_ATM_RFC1483: _atm,
    links.DLT_C_HDLC: _cisco_hdlc,
    links.DLT_IEEE802_11: _wlan,
    links.DLT_FRELAY: _frame_relay,
    links.DLT_ENC: _enc,
    links.DLT_PFLOG: _pflog,
    links.DLT_PRISM_HEADER: _prism,
    links.DLT_SUNATM: _sunatm,
    links.DLT_IEEE802_11_RADIO: _radiotap,
    links.DLT_APPLE_IP_OVER_IEEE1394: _ieee1394,
    links.DLT_IEEE802_11_RADIO_AVS: _avs,
    links.DLT_PPP_PPPD: _behind(1, _ppp),
    links.DLT_PPI: _ppi,
    links.DLT_PPP_WITH_DIR: _behind(1, _ppp),
    links.DLT_MPLS: _mpls,
    links.DLT_IPNET: _ipnet,
    links.DLT_NFLOG: _nflog,
    links.DLT_NETANALYZER: _behind(4, _ethernet),
}

NLPIDS: Final[dict[int, _Step]] = {0xCC: _ipv4, 0x8E: _ipv6}
"""Network layer protocol identifiers [ISO/IEC TR 9577]."""

UDP_TUNNELS: Final[dict[int, _Step]] = {
    links.PORT_L2TP: _l2tp,
    links.PORT_GTP_U: _gtp,
    links.PORT_TEREDO: _teredo,
    links.PORT_VXLAN: _vxlan,
    links.PORT_GENEVE: _geneve,
    links.PORT_MPLS: _mpls,
    links.PORT_VXLAN_LINUX: _vxlan,
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
    links.ETHERTYPE_PBB: _pbb,
    links.ETHERTYPE_VNTAG: _vntag,
    links.ETHERTYPE_MACSEC: _macsec,
}

PPP_PROTOCOLS: Final[dict[int, _Step]] = {dpkt.ppp.PPP_IP: _ipv4, dpkt.ppp.PPP_IP6: _ipv6}

TRANSPORTS: Final[dict[int, _Step]] = {
    links.IPPROTO_TCP: _tcp,
    links.IPPROTO_UDP: _udp,
    links.IPPROTO_IPIP: _ipv4,
    links.IPPROTO_IPV6: _ipv6,
    links.IPPROTO_GRE: _gre,
    links.IPPROTO_AH: _authentication,
    links.IPPROTO_ETHERIP: _etherip,
    links.IPPROTO_MPLS: _mpls,
}
