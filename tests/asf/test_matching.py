"""Payloads found again in other bytes: cut, spread, packed anew, or not there at all."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import asf_whole as whole

from mmsforensics.asf import find_payloads, payload_index, places

SIZE = whole.SMALL


def noise(seed, size):
    return random.Random(seed).randbytes(size)


def index_of(payloads):
    packets = [whole.single(i, p, stream=1, number=i) for i, p in enumerate(payloads)]
    data = np.frombuffer(b"".join(packets), dtype=np.uint8)
    return payload_index(data, SIZE, np.arange(len(packets)) * SIZE)


def found(index, blob):
    """What was found, each as (place in the blob, bytes); all of it must be so."""
    matches = find_payloads(index, np.frombuffer(blob, dtype=np.uint8))
    for m in matches:
        begin, at, n = (int(m[name]) for name in ("file_offset", "medium_offset", "length"))
        assert blob[begin : begin + n] == index.data[at : at + n].tobytes()
    ends = matches["file_offset"] + matches["length"]
    assert (matches["file_offset"][1:] >= ends[:-1]).all(), "nothing of the blob is claimed twice"
    return [(int(m["file_offset"]), int(m["length"])) for m in matches]


def test_payloads_are_found_whole_wherever_they_lie():
    payloads = [noise(i, 500) for i in range(5)]
    blob = b"ab" + payloads[3] + b"foreign" + payloads[0]
    assert found(index_of(payloads), blob) == [(2, 500), (509, 500)]


def test_a_payload_is_found_as_far_as_it_goes():
    payloads = [noise(i, 500) for i in range(3)]
    blob = payloads[1][100:] + payloads[2][:77] + noise(9, 500)
    assert found(index_of(payloads), blob) == [(0, 400), (400, 77)]


def test_what_foreign_bytes_cut_in_two_is_found_on_both_sides():
    payload = noise(1, 540)
    blob = payload[:301] + b"\x00" * 54 + payload[301:]
    assert found(index_of([payload]), blob) == [(0, 301), (355, 239)]


def test_short_and_dull_payloads_are_found_where_their_neighbours_say_so():
    payloads = [noise(1, 20), noise(2, 400), bytes(300), noise(3, 10), noise(4, 100)]
    index = index_of(payloads)
    whole = index.data.tobytes()
    assert sum(n for _, n in found(index, b"xyz" + whole)) == sum(map(len, payloads))
    assert found(index, noise(1, 20) + bytes(300)) == [], "by themselves they tell nothing"


def test_nothing_is_found_in_bytes_that_have_nothing_of_it():
    index = index_of([noise(i, 500) for i in range(20)])
    for blob in (b"", b"x", bytes(100_000), noise(77, 100_000)):
        assert found(index, blob) == []


@pytest.mark.parametrize("payloads", [[], [b"short"], [bytes(400)] * 3])
def test_a_medium_may_have_nothing_to_look_for(payloads):
    packets = [whole.single(i, p, stream=1, number=i) for i, p in enumerate(payloads)]
    data = np.frombuffer(b"".join(packets) or b"\0", dtype=np.uint8)
    index = payload_index(data, SIZE, np.arange(len(packets)) * SIZE)
    assert found(index, bytes(1000) + noise(1, 1000)) == []


def test_repeated_content_costs_no_more_than_its_size():
    """Thousands of equal anchors: a bound on the tries keeps this linear."""
    payloads = [noise(1, 500)] * 3000
    assert sum(n for _, n in found(index_of(payloads), b"".join(payloads))) == 1_500_000


def test_content_that_repeats_is_found_where_its_stream_goes_on():
    """A tone, packed anew beside pictures: each of its equal payloads is that of its place, in order."""
    payloads = [noise(0, 400) if i % 2 else noise(i + 1, 300) for i in range(400)]
    packets = [whole.single(i, p, stream=1 + i % 2, number=i) for i, p in enumerate(payloads)]
    data = np.frombuffer(b"".join(packets), dtype=np.uint8)
    index = payload_index(data, SIZE, np.arange(len(packets)) * SIZE)
    blob = np.frombuffer(b"".join(b"other" + p for p in payloads), dtype=np.uint8)
    matches = find_payloads(index, blob)
    assert matches["medium_offset"].tolist() == index.parts["offset"].tolist()
    assert matches["length"].tolist() == index.parts["length"].tolist()


pieces = st.lists(
    st.one_of(
        st.tuples(st.just("part"), st.integers(0, 5), st.integers(0, 450), st.integers(40, 500)),
        st.tuples(st.just("noise"), st.integers(0, 60), st.just(0), st.just(0)),
    ),
    max_size=8,
)


@given(pieces)
def test_long_parts_are_all_found(parts):
    """Against a model: a part of 300 bytes or more holds an anchor and is found, noise is not."""
    payloads = [noise(i, 500) for i in range(6)]
    blob, wanted = b"", 0
    for i, (kind, number, begin, size) in enumerate(parts):
        piece = payloads[number][begin : begin + size] if kind == "part" else noise(1000 + i, number)
        wanted += len(piece) if kind == "part" and len(piece) >= 300 else 0
        blob += piece
    got = found(index_of(payloads), blob)
    assert wanted <= sum(n for _, n in got) <= len(blob)


@given(pieces, st.integers(0, 4))
def test_places_of_many_media_change_nothing_of_what_is_found(parts, other):
    """A blob that was marked for several media gives each what a search of all of it gives."""
    payloads = [noise(i, 500) for i in range(6)]
    blob = b"".join(payloads[n][b : b + s] if kind == "part" else noise(n, n) for kind, n, b, s in parts)
    blob = np.frombuffer(blob + bytes(other), dtype=np.uint8)
    indexes = [index_of(payloads), index_of(payloads[::-1]), index_of([bytes(400), noise(9, 40)])]
    marked = places(np.concatenate([index.words for index in indexes]), blob)
    for index in indexes:
        assert (find_payloads(index, blob) == find_payloads(index, blob, marked)).all()
        assert len(find_payloads(index, blob)) == len(find_payloads(index, blob, marked))


def test_an_anchor_that_begins_with_zeros_is_marked_too():
    payload = bytes(8) + noise(1, 492)
    index = index_of([payload])
    blob = np.frombuffer(b"\1" + payload, dtype=np.uint8)
    marked = places(index.words, blob)
    assert [m.tolist() for m in find_payloads(index, blob, marked)] == [
        m.tolist() for m in find_payloads(index, blob)
    ]
