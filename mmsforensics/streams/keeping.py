"""Packets copied out of a batch, with the bytes of their frames.

Rules of this file:

* the action that `tracking` gave a packet says whether it is copied; of its frame the bytes up to the last of
  the payload are.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def copy(source, begin, n, target, to):
    """Copy bytes; unsigned indices spare the test for negative ones."""
    b, t = np.uint64(begin), np.uint64(to)
    for k in range(np.uint64(max(n, 0))):
        target[t + k] = source[b + k]


@njit(cache=True, nogil=True)
def count_kept(rows, action, wanted):
    """Packets with the action `wanted`, and the bytes of their frames, headers included."""
    count, size = 0, np.int64(0)
    for i in range(len(rows)):
        if action[i] == wanted:
            count += 1
            size += np.int64(rows[i]["payload"]) + rows[i]["payload_len"]
    return count, size


@njit(cache=True, nogil=True)
def keep(
    rows, uids, direction, action, wanted, data, base, kept, kept_uids, kept_direction, kept_data, at, start
):
    """Copy the packets with the action `wanted`, in the order in which they are, with headers and payloads.

    Their bytes are laid into `kept_data` from position `at` on.
    """
    n, at = 0, np.int64(at)
    for i in range(len(rows)):
        if action[i] != wanted:
            continue
        kept[n] = rows[i]
        head = np.int64(rows[i]["payload"])
        kept_uids[n], kept_direction[n], start[n] = uids[i], direction[i], at + head
        length = head + rows[i]["payload_len"]
        copy(data, np.int64(rows[i]["offset"]) - base, length, kept_data, at)
        at += length
        n += 1


@njit(cache=True, nogil=True)
def gather(data, start, length, out):
    """Copy ``data[start[i]:start[i] + length[i]]`` one behind the other into `out`.

    Indices are unsigned, which spares the test for negative ones in the inner loop: three times as fast as
    slices.
    """
    at = np.uint64(0)
    for i in range(len(start)):
        begin, n = np.uint64(start[i]), np.uint64(length[i])
        for k in range(n):
            out[at + k] = data[begin + k]
        at += n
    return at


def copy_payloads(
    data: NDArray[np.uint8], start: NDArray[np.int64], length: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Copy payloads into a buffer of their own.

    Returns
    -------
    buffer : ndarray of uint8
    starts : ndarray of int64
        Position of each payload in `buffer`.
    """
    ends = np.cumsum(length)
    buffer = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    gather(data, start, length, buffer)
    return buffer, ends - length


def copied(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A read-only copy of bytes, made without letting other threads in: `copy` does, which costs more."""
    return np.frombuffer(data.tobytes(), dtype=np.uint8)
