"""IP on the slow road: headers of both versions, and the extension headers behind that of version 6."""

from __future__ import annotations

from typing import Any

import dpkt

from mmsforensics.packets import links
from mmsforensics.packets.slow_cursor import Cursor, MalformedError, Onward
from mmsforensics.packets.table import Status


class _Ip6Header(dpkt.dpkt.Packet):  # type: ignore[misc]
    """dpkt's IPv6 header without what it carries."""

    __hdr__ = (("first", "B", 0x60), ("_rest", "3s", b""), *dpkt.ip6.IP6.__hdr__[1:])


def raw(cursor: Cursor) -> Any:  # noqa: ANN401
    """IP of either version, told by its first half-byte."""
    version = cursor.rest[0] >> 4
    if version == 4:
        return ipv4
    if version == 6:
        return ipv6
    raise MalformedError


def ipv4(cursor: Cursor) -> Any:  # noqa: ANN401
    """IPv4 [RFC 791 3.1]; a fragment is not looked into."""
    size = (cursor.rest[0] & 15) << 2
    ip = dpkt.ip.IP(cursor.rest[:size])  # the header alone
    if ip.v != 4 or size > len(cursor.rest):
        raise MalformedError
    cursor.fields = {
        "version": 4,
        "proto": ip.p,
        "src_lo": int.from_bytes(ip.src, "big"),
        "dst_lo": int.from_bytes(ip.dst, "big"),
    }
    cursor.network = cursor.at
    if ip.len:
        if ip.len < size:
            raise MalformedError
        cursor.cut(ip.len)
    cursor.at += size
    if ip.mf or ip.offset:
        cursor.fields |= {"seq": ip.id, "ack": ip.offset * 8, "flags": int(bool(ip.mf))}
        return cursor.carry(Status.FRAGMENT)
    return Onward.TRANSPORT


def ipv6(cursor: Cursor) -> Any:  # noqa: ANN401
    """IPv6 [RFC 8200 3]."""
    size = dpkt.ip6.IP6.__hdr_len__
    ip = _Ip6Header(cursor.rest)
    if ip.first >> 4 != 6:
        raise MalformedError
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
    return extension


def extension(cursor: Cursor) -> Any:  # noqa: ANN401
    """Go through one IPv6 extension header, or on to the transport."""
    kind = cursor.fields["proto"]
    if kind not in links.IPV6_EXTENSIONS:
        return Onward.TRANSPORT
    header = dpkt.ip6.EXT_HDRS_CLS[kind](cursor.rest)
    if header.length > len(cursor.rest):
        raise MalformedError
    cursor.at += header.length
    cursor.fields["proto"] = header.nxt
    if kind == links.IPPROTO_FRAGMENT and (header.frag_off or header.m_flag):
        cursor.fields |= {"seq": header.id, "ack": header.frag_off * 8, "flags": header.m_flag}
        return cursor.carry(Status.FRAGMENT)
    return extension
