"""Links and tunnels: whatever a packet is wrapped in, its row is that of the packet."""

import struct
import subprocess

import pytest
from builders import ethernet, ethertype, ipv4, ipv6, pcap_bytes, tcp, udp, write
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan, Status, link_type_name, unfold

A, B = "192.0.2.1", "198.51.100.7"
A6, B6 = "2001:db8::1", "2001:db8::2"
DATA = b"the payload"
V4 = ipv4(A, B, 6, tcp(A, B, 1755, 4000, 77, 5, 24, DATA))
V6 = ipv6(A6, B6, 6, tcp(A6, B6, 1755, 4000, 77, 5, 24, DATA))
OUTER = ("10.0.0.1", "10.0.0.2")
SNAP = bytes.fromhex("aaaa03000000")
MAC = bytes(range(2, 8))


def snap(packet):
    return SNAP + struct.pack(">H", ethertype(packet)) + packet


def over_udp(port, body):
    return ethernet(ipv4(*OUTER, 17, udp(*OUTER, 5555, port, body)))


def over_ip(proto, body):
    return ethernet(ipv4(*OUTER, proto, body))


def wlan(body, *, qos=None, wds=False, htc=False):
    """A data frame [IEEE 802.11 9.3.2]."""
    flags = (0x03 if wds else 0x01) | (0x80 if htc else 0)
    head = (
        bytes([0x08 if qos is None else 0x88, flags]) + bytes(2) + MAC * 3 + b"\x10\0" + (MAC if wds else b"")
    )
    if qos is not None:
        head += struct.pack("<H", qos) + (bytes(4) if htc else b"")
    return head + body


def radiotap(frame, *, fcs=False, datapad=False, tsft=True):
    flags = (0x10 if fcs else 0) | (0x20 if datapad else 0)
    fields = (bytes(8) if tsft else b"") + bytes([flags])
    head = struct.pack("<BBHI", 0, 0, 8 + len(fields), 2 | tsft) + fields
    return head + frame + (b"\xde\xad\xbe\xef" if fcs else b"")


def gre(kind, body, *, key=False, sequence=False, checksum=False):
    flags = 0x8000 * checksum | 0x2000 * key | 0x1000 * sequence
    return struct.pack(">HH", flags, kind) + bytes(4) * (checksum + key + sequence) + body


PPI_80211 = struct.pack("<BBHI", 0, 0, 32, 105) + struct.pack("<HHQHH", 2, 20, 0, 1, 0) + bytes(8)
MPLS = struct.pack(">I", 17 << 12 | 64) + struct.pack(">I", 18 << 12 | 1 << 8 | 64)
ISL_TAGS = struct.pack(">HHHH", 0x88A8, 5, 0x8100, 6)

