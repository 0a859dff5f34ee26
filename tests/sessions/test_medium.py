"""Where the bytes of a medium's file come from."""

import numpy as np

from mmsforensics.sessions.medium import origins
from mmsforensics.streams import PIECE


def test_pieces_without_a_byte_give_no_row():
    """As of an RTP packet that holds a payload header alone."""
    pieces = np.zeros(3, dtype=PIECE)
    pieces["offset"], pieces["length"] = [0, 5, 5], [5, 0, 5]
    pieces["frame"], pieces["frame_offset"] = [7, 8, 9], [100, 200, 300]
    found = origins(np.array([0]), np.array([10]), 12, 1000, pieces)
    assert found[["file_offset", "length", "frame", "frame_offset"]].tolist() == [
        (1000, 5, 7, 100),
        (1005, 5, 9, 300),
        (1010, 2, 0, 0),
    ]
