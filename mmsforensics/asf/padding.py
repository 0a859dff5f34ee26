"""Stripped padding put back properly.

Servers strip a packet's padding and say in Padding Length that there is none [MS-MMSP 2.2.2]. Zeros
appended to such a packet become part of a single payload. Here the Padding Length is written anew, so
that the payload keeps its size. A packet that says rightly where its payload ends is left alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf import packets
from mmsforensics.asf.packets import ASF_PACKET, Reason
from mmsforensics.evidence.compiled import fingerprint

RESTORED = np.dtype(
    [
        ("kept", "u4"),  # bytes of the packet, inserted ones not counted, that were not overwritten by zeros
        ("flags_at", "u2"),  # offset of Length Type Flags
        ("length_at", "u2"),  # offset of Packet Length
        ("field_at", "u2"),  # offset of Padding Length
        ("flags_written", "u1"),  # bytes of Length Type Flags that are new: 0 or 1
        ("length_written", "u1"),  # bytes of Packet Length that are new
        ("written", "u1"),  # bytes of Padding Length that are new
        ("inserted", "u1"),  # how many of them were inserted: what follows moved back by so much
        ("ok", "u1"),  # 0: does not parse, left as it is
    ],
    align=True,
)
"""What was done to a packet; all zero but `kept` and `ok` when nothing was."""

PADDING_REASON: Final = int(Reason.PADDING)

parse_head = packets.parse_head


@njit(cache=True, nogil=True)
def _put(out, at, value, width):
    for k in range(width):
        out[at + k] = (value >> (8 * k)) & 0xFF


@njit(cache=True, nogil=True)
def _get(data, at, width):
    value = np.int64(0)
    for k in range(width):
        value |= np.int64(data[at + k]) << (8 * k)
    return value


@njit(cache=True, nogil=True)
def _restore_one(data, base, size, n, row, head):
    """Restore a packet of `n` < `size` bytes whose head was parsed; returns whether it can be."""
    flags_at, length_at = np.int64(head["flags_at"]), np.int64(head["length_at"])
    field_at, body_at = np.int64(head["padding_at"]), np.int64(head["body_at"])
    flags = data[base + flags_at]
    length_kind, kind = np.int64((flags >> 5) & 3), np.int64((flags >> 3) & 3)
    length_width = 4 if length_kind == 3 else length_kind
    width = 4 if kind == 3 else kind
    if head["ok"] and size - np.int64(head["padding"]) == n:
        return True  # it is stripped, yet what it says holds at full size
    length = _get(data, base + length_at, length_width)
    stated = _get(data, base + field_at, width)
    body_end = min(n, length) if length > 0 else n
    if stated > body_end - body_at:
        return False
    padding = size - (body_end - stated)
    if length_kind == 1 and size > 255:
        # Packet Length cannot grow to the full size; what lies behind it is padding all the same.
        if body_end > 255:
            return False
        if length != body_end:
            _put(data, base + length_at, body_end, 1)
            row["length_at"], row["length_written"] = length_at, 1
        return True
    if length_kind and length != size:
        _put(data, base + length_at, size, length_width)
        row["length_at"], row["length_written"] = length_at, length_width
    grown = np.int64(0)
    if kind == 0:
        grown = 1 if padding <= 256 else 2
    elif kind == 1 and padding > 255:
        grown = 1
    row["field_at"] = field_at
    if grown:
        # The field grows into the room that the padding gives back.
        n = min(n, size - grown)
        for k in range(n - 1, field_at + width - 1, -1):
            data[base + k + grown] = data[base + k]
        width += grown
        data[base + flags_at] = (flags & 0xE7) | (width << 3)
        row["flags_at"], row["flags_written"] = flags_at, 1
        row["inserted"], row["kept"] = grown, n
    _put(data, base + field_at, padding - grown, width)
    row["written"] = width
    return True


def _entry(sources: int) -> Callable[..., None]:
    """Build the entry; `sources` becomes part of its cache key by being closed over."""

    @njit(cache=True, nogil=True)
    def restore(data, size, wire, rows, heads):
        _ = sources
        for i in range(len(wire)):
            base = i * size
            row, head = rows[i], heads[i]
            n = min(max(np.int64(wire[i]), 0), size)
            row["kept"] = n
            parse_head(data, base, size, head)
            row["ok"] = head["ok"]
            if n == size or np.int64(head["body_at"]) > n or head["body_at"] == 0:
                row["ok"] = head["ok"] if n == size else 0
                continue
            # With all its zeros behind it, the packet may seem to have more padding than room.
            if head["ok"] or head["reason"] == PADDING_REASON:
                row["ok"] = _restore_one(data, base, size, n, row, head)

    return restore


_restore = _entry(fingerprint((packets,)))


def restore_padding(data: NDArray[np.uint8], size: int, wire: NDArray[np.int64]) -> NDArray[np.void]:
    """Make packets that were padded with bare zeros valid, in place.

    Parameters
    ----------
    data : ndarray of uint8, shape (n * size,)
        Packets, each `wire` bytes long and zero-padded to `size`.
    size : int
        Bytes of a packet.
    wire : ndarray of int64, shape (n,)

    Returns
    -------
    ndarray of RESTORED, shape (n,)
        What was done to each. Bytes ``[kept, size)`` of the old packet are padding; those behind the Padding
        Length stand `inserted` bytes further back in the new one.
    """
    rows = np.zeros(min(len(wire), len(data) // size) if size > 0 else 0, dtype=RESTORED)
    _restore(data, size, wire[: len(rows)], rows, np.zeros(len(rows), dtype=ASF_PACKET))
    return rows
