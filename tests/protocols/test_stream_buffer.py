"""Bytes of a stream that wait, and the pieces they came in."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mmsforensics.protocols.messages import StreamBuffer, slice_pieces
from mmsforensics.streams import PIECE


def in_pieces(lengths, base=100):
    """Pieces of such lengths, one behind the other."""
    pieces = np.zeros(len(lengths), dtype=PIECE)
    pieces["length"], pieces["offset"] = lengths, base + np.cumsum(lengths) - lengths
    pieces["frame"] = 1 + np.arange(len(lengths))
    return pieces


def bytes_of(pieces):
    """Frame and offset in it of each byte, by its offset in the stream."""
    return {
        int(p["offset"]) + i: (int(p["frame"]), int(p["frame_offset"]) + i)
        for p in pieces
        for i in range(int(p["length"]))
    }


@pytest.mark.parametrize("seed", range(5))
def test_slices_hold_the_pieces_of_their_bytes_alone(seed):
    """Pieces without a byte may stand anywhere, as of RTP packets that hold a payload header alone."""
    rng = random.Random(seed)
    pieces = in_pieces([rng.choice([0, 0, 1, 2, 7]) for _ in range(30)])
    whole, end = bytes_of(pieces), int(pieces["offset"][-1] + pieces["length"][-1])
    for _ in range(200):
        begin, stop = sorted(rng.randrange(100, end + 1) for _ in range(2))
        found = slice_pieces(pieces, begin, stop - begin)
        assert bytes_of(found) == {o: f for o, f in whole.items() if begin <= o < stop}
        buffer = StreamBuffer(100, np.zeros(end - 100, dtype=np.uint8), pieces)
        buffer.consume(begin - 100)
        assert bytes_of(buffer.pieces).items() >= {o: f for o, f in whole.items() if o >= begin}.items()
        if begin > 100:  # nothing is let go of with no byte
            assert all(int(p["offset"]) + int(p["length"]) > begin for p in buffer.pieces[:1])


class Counted(np.ndarray):
    """An array that counts the elements that are reckoned with."""

    touched = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **more):
        Counted.touched += sum(np.size(one) for one in inputs)
        plain = [one.view(np.ndarray) if isinstance(one, Counted) else one for one in inputs]
        return getattr(ufunc, method)(*plain, **more)


def test_what_is_let_go_of_costs_no_look_at_all_that_waits():
    """A run of 100,000 pieces may hold as many messages."""
    pieces = in_pieces([1] * 1000).view(Counted)
    buffer = StreamBuffer(100, np.zeros(1000, dtype=np.uint8), pieces)
    Counted.touched = 0
    for n in range(1000):
        assert slice_pieces(buffer.pieces, buffer.offset, 1)["frame"].tolist() == [n + 1]
        buffer.consume(1)
    assert not len(buffer.pieces)
    assert Counted.touched < 20_000
