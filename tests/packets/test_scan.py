"""From capture files to packet rows: formats, damage, windows."""

import hashlib
import ipaddress
import struct
import threading

import numpy as np
import pytest
from builders import (
    ACK,
    PSH,
    block,
    enhanced_packet,
    ethernet,
    interface_description,
    obsolete_packet,
    pcap_bytes,
    pcap_header,
    pcap_record,
    pcapng_bytes,
    section_header,
    simple_packet,
    tcp_frame,
    udp_frame,
    write,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import NO_TIME, PACKET, CaptureScan, Status, link_type_name, scan

T0 = 1_700_000_000 * 10**9
A, B = "192.0.2.1", "198.51.100.7"


def frame(i, size=100):
    return tcp_frame(A, B, 40000, 1755, 1000 + i, 7, PSH | ACK, bytes([i % 256]) * size)


FRAMES = [(frame(i), T0 + i * 1_000_001_000) for i in range(5)]


def read(path_or_bytes, tmp_path=None, **options):
    """All rows of a capture, each frame's bytes, and the summary."""
    if isinstance(path_or_bytes, bytes):
        path_or_bytes = write(tmp_path / "capture", path_or_bytes)
    with open_evidence(path_or_bytes) as evidence:
        reading = scan(evidence, **options)
        rows, frames = [], []
        for batch in reading:
            rows.append(batch.rows)
            frames += [batch.frame(i).tobytes() for i in range(len(batch.rows))]
            assert (batch.rows["offset"] >= batch.base).all()
            assert (batch.rows["offset"] + batch.rows["caplen"] <= batch.base + len(batch.data)).all()
        return np.concatenate([np.empty(0, PACKET), *rows]), frames, reading.summary


# --- sound files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("nanosecond", [False, True])
def test_pcap(tmp_path, byteorder, nanosecond):
    content = pcap_bytes(FRAMES, byteorder=byteorder, nanosecond=nanosecond)
    rows, frames, summary = read(content, tmp_path)
    assert frames == [f for f, _ in FRAMES]
    assert rows["ts"].tolist() == [t for _, t in FRAMES]
    assert rows["frame"].tolist() == [1, 2, 3, 4, 5]
    assert rows["offset"][0] == 24 + 16
    assert (rows["status"] == Status.DECODED).all()
    assert summary.packets == summary.decoded == 5
    assert (summary.first_ts, summary.last_ts) == (FRAMES[0][1], FRAMES[-1][1])
    assert summary.link_types == (1,)
    assert not summary.truncated
    assert summary.problems == ()
    assert summary.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tsresol", [6, 9])
def test_pcapng(tmp_path, byteorder, tsresol):
    content = pcapng_bytes(FRAMES, byteorder=byteorder, tsresol=tsresol)
    rows, frames, summary = read(content, tmp_path)
    assert frames == [f for f, _ in FRAMES]
    assert rows["ts"].tolist() == [t for _, t in FRAMES]
    assert summary.problems == ()
    assert summary.sha256 == hashlib.sha256(content).hexdigest()


def test_a_row_says_what_the_packet_is(tmp_path):
    segment = tcp_frame(A, B, 40000, 1755, 2**32 - 5, 77, PSH | ACK, b"hello", window=1234)
    rows, _, _ = read(pcap_bytes([(segment, T0)]), tmp_path)
    row = rows[0]
    assert int(row["src_lo"]) == int(ipaddress.ip_address(A))
    assert int(row["dst_lo"]) == int(ipaddress.ip_address(B))
    assert (row["src_hi"], row["dst_hi"], row["version"], row["proto"]) == (0, 0, 4, 6)
    assert (row["src_port"], row["dst_port"]) == (40000, 1755)
    assert (row["seq"], row["ack"], row["flags"], row["window"]) == (2**32 - 5, 77, PSH | ACK, 1234)
    assert (row["payload"], row["payload_len"], row["payload_wire"]) == (54, 5, 5)  # padding is no payload
    assert (row["caplen"], row["wirelen"], row["link"]) == (60, 60, 1)


def test_pcapng_with_sections_interfaces_and_clocks(tmp_path):
    f = frame(1)
    ip_packet = f[14:]
    content = b"".join(
        [
            section_header(byteorder=">"),
            interface_description(linktype=1, byteorder=">"),
            interface_description(linktype=101, tsresol=3, tsoffset=1000, byteorder=">"),
            block(0x0BAD, b"a block nobody knows", byteorder=">"),
            enhanced_packet(f, 5_000_001, byteorder=">"),
            enhanced_packet(ip_packet, 2_500, interface=1, byteorder=">"),
            section_header(),
            interface_description(linktype=101, tsresol=0x80 | 10),
            enhanced_packet(ip_packet, 1024 * 7 + 512, options=b"\0\0\0\0"),
            obsolete_packet(ip_packet, 1024 * 8),
            simple_packet(ip_packet),
        ]
    )
    rows, frames, summary = read(content, tmp_path)
    assert frames == [f, ip_packet, ip_packet, ip_packet, ip_packet]
    assert rows["ts"].tolist() == [
        5_000_001_000,
        1_002_500_000_000,
        7_500_000_000,
        8_000_000_000,
        NO_TIME,
    ]
    assert rows["link"].tolist() == [1, 101, 101, 101, 101]
    assert (rows["status"] == Status.DECODED).all()
    assert summary.link_types == (1, 101)
    assert summary.blocks_skipped == 1
    assert (summary.first_ts, summary.last_ts) == (5_000_001_000, 1_002_500_000_000)
    assert not summary.truncated


@pytest.mark.parametrize(
    ("tsresol", "ticks", "ns"),
    [
        (0, 12, 12 * 10**9),
        (9, 2**63 - 1, 2**63 - 1),
        (9, 2**63, NO_TIME),
        (6, 2**64 - 1, NO_TIME),
        (12, 1_234_567, 1_234),
        (27, 10**18 + 10**19, 11),
        (28, 2**64 - 1, 0),
        (0x80, 3, 3 * 10**9),
        (0x80 | 32, (5 << 32) + (1 << 31), 5_500_000_000),
        (0x80 | 40, (5 << 40) + (1 << 39), 5_500_000_000),
        (0x80 | 63, (1 << 63) + (1 << 62), 1_500_000_000),
        (0x80 | 64, 1 << 63, 500_000_000),
        (0x80 | 100, 2**64 - 1, 0),
    ],
)
def test_pcapng_time_resolutions(tmp_path, tsresol, ticks, ns):
    content = section_header() + interface_description(tsresol=tsresol) + enhanced_packet(frame(1), ticks)
    rows, _, _ = read(content, tmp_path)
    assert rows["ts"].tolist() == [ns]


def test_a_simple_packet_is_cut_to_the_snapshot_length(tmp_path):
    f = frame(1)
    content = section_header() + interface_description(snaplen=65) + simple_packet(f[:65], wirelen=len(f))
    rows, frames, _ = read(content, tmp_path)
    assert frames == [f[:65]]
    assert (rows["wirelen"][0], rows["payload_len"][0], rows["payload_wire"][0]) == (len(f), 11, 100)


@pytest.mark.parametrize("make", [pcap_bytes, pcapng_bytes])
def test_windows_and_batches_change_no_answer(tmp_path, make):
    frames = [(frame(i, 10 + 37 * i % 900), T0 + i) for i in range(3000)]
    content = make(frames, **({"nanosecond": True} if make is pcap_bytes else {}))
    path = write(tmp_path / "capture", content)
    whole, payloads, summary = read(path)
    seen = []
    pieces, payloads_of_pieces, summary_of_pieces = read(
        path, window=1 << 12, capacity=7, progress=seen.append
    )
    assert (whole == pieces).all()
    assert payloads == payloads_of_pieces == [f for f, _ in frames]
    assert summary == summary_of_pieces
    assert sum(seen) == len(content)


def test_a_scan_without_hashing_and_one_given_up(tmp_path):
    path = write(tmp_path / "capture", pcap_bytes(FRAMES))
    with open_evidence(path) as evidence:
        reading = CaptureScan(evidence, hashing=False)
        assert sum(len(batch.rows) for batch in reading) == 5
        assert reading.summary.sha256 is None
    with open_evidence(path) as evidence:
        reading = CaptureScan(evidence, capacity=1)
        next(iter(reading))
        assert reading.summary.packets == 1
        reading.close()
        assert reading.summary.sha256 is None


def test_hashing_may_begin_before_the_scan(tmp_path):
    content = pcap_bytes(FRAMES)
    with open_evidence(write(tmp_path / "capture", content)) as evidence:
        reading = scan(evidence)
        reading.start()
        assert sum(len(batch.rows) for batch in reading) == 5
        assert evidence.sha256 == hashlib.sha256(content).hexdigest()
        with pytest.raises(RuntimeError, match="once"):
            next(iter(reading))


def test_no_thread_is_left_behind(tmp_path):
    before = threading.active_count()
    with open_evidence(write(tmp_path / "capture", pcap_bytes(FRAMES))) as evidence:
        batches = iter(scan(evidence, capacity=1))
        next(batches)
        batches.close()
        list(scan(evidence))
        unused = scan(evidence)
        unused.start()
        unused.close()
    assert threading.active_count() == before


def test_frames_of_rare_kinds_are_decoded_by_dpkt(tmp_path):
    packet = tcp_frame(A, B, 40000, 1755, 1, 2, ACK, b"abc", pad=False)[14:]
    mpls = ethernet(bytes.fromhex("00010140") + packet, 0x8847)
    rows, frames, summary = read(pcap_bytes([(frame(1), T0), (mpls, T0), (mpls[:30], T0)]), tmp_path)
    assert rows["status"].tolist() == [Status.DECODED, Status.DECODED, Status.MALFORMED]
    assert frames[1][int(rows["payload"][1]) :] == b"abc"
    assert (rows["frame"][1], rows["link"][1], rows["ts"][1], rows["caplen"][1]) == (2, 1, T0, len(mpls))
    assert (summary.decoded, summary.malformed) == (2, 1)


def test_link_types_have_names():
    assert link_type_name(1) == "Ethernet"
    assert link_type_name(4711) == "link type 4711"


# --- damage ----------------------------------------------------------------------------------------

PCAP = pcap_bytes(FRAMES)
LAST_RECORD = len(PCAP) - 16 - len(FRAMES[-1][0])
PCAPNG = pcapng_bytes(FRAMES)
LAST_BLOCK = len(PCAPNG) - len(enhanced_packet(FRAMES[-1][0], 0))


@pytest.mark.parametrize("kept", [0, 1, 15])
def test_pcap_cut_between_or_in_record_headers(tmp_path, kept):
    content = PCAP[: LAST_RECORD + kept]
    rows, _, summary = read(content, tmp_path)
    assert len(rows) == 4
    assert summary.sha256 == hashlib.sha256(content).hexdigest()
    if kept == 0:  # nothing tells that there was more
        assert not summary.truncated
        return
    (problem,) = summary.problems
    assert summary.truncated
    assert (problem.offset, problem.frame) == (LAST_RECORD, 5)
    assert "record header of 16 bytes" in problem.expected


def test_pcap_cut_in_record_data(tmp_path):
    rows, frames, summary = read(PCAP[:-1], tmp_path)
    (problem,) = summary.problems
    assert len(rows) == 4
    assert frames[-1] == FRAMES[3][0]
    assert summary.truncated
    assert (problem.offset, problem.frame) == (LAST_RECORD, 5)
    assert problem.expected == "a record of 154 captured bytes"
    assert problem.found == "the end of the file after 153"


@pytest.mark.parametrize("captured", [262_145, 0x7FFFFFFF, 0xFFFFFFFF])
def test_pcap_with_an_impossible_length_in_the_middle(tmp_path, captured):
    bad = struct.pack("<IIII", 1_700_000_000, 0, captured, captured)
    content = PCAP + bad + bytes(300) + PCAP
    rows, _, summary = read(content, tmp_path)
    (problem,) = summary.problems
    assert len(rows) == 10
    assert rows["ts"].tolist() == [ts for _, ts in FRAMES] * 2
    assert (problem.offset, problem.frame) == (len(PCAP) + 8, 6)
    assert problem.passed_over == (len(PCAP), len(PCAP) + 16 + 300 + 24)
    assert "at most 262144" in problem.expected
    assert str(captured) in problem.found
    assert summary.truncated
    assert summary.sha256 == hashlib.sha256(content).hexdigest()


def test_a_large_snapshot_length_allows_large_records(tmp_path):
    big = udp_frame(A, B, 1, 2).ljust(300_000, b"\0")
    content = pcap_header(snaplen=1 << 20) + pcap_record(big, T0)
    rows, _, summary = read(content, tmp_path)
    assert rows["caplen"].tolist() == [300_000]
    assert summary.problems == ()


def test_pcap_cut_in_the_file_header(tmp_path):
    rows, _, summary = read(PCAP[:23], tmp_path)
    (problem,) = summary.problems
    assert len(rows) == 0
    assert summary.truncated
    assert (problem.offset, problem.frame) == (0, None)
    assert summary.sha256 == hashlib.sha256(PCAP[:23]).hexdigest()


@pytest.mark.parametrize("content", [b"", b"no capture at all"])
def test_no_capture(tmp_path, content):
    rows, _, summary = read(content, tmp_path)
    assert len(rows) == 0
    assert len(summary.problems) == 1
    assert summary.sha256 == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("kept", [1, 11, 12, 31, 40, -1])
def test_pcapng_cut_in_a_block(tmp_path, kept):
    content = PCAPNG[: LAST_BLOCK + kept] if kept > 0 else PCAPNG[:-1]
    rows, _, summary = read(content, tmp_path)
    (problem,) = summary.problems
    assert len(rows) == 4
    assert summary.truncated
    assert (problem.offset, problem.frame) == (LAST_BLOCK, 5)
    assert "the end of the file" in problem.found


@pytest.mark.parametrize("total", [0, 8, 11, 13, 28])
def test_pcapng_with_an_impossible_block_length(tmp_path, total):
    bad = struct.pack("<II", 6, total) + bytes(16) + struct.pack("<I", total)
    rows, _, summary = read(PCAPNG + bad + PCAPNG, tmp_path)
    (problem,) = summary.problems
    assert len(rows) == 10
    assert summary.truncated
    assert problem.offset in (len(PCAPNG) + 4, len(PCAPNG) + total - 4)
    assert problem.passed_over == (len(PCAPNG), len(PCAPNG) + len(bad))


def test_pcapng_whose_two_block_lengths_disagree(tmp_path):
    good = enhanced_packet(frame(1), 1)
    rows, _, summary = read(PCAPNG + good[:-4] + struct.pack("<I", len(good) + 4), tmp_path)
    (problem,) = summary.problems
    assert len(rows) == 5
    assert problem.offset == len(PCAPNG) + len(good) - 4
    assert (problem.expected, problem.found) == (
        f"the block total length {len(good)} again at the end of the block",
        str(len(good) + 4),
    )


def test_pcapng_with_a_captured_length_beyond_the_block(tmp_path):
    rows, _, summary = read(PCAPNG + enhanced_packet(bytes(60), 1, captured=61), tmp_path)
    (problem,) = summary.problems
    assert len(rows) == 5
    assert problem.offset == len(PCAPNG) + 20
    assert "at most 60" in problem.expected


@pytest.mark.parametrize(
    "bad",
    [
        enhanced_packet(bytes(60), 1, interface=1),
        enhanced_packet(bytes(60), 1, interface=2**32 - 1),
        obsolete_packet(bytes(60), 1, interface=7),
        section_header() + simple_packet(bytes(60)),
    ],
)
def test_pcapng_with_a_packet_of_an_unknown_interface(tmp_path, bad):
    rows, _, summary = read(PCAPNG + bad + PCAPNG, tmp_path)
    (problem,) = summary.problems
    assert len(rows) == 10
    assert "interfaces described before" in problem.expected
    assert summary.truncated


@pytest.mark.parametrize("at_start", [True, False])
def test_pcapng_with_a_bad_byte_order_magic(tmp_path, at_start):
    bad = bytearray(section_header())
    bad[8:12] = b"\x4d\x3c\x2b\x00"
    before = b"" if at_start else PCAPNG
    rows, _, summary = read(before + bytes(bad) + PCAPNG, tmp_path)
    (problem,) = summary.problems
    assert len(rows) == (5 if at_start else 10)
    assert problem.offset == len(before) + 8
    assert problem.expected == "byte-order magic 0x1a2b3c4d"


def test_pcapng_of_another_major_version(tmp_path):
    _, _, summary = read(section_header(major=2), tmp_path)
    assert summary.problems[0].found == "version 2"


@pytest.mark.parametrize("cut", [4, 8, 12, 27])
def test_pcapng_cut_in_the_section_header(tmp_path, cut):
    _, _, summary = read(section_header()[:cut], tmp_path)
    (problem,) = summary.problems
    assert problem.offset == 0
    assert summary.truncated


# --- anything --------------------------------------------------------------------------------------

HEADERS = [
    pcap_header(),
    pcap_header(byteorder=">", nanosecond=True, linktype=101),
    section_header() + interface_description(tsresol=9),
    section_header(byteorder=">") + interface_description(byteorder=">", linktype=113),
]
RECORDS = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda d: pcap_record(d, T0), st.binary(max_size=120)),
    st.builds(lambda d, t: enhanced_packet(d, t), st.binary(max_size=120), st.integers(0, 2**64 - 1)),
    st.builds(simple_packet, st.binary(max_size=60)),
    st.builds(
        lambda d, o: block(1, d, byteorder=o), st.binary(min_size=8, max_size=40), st.sampled_from("<>")
    ),
    st.builds(section_header, byteorder=st.sampled_from("<>")),
)


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(HEADERS), st.lists(RECORDS, max_size=6), st.integers(0, 60))
def test_any_bytes_give_rows_or_problems(tmp_path, header, records, cut):
    content = header + b"".join(records)
    content = content[: max(len(header), len(content) - cut)]
    rows, _, summary = read(content, tmp_path, window=64)
    assert summary.packets == len(rows)
    assert summary.decoded + summary.other + summary.malformed + summary.fragments == len(rows)
    assert (rows["offset"] + rows["caplen"] <= len(content)).all()
    assert (rows["payload"].astype(int) + rows["payload_len"] <= rows["caplen"]).all()
    assert (rows["payload_len"] <= rows["payload_wire"]).all()
    assert (rows["frame"] == np.arange(1, len(rows) + 1)).all()
    assert summary.truncated == bool(summary.problems)
    assert all(0 <= problem.offset <= len(content) for problem in summary.problems)
    assert summary.sha256 == hashlib.sha256(content).hexdigest()
