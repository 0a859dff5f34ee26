"""Behind damage a capture goes on: what is damaged is lost, and nothing before or after it."""

import struct

import numpy as np
import pytest
from builders import (
    block,
    enhanced_packet,
    interface_description,
    netmon_bytes,
    option,
    pcap_bytes,
    pcap_header,
    pcapng_bytes,
    section_header,
    simple_packet,
    snoop_bytes,
    tcp_frame,
    write,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan

T0 = 1_700_000_000 * 10**9
FRAMES = [
    (tcp_frame("192.0.2.1", "192.0.2.2", 1755, 4000, n, 1, 24, bytes([n + 1]) * (40 + 7 * n)), T0 + n * 10**9)
    for n in range(40)
]
MAKE = {
    "pcap": pcap_bytes,
    "pcap, big-endian, ns": lambda frames: pcap_bytes(frames, byteorder=">", nanosecond=True),
    "pcapng": pcapng_bytes,
    "pcapng, big-endian": lambda frames: pcapng_bytes(frames, byteorder=">"),
    "snoop": snoop_bytes,
}


def read(content, folder, **options):
    """(frame, ts) of all frames, and the summary."""
    with open_evidence(write(folder / "a", content)) as evidence:
        scan = CaptureScan(evidence, **options)
        found = []
        for batch in scan:
            found += [(bytes(batch.frame(i)), int(row["ts"])) for i, row in enumerate(batch.rows)]
        return found, scan.summary


def places(make):
    """Where each frame's record begins, and the file's length."""
    return [len(make(FRAMES[:n])) for n in range(len(FRAMES) + 1)]


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
@pytest.mark.parametrize("fill", [b"\xff", b"\0", b"A"])
def test_overwritten_records_alone_are_lost(make, fill, tmp_path):
    content, at = bytearray(make(FRAMES)), places(make)
    content[at[10] : at[12]] = fill * (at[12] - at[10])
    found, summary = read(bytes(content), tmp_path)
    assert found == FRAMES[:10] + FRAMES[12:]
    (problem,) = summary.problems
    assert problem.passed_over == (at[10], at[12])
    assert problem.frame == 11
    assert summary.truncated
    assert "were passed over" in problem.message


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_removed_and_inserted_bytes(make, tmp_path):
    content, at = make(FRAMES), places(make)
    found, _ = read(content[: at[20] + 13] + content[at[21] + 5 :], tmp_path)
    assert [f for f in found if f in FRAMES] == FRAMES[:20] + FRAMES[22:]
    found, _ = read(content[: at[20]] + b"\x07" * 1001 + content[at[20] :], tmp_path)
    assert found == FRAMES


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
@settings(max_examples=60)
@given(data=st.data())
def test_any_damage_costs_what_it_touches(make, data, tmp_path_factory):
    """And at most the record behind it, whose beginning a lying length may swallow."""
    content, at = bytearray(make(FRAMES)), places(make)
    start = data.draw(st.integers(at[0], len(content) - 1))
    size = data.draw(st.integers(1, 400))
    if data.draw(st.booleans()):
        content[start : start + size] = bytes(min(size, len(content) - start))
    else:
        size = min(size, len(content) - start)
        content[start : start + size] = data.draw(st.binary(min_size=size, max_size=size))
    found, summary = read(bytes(content), tmp_path_factory.mktemp("a"), window=997)
    first = int(np.searchsorted(at, start, side="right")) - 1
    behind = int(np.searchsorted(at, start + size, side="left"))
    assert found[:first] == FRAMES[:first]
    rest = FRAMES[behind + 1 :] if behind < len(FRAMES) - 4 else []
    assert found[len(found) - len(rest) :] == rest
    assert summary.packets == len(found)


def test_a_record_that_lies_about_both_lengths_swallows_none_behind_it(tmp_path):
    """The captured length is possible, the length on the wire is that of no link, and no record follows."""
    content, at = bytearray(pcap_bytes(FRAMES)), places(pcap_bytes)
    content[at[1] + 8 : at[1] + 16] = (4889).to_bytes(4, "little") + (607_145_297).to_bytes(4, "little")
    found, summary = read(bytes(content), tmp_path)
    assert found == FRAMES[:1] + FRAMES[2:]
    (problem,) = summary.problems
    assert (problem.offset, problem.found) == (at[1] + 12, "607145297")


@pytest.mark.parametrize("make", list(MAKE.values())[:4], ids=list(MAKE)[:4])  # snoop pads its records
@settings(max_examples=40)
@given(cut=st.integers(1, 4000))
def test_a_file_that_is_cut_has_the_whole_records_before(make, cut, tmp_path_factory):
    content, at = make(FRAMES), places(make)
    kept = max(len(content) - cut, at[0])
    found, summary = read(content[:kept], tmp_path_factory.mktemp("a"))
    whole = int(np.searchsorted(at, kept, side="right")) - 1
    assert found == FRAMES[:whole]
    assert len(summary.problems) == (kept not in at)


def test_a_hole_of_zeros_is_one_problem(tmp_path):
    """As of a disk image or a ring buffer that was not written to its end."""
    content = pcap_bytes(FRAMES)
    found, summary = read(content + bytes(1_000_000), tmp_path, window=4096)
    assert found == FRAMES
    (problem,) = summary.problems
    assert (problem.found, problem.passed_over) == ("zeros", (len(content), len(content) + 1_000_000))


def test_a_capture_inside_a_damaged_packet_is_not_taken_for_the_capture(tmp_path):
    """Evidence holds downloads of captures: their times are others."""
    old = pcap_bytes([(frame, ts - 400 * 86_400 * 10**9) for frame, ts in FRAMES[:20]])
    frames = [*FRAMES[:5], (old, T0 + 6 * 10**9), *FRAMES[6:]]
    content = bytearray(pcap_bytes(frames))
    at = len(pcap_bytes(FRAMES[:5]))
    content[at + 8 : at + 12] = b"\xff\xff\xff\x7f"
    found, _ = read(bytes(content), tmp_path)
    assert found == FRAMES[:5] + FRAMES[6:]


def test_many_problems_are_told_as_one(tmp_path):
    lonely = section_header() + b"".join(simple_packet(bytes(60)) for _ in range(500))
    found, summary = read(lonely + pcapng_bytes(FRAMES), tmp_path)
    assert found == FRAMES
    assert len(summary.problems) == 101
    assert summary.problems[-1].found == "400 more, for which 30400 bytes were passed over"


def test_an_interface_that_cannot_be_read_keeps_its_number(tmp_path):
    content = section_header() + block(1, b"\1\0\0\0") + interface_description(tsresol=9)
    content += b"".join(enhanced_packet(frame, ts, interface=1) for frame, ts in FRAMES)
    found, summary = read(content, tmp_path)
    assert found == FRAMES
    assert "interface description" in summary.problems[0].expected


def test_a_section_of_another_version_is_passed_over(tmp_path):
    other = section_header(major=2) + interface_description() + enhanced_packet(b"later", 1)
    found, summary = read(pcapng_bytes(FRAMES[:3]) + other + pcapng_bytes(FRAMES[3:]), tmp_path)
    assert found == FRAMES
    (problem,) = summary.problems
    assert problem.passed_over[1] - problem.passed_over[0] == len(other)


def test_a_bad_entry_of_a_frame_table_costs_one_frame(tmp_path):
    content = bytearray(netmon_bytes([(frame, ts - T0) for frame, ts in FRAMES]))
    begin = 128 + sum(len(frame) + 16 for frame, _ in FRAMES[:7])
    content[begin + 12 : begin + 16] = b"\xff\xff\0\0"
    found, summary = read(bytes(content), tmp_path)
    assert [frame for frame, _ in found] == [frame for n, (frame, _) in enumerate(FRAMES) if n != 7]
    assert len(summary.problems) == 1


# --- variants --------------------------------------------------------------------------------------


def with_version(content, major, minor, link=None):
    head = content[:4] + struct.pack("<HH", major, minor) + content[8:20]
    return head + (content[20:24] if link is None else struct.pack("<I", link)) + content[24:]


def swapped(frames):
    """Records with the length on the wire first, as before version 2.4; each frame was cut by one byte."""
    out = [pcap_header()]
    for frame, ts in frames:
        out.append(struct.pack("<IIII", ts // 10**9, 0, len(frame) + 1, len(frame)) + frame)
    return b"".join(out)


@pytest.mark.parametrize("version", [(2, 0), (2, 2), (2, 3), (543, 0)])
def test_old_versions_have_the_lengths_the_other_way_round(tmp_path, version):
    found, summary = read(with_version(swapped(FRAMES), *version), tmp_path)
    assert found == FRAMES
    assert summary.problems == ()


@pytest.mark.parametrize(("iftype", "dlt"), [(6, 1), (9, 6), (15, 10), (24, 0)])
def test_aix(tmp_path, iftype, dlt):
    """Nanoseconds under the magic number of microseconds, and link types of its own."""
    out = with_version(pcap_header(), 2, 2, link=iftype)
    for frame, ts in FRAMES:
        out += struct.pack("<IIII", ts // 10**9, 123_456_789, len(frame), len(frame)) + frame
    found, summary = read(out, tmp_path)
    assert found == [(frame, ts + 123_456_789) for frame, ts in FRAMES]
    assert summary.link_types == (dlt,)
    assert "AIX" in summary.notes[0]


@pytest.mark.parametrize(("magic", "tick"), [(0x1C0001AC, 1), (0x1C0001AB, 1000)])
def test_ixia(tmp_path, magic, tick):
    plain = pcap_bytes(FRAMES, nanosecond=tick == 1)
    content = struct.pack("<I", magic) + plain[4:24] + struct.pack("<I", len(plain) - 24) + plain[24:]
    found, summary = read(content, tmp_path)
    assert found == FRAMES
    assert summary.problems == ()


@pytest.mark.parametrize("snaplen", [0, 0xFFFFFFFF])
def test_a_snapshot_length_that_says_nothing(tmp_path, snaplen):
    content = pcap_bytes(FRAMES)
    content = content[:16] + struct.pack("<I", snaplen) + content[20:]
    assert read(content, tmp_path)[0] == FRAMES


# --- what a pcapng file says of itself --------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
def test_notes_of_pcapng(tmp_path, order):
    def options(*pairs):
        return b"".join(option(code, value, byteorder=order) for code, value in pairs) + bytes(4)

    def packed(kind, layout, *values):
        return block(kind, struct.pack(order + layout, *values[:-1]) + values[-1], byteorder=order)

    said = options((1, b"seized at noon"), (3, b"Windows XP\0"), (4, b"WinDump"))
    interface = options((2, b"eth0"), (11, b"\0tcp port 1755"), (1, b"the left one"), (9, b"\x09"))
    statistics = options((4, struct.pack(order + "Q", 1000)), (5, struct.pack(order + "Q", 7)))
    frame, ts = FRAMES[0]
    content = (
        packed(0x0A0D0D0A, "IHHq", 0x1A2B3C4D, 1, 0, -1, said)
        + packed(1, "HHI", 1, 0, 96, interface)
        + enhanced_packet(frame, ts, options=options((1, b"here it begins")), byteorder=order)
        + enhanced_packet(frame, ts, options=options((2, bytes(4))), byteorder=order)
        + block(4, bytes(8), byteorder=order)
        + block(10, bytes(8), byteorder=order)
        + block(0xBAD, bytes(8), byteorder=order)
        + packed(5, "III", 0, 0, 0, statistics)
    )
    found, summary = read(content, tmp_path)
    assert len(found) == 2
    assert summary.problems == ()
    assert summary.blocks_skipped == 3
    assert list(summary.notes) == [
        "section 1: operating system Windows XP, written by WinDump",
        "section 1: comment: seized at noon",
        "section 1, interface 0: name eth0, filter tcp port 1755, snapshot length 96",
        "section 1, interface 0: comment: the left one",
        "frame 1: comment: here it begins",
        "section 1, interface 0: frames 1000 received, 7 dropped by the interface",
        "blocks whose contents are not kept: 1 name resolution, 1 decryption secrets, 1 custom"
        "; Wireshark gives 1 of them numbers of frames, which are not counted here",
    ]


def test_comments_are_bounded(tmp_path):
    comment = option(1, b"x" * 5000)
    content = section_header() + interface_description(tsresol=9)
    content += b"".join(enhanced_packet(FRAMES[0][0], n, options=comment) for n in range(1200))
    _, summary = read(content, tmp_path)
    assert len(summary.notes) == 1001
    assert summary.notes[-1] == "200 more frames have comments"
    assert max(len(note) for note in summary.notes) <= 2001


def test_options_without_an_end(tmp_path):
    content = section_header() + interface_description(tsresol=9)
    content += enhanced_packet(*FRAMES[0], options=struct.pack("<HH", 1, 60_000) + b"cut")
    content += enhanced_packet(*FRAMES[1], options=struct.pack("<HH", 5, 0xFFFF))
    found, summary = read(content, tmp_path)
    assert found == FRAMES[:2]
    assert summary.notes == ("frame 1: comment: cut",)
