"""Packets between reports, told in whatever order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmsforensics.protocols.messages import DATA_PACKET
from mmsforensics.sessions.media_count import MediaCount


def packets(frames):
    rows = np.zeros(len(frames), dtype=DATA_PACKET)
    rows["frame"], rows["size"] = frames, 10
    return rows


steps = st.lists(
    st.one_of(st.integers(1, 30), st.lists(st.integers(1, 30), min_size=1, max_size=8)), max_size=12
)


@given(steps)
def test_a_packet_belongs_to_the_stretch_that_its_frame_lies_in(told):
    """Integers are marks, lists are blocks of packets, each told while the same batch is decoded."""
    count = MediaCount()
    for step in told:
        if isinstance(step, int):
            count.mark(step)
        else:
            count.add(packets(step))
    marks = sorted({s for s in told if isinstance(s, int)})
    frames = [f for s in told if isinstance(s, list) for f in s]
    before = 0
    for mark in marks:
        mine = [f for f in frames if before < f <= mark]
        stretch = count.until(mark)
        assert (stretch.packets, stretch.size) == (len(mine), 10 * len(mine))
        before = mark
    assert count.total == len(frames)


def test_what_waited_behind_a_hole_is_counted_where_it_belongs():
    count = MediaCount()
    count.mark(10)
    count.settle()
    count.add(packets([3, 4, 12]))
    assert count.until(10).packets == 2
