"""What the 8-bit sequence numbers of Data packets show to be missing."""

from __future__ import annotations

import numpy as np
from numba import njit

NO_RUNS = np.empty((0, 4), dtype=np.int64)

BEGUN, SPARSE = 1, 2
"""Bits: a play begins, the next LocationId may be any; its play leaves out any number of them."""


@njit(cache=True, nogil=True)
def count_missing(flags, location, state, found):
    """Count the packets that the 8-bit sequence numbers show to be missing.

    `state` holds [last sequence or -1, last location, steps of one, steps of zero, BEGUN and SPARSE] and
    is brought up to date. A server that does not count (all AFFlags alike) shows nothing. Where more than 255
    are missing, the LocationIds tell how often the sequence wrapped, unless a play has begun in between, or
    leaves out packets by its nature; where one begins, 0xFF may be left out [MS-MMSP 2.2.2]. As many gaps as
    `found` has rows are written to it, as [index of the packet behind, LocationId before, LocationId behind,
    packets missing]. Returns the numbers of packets and of gaps.
    """
    missing = 0
    n = 0
    for i in range(len(flags)):
        sequence = np.int64(flags[i])
        here = np.int64(location[i])
        lost = np.int64(0)
        if state[0] == -2 and here == sequence:
            lost = here  # the sequence of a session begins with 0 [MS-MMSP 2.2.2]
        if state[0] >= 0:
            step = (sequence - state[0]) % 256
            if step == 1:
                state[2] += 1
            elif step == 0 and here == state[1] + 1:
                state[3] += 1
            elif (
                step != 0 and state[3] == 0 and not (state[4] & BEGUN and state[0] == 0xFE and sequence == 0)
            ):
                lost = step - 1
                ahead = (here - state[1] - 1) & 0xFFFFFFFF
                while state[4] == 0 and lost + 256 <= ahead and ahead < 1 << 24:
                    lost += 256
        if lost:
            if n < len(found):
                found[n, 0], found[n, 1], found[n, 2], found[n, 3] = i, state[1], here, lost
            missing += lost
            n += 1
        state[0], state[1] = sequence, here
        state[4] &= ~BEGUN
    return missing, n