FRAMES = {
    # --- Ethernet and what it carries
    "802.3 SNAP": (1, MAC + MAC + struct.pack(">H", len(snap(V4))) + snap(V4)),
    "QinQ of 802.1ad": (1, ethernet(V4, vlan=(5, 6))),
    "QinQ 0x9100": (1, ethernet(struct.pack(">HH", 7, 0x0800) + V4, 0x9100)),
    "MPLS, two labels": (1, ethernet(MPLS + V4, 0x8847)),
    "MPLS pseudowire with control word": (1, ethernet(MPLS + bytes(4) + ethernet(V4), 0x8847)),
    "PPPoE": (1, ethernet(struct.pack(">BBHHH", 0x11, 0, 9, len(V4) + 2, 0x21) + V4, 0x8864)),
    "PPPoE, IPv6": (1, ethernet(struct.pack(">BBHHH", 0x11, 0, 9, len(V6) + 2, 0x57) + V6, 0x8864)),
    "802.1ah": (1, ethernet(bytes(4) + ethernet(V4), 0x88E7)),
    "VN-tag": (1, ethernet(bytes(4) + struct.pack(">H", 0x0800) + V4, 0x8926)),
    # --- links
    "PPP": (9, b"\xff\x03\x00\x21" + V4),
    "PPP, short": (9, b"\x21" + V4),
    "PPP with HDLC framing": (50, b"\xff\x03\x00\x21" + V4),
    "PPP with direction": (204, b"\x01\xff\x03\x00\x21" + V4),
    "BSD loopback": (0, b"\x02\0\0\0" + V4),
    "OpenBSD loopback": (108, b"\0\0\0\x18" + V6),
    "raw IP": (101, V4),
    "raw IPv4": (228, V4),
    "raw IPv6": (229, V6),
    "Cisco HDLC": (104, b"\x0f\0\x08\0" + V4),
    "Frame Relay, NLPID": (107, b"\x18\x41\x03\xcc" + V4),
    "Frame Relay, SNAP": (107, b"\x18\x41\x03\0\x80\0\0\0\x08\0" + V4),
    "Frame Relay, Cisco": (107, b"\x18\x41\x08\0" + V4),
    "Token Ring": (6, b"\x10\x40" + MAC + MAC + snap(V4)),
    "Token Ring, source routed": (
        6,
        b"\x10\x40" + MAC + b"\x82" + MAC[1:] + b"\x06\x30\0\x1a\0\x20" + snap(V4),
    ),
    "FDDI": (10, b"\x50" + MAC + MAC + snap(V4)),
    "IP over IEEE 1394": (138, bytes(range(16)) + b"\x08\0" + V4),
    "ATM": (100, snap(V4)),
    "ATM, bridged": (100, bytes.fromhex("aaaa030080c200070000") + ethernet(V4)),
    "SunATM": (123, b"\x02\0\0\x21" + snap(V4)),
    "OpenBSD encapsulated": (109, struct.pack("<III", 2, 1, 0) + V4),
    "Solaris ipnet": (226, bytes([1, 2, 0, 0]) + bytes(20) + V4),
    "netfilter log": (239, struct.pack("<BBHHH", 2, 0, 0, 4 + len(V4), 9) + V4),
    "MPLS alone": (219, MPLS + V4),
    "802.11": (105, wlan(snap(V4))),
    "802.11 QoS": (105, wlan(snap(V6), qos=0)),
    "802.11 QoS with HT control": (105, wlan(snap(V4), qos=0, htc=True)),
    "802.11 four addresses": (105, wlan(snap(V4), wds=True)),
    "radiotap": (127, radiotap(wlan(snap(V4)))),
    "radiotap with check sequence": (127, radiotap(wlan(snap(V4)), fcs=True)),
    "radiotap without time": (127, radiotap(wlan(snap(V4)), tsft=False, fcs=True)),
    "radiotap with padding": (127, radiotap(wlan(b"\0\0" + snap(V4), qos=0), datapad=True)),
    "Prism": (119, struct.pack("<II", 0x44, 144) + bytes(136) + wlan(snap(V4))),
    "AVS": (163, struct.pack(">II", 0x80211001, 64) + bytes(56) + wlan(snap(V4))),
    "PPI": (192, PPI_80211 + wlan(snap(V4)) + b"\xde\xad\xbe\xef"),
    # --- tunnels
    "IP in IP": (1, over_ip(4, V4)),
    "6in4": (1, over_ip(41, V6)),
    "4in6": (1, ethernet(ipv6(A6, B6, 4, V4))),
    "GRE": (1, over_ip(47, gre(0x0800, V4))),
    "GRE with key": (1, over_ip(47, gre(0x86DD, V6, key=True))),
    "GRE with checksum and sequence": (1, over_ip(47, gre(0x0800, V4, checksum=True, sequence=True))),
    "GRE, bridged": (1, over_ip(47, gre(0x6558, ethernet(V4), key=True))),
    "GRE of PPTP": (
        1,
        over_ip(47, struct.pack(">HHHHI", 0x3001, 0x880B, len(V4) + 4, 1, 9) + b"\xff\x03\0\x21" + V4),
    ),
    "ERSPAN I": (1, over_ip(47, gre(0x88BE, ethernet(V4)))),
    "ERSPAN II": (1, over_ip(47, gre(0x88BE, b"\x10\x01" + bytes(6) + ethernet(V4), sequence=True))),
    "ERSPAN III": (1, over_ip(47, gre(0x22EB, b"\x20\x01" + bytes(10) + ethernet(V4), sequence=True))),
    "ERSPAN III with platform": (
        1,
        over_ip(47, gre(0x22EB, b"\x20\x01" + bytes(9) + b"\x01" + bytes(8) + ethernet(V4), sequence=True)),
    ),
    "EtherIP": (1, over_ip(97, b"\x30\0" + ethernet(V4))),
    "AH": (1, ethernet(ipv4(A, B, 51, struct.pack(">BBHII", 6, 4, 0, 1, 1) + bytes(12) + V4[20:]))),
    "MPLS in IP": (1, over_ip(137, MPLS + V4)),
    "VXLAN": (1, over_udp(4789, b"\x08\0\0\0\0\0\x05\0" + ethernet(V4))),
    "VXLAN of old Linux": (1, over_udp(8472, b"\x08\0\0\0\0\0\x05\0" + ethernet(V6))),
    "Geneve": (1, over_udp(6081, b"\x01\0\x65\x58\0\0\x05\0" + bytes(4) + ethernet(V4))),
    "GTP-U": (1, over_udp(2152, struct.pack(">BBHI", 0x30, 0xFF, len(V4), 1) + V4)),
    "GTP-U with sequence": (1, over_udp(2152, struct.pack(">BBHII", 0x32, 0xFF, len(V4) + 4, 1, 0) + V4)),
    "GTP-U with extension": (
        1,
        over_udp(2152, struct.pack(">BBHI", 0x34, 0xFF, len(V6) + 8, 1) + b"\0\0\0\x85\x01\0\0\0" + V6),
    ),
    "Teredo": (1, over_udp(3544, V6)),
    "Teredo with origin": (1, over_udp(3544, b"\0\0" + bytes(6) + V6)),
    "Teredo with authentication": (1, over_udp(3544, b"\0\x01\0\0" + bytes(9) + b"\0\0" + bytes(6) + V6)),
    "L2TP": (1, over_udp(1701, struct.pack(">HHH", 0x0002, 1, 2) + b"\xff\x03\0\x21" + V4)),
    "L2TP with everything": (
        1,
        over_udp(
            1701,
            struct.pack(">HHHHHHHH", 0x4A02, 20 + len(V4), 1, 2, 0, 0, 2, 0xFFFF) + b"\xff\x03\0\x21" + V4,
        ),
    ),
    "MPLS in UDP": (1, over_udp(6635, MPLS + V4)),
    "VXLAN in GRE in 6in4": (
        1,
        over_ip(
            41,
            ipv6(
                A6,
                B6,
                47,
                gre(0x0800, ipv4(*OUTER, 17, udp(*OUTER, 1, 4789, b"\x08" + bytes(7) + ethernet(V4)))),
            ),
        ),
    ),
}


