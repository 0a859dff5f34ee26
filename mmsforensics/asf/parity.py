"""Parity over ASF data packets: which packets carry it, and a lost one computed from it [MS-MSB 2.2.2].

Rules of this file:

* a parity packet is told by Opaque Data Present in its Error Correction Flags; it is the XOR of all packets
  of its cycle, their Error Correction Flags and Data left out, shorter ones with zeros behind them;
* which half of the first byte of Error Correction Data is Type and which is Number transcriptions of the ASF
  specification do not agree on: Type is always 2 in a parity packet, so that the other half is Number;
* a packet that was computed is checked before it is used: it parses as a data packet, and what lies behind
  the end that it states is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mmsforensics.asf.packets import walk_packets, walk_payloads

MOST_SPAN = 15
"""Packets of a cycle at most, the parity packet not counted [MS-MSB 2.2.2]."""

PARITY_TYPE = 2

ERROR_CORRECTION = np.dtype(
    [
        ("size", "i8"),  # bytes of Error Correction Flags and Data
        ("code", "u1"),  # first byte of the data: Type and Number
        ("cycle", "u1"),
        ("parity", "u1"),  # whether it is a parity packet
        ("present", "u1"),  # whether there is any such data
    ],
    align=True,
)
"""Error Correction Flags and Data at the head of a packet [ASF 5.2.1]."""


@dataclass(frozen=True, slots=True)
class Restored:
    """A packet computed from the others of its cycle."""

    data: NDArray[np.uint8]
    """The packet, without the zeros that the XOR has behind its end."""
    payloads: int


@njit(cache=True, nogil=True)
def _read(data, start, size, out):
    for i in range(len(start)):
        row = out[i]
        row["size"] = row["code"] = row["cycle"] = row["parity"] = row["present"] = 0
        if size[i] < 4:
            continue
        flags = data[start[i]]
        length = np.int64(flags & 0x0F)
        if not flags & 0x80 or flags & 0x60 or length != 2:
            continue
        row["size"], row["present"], row["parity"] = 1 + length, 1, (flags >> 4) & 1
        row["code"], row["cycle"] = data[start[i] + 1], data[start[i] + 2]


def error_correction(
    data: NDArray[np.uint8], start: NDArray[np.int64], size: NDArray[np.int64]
) -> NDArray[np.void]:
    """Read the Error Correction Flags and Data of packets.

    Parameters
    ----------
    data : ndarray of uint8
    start, size : ndarray of int64, shape (n,)
        Where each packet lies in `data`.

    Returns
    -------
    ndarray of ERROR_CORRECTION, shape (n,)
        All zero for a packet that has none of the length that the specification knows.
    """
    out = np.empty(len(start), dtype=ERROR_CORRECTION)
    _read(data, start, size, out)
    return out


def span_of(code: int) -> int | None:
    """Packets of a cycle by Type and Number of its parity packet; None where these do not tell.

    Number is one more than there are packets, or always 1 [MS-MSB 2.2.2]. Four bits do not hold the 16 of a
    cycle of 15: its 0 tells nothing.
    """
    low, high = code & 0x0F, code >> 4
    if PARITY_TYPE not in (low, high):
        return None
    number = high if low == PARITY_TYPE else low
    return number - 1 if number > 1 else None


@njit(cache=True, nogil=True)
def _agree(data, start, size, lead, first, count, parity_start, parity_size, parity_lead, out):
    """Whether each parity packet is the XOR of ``count[i]`` packets from ``first[i]`` on."""
    for i in range(len(first)):
        longest = parity_size[i] - parity_lead[i]
        same = True
        for k in range(first[i], first[i] + count[i]):
            if size[k] - lead[k] > longest:
                same = False
        for b in range(longest):
            if not same:
                break
            total = data[parity_start[i] + parity_lead[i] + b]
            for k in range(first[i], first[i] + count[i]):
                at = lead[k] + b
                if at < size[k]:
                    total ^= data[start[k] + at]
            same = total == 0
        out[i] = same


def agree(
    data: NDArray[np.uint8],
    packets: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    spans: tuple[NDArray[np.int64], NDArray[np.int64]],
    parity: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.bool_]:
    """Hold parity packets against the packets of their cycles.

    Parameters
    ----------
    data : ndarray of uint8
    packets : start, size, lead
        Of the data packets; `lead` are the bytes of Error Correction Flags and Data.
    spans : first, count
        For each parity packet the index of the first packet of its cycle, and how many there are.
    parity : start, size, lead
        Of the parity packets.
    """
    out = np.empty(len(spans[0]), dtype=np.bool_)
    _agree(data, *packets, *spans, *parity, out)
    return out


def restore(
    others: Sequence[NDArray[np.uint8]], parity: NDArray[np.uint8], number: int, packet_size: int
) -> Restored | None:
    """Compute the one packet of a cycle that is missing.

    Parameters
    ----------
    others : sequence of ndarray of uint8
        All other packets of the cycle, each with Error Correction Data; may be empty for a cycle of one.
    parity : ndarray of uint8
        The parity packet, with Error Correction Data of the same size.
    number : int
        Which packet of the cycle it is, from 1.
    packet_size : int
        Bytes of a packet at most.

    Returns
    -------
    Restored or None
        None where what was computed is no sound packet.
    """
    lead = 1 + int(parity[0] & 0x0F)
    if len(parity) > packet_size or any(len(o) > len(parity) for o in others):
        return None
    made = parity.copy()
    for other in others:
        made[lead : len(other)] ^= other[lead:]
    made[0] &= 0xEF  # Opaque Data Present is for parity packets alone
    made[1] = _code(others, int(parity[1]), number)
    for end in (_end(made), len(made)):
        if end is None or made[end:].any():
            continue
        whole = made[:end].copy()
        heads, payloads = walk_payloads(whole, len(whole))
        if len(heads) and heads["ok"][0]:
            return Restored(whole, len(payloads))
    return None


def _code(others: Sequence[NDArray[np.uint8]], parity: int, number: int) -> int:
    """Type and Number of a data packet, as the server writes them."""
    codes = {int(other[1]) for other in others}
    if len(codes) == 1 and len(others) > 1:
        return codes.pop()  # a server that counts nothing
    low_is_type = parity & 0x0F == PARITY_TYPE
    return number << 4 | 1 if low_is_type else 1 << 4 | number


def _end(packet: NDArray[np.uint8]) -> int | None:
    """Where a packet ends by its own word; all of it where it does not say. None if it is no packet."""
    size = len(packet)
    (head,) = walk_packets(packet, size) if size else (None,)
    if head is None or not head["body_at"]:
        return None
    flags_at, length_at = int(head["flags_at"]), int(head["length_at"])
    kind = int(packet[flags_at]) >> 5 & 3
    if kind:
        stated = int.from_bytes(packet[length_at : length_at + (0, 1, 2, 4)[kind]].tobytes(), "little")
        if 0 < stated <= size:
            return stated
    heads, payloads = walk_payloads(packet, size)
    if not heads["ok"][0] or not len(payloads):
        return size
    padding = int(heads["padding"][0])
    last = payloads[-1]
    end = int(last["at"]) + int(last["length"])
    if not int(packet[flags_at]) & 1 and last["object_size"] and not last["compressed"]:
        # A single payload without padding goes on to the end of the packet, or of its media object.
        end = min(end, int(last["at"]) + max(int(last["object_size"]) - int(last["object_offset"]), 0))
    return min(end + padding, size)
