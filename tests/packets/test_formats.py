"""The rarer capture formats: written here from their descriptions, and by an independent program."""

import struct
import subprocess

import numpy as np
import pytest
from builders import (
    netmon_bytes,
    pcap_header,
    snoop_bytes,
    tcp_frame,
    udp_frame,
    write,
    write_pcap,
)
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan, Status

FRAMES = [
    (tcp_frame("192.0.2.1", "192.0.2.2", 1755, 4000, 7, 1, 24, bytes([n]) * (n * 7)), n * 10**9 + n * 10**6)
    for n in range(8)
]
BEGIN = 1078376767_080_000_000
"""2004-03-04 05:06:07.080 in ns since 1970."""


def read(content, tmp_path, **options):
    """Rows, frames and summary of a file's scan."""
    with open_evidence(write(tmp_path / "a", content)) as evidence:
        scan = CaptureScan(evidence, **options)
        rows, frames = [], []
        for batch in scan:
            rows.append(batch.rows)
            for i, row in enumerate(batch.rows):
                frames.append(bytes(batch.frame(i)))
                assert len(frames[-1]) == row["caplen"]
        return (np.concatenate(rows) if rows else []), frames, scan.summary, evidence.format


def test_snoop(tmp_path):
    rows, frames, summary, kind = read(snoop_bytes(FRAMES, drops=3), tmp_path)
    assert kind == "snoop"
    assert frames == [frame for frame, _ in FRAMES]
    assert rows["ts"].tolist() == [ts for _, ts in FRAMES]
    assert (rows["status"] == Status.DECODED).all()
    assert (summary.problems, summary.link_types) == ((), (1,))
    assert summary.notes == ("the capturing program counted 3 lost packets",)


@pytest.mark.parametrize("version", [(1, 1), (2, 0), (2, 1), (2, 2), (2, 3)])
def test_network_monitor(tmp_path, version):
    rows, frames, summary, kind = read(netmon_bytes(FRAMES, version=version), tmp_path)
    assert kind == "netmon"
    assert frames == [frame for frame, _ in FRAMES]
    begin = BEGIN if version < (2, 3) else 10**18
    assert rows["ts"].tolist() == [begin + ts for _, ts in FRAMES]
    assert rows["frame"].tolist() == list(range(1, 9))
    assert (summary.problems, summary.link_types) == ((), (1,))
    assert bool(summary.notes) == (version < (2, 3)), "a clock without a zone is told"


def test_network_monitor_says_the_link_type_of_each_frame(tmp_path):
    """From version 2.1 on; 0xE000 and more are DLT numbers."""
    ip = [(frame[14:], ts) for frame, ts in FRAMES]
    rows, _, summary, _ = read(netmon_bytes(ip, version=(2, 1), media=0xE000 + 101), tmp_path)
    assert summary.link_types == (101,)
    assert (rows["status"] == Status.DECODED).all()


def test_frames_of_network_monitors_own_are_no_frames(tmp_path):
    rows, _, summary, _ = read(netmon_bytes(FRAMES, version=(2, 1), media=0xFFFB), tmp_path)
    assert len(rows) == 0
    assert summary.blocks_skipped == 8


@pytest.mark.parametrize("size", [16, 20, 24, 28])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_variants_of_pcap_with_longer_record_headers(tmp_path, size, byteorder):
    """Some have no magic number of their own."""
    content = pcap_header(byteorder=byteorder)
    for frame, ts in FRAMES:
        head = struct.pack(byteorder + "IIII", ts // 10**9, ts % 10**9 // 1000, len(frame), len(frame))
        content += head.ljust(size, b"\0") + frame
    rows, frames, summary, _ = read(content, tmp_path)
    assert frames == [frame for frame, _ in FRAMES]
    assert rows["ts"].tolist() == [ts for _, ts in FRAMES]
    assert summary.problems == ()


@pytest.mark.parametrize("make", [snoop_bytes, netmon_bytes])
def test_windows_and_batches_change_no_answer(tmp_path, make):
    content = make(FRAMES * 20)
    one, frames, _, _ = read(content, tmp_path)
    other, same, _, _ = read(content, tmp_path, window=512, capacity=3)
    assert frames == same
    assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize(
    "name", ["snoop", "netmon1", "netmon2", "modpcap", "nokiapcap", "rh6_1pcap", "suse6_3pcap"]
)
def test_files_of_an_independent_program(tmp_path, program, name):
    frames = [*FRAMES, (udp_frame("2001:db8::1", "2001:db8::2", 53, 53, b"abc"), 10**10)]
    plain = write_pcap(tmp_path / "plain.pcap", [(frame, 10**18 + ts) for frame, ts in frames])
    subprocess.run([program("editcap"), "-F", name, plain, str(tmp_path / "b")], check=True)
    rows, found, summary, _ = read((tmp_path / "b").read_bytes(), tmp_path)
    assert found == [frame for frame, _ in frames]
    assert summary.problems == ()
    assert (rows["status"] == Status.DECODED).all()
    steps = np.diff(rows["ts"])
    assert steps.tolist() == np.diff([ts for _, ts in frames]).tolist()


# --- damage --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [snoop_bytes, netmon_bytes])
def test_a_file_cut_short_gives_what_is_there(tmp_path, make):
    content = make(FRAMES)
    if make is netmon_bytes:  # its frame table stands at the end; a cut in the frames costs the table
        table = int.from_bytes(content[24:28], "little")
        content = content[: table + 12]
        wanted = 3
    else:
        content, wanted = content[:-20], 7
    rows, _, summary, _ = read(content, tmp_path)
    assert len(rows) == wanted
    (problem,) = summary.problems
    assert "end of the file" in problem.message


def test_frames_that_overlap_are_damage(tmp_path):
    content = bytearray(netmon_bytes(FRAMES))
    table = int.from_bytes(content[24:28], "little")
    content[table + 12 : table + 16] = (
        int.from_bytes(content[table + 8 : table + 12], "little") + 4
    ).to_bytes(4, "little")
    rows, frames, summary, _ = read(bytes(content), tmp_path)
    assert rows["frame"].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert frames[:2] + frames[3:] == [frame for frame, _ in FRAMES[:2] + FRAMES[4:]]
    assert "ends before the next one" in summary.problems[0].message


@pytest.mark.parametrize("make", [snoop_bytes, netmon_bytes])
@given(data=st.data())
def test_any_bytes_give_rows_or_problems(tmp_path_factory, make, data):
    content = bytearray(make(FRAMES[:4]))
    for _ in range(data.draw(st.integers(0, 5))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(8, len(content)))])
    rows, _, summary, _ = read(content, tmp_path_factory.mktemp("any"))
    assert len(rows) == summary.packets