def rows_of(tmp_path, link, frame):
    path = write(tmp_path / "a.pcap", pcap_bytes([(frame, 10**18)], linktype=link))
    with open_evidence(path) as evidence:
        (batch,) = [unfold(b) for b in CaptureScan(evidence)]
        return batch.rows, [bytes(batch.payload(i)) for i in range(len(batch.rows))]


@pytest.mark.parametrize(("link", "frame"), FRAMES.values(), ids=FRAMES)
def test_the_packet_inside(tmp_path, link, frame):
    (row,), (payload,) = rows_of(tmp_path, link, frame)
    assert row["status"] == Status.DECODED
    assert (row["src_port"], row["dst_port"], row["seq"], row["flags"]) == (1755, 4000, 77, 24)
    assert payload == DATA
    assert row["payload_wire"] == len(DATA)
    assert int(row["src_lo"]) == (0xC0000201 if row["version"] == 4 else 1)
    assert "link type" not in link_type_name(link)


@pytest.mark.parametrize(("link", "frame"), FRAMES.values(), ids=FRAMES)
@given(data=st.data())
def test_no_bytes_break_it(link, frame, data, tmp_path_factory):
    """Cut, or with some bytes changed, a frame gives a row whose payload lies in it."""
    raw = bytearray(frame[: data.draw(st.integers(1, len(frame)))])
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=4)
    ):
        raw[at] = value
    rows, payloads = rows_of(tmp_path_factory.mktemp("a"), link, bytes(raw))
    for row, payload in zip(rows, payloads, strict=True):
        assert row["status"] in list(Status)
        assert len(payload) == row["payload_len"]
        assert int(row["payload"]) + int(row["payload_len"]) <= len(raw)


