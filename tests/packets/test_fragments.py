"""IP fragments put together, in whatever order they come, and what is odd about them."""

import random
import struct
from dataclasses import replace

import numpy as np
import pytest
from builders import ethernet, ipv4, ipv6, pcap_bytes, tcp, udp, write
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.evidence import open_evidence
from mmsforensics.packets import CaptureScan, Fragments, Status, Stitched

A, B = "192.0.2.1", "198.51.100.7"
A6, B6 = "2001:db8::1", "2001:db8::2"
DATA = random.Random(1).randbytes(3000)
DATAGRAM = udp(A, B, 1755, 7000, DATA)
T0 = 10**18


def fragment(body, start, stop, *, ip_id=7, last=None):
    """An IPv4 fragment of ``body[start:stop]``."""
    more = 0x2000 if (stop < len(body) if last is None else not last) else 0
    return ethernet(ipv4(A, B, 17, body[start:stop], ip_id=ip_id, fragment=more | start // 8))


def fragment6(body, start, stop, proto=17):
    more = stop < len(body)
    header = struct.pack(">BBHI", proto, 0, start | more, 99)
    return ethernet(ipv6(A6, B6, 44, header + body[start:stop]))


def cut(body, size, make=fragment, **options):
    return [make(body, k, min(k + size, len(body)), **options) for k in range(0, len(body), size)]


class Together:
    """The rows after fragments were put together, with their payloads."""

    def __init__(self, frames, folder, **scan):
        fragments, self.stitched = Fragments(), Stitched()
        path = write(folder / "a.pcap", pcap_bytes([(f, T0 + n * 1000) for n, f in enumerate(frames)]))
        self.rows, self.payloads, self.incomplete = [], [], 0
        with open_evidence(path) as evidence:
            for batch in CaptureScan(evidence, **scan):
                self.take(fragments, fragments.feed(batch))
            rest = fragments.finish()
            if rest is not None:
                self.take(fragments, rest)
            self.incomplete += len(fragments.incomplete) if rest is None else 0
        self.anomalies = fragments.anomalies

    def take(self, fragments, batch):
        self.stitched.keep(fragments.joined, batch.rows["frame"].tolist())
        self.incomplete += len(fragments.incomplete)
        for i, row in enumerate(batch.rows):
            if row["status"] == Status.DECODED:
                self.rows.append(row)
                self.payloads.append(bytes(batch.payload(i)))


@pytest.mark.parametrize("size", [8, 552, 1480, 2000])
def test_a_datagram(tmp_path, size):
    frames = cut(DATAGRAM, size)
    got = Together(frames, tmp_path)
    assert got.payloads == [DATA]
    assert (got.rows[0]["src_port"], got.rows[0]["dst_port"]) == (1755, 7000)
    assert got.rows[0]["frame"] == len(frames)
    assert got.rows[0]["payload_wire"] == len(DATA)
    assert got.anomalies == []


@pytest.mark.parametrize("make", [fragment, fragment6])
@given(order=st.randoms(use_true_random=False), size=st.integers(8, 190))
def test_any_order_and_repetition(make, order, size, tmp_path_factory):
    frames = cut(DATAGRAM, size * 8, make)
    frames += order.sample(frames, len(frames) // 2)
    order.shuffle(frames)
    # What is repeated behind the last missing one begins a packet that is never whole.
    got = Together(frames, tmp_path_factory.mktemp("a"), window=1500)
    assert got.payloads[0] == DATA
    assert got.anomalies == []


def test_a_segment_of_tcp_behind_an_extension_header(tmp_path):
    segment = tcp(A6, B6, 1755, 4000, 5, 6, 24, DATA)
    body = bytes([6, 0]) + bytes(6) + segment  # destination options
    frames = cut(body, 1000, lambda b, start, stop: fragment6(b, start, stop, proto=60))
    got = Together(frames, tmp_path)
    assert got.payloads == [DATA]
    assert (got.rows[0]["proto"], got.rows[0]["seq"]) == (6, 5)


def test_where_the_bytes_come_from(tmp_path):
    frames = cut(DATAGRAM, 1480)
    got = Together(frames, tmp_path)
    where = np.dtype([("file_offset", "i8"), ("length", "i8"), ("frame", "i8"), ("frame_offset", "i8")])
    row = np.array([(0, len(DATA), 3, int(got.rows[0]["payload"]))], dtype=where)
    pieces = got.stitched.expand(row)
    assert pieces["frame"].tolist() == [1, 2, 3]
    found = b"".join(
        frames[p["frame"] - 1][p["frame_offset"] : p["frame_offset"] + p["length"]] for p in pieces
    )
    assert found == DATA
    assert got.stitched.first_frames(np.array([3, 9])).tolist() == [1, 9]


def test_a_missing_fragment_costs_what_is_behind_it(tmp_path):
    frames = cut(DATAGRAM, 1480)
    got = Together([frames[0], frames[2]], tmp_path)
    assert got.payloads == [DATA[:1472]]
    assert got.rows[0]["payload_wire"] == len(DATA)
    assert got.incomplete == 1


def test_all_frames_of_a_packet_are_known(tmp_path):
    """Those behind the hole, and the one that came twice, as well."""
    frames = cut(DATAGRAM, 600)
    path = write(tmp_path / "a.pcap", pcap_bytes([(frames[k], T0) for k in (0, 1, 3, 3, 4)]))
    fragments = Fragments()
    with open_evidence(path) as evidence:
        for batch in CaptureScan(evidence):
            fragments.feed(batch)
    fragments.finish()
    assert {row: frames.tolist() for row, frames in fragments.members.items()} == {5: [1, 2, 3, 4, 5]}


def test_without_its_beginning_nothing_is_known(tmp_path):
    got = Together(cut(DATAGRAM, 1480)[1:], tmp_path)
    assert got.payloads == []
    assert got.incomplete == 1


def test_the_same_identification_again_is_another_packet(tmp_path):
    other = udp(A, B, 1755, 7000, DATA[::-1])
    got = Together(cut(DATAGRAM, 1480) + cut(other, 1480), tmp_path)
    assert got.payloads == [DATA, DATA[::-1]]


def test_overlaps_are_told_and_the_first_bytes_kept(tmp_path):
    lie = DATAGRAM[:1600] + bytes(400) + DATAGRAM[2000:]
    frames = [
        fragment(DATAGRAM, 0, 1480),
        fragment(lie, 1400, 2200, last=False),
        fragment(DATAGRAM, 1480, 2960),
        fragment(DATAGRAM, 2960, len(DATAGRAM)),
    ]
    got = Together(frames, tmp_path)
    assert got.payloads == [lie[8:]]
    assert [frame for frame, _ in got.anomalies] == [2, 3]
    assert "overlaps another" in got.anomalies[0][1]
    assert "different bytes" in got.anomalies[1][1]


def test_what_waits_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("mmsforensics.packets.fragments.MAX_WAITING", 10)
    starts = [fragment(DATAGRAM, 0, 80, ip_id=n) for n in range(100)]
    got = Together(starts, tmp_path, window=100)
    assert got.incomplete == 100
    assert got.payloads == [DATA[:72]] * 100


@given(st.lists(st.tuples(st.integers(0, 8191), st.integers(0, 60), st.booleans()), max_size=12))
def test_hostile_fragments(tmp_path_factory, parts):
    frames = [
        ethernet(ipv4(A, B, 17, bytes(8 * size + 3), ip_id=1, fragment=(0x2000 if more else 0) | offset))
        for offset, size, more in parts
    ]
    got = Together(frames, tmp_path_factory.mktemp("a"))
    for row, payload in zip(got.rows, got.payloads, strict=True):
        assert len(payload) == row["payload_len"] <= row["payload_wire"]


def test_a_batch_without_a_row_changes_nothing(tmp_path):
    """As where all of its frames are another tap's, while fragments wait."""
    path = write(tmp_path / "a.pcap", pcap_bytes([(f, T0) for f in cut(DATAGRAM, 1480)]))
    fragments = Fragments()
    with open_evidence(path) as evidence:
        (batch,) = CaptureScan(evidence)
        parts = [replace(batch, rows=batch.rows[part]) for part in (slice(0, 2), slice(0, 0), slice(2, None))]
        made = [fragments.feed(part) for part in parts]
    assert [len(m.rows) for m in made[:2]] == [2, 0]
    assert (made[2].rows["status"] == Status.DECODED).sum() == 1
