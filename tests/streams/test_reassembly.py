"""TCP reassembly against a model too simple to be wrong: a dictionary of bytes, first come first kept."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mmsforensics.packets import PACKET
from mmsforensics.streams import Conflict, Gap, Run, TcpReassembler

FIN, SYN, RST, ACK = 1, 2, 4, 16
FRAME_OFFSET = 54
"""Where the payload lies in each frame."""


class Wire:
    """Segments as a capture holds them; frames are numbered from 1 in the order of arrival."""

    def __init__(self, isn=1000):
        self.isn = isn
        self.rows = []
        self.payloads = []

    def add(self, offset, payload=b"", flags=ACK, cut=None):
        """A segment at a stream offset; `cut` is how many bytes of it the snapshot length left."""
        kept = payload if cut is None else payload[:cut]
        row = np.zeros(1, dtype=PACKET)
        row["frame"] = len(self.rows) + 1
        row["ts"] = 1_000_000 * (len(self.rows) + 1)
        row["seq"] = (self.isn + 1 + offset) % 2**32
        row["flags"] = flags
        row["payload"] = FRAME_OFFSET
        row["payload_len"], row["payload_wire"] = len(kept), len(payload)
        self.rows.append(row)
        self.payloads.append(kept)
        return self

    def syn(self, payload=b""):
        self.add(-1, payload, SYN)
        return self

    def batches(self, cuts=()):
        """The segments in batches, cut at the given positions: rows, bytes, starts."""
        edges = sorted({0, len(self.rows), *(c for c in cuts if c < len(self.rows))})
        for begin, end in pairwise(edges):
            rows = np.concatenate(self.rows[begin:end])
            lengths = [len(p) for p in self.payloads[begin:end]]
            start = np.concatenate(([0], np.cumsum(lengths)[:-1])).astype(np.int64)
            yield rows, np.frombuffer(b"".join(self.payloads[begin:end]), dtype=np.uint8), start

    def through(self, cuts=(), **options):
        """Everything that the reassembler hands on."""
        reassembler = TcpReassembler(**options)
        items = []
        for batch in self.batches(cuts):
            items += reassembler.push(*batch)
        return items + reassembler.finish()


def assert_whole(items, wire):
    """Runs and gaps follow each other without hole or overlap; each byte is where its piece says."""
    at = 0
    for item in items:
        if isinstance(item, Conflict):
            continue
        assert item.offset == at
        if isinstance(item, Gap):
            assert item.length > 0
            at += item.length
            continue
        assert len(item.data) > 0
        where = item.offset
        for piece in item.pieces:
            assert piece["offset"] == where
            source = wire.payloads[int(piece["frame"]) - 1]
            begin = int(piece["frame_offset"]) - FRAME_OFFSET
            assert begin >= 0
            stretch = item.data[where - item.offset :][: int(piece["length"])]
            assert bytes(stretch) == source[begin : begin + int(piece["length"])]
            assert piece["ts"] == 1_000_000 * piece["frame"]
            where += int(piece["length"])
        assert where == item.offset + len(item.data)
        at = where
    return at


def content(items):
    """Bytes by offset."""
    return {
        item.offset + k: byte
        for item in items
        if isinstance(item, Run)
        for k, byte in enumerate(item.data.tolist())
    }


def gaps(items):
    return [(item.offset, item.length) for item in items if isinstance(item, Gap)]


def text(items):
    """The stream, with what is missing as dots."""
    parts = [i for i in items if not isinstance(i, Conflict)]
    return b"".join(bytes(i.data) if isinstance(i, Run) else b"." * i.length for i in parts)


# --- any order, duplication, overlap, loss -------------------------------------------------------------

stretch = st.tuples(st.integers(0, 120), st.integers(0, 40))
"""Offset and length of a segment."""


@given(
    segments=st.lists(stretch, max_size=25),
    isn=st.one_of(st.just(1000), st.integers(2**32 - 150, 2**32 - 1)),
    cuts=st.sets(st.integers(1, 24), max_size=6),
    fin=st.one_of(st.none(), st.integers(160, 200)),
    versions=st.lists(st.integers(0, 1), min_size=25, max_size=25),
)
@example(segments=[(0, 10), (20, 10), (5, 20)], isn=2**32 - 5, cuts={1}, fin=None, versions=[0] * 25)
def test_first_come_first_kept(segments, isn, cuts, fin, versions):
    """Overlaps may differ; the model keeps the byte that came first."""
    wire = Wire(isn).syn()
    model = {}
    for (offset, length), version in zip(segments, versions, strict=False):
        payload = bytes((offset + k) % 251 + version for k in range(length))
        wire.add(offset, payload)
        for k, byte in enumerate(payload):
            model.setdefault(offset + k, byte)
    if fin is not None:
        wire.add(fin, flags=FIN | ACK)
    items = wire.through(cuts)
    end = assert_whole(items, wire)
    assert content(items) == model
    assert end == (fin if fin is not None else max(model, default=-1) + 1)


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=20),
    order=st.randoms(use_true_random=False),
    limit=st.integers(0, 100),
)
def test_a_limit_of_waiting_bytes_only_adds_gaps(sizes, order, limit):
    """However little may wait: nothing is handed on twice, nothing wrong, nothing out of order."""
    wire, at, stretches = Wire().syn(), 0, []
    for size in sizes:
        stretches.append((at, bytes((at + k) % 251 for k in range(size))))
        at += size
    order.shuffle(stretches)
    for offset, payload in stretches:
        wire.add(offset, payload)
    items = wire.through(range(1, 21), pending_limit=limit)
    assert_whole(items, wire)
    assert all(byte == offset % 251 for offset, byte in content(items).items())


# --- one thought each -----------------------------------------------------------------------------------


def test_in_order_segments_are_one_run():
    items = Wire().syn().add(0, b"abc").add(3, b"def").through()
    assert [bytes(item.data) for item in items] == [b"abcdef"]
    assert items[0].pieces["frame"].tolist() == [2, 3]


def test_a_late_segment_fills_its_place():
    wire = Wire().syn().add(3, b"def").add(0, b"abc")
    assert text(wire.through()) == b"abcdef"
    assert text(wire.through(cuts=[2])) == b"abcdef"


def test_a_lost_segment_is_a_gap_that_names_the_frame_behind_it():
    items = Wire().syn().add(0, b"abc").add(6, b"ghi").through()
    assert text(items) == b"abc...ghi"
    (gap,) = (item for item in items if isinstance(item, Gap))
    assert (gap.offset, gap.length, gap.frame) == (3, 3, 3)


def test_bytes_lost_before_the_fin():
    assert text(Wire().syn().add(0, b"abc").add(10, flags=FIN).through()) == b"abc......."


def test_a_start_in_the_middle():
    """Without a SYN, offset 0 is the lowest sequence number of the first batch."""
    reassembler = TcpReassembler()
    items = [
        item
        for batch in Wire().add(503, b"def").add(500, b"abc").batches()
        for item in reassembler.push(*batch)
    ]
    assert text(items + reassembler.finish()) == b"abcdef"
    assert items[0].offset == 0
    assert not reassembler.saw_start


def test_what_the_snapshot_length_cut_is_a_gap():
    items = Wire().syn().add(0, b"abcdef", cut=2).add(6, b"ghi").through()
    assert text(items) == b"ab....ghi"


def test_a_cut_segment_sent_again_whole_is_healed():
    items = Wire().syn().add(0, b"abcdef", cut=2).add(6, b"ghi").add(0, b"abcdef").through()
    assert text(items) == b"abcdefghi"
    assert gaps(items) == []


def test_a_keep_alive_changes_nothing():
    """One byte before the next one, often zero [RFC 1122 4.2.3.6]."""
    assert text(Wire().syn().add(0, b"abc").add(2, b"\0").add(3, b"def").through(cuts=[2, 3])) == b"abcdef"


def test_a_retransmission_that_was_repacketised():
    wire = Wire().syn().add(0, b"abc").add(0, b"abcdef").add(6, b"ghi")
    for cuts in ([], [2], [1, 2, 3]):
        assert text(wire.through(cuts)) == b"abcdefghi"


def test_a_syn_with_data():
    assert text(Wire().syn(b"abc").add(3, b"def").through()) == b"abcdef"


def test_a_repeated_syn_is_no_byte():
    assert text(Wire().syn().syn().add(0, b"abc").through()) == b"abc"


def test_the_text_of_a_reset_is_no_part_of_the_stream():
    """[RFC 9293 3.5.3]"""
    assert text(Wire().syn().add(0, b"abc").add(3, b"go away", RST).through()) == b"abc"


def test_different_bytes_for_one_place_are_told():
    items = Wire().syn().add(3, b"dEf").add(3, b"dxf").add(0, b"abc").through()
    assert text(items) == b"abcdEf"
    (conflict,) = (item for item in items if isinstance(item, Conflict))
    assert (conflict.offset, conflict.length) == (4, 1)
    assert (conflict.kept_frame, conflict.frame) == (2, 3)


def test_sequence_numbers_wrap():
    wire = Wire(isn=2**32 - 3).syn().add(0, b"abc").add(6, b"ghi").add(3, b"def")
    assert text(wire.through(cuts=[3])) == b"abcdefghi"


@pytest.mark.parametrize("isn", [0, 2**31 - 1, 2**31, 2**32 - 1])
def test_offsets_go_on_growing_beyond_the_sequence_space(isn):
    reassembler = TcpReassembler(pending_limit=0)
    wire = Wire(isn).syn()
    reassembler.push(*next(wire.batches()))
    at = 0
    for _ in range(5):  # 5 GiB of holes
        at += 2**30
        jump = Wire(isn).add(at % 2**32, b"x")
        items = reassembler.push(*next(jump.batches()))
        assert items[-1].offset == at
        at += 1
    assert at > 2**32


def test_the_end_is_known():
    reassembler = TcpReassembler()
    wire = Wire().syn().add(0, b"abc").add(3, flags=FIN)
    seen = []
    for batch in wire.batches(cuts=[1, 2]):
        reassembler.push(*batch)
        seen.append(reassembler.finished)
    assert seen == [False, False, True]
    assert reassembler.saw_start
    assert (reassembler.last_frame, reassembler.last_ts) == (3, 3_000_000)