@pytest.mark.parametrize("port", [1701, 2152, 3544, 4789, 6081, 6635, 8472])
@pytest.mark.parametrize("body", [b"", b"\x08", bytes(40), b"\xff" * 60, b"GET / HTTP/1.0\r\n\r\n"])
def test_a_port_alone_makes_no_tunnel(tmp_path, port, body):
    (row,), (payload,) = rows_of(tmp_path, 1, over_udp(port, body))
    assert (row["status"], row["proto"], row["dst_port"]) == (Status.DECODED, 17, port)
    assert payload == body


def test_protected_frames_are_not_looked_into(tmp_path):
    frame = bytearray(wlan(snap(V4)))
    frame[1] |= 0x40
    (row,), _ = rows_of(tmp_path, 105, bytes(frame))
    assert row["status"] == Status.OTHER


def test_an_aggregate_is_as_many_rows_as_packets(tmp_path):
    second = ipv4(A, B, 6, tcp(A, B, 1755, 4000, 88, 5, 24, DATA * 3))
    subframes = b""
    for packet in (V4, second):
        body = snap(packet)
        subframe = MAC + MAC + struct.pack(">H", len(body)) + body
        subframes += subframe + bytes(-len(subframe) % 4)
    rows, payloads = rows_of(tmp_path, 127, radiotap(wlan(subframes, qos=0x80)))
    assert rows["frame"].tolist() == [1, 1]
    assert rows["seq"].tolist() == [77, 88]
    assert payloads == [DATA, DATA * 3]


def test_an_independent_dissector_says_the_same(tmp_path, program):
    wanted = ("ip.src", "ipv6.src", "tcp.srcport", "tcp.dstport", "tcp.seq_raw", "tcp.len")
    by_link = {}
    for name, (link, frame) in FRAMES.items():
        if name not in UNKNOWN_TO_IT:
            by_link.setdefault(link, []).append((name, frame))
    for link, named in by_link.items():
        frames = [(frame, 10**18 + n) for n, (_, frame) in enumerate(named)]
        path = write(tmp_path / f"{link}.pcap", pcap_bytes(frames, linktype=link))
        fields = [x for f in wanted for x in ("-e", f)]
        run = subprocess.run(
            [program("tshark"), "-n", "-r", path, "-T", "fields", "-E", "occurrence=l", *fields],
            capture_output=True,
            text=True,
            check=True,
        )
        for (name, frame), line in zip(named, run.stdout.splitlines(), strict=True):
            (row,), _ = rows_of(tmp_path, link, frame)
            v4, v6, *numbers = line.split("\t")
            ours = [int(row[k]) for k in ("src_port", "dst_port", "seq", "payload_wire")]
            assert [int(n) for n in numbers] == ours, name
            assert (v4 if row["version"] == 4 else v6) == (A if row["version"] == 4 else A6), name


UNKNOWN_TO_IT = ("MPLS pseudowire with control word", "VXLAN of old Linux", "Solaris ipnet", "MPLS alone")
"""What the dissector does not look into without being told."""
