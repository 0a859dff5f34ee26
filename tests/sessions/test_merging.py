"""Which packets are there, in which versions, and which one is taken: against a model that loops."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.sessions.merging import HELD, agreement, once_each, sampled, unsent_behind, vote

SIZE = 16


def held_of(packets):
    """Rows of HELD of (copy, location, send time, size, frame) tuples, in the order of each copy's file."""
    held = np.zeros(len(packets), dtype=HELD)
    counts = Counter()
    for row, (copy, location, send, size, frame) in zip(held, packets, strict=True):
        row["copy"], row["location"], row["send_time_ms"] = copy, location, send
        row["size"], row["frame"], row["sound"] = size, frame, 1
        row["row"] = row["sequence"] = counts[copy] % 256
        row["file_offset"] = counts[copy] * SIZE
        counts[copy] += 1
    return held


def packets_of(copies=3, locations=6):
    one = st.tuples(
        st.integers(0, copies - 1), st.integers(0, locations - 1), st.integers(0, 1), st.integers(1, SIZE)
    )
    return st.lists(one, min_size=1, max_size=40).map(
        lambda packets: [(*packet, frame + 1) for frame, packet in enumerate(packets)]
    )


def model_once(packets):
    """For each packet, in order, the frames that are taken: of each copy the largest, then the earliest."""
    twice = {
        location
        for copy, location, *_ in packets
        if len({s for c, loc, s, *_ in packets if (c, loc) == (copy, location)}) > 1
    }
    found = {}
    for copy, location, send, size, frame in packets:
        key = (location, send if location in twice else 0)
        found.setdefault(key, {}).setdefault(copy, []).append((-size, frame))
    return [[min(copies[c])[1] for c in sorted(copies)] for _, copies in sorted(found.items())]


@given(packets_of())
def test_each_packet_once_for_each_copy(packets):
    held, starts = once_each(held_of(packets))
    frames = held["frame"].tolist()
    assert [frames[a:b] for a, b in itertools.pairwise(starts)] == model_once(packets)


@given(packets_of(copies=5, locations=3), st.data())
def test_most_copies_decide_then_the_earliest(packets, data):
    held, starts = once_each(held_of(packets))
    texts = [data.draw(st.sampled_from([b"a", b"b", b"aa"])).ljust(SIZE, b"\0") for _ in held]
    ballot = vote(held, starts, np.frombuffer(b"".join(texts), dtype=np.uint8).reshape(-1, SIZE))
    disputed = []
    for p, (a, b) in enumerate(itertools.pairwise(starts)):
        votes = Counter(texts[a:b])
        if len(votes) > 1:
            disputed.append(p)
        earliest = {t: min(int(held["frame"][i]) for i in range(a, b) if texts[i] == t) for t in votes}
        best = min(votes, key=lambda t: (-votes[t], earliest[t]))
        assert ballot.chosen[p] == a + texts[a:b].index(best), "the first copy that has it"
        assert [texts[i] for i in range(a, b)] == [
            texts[a + ballot.version[a:b].tolist().index(v)] for v in ballot.version[a:b]
        ]
        assert len(set(ballot.version[a:b].tolist())) == len(votes)
    assert ballot.disputed.tolist() == disputed


def test_a_copy_that_does_not_parse_is_a_version_of_the_same_packet():
    held = held_of([(0, 7, 500, 16, 1), (1, 7, 0, 16, 2)])
    held["sound"][1] = 0
    _, starts = once_each(held)
    assert starts.tolist() == [0, 2]


def test_what_was_not_sent_shows_in_neighbours_whose_sequence_goes_on():
    held, starts = once_each(held_of([(0, 1, 0, 9, 1), (0, 4, 0, 9, 2), (1, 1, 0, 9, 3), (0, 5, 0, 9, 4)]))
    assert unsent_behind(held, starts).tolist() == [True, True, False]


def test_a_lost_packet_between_neighbours_shows_in_the_sequence():
    held = held_of([(0, 1, 0, 9, 1), (0, 4, 0, 9, 2)])
    held["sequence"][1] += 1
    assert unsent_behind(*once_each(held)).tolist() == [False, False]


def test_the_sequence_goes_on_over_its_end():
    held = held_of([(0, 1, 0, 9, 1), (0, 4, 0, 9, 2)])
    held["sequence"] = [255, 0]
    assert unsent_behind(*once_each(held)).tolist() == [True, False]


def test_samples_of_two_copies_are_of_the_same_packets():
    one = held_of([(0, n, 0, 9, n + 1) for n in range(0, 4000, 2)])
    two = held_of([(1, n, 0, 9, n + 1) for n in range(0, 4000, 3)])
    a, b = sampled(one, 4), sampled(two, 4)
    assert 60 < len(a) < 200
    both = set(a["location"].tolist()) & set(b["location"].tolist())
    assert both == {n for n in a["location"].tolist() if n % 6 == 0}
    common, in_a, in_b = agreement(a, b, 10)
    assert (common, len(in_a)) == (len(both), 10)
    assert (a["location"][in_a] == b["location"][in_b]).all()


def test_sets_without_a_packet_in_common():
    one, two = held_of([(0, 1, 0, 9, 1)]), held_of([(1, 2, 0, 9, 1)])
    assert agreement(one, two, 10)[0] == 0
