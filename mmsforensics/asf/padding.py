"""Stripped padding put back properly.

Servers strip a packet's padding and say in Padding Length that there is none [MS-MMSP 2.2.2]. Zeros
appended to such a packet become part of a single payload. Here the Padding Length is written anew, so
that the payload keeps its size.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf.packets import ASF_PACKET, parse_head

RESTORED = np.dtype(
    [
        ("field_at", "u2"),  # offset of the bytes written or inserted
        ("written", "u1"),  # bytes of the packet whose value is new, at `flags_at` and `field_at`
        ("inserted", "u1"),  # how many of them were inserted: what follows moved back by so much
        ("flags_at", "u2"),  # offset of Length Type Flags
        ("flags_new", "u1"),  # whether Length Type Flags was written
        ("ok", "u1"),  # 0: does not parse, left as it is
        ("kept", "u4"),  # wire bytes of the packet, before padding
    ],
    align=True,
)
"""What was done to a packet."""


@njit(cache=True, nogil=True)
def _put(out, at, value, width):
    for k in range(width):
        out[at + k] = (value >> (8 * k)) & 0xFF


@njit(cache=True, nogil=True)
def _restore(data, size, wire, rows, heads):
    for i in range(len(wire)):
        base = i * size
        row = rows[i]
        head = heads[i]
        row["written"] = row["inserted"] = row["flags_new"] = 0
        row["field_at"] = row["flags_at"] = 0
        n = np.int64(wire[i])
        row["kept"] = n
        parse_head(data, base, size, head)
        row["ok"] = 1
        missing = size - n
        if missing <= 0:
            row["ok"] = head["ok"]
            continue
        # The head must be judged within the bytes that were sent.
        flags_at = np.int64(head["flags_at"])
        flags = data[base + flags_at]
        if head["reason"] not in (0, 4) or np.int64(head["body_at"]) > n:
            row["ok"] = 0
            continue
        kind = np.int64((flags >> 3) & 3)
        width = 4 if kind == 3 else kind
        at = np.int64(head["padding_at"])
        old = np.int64(0)
        for k in range(width):
            old |= np.int64(data[base + at + k]) << (8 * k)
        if old > n - np.int64(head["body_at"]):
            row["ok"] = 0
            continue
        wanted = old + missing
        if old == missing:
            continue  # stripped, but still stated: right again at full size
        row["flags_at"], row["field_at"] = flags_at, at
        new_kind, grown = kind, 0
        if kind == 0:
            new_kind = 1 if missing <= 256 else 2
            grown = new_kind
            wanted = missing - grown
        elif kind == 1 and wanted > 255:
            new_kind, grown = 2, 1
            wanted = old + missing - 1
        if grown:
            # The field grows into the room that the padding gives back.
            for k in range(n - 1, at + width - 1, -1):
                data[base + k + grown] = data[base + k]
            data[base + flags_at] = (flags & 0xE7) | (new_kind << 3)
            row["flags_new"] = 1
            row["inserted"] = grown
        new_width = 4 if new_kind == 3 else new_kind
        _put(data, base + at, wanted, new_width)
        row["written"] = new_width
        data[base + n + grown : base + size] = 0
        length_kind = np.int64((flags >> 5) & 3)
        if length_kind:
            # A stated Packet Length must cover the packet again.
            length_width = 4 if length_kind == 3 else length_kind
            if length_kind > 1 or size < 256:
                _put(data, base + np.int64(head["length_at"]), size, length_width)
                row["flags_new"] = 1


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
        What was done to each.
    """
    rows = np.zeros(len(wire), dtype=RESTORED)
    _restore(data, size, wire, rows, np.zeros(len(wire), dtype=ASF_PACKET))
    return rows
