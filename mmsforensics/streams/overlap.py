"""Which bytes a stream has where segments overlap.

Rules of this file:

* what a policy decides is one question: does a segment that arrives later replace the bytes of one that
  waits already? The answers are those of the target-based reassembly literature [Shankar, Paxson: Active
  Mapping, 2003; Novak, Sturges: Target-Based TCP Stream Reassembly, 2007];
* bytes that were in order are with the application already and are replaced by no policy: so it is on every
  host;
* a segment whose checksum a receiver would have refused loses to any other.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import njit

SEGMENT = np.dtype(
    [
        ("offset", "i8"),
        ("ts", "i8"),
        ("frame", "i8"),
        ("start", "i8"),  # position of the bytes in the buffer that goes with the table
        ("length", "i8"),
        ("frame_offset", "u4"),
        ("doubtful", "u1"),  # its checksum is wrong
    ],
    align=True,
)


class Policy(IntEnum):
    """Whose bytes are kept."""

    FIRST = 0
    """Those that arrived first (Windows Vista and later)."""
    LAST = 1
    """Those that arrived last (Cisco IOS)."""
    BSD = 2
    """The first, unless the later segment begins before them (BSD, macOS, AIX, HP-UX 10)."""
    LINUX = 3
    """As BSD; of two that begin alike the longer (Linux 2.4 and later)."""
    WINDOWS = 4
    """As BSD (Windows 2000, XP, Server 2003)."""
    SOLARIS = 5
    """Those of the segment that ends last; where both end alike the later, unless it begins inside the first
    (Solaris, HP-UX 11)."""


CLASH = np.dtype([("loser", "i8"), ("winner", "i8"), ("first", "i8"), ("last", "i8"), ("count", "i8")])
"""Bytes on which two segments differ: their indices, stream offsets of the first and last, how many."""


@njit(cache=True, nogil=True)
def _replaces(new, old, policy):
    """Whether the segment `new`, which came later, replaces the bytes of `old`."""
    if new["doubtful"] != old["doubtful"]:
        return old["doubtful"] == 1
    if policy == 0:
        return False
    if policy == 1:
        return True
    new_end, old_end = new["offset"] + new["length"], old["offset"] + old["length"]
    if policy == 5:
        return new_end > old_end or (new_end == old_end and new["offset"] <= old["offset"])
    if new["offset"] < old["offset"]:
        return True
    return policy == 3 and new["offset"] == old["offset"] and new_end > old_end


@njit(cache=True, nogil=True)
def paint(segments, order, begin, end, data, base, policy, out, owner):
    """Lay the segments ``order[begin:end]`` of one cluster into `out`.

    Parameters
    ----------
    segments : ndarray of SEGMENT
        In order of arrival.
    order : ndarray of int64
        Indices of segments.
    data : ndarray of uint8
        Where their bytes lie.
    base : int
        Stream offset of ``out[0]``; bytes before it are left out.
    policy : int
        A `Policy`.
    out : ndarray of uint8
    owner : ndarray of int64
        Written: the segment that each byte came from.

    Returns
    -------
    ndarray of CLASH
    """
    owner[:] = -1
    clashes = np.empty(8, dtype=CLASH)
    n = 0
    arrival = np.sort(order[begin:end])
    for s in arrival:
        seg = segments[s]
        other = np.int64(-1)
        replaces = False
        row = -1
        for k in range(max(base - seg["offset"], 0), seg["length"]):
            at = seg["offset"] + k - base
            byte = data[seg["start"] + k]
            if owner[at] < 0:
                owner[at] = s
                out[at] = byte
                continue
            if owner[at] != other:
                other = owner[at]
                replaces = _replaces(seg, segments[other], policy)
                row = -1
            if out[at] != byte:
                if row < 0:
                    if n == len(clashes):
                        clashes = np.concatenate((clashes, np.empty(n, dtype=CLASH)))
                    row = n
                    n += 1
                    clashes[row]["loser"] = other if replaces else s
                    clashes[row]["winner"] = s if replaces else other
                    clashes[row]["first"] = at + base
                    clashes[row]["count"] = 0
                clashes[row]["last"] = at + base
                clashes[row]["count"] += 1
            if replaces:
                owner[at] = s
                out[at] = byte
    return clashes[:n]
