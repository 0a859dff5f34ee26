"""Frames and capture files built from their specifications, for tests.

Addresses are given as text, headers come with right checksums; nothing here uses the package under test.
"""

import ipaddress
import struct
from pathlib import Path

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

MAC_A = bytes.fromhex("02000000000a")
MAC_B = bytes.fromhex("02000000000b")


# --- checksums -------------------------------------------------------------------------------------


def checksum(data):
    """Internet checksum [RFC 1071]."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(src, dst, proto, length):
    """What TCP and UDP checksums cover of IP [RFC 9293 3.1, RFC 8200 8.1]."""
    a, b = ipaddress.ip_address(src).packed, ipaddress.ip_address(dst).packed
    return (
        a + b + (struct.pack(">BBH", 0, proto, length) if len(a) == 4 else struct.pack(">II", length, proto))
    )


# --- transport and network -------------------------------------------------------------------------


def tcp(src, dst, sport, dport, seq, ack, flags, payload=b"", *, window=65535, options=b""):
    """TCP segment [RFC 9293 3.1]; `options` is padded to a multiple of four."""
    options += b"\0" * (-len(options) % 4)
    offset = (20 + len(options)) // 4
    head = struct.pack(">HHIIBBHHH", sport, dport, seq % 2**32, ack % 2**32, offset << 4, flags, window, 0, 0)
    segment = head + options + payload
    total = checksum(pseudo_header(src, dst, 6, len(segment)) + segment)
    return segment[:16] + struct.pack(">H", total) + segment[18:]


def udp(src, dst, sport, dport, payload=b"", *, length=None):
    """UDP datagram [RFC 768]; `length` overrides the length field."""
    length = 8 + len(payload) if length is None else length
    head = struct.pack(">HHHH", sport, dport, length, 0)
    total = checksum(pseudo_header(src, dst, 17, 8 + len(payload)) + head + payload) or 0xFFFF
    return head[:6] + struct.pack(">H", total) + payload


def ipv4(src, dst, proto, body, *, ttl=64, ip_id=0, fragment=0x4000, options=b"", length=None):
    """IPv4 packet [RFC 791 3.1]; `fragment` is flags and offset, `length` overrides the total."""
    options += b"\0" * (-len(options) % 4)
    ihl = (20 + len(options)) // 4
    total = 4 * ihl + len(body) if length is None else length
    a, b = ipaddress.IPv4Address(src).packed, ipaddress.IPv4Address(dst).packed
    head = struct.pack(">BBHHHBBH", 0x40 | ihl, 0, total, ip_id, fragment, ttl, proto, 0) + a + b + options
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + body


def ipv6(src, dst, following, body, *, ttl=64, length=None):
    """IPv6 packet [RFC 8200 3]; extension headers are part of `body`."""
    length = len(body) if length is None else length
    a, b = ipaddress.IPv6Address(src).packed, ipaddress.IPv6Address(dst).packed
    return struct.pack(">IHBB", 6 << 28, length, following, ttl) + a + b + body


def ip(src, dst, proto, body, **fields):
    """IPv4 or IPv6 packet, as the addresses say."""
    return (ipv6 if ":" in src else ipv4)(src, dst, proto, body, **fields)


# --- link layer ------------------------------------------------------------------------------------


def ethertype(packet):
    """Ethernet type of an IP packet."""
    return 0x0800 if packet[0] >> 4 == 4 else 0x86DD


def ethernet(body, kind=None, *, vlan=(), src=MAC_A, dst=MAC_B):
    """Ethernet frame; `vlan` holds VLAN ids, outermost first (88a8 outside, 8100 innermost)."""
    tags = b""
    for i, vid in enumerate(vlan):
        tags += struct.pack(">HH", 0x8100 if i == len(vlan) - 1 else 0x88A8, vid)
    return dst + src + tags + struct.pack(">H", ethertype(body) if kind is None else kind) + body


def sll(body, kind=None):
    """Linux cooked v1 [LINKTYPE_LINUX_SLL]."""
    return struct.pack(">HHH8sH", 0, 1, 6, MAC_A, ethertype(body) if kind is None else kind) + body


def sll2(body, kind=None):
    """Linux cooked v2 [LINKTYPE_LINUX_SLL2]."""
    return struct.pack(">HHIHBB8s", ethertype(body) if kind is None else kind, 0, 2, 1, 0, 6, MAC_A) + body


def loopback(body, family=None, byteorder="<"):
    """BSD loopback [LINKTYPE_NULL]; of OpenBSD [LINKTYPE_LOOP] with byte order ``>``."""
    if family is None:
        family = 2 if body[0] >> 4 == 4 else 30
    return struct.pack(byteorder + "I", family) + body


def tcp_frame(
    src,
    dst,
    sport,
    dport,
    seq,
    ack,
    flags,
    payload=b"",
    *,
    ttl=64,
    ip_id=0,
    vlan=(),
    window=65535,
    options=b"",
    pad=True,
):
    """Ethernet frame with a TCP segment; short frames are padded to 60 bytes as on the wire if `pad`."""
    extra = {} if ":" in src else {"ip_id": ip_id}
    segment = tcp(src, dst, sport, dport, seq, ack, flags, payload, window=window, options=options)
    frame = ethernet(ip(src, dst, 6, segment, ttl=ttl, **extra), vlan=vlan)
    return frame.ljust(60, b"\0") if pad else frame


def udp_frame(src, dst, sport, dport, payload=b"", *, ttl=64, ip_id=0, vlan=(), pad=True):
    """Ethernet frame with a UDP datagram; short frames are padded to 60 bytes if `pad`."""
    extra = {} if ":" in src else {"ip_id": ip_id}
    frame = ethernet(ip(src, dst, 17, udp(src, dst, sport, dport, payload), ttl=ttl, **extra), vlan=vlan)
    return frame.ljust(60, b"\0") if pad else frame


# --- pcap ------------------------------------------------------------------------------------------


def pcap_header(*, linktype=1, nanosecond=False, byteorder="<", snaplen=None):
    """File header [draft-ietf-opsawg-pcap 4]."""
    magic = 0xA1B23C4D if nanosecond else 0xA1B2C3D4
    return struct.pack(
        byteorder + "IHHiIII", magic, 2, 4, 0, 0, 262144 if snaplen is None else snaplen, linktype
    )


def pcap_record(frame, ts, *, nanosecond=False, byteorder="<", snaplen=None, wirelen=None):
    """Packet record [draft-ietf-opsawg-pcap 5]; `ts` is in ns, the frame is cut to `snaplen`."""
    kept = frame if snaplen is None else frame[:snaplen]
    seconds, rest = divmod(ts, 10**9)
    fraction = rest if nanosecond else rest // 1000
    wirelen = len(frame) if wirelen is None else wirelen
    return struct.pack(byteorder + "IIII", seconds, fraction, len(kept), wirelen) + kept


def pcap_bytes(frames_with_ts, *, linktype=1, nanosecond=False, byteorder="<", snaplen=None):
    """A pcap file of (frame, ts in ns) pairs."""
    out = [pcap_header(linktype=linktype, nanosecond=nanosecond, byteorder=byteorder, snaplen=snaplen)]
    for frame, ts in frames_with_ts:
        out.append(pcap_record(frame, ts, nanosecond=nanosecond, byteorder=byteorder, snaplen=snaplen))
    return b"".join(out)


def write_pcap(path, frames_with_ts, *, linktype=1, nanosecond=False, byteorder="<", snaplen=None):
    """Write a pcap file of (frame, ts in ns) pairs; returns its path."""
    data = pcap_bytes(
        frames_with_ts, linktype=linktype, nanosecond=nanosecond, byteorder=byteorder, snaplen=snaplen
    )
    return write(path, data)


# --- pcapng ----------------------------------------------------------------------------------------


def block(kind, body, *, byteorder="<"):
    """A pcapng block [draft-ietf-opsawg-pcapng 3.1]; the body is padded to a multiple of four."""
    body += b"\0" * (-len(body) % 4)
    total = 12 + len(body)
    return struct.pack(byteorder + "II", kind, total) + body + struct.pack(byteorder + "I", total)


def option(code, value, *, byteorder="<"):
    """A pcapng option [3.5]."""
    return struct.pack(byteorder + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def section_header(*, byteorder="<", major=1):
    """Section header block [4.1]."""
    return block(0x0A0D0D0A, struct.pack(byteorder + "IHHq", 0x1A2B3C4D, major, 0, -1), byteorder=byteorder)


def interface_description(*, linktype=1, snaplen=0, tsresol=None, tsoffset=None, byteorder="<"):
    """Interface description block [4.2]."""
    options = b""
    if tsresol is not None:
        options += option(9, bytes([tsresol]), byteorder=byteorder)
    if tsoffset is not None:
        options += option(14, struct.pack(byteorder + "q", tsoffset), byteorder=byteorder)
    if options:
        options += option(0, b"", byteorder=byteorder)
    return block(1, struct.pack(byteorder + "HHI", linktype, 0, snaplen) + options, byteorder=byteorder)


def enhanced_packet(frame, ticks, *, interface=0, captured=None, wirelen=None, options=b"", byteorder="<"):
    """Enhanced packet block [4.3]; `ticks` in the interface's resolution; `captured` overrides its field."""
    head = struct.pack(
        byteorder + "IIIII",
        interface,
        ticks >> 32,
        ticks & 0xFFFFFFFF,
        len(frame) if captured is None else captured,
        len(frame) if wirelen is None else wirelen,
    )
    return block(6, head + frame + b"\0" * (-len(frame) % 4) + options, byteorder=byteorder)


