"""What is saved of a hurt packet: the payloads that were wholly seen, those and no others."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers.asf_file import AsfFile, strip_padding
from peers.media import make_asf

from mmsforensics.asf import NEW, restore_padding, salvage, walk_payloads

FIELDS = ("stream", "key", "object_number", "object_offset", "object_size", "presentation_ms")


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    """Packets of a film with audio and video, most of them of several payloads."""
    film = AsfFile.read(make_asf(tmp_path_factory.mktemp("film") / "film.wmv", seconds=3))
    return film.packet_size, film.packets


def contents(packet, size):
    """Every payload of a whole packet: where its header begins, where it ends, its fields and bytes."""
    data = np.frombuffer(packet.ljust(size, b"\0"), dtype=np.uint8).copy()
    restore_padding(data, size, np.array([len(packet)], dtype=np.int64))
    heads, payloads = walk_payloads(data, size)
    assert heads["ok"][0]
    several = int(data[heads["flags_at"][0]] & 1)
    begin, found = int(heads["body_at"][0]) + several, []
    for row in payloads:
        at, end = int(row["at"]), int(row["at"] + row["length"])
        fields = tuple(int(row[name]) for name in FIELDS)
        found.append((begin, at, end, (*fields, data[at:end].tobytes())))
        begin = end
    return found


def hurt(packet, holes):
    """A packet with holes: its bytes, zero in them, and where it was seen."""
    seen = np.ones(len(packet), dtype=np.bool_)
    for begin, length in holes:
        seen[begin : begin + length] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([0], seen.astype(np.int8), [0]))))
    known = [(int(b), int(e)) for b, e in edges.reshape(-1, 2)]
    return np.where(seen, np.frombuffer(packet, dtype=np.uint8), 0).astype(np.uint8), known, seen


@given(
    number=st.integers(0, 40),
    mode=st.sampled_from(("keep", "zero-field")),
    holes=st.lists(st.tuples(st.integers(0, 3200), st.integers(1, 1500)), min_size=1, max_size=3),
)
def test_the_payloads_wholly_seen_are_saved_and_no_others(packets, number, mode, holes):
    size, sent = packets
    packet = strip_padding(sent[number % len(sent)], mode)
    data, known, seen = hurt(packet, holes)
    whole, want = contents(packet, size), []
    reached = seen[: whole[0][0]].all()
    for begin, at, end, content in whole:
        reached = reached and seen[begin:at].all()
        if reached and seen[begin:end].all():
            want.append(content)
    saved = salvage(data, known, size)
    assert (saved is None) == (not want)
    if saved is not None:
        assert [content for *_, content in contents(saved.data.tobytes(), size)] == want
        assert saved.payloads == len(want)
        copied = saved.source != NEW
        assert seen[saved.source[copied]].all()
        assert (saved.data[copied] == np.frombuffer(packet, dtype=np.uint8)[saved.source[copied]]).all()
        assert np.count_nonzero(~copied) <= 8, "a count, a Padding Length, a Packet Length"


def single(data, padding):
    """A packet of one payload: error correction data, Padding Length of a byte, its replicated data."""
    replicated = b"\x01\0\0\0\0\x08" + struct.pack("<II", 999, 4000)
    head = b"\x82\0\0\x08\x5d" + bytes([padding]) + struct.pack("<IH", 1234, 50)
    return head + b"\x81" + replicated + data + bytes(padding)


def test_of_a_single_payload_with_a_hole_nothing_is_left():
    packet = single(bytes(range(1, 200)), 30)
    data, known, _ = hurt(packet, [(100, 1)])
    assert salvage(data, known, len(packet)) is None


def test_a_hole_in_the_padding_costs_no_payload():
    packet = single(bytes(range(1, 200)), 30)
    data, known, _ = hurt(packet, [(len(packet) - 20, 10)])
    saved = salvage(data, known, len(packet))
    assert saved is not None
    want = [content for *_, content in contents(packet, len(packet))]
    assert [content for *_, content in contents(saved.data.tobytes(), len(packet))] == want


def test_sizes_that_lie_are_refused():
    packet = single(bytes(range(1, 200)), 30)
    data, known, _ = hurt(packet, [(len(packet) - 20, 10)])
    assert salvage(data, known, len(packet) - 1) is None
    assert salvage(data, known, 1 << 32) is None


@given(st.binary(min_size=1, max_size=400), st.data())
def test_any_bytes_are_taken(raw, draw):
    size = draw.draw(st.integers(len(raw), 500))
    data, known, _ = hurt(raw, [(draw.draw(st.integers(0, 400)), 5)])
    saved = salvage(data, known, size)
    if saved is not None:
        assert len(contents(saved.data.tobytes(), size)) >= 1
