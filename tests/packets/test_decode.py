"""Header decode, by the compiled pass and by dpkt: every link type, odd headers, and one answer."""

import ipaddress
import struct

import numpy as np
import pytest
from builders import (
    ACK,
    PSH,
    ethernet,
    ip,
    ipv4,
    ipv6,
    loopback,
    sll,
    sll2,
    tcp,
    tcp_frame,
    udp,
    udp_frame,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsforensics.packets import PACKET, Status
from mmsforensics.packets.scan_pass import pcap_pass
from mmsforensics.packets.slow import decode_slow

A4, B4 = "192.0.2.1", "198.51.100.7"
A6, B6 = "2001:db8::1", "fe80::abcd"
DATA = b"payload"

ETHERNET, RAW, SLL, SLL2, NULL, LOOP = 1, 101, 113, 276, 0, 108


def fast(frame, link=ETHERNET, wire=None):
    """Row of one frame by the compiled pass alone."""
    wire = len(frame) if wire is None else wire
    record = np.frombuffer(struct.pack("<IIII", 1, 0, len(frame), wire) + frame, np.uint8)
    rows = np.zeros(1, PACKET)
    count, _, _ = pcap_pass(record, 0, len(record), rows, 0, False, False, 1000, 262144, link, 16)
    assert count == 1
    rows["ts"] = 0
    return rows[0]


def slow(frame, link=ETHERNET, wire=None):
    """Row of one frame by dpkt alone."""
    row = np.zeros(1, PACKET)[0]
    row["frame"], row["offset"], row["link"] = 1, 16, link
    row["caplen"], row["wirelen"] = len(frame), len(frame) if wire is None else wire
    decode_slow(frame, row)
    return row


def decode(frame, link=ETHERNET, wire=None):
    """Row of one frame as a scan gives it."""
    row = fast(frame, link, wire)
    return slow(frame, link, wire) if row["status"] == Status.SLOW else row


def payload(frame, row):
    return frame[int(row["payload"]) :][: int(row["payload_len"])]


def address(row, side):
    value = (int(row[side + "_hi"]) << 64) | int(row[side + "_lo"])
    return str(ipaddress.IPv6Address(value) if row["version"] == 6 else ipaddress.IPv4Address(value))


def segment(src=A4, dst=B4, data=DATA, **fields):
    return ip(src, dst, 6, tcp(src, dst, 4000, 1755, 1, 2, PSH | ACK, data, **fields))


def datagram(src=A4, dst=B4, data=DATA, **fields):
    return ip(src, dst, 17, udp(src, dst, 4000, 1755, data, **fields))


PACKETS = {
    "tcp4": segment(),
    "tcp6": segment(A6, B6),
    "udp4": datagram(),
    "udp6": datagram(A6, B6),
    "tcp4 options": segment(options=bytes(12)),
    "ip options": ipv4(A4, B4, 6, tcp(A4, B4, 4000, 1755, 1, 2, 24, DATA), options=b"\x94\4\0\0" + bytes(8)),
}

FRAMES = {
    "ethernet": (lambda p: ethernet(p), ETHERNET),
    "one tag": (lambda p: ethernet(p, vlan=(5,)), ETHERNET),
    "two tags": (lambda p: ethernet(p, vlan=(5, 6)), ETHERNET),
    "four tags": (lambda p: ethernet(p, vlan=(5, 6, 7, 8)), ETHERNET),
    "9100": (lambda p: ethernet(b"\0\1" + ethernet(p)[12:], 0x9100), ETHERNET),
    "padded": (lambda p: ethernet(p).ljust(200, b"\0"), ETHERNET),
    "raw": (lambda p: p, RAW),
    "raw 12": (lambda p: p, 12),
    "raw 14": (lambda p: p, 14),
    "sll": (sll, SLL),
    "sll2": (sll2, SLL2),
    "null": (loopback, NULL),
    "null of the other byte order": (lambda p: loopback(p, byteorder=">"), NULL),
    "loop": (lambda p: loopback(p, byteorder=">"), LOOP),
}


@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS)
@pytest.mark.parametrize("wrap", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("road", [fast, slow])
def test_link_types(packet, wrap, road):
    build, link = wrap
    frame = build(packet)
    row = road(frame, link)
    assert row["status"] == Status.DECODED
    assert payload(frame, row) == DATA
    assert row["payload_wire"] == len(DATA)
    assert (row["src_port"], row["dst_port"], row["link"]) == (4000, 1755, link)
    expected = (A4, B4) if packet[0] >> 4 == 4 else (A6, B6)
    assert (address(row, "src"), address(row, "dst")) == expected


@pytest.mark.parametrize("family", [10, 24, 28, 30])
def test_every_address_family_of_ipv6(family):
    assert decode(loopback(segment(A6, B6), family), NULL)["status"] == Status.DECODED
    assert decode(loopback(segment(A6, B6), 7), NULL)["status"] == Status.OTHER


@pytest.mark.parametrize(("link", "packet"), [(228, segment()), (229, segment(A6, B6))])
def test_raw_ip_of_one_version(link, packet):
    assert fast(packet, link)["status"] == slow(packet, link)["status"] == Status.DECODED
    other = 228 + 229 - link
    assert fast(packet, other)["status"] == slow(packet, other)["status"] == Status.MALFORMED


# --- lengths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("road", [fast, slow])
@pytest.mark.parametrize(
    "packet",
    [
        ipv4(A4, B4, 6, tcp(A4, B4, 1, 2, 3, 4, ACK, DATA * 9000), length=0),
        ipv6(A6, B6, 6, tcp(A6, B6, 1, 2, 3, 4, ACK, DATA * 9000), length=0),
    ],
)
def test_a_length_of_zero_means_the_whole_frame(road, packet):
    row = road(ethernet(packet)[:100], wire=len(packet) + 14)
    assert row["status"] == Status.DECODED
    assert row["payload_len"] == 100 - row["payload"]
    assert row["payload_wire"] == len(DATA) * 9000


@pytest.mark.parametrize("road", [fast, slow])
def test_a_frame_cut_by_the_snapshot_length(road):
    frame = tcp_frame(A4, B4, 1, 2, 3, 4, ACK, bytes(1000))
    row = road(frame[:100], wire=len(frame))
    assert (row["status"], row["payload"], row["payload_len"]) == (Status.DECODED, 54, 46)
    assert row["payload_wire"] == 1000


@pytest.mark.parametrize("road", [fast, slow])
@pytest.mark.parametrize("kept", [0, 10, 13, 14, 20, 33, 34, 40, 53])
def test_a_frame_cut_within_its_headers(road, kept):
    frame = tcp_frame(A4, B4, 1, 2, 3, 4, ACK, bytes(1000))
    row = road(frame[:kept], wire=len(frame))
    assert row["status"] == Status.MALFORMED
    assert (row["payload"], row["payload_len"], row["payload_wire"], row["src_port"]) == (0, 0, 0, 0)
    assert (row["version"] == 4) == (kept >= 34)


@pytest.mark.parametrize("road", [fast, slow])
@pytest.mark.parametrize(
    "packet",
    [
        b"\x65" + segment()[1:],  # says version 6 behind an Ethernet type of 4
        b"\x44" + segment()[1:],  # header of 16 bytes
        b"\x4f" + segment()[1:40],  # options beyond the frame
        ipv4(A4, B4, 6, bytes(20), length=19),
        ipv4(A4, B4, 6, tcp(A4, B4, 1, 2, 3, 4, ACK), length=39),  # TCP header beyond IP's end
        segment()[:32] + b"\x40" + segment()[33:],  # TCP header of 16 bytes
        segment()[:32] + b"\xf0" + segment()[33:],  # TCP options beyond the end
        datagram(length=7),
        datagram()[:27],
    ],
)
def test_impossible_headers_are_malformed(road, packet):
    assert road(ethernet(packet, 0x0800))["status"] == Status.MALFORMED


@pytest.mark.parametrize("road", [fast, slow])
@pytest.mark.parametrize(("length", "expected"), [(0, 7), (8, 0), (12, 4), (15, 7), (900, 7)])
def test_udp_length(road, length, expected):
    row = road(ethernet(datagram(length=length)).ljust(80, b"\0"))
    assert (row["status"], row["payload_len"], row["payload_wire"]) == (Status.DECODED, expected, expected)


# --- neither TCP nor UDP ---------------------------------------------------------------------------


@pytest.mark.parametrize("road", [fast, slow])
@pytest.mark.parametrize(
    ("frame", "version", "proto"),
    [
        (ethernet(ipv4(A4, B4, 1, bytes(8))), 4, 1),
        (ethernet(ipv6(A6, B6, 58, bytes(8))), 6, 58),
        (ethernet(ipv6(A6, B6, 59, b"")), 6, 59),
        (ethernet(bytes(28), 0x0806), 0, 0),
        (ethernet(bytes(28), 0x88CC), 0, 0),
    ],
)
def test_other(road, frame, version, proto):
    row = road(frame)
    assert (row["status"], row["version"], row["proto"]) == (Status.OTHER, version, proto)


@pytest.mark.parametrize("road", [fast, slow])
@pytest.mark.parametrize("field", [0x2000, 0x2001, 0x0001, 0x1FFF])
def test_ipv4_fragments(road, field):
    row = road(ethernet(ipv4(A4, B4, 17, bytes(24), fragment=field)))
    assert (row["status"], row["proto"], address(row, "src")) == (Status.FRAGMENT, 17, A4)
    assert (row["payload"], row["payload_len"]) == (34, 24)


def extension(following, size=8):
    return bytes([following, size // 8 - 1, 1, size - 4]) + bytes(size - 4)  # one PadN option


def fragment(following, offset, more):
    return struct.pack(">BBHI", following, 0, offset << 3 | more, 7)


@pytest.mark.parametrize(("offset", "more"), [(0, 1), (5, 0), (5, 1)])
def test_ipv6_fragments(offset, more):
    frame = ethernet(ipv6(A6, B6, 44, fragment(17, offset, more) + bytes(24)))
    for row in (fast(frame), slow(frame)):
        assert (row["status"], row["proto"]) == (Status.FRAGMENT, 17)
        assert (row["payload"], row["payload_len"]) == (62, 24)
    behind = ethernet(ipv6(A6, B6, 0, extension(44) + fragment(17, offset, more) + bytes(24)))
    assert decode(behind)["status"] == Status.FRAGMENT


# --- what is left to dpkt --------------------------------------------------------------------------

TCP6 = tcp(A6, B6, 4000, 1755, 1, 2, ACK, DATA)
ROUTING = bytes([6, 0, 4, 0]) + bytes(4)
SNAP = b"\xaa\xaa\x03\0\0\0"
GRE_KEY = struct.pack(">HHI", 0x2000, 0x0800, 99)
PPTP = struct.pack(">HHHHI", 0x3001, 0x880B, len(segment()) + 4, 7, 1) + b"\xff\x03\0\x21"


def llc(body):
    return ethernet(body, len(body))


LEFT = {
    "hop-by-hop": ethernet(ipv6(A6, B6, 0, extension(6) + TCP6)),
    "destination options, twice": ethernet(ipv6(A6, B6, 60, extension(60, 16) + extension(6) + TCP6)),
    "routing": ethernet(ipv6(A6, B6, 43, ROUTING + TCP6)),
    "authentication": ethernet(ipv6(A6, B6, 51, bytes([6, 4]) + bytes(22) + TCP6)),
    "atomic fragment": ethernet(ipv6(A6, B6, 44, fragment(6, 0, 0) + TCP6)),
    "PPPoE": ethernet(struct.pack(">BBHHH", 0x11, 0, 1, len(segment()) + 2, 0x0021) + segment(), 0x8864),
    "PPPoE, short protocol": ethernet(
        struct.pack(">BBHHB", 0x11, 0, 1, len(segment()) + 1, 0x21) + segment(), 0x8864
    ),
    "PPPoE, IPv6": ethernet(struct.pack(">BBHHH", 0x11, 0, 1, 0, 0x0057) + segment(A6, B6), 0x8864),
    "MPLS": ethernet(bytes.fromhex("00010040 00011140") + segment(), 0x8847),
    "MPLS, IPv6": ethernet(bytes.fromhex("00010140") + segment(A6, B6), 0x8847),
    "MPLS pseudowire": ethernet(bytes.fromhex("00010140 00000000") + ethernet(segment()), 0x8847),
    "MPLS behind a tag": ethernet(bytes.fromhex("00010140") + segment(), 0x8847, vlan=(4,)),
    "SNAP": llc(SNAP + b"\x08\0" + segment()),
    "LLC of IP": llc(b"\x06\x06\x03" + segment()),
    "five tags": ethernet(segment(), vlan=(1, 2, 3, 4, 5)),
    "9200": ethernet(b"\0\1" + ethernet(segment())[12:], 0x9200),
    "IP in IP": ethernet(ipv4("10.0.0.1", "10.0.0.2", 4, segment())),
    "IPv6 in IP": ethernet(ipv4("10.0.0.1", "10.0.0.2", 41, segment(A6, B6))),
    "GRE": ethernet(ipv4("10.0.0.1", "10.0.0.2", 47, b"\0\0\x08\0" + segment())),
    "GRE with a key": ethernet(ipv4("10.0.0.1", "10.0.0.2", 47, GRE_KEY + segment())),
    "GRE bridge": ethernet(ipv4("10.0.0.1", "10.0.0.2", 47, b"\0\0\x65\x58" + ethernet(segment()))),
    "GRE of PPTP": ethernet(ipv4("10.0.0.1", "10.0.0.2", 47, PPTP + segment())),
    "ISL": b"\x01\0\x0c\0\0\0" + bytes(6) + struct.pack(">H", 80) + bytes(12) + ethernet(segment()),
}


@pytest.mark.parametrize("padding", [0, 40])
@pytest.mark.parametrize("frame", LEFT.values(), ids=LEFT)
def test_tunnels_and_extension_headers(frame, padding):
    frame += bytes(padding)
    assert fast(frame)["status"] == Status.SLOW
    row = slow(frame)
    assert row["status"] == Status.DECODED
    assert payload(frame, row) == DATA
    assert (row["payload_wire"], row["src_port"], row["dst_port"]) == (len(DATA), 4000, 1755)
    assert address(row, "src") == (A6 if row["version"] == 6 else A4)


@pytest.mark.parametrize(
    ("link", "head"), [(9, b"\0\x21"), (9, b"\xff\x03\0\x21"), (50, b"\xff\x03\x21"), (51, None)]
)
def test_ppp_links(link, head):
    if head is None:
        head = struct.pack(">BBHHH", 0x11, 0, 1, len(segment()) + 2, 0x0021)
    frame = head + segment()
    row = decode(frame, link)
    assert (row["status"], payload(frame, row)) == (Status.DECODED, DATA)


@pytest.mark.parametrize(
    ("frame", "link", "status"),
    [
        (llc(b"\x42\x42\x03" + bytes(35)), 1, Status.OTHER),  # spanning tree
        (ethernet(bytes(40), 0xABCD), 1, Status.OTHER),
        (bytes(40), 4711, Status.OTHER),
        (b"", 4711, Status.OTHER),
        (ethernet(b"\x11\0", 0x8864), 1, Status.MALFORMED),
        (ethernet(b"\0\1", 0x8847), 1, Status.MALFORMED),
        (ethernet(ipv6(A6, B6, 0, b"\6")), 1, Status.MALFORMED),
        (ethernet(ipv6(A6, B6, 0, b"\6\xff" + bytes(6))), 1, Status.MALFORMED),
        (ethernet(ipv4(A4, B4, 4, b"") * 40), 1, Status.MALFORMED),
    ],
)
def test_rare_frames_without_tcp_or_udp(frame, link, status):
    assert decode(frame, link)["status"] == status


def test_endless_nesting_ends():
    packet = segment()
    for _ in range(60):
        packet = ipv4(A4, B4, 4, packet)
    assert decode(ethernet(packet))["status"] == Status.MALFORMED


# --- one answer ------------------------------------------------------------------------------------


@st.composite
def frames(draw):
    """Frames of every link type, as they are, mutated or cut."""
    packet = draw(st.sampled_from([*PACKETS.values(), ipv4(A4, B4, 1, bytes(8)), ipv6(A6, B6, 58, bytes(8))]))
    build, link = draw(st.sampled_from(list(FRAMES.values())))
    frame = bytearray(draw(st.sampled_from([build(packet), *LEFT.values()])) if link == 1 else build(packet))
    for _ in range(draw(st.integers(0, 4))):
        frame[draw(st.integers(0, len(frame) - 1))] = draw(st.integers(0, 255))
    kept = draw(st.one_of(st.just(len(frame)), st.integers(0, len(frame))))
    wire = draw(st.sampled_from([kept, len(frame), len(frame) + 1000, 0]))
    return bytes(frame[:kept]), link, wire


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(frames())
def test_both_roads_give_the_same_row(case):
    frame, link, wire = case
    first, second = fast(frame, link, wire), slow(frame, link, wire)
    if first["status"] == Status.SLOW:
        assert second["status"] != Status.SLOW
        assert int(second["payload"]) + int(second["payload_len"]) <= len(frame)
        return
    assert {n: int(first[n]) for n in PACKET.names} == {n: int(second[n]) for n in PACKET.names}


@settings(max_examples=500, deadline=None, derandomize=True)
@given(st.binary(max_size=120), st.sampled_from([0, 1, 9, 12, 50, 51, 101, 105, 108, 113, 228, 229, 276]))
def test_any_bytes_are_decoded_to_something(frame, link):
    for row in (fast(frame, link), slow(frame, link)):
        assert row["status"] in set(Status)
        assert int(row["payload"]) + int(row["payload_len"]) <= len(frame)
        assert row["payload_len"] <= row["payload_wire"]


def test_udp_frames_of_the_builders_are_what_they_say():
    frame = udp_frame(A6, B6, 7000, 1755, DATA, vlan=(3,))
    assert payload(frame, decode(frame)) == DATA