def simple_packet(frame, *, wirelen=None, byteorder="<"):
    """Simple packet block [4.4]."""
    wirelen = len(frame) if wirelen is None else wirelen
    return block(3, struct.pack(byteorder + "I", wirelen) + frame, byteorder=byteorder)


def obsolete_packet(frame, ticks, *, interface=0, byteorder="<"):
    """Packet block [A]."""
    head = struct.pack(
        byteorder + "HHIIII", interface, 0xFFFF, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame)
    )
    return block(2, head + frame, byteorder=byteorder)


def pcapng_bytes(frames_with_ts, *, linktype=1, byteorder="<", tsresol=9, snaplen=0):
    """A pcapng file of one section and interface, of (frame, ts in ns) pairs; `tsresol` is 6 or 9."""
    out = [
        section_header(byteorder=byteorder),
        interface_description(linktype=linktype, tsresol=tsresol, snaplen=snaplen, byteorder=byteorder),
    ]
    for frame, ts in frames_with_ts:
        kept = frame[:snaplen] if snaplen else frame
        ticks = ts // 10 ** (9 - tsresol)
        out.append(enhanced_packet(kept, ticks, wirelen=len(frame), byteorder=byteorder))
    return b"".join(out)


def write_pcapng(path, frames_with_ts, *, linktype=1, byteorder="<", tsresol=9, snaplen=0):
    """Write a pcapng file of one section and interface; returns its path."""
    data = pcapng_bytes(
        frames_with_ts, linktype=linktype, byteorder=byteorder, tsresol=tsresol, snaplen=snaplen
    )
    return write(path, data)


