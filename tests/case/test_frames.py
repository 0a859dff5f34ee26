"""Numbers of frames in an analysis, and the captures and numbers that they stand for."""

import numpy as np
import pytest

from mmsforensics.case.frames import FrameBook


@pytest.mark.parametrize("captures", [1, 2])
def test_columns_name_capture_and_frame_and_nothing_for_no_frame(captures):
    book = FrameBook([f"c00{n + 1}" for n in range(captures)])
    for n in range(captures):
        book.numbering.add(n, 1, 10)
    names, frames = book.columns(np.array([0, 3, 10 * captures, 0]))
    assert names.to_pylist() == [None, "c001", f"c00{captures}", None]
    assert frames.to_pylist() == [None, 3, 10, None]


def test_no_frame_at_all_is_no_capture():
    for book in (FrameBook(["c001"]), FrameBook(["c001", "c002"])):
        names, frames = book.columns(np.zeros(2, dtype=np.int64))
        assert (names.to_pylist(), frames.to_pylist()) == ([None, None], [None, None])
        names, frames = book.columns(np.zeros(0, dtype=np.int64))
        assert (len(names), len(frames)) == (0, 0)