# --- snoop and Network Monitor ----------------------------------------------------------------------


def snoop_bytes(frames_with_ts, *, link=4, drops=0):
    """A snoop file [RFC 1761]; records are padded to a multiple of four."""
    out = [b"snoop\0\0\0" + struct.pack(">II", 2, link)]
    for frame, ts in frames_with_ts:
        padding = -len(frame) % 4
        seconds, rest = divmod(ts, 10**9)
        length = 24 + len(frame) + padding
        out.append(struct.pack(">IIIIII", len(frame), len(frame), length, drops, seconds, rest // 1000))
        out.append(frame + bytes(padding))
    return b"".join(out)


def netmon_bytes(frames_with_ts, *, version=(2, 0), mac=1, media=1, begin=(2004, 3, 4, 5, 6, 7, 80)):
    """A Network Monitor file; times are ns since its begin: year, month, day, hour, minute, second, ms."""
    year, month, day, hour, minute, second, ms = begin
    head = (b"RTSS" if version[0] == 1 else b"GMBU") + bytes(reversed(version)) + struct.pack("<H", mac)
    head += struct.pack("<8H", year, month, 0, day, hour, minute, second, ms)
    body, offsets = b"", []
    for frame, since in frames_with_ts:
        offsets.append(128 + len(body))
        if version[0] == 1:
            body += struct.pack("<IHH", since // 10**6, len(frame), len(frame)) + frame
        else:
            body += struct.pack("<QII", since // 1000, len(frame), len(frame)) + frame
        if version >= (2, 1):
            body += struct.pack("<H", media)
        if version >= (2, 2):
            body += struct.pack("<I", 0)
        if version >= (2, 3):
            body += struct.pack("<QB", 116444736000000000 + (10**18 + since) // 100, 0)
    head += struct.pack("<II", 128 + len(body), 4 * len(offsets))
    return head.ljust(128, b"\0") + body + struct.pack(f"<{len(offsets)}I", *offsets)


def write(path, data):
    """Write bytes to a file; returns its path as text."""
    Path(path).write_bytes(data)
    return str(path)


def read_pcap(path):
    """(frame, time stamp in ns) of a little-endian pcap in microseconds, by the format alone."""
    raw = path.read_bytes()
    found, at = [], 24
    while at < len(raw):
        seconds, fraction, size = (int.from_bytes(raw[at + k : at + k + 4], "little") for k in (0, 4, 8))
        found.append((raw[at + 16 : at + 16 + size], seconds * 10**9 + fraction * 1000))
        at += 16 + size
    return found
