"""ASF data packets and their payloads (ASF 5.2), in compiled walks.

Any bytes are walked without harm: a packet that does not parse has ``ok`` 0 and a reason.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import njit
from numpy.typing import NDArray

ASF_PACKET = np.dtype(
    [
        ("send_time_ms", "u4"),
        ("padding", "u4"),  # bytes of padding at the end
        ("duration_ms", "u2"),
        ("payloads", "u2"),
        ("flags_at", "u2"),  # offset of Length Type Flags in the packet
        ("length_at", "u2"),  # offset of Packet Length, whether present or not
        ("padding_at", "u2"),  # offset of Padding Length, whether present or not
        ("body_at", "u2"),  # offset of the first payload, or of Payload Flags
        ("ok", "u1"),
        ("reason", "u1"),  # Reason
        ("correction", "u1"),  # Error Correction Flags, 0 when the packet has none
    ],
    align=True,
)

PAYLOAD = np.dtype(
    [
        ("packet", "i8"),  # index of the packet
        ("at", "u4"),  # offset of the data in the packet
        ("length", "u4"),
        ("object_number", "u4"),
        ("object_offset", "u4"),  # where in the media object the data belong
        ("object_size", "u4"),  # 0 when the payload does not say
        ("presentation_ms", "u4"),  # preroll included
        ("time_at", "u4"),  # offset of the presentation time in the packet, 0 when it has none of its own
        ("extension_at", "u2"),  # offset of the replicated data that extension systems define
        ("extension_length", "u2"),  # their bytes, 0 when there are none
        ("stream", "u1"),
        ("key", "u1"),
        ("compressed", "u1"),  # whether it is one of the whole small objects of a compressed payload
    ],
    align=True,
)
"""A payload; of a compressed payload, each object in it that has bytes."""

NO_ROOM, UNSOUND = -2, -1


class Reason(IntEnum):
    """Why a packet does not parse."""

    NONE = 0
    TOO_SHORT = 1
    ERROR_CORRECTION = 2
    """Error correction data of a length type that the specification does not allow."""
    LENGTH_TYPES = 3
    PADDING = 4
    """More padding than there is room."""
    PAYLOAD_COUNT = 5
    PAYLOAD = 6
    """A payload that does not fit."""
    REPLICATED_DATA = 7
    PACKET_LENGTH = 8
    """A stated Packet Length beyond the packet's end."""
    PADDING_TWICE = 9
    """It parses, though only when Packet Length and Padding Length are taken to leave out the same bytes, as
    GStreamer writes them: what is behind the Packet Length is padding without being counted [ASF 5.2.2]."""


TWICE = int(Reason.PADDING_TWICE)


@njit(cache=True, nogil=True)
def _field(data, at, kind):
    """Read a field of a length type: 0 absent, 1 byte, 2 word, 3 double word."""
    if kind == 1:
        return np.int64(data[at])
    if kind == 2:
        return np.int64(data[at]) | np.int64(data[at + 1]) << 8
    if kind == 3:
        return (
            np.int64(data[at])
            | np.int64(data[at + 1]) << 8
            | np.int64(data[at + 2]) << 16
            | np.int64(data[at + 3]) << 24
        )
    return np.int64(0)


@njit(cache=True, nogil=True)
def _width(kind):
    return 4 if kind == 3 else kind


@njit(cache=True, nogil=True)
def parse_head(data, base, size, row):
    """Read error correction data and payload parsing information of the packet at `base` into `row`."""
    row["ok"] = 0
    row["padding"] = 0
    row["payloads"] = 0
    row["send_time_ms"] = 0
    row["duration_ms"] = 0
    row["flags_at"] = row["length_at"] = row["padding_at"] = row["body_at"] = 0
    row["correction"] = 0
    at = 0
    if size < 12 or size > 65535:
        row["reason"] = 1
        return
    first = data[base]
    if first & 0x80:
        row["correction"] = first
        if first & 0x60:
            row["reason"] = 2
            return
        # Two bytes, says the specification, but readers must go by the length. Of opaque data, which may
        # follow, it states no length: where there are any, what is read behind them is not sound.
        at = 1 + np.int64(first & 0x0F)
        if at + 8 > size:
            row["reason"] = 1
            return
    flags = data[base + at]
    row["flags_at"] = at
    if flags & 0x80:
        row["reason"] = 3
        return
    length_kind = np.int64((flags >> 5) & 3)
    sequence_kind = np.int64((flags >> 1) & 3)
    padding_kind = np.int64((flags >> 3) & 3)
    at += 2
    row["length_at"] = at
    end = at + _width(length_kind) + _width(sequence_kind) + _width(padding_kind) + 6
    if end > size:
        row["reason"] = 1
        return
    length = _field(data, base + at, length_kind)
    at += _width(length_kind) + _width(sequence_kind)
    row["padding_at"] = at
    padding = _field(data, base + at, padding_kind)
    at += _width(padding_kind)
    row["send_time_ms"] = _field(data, base + at, 3)
    row["duration_ms"] = _field(data, base + at + 4, 2)
    at += 6
    row["body_at"] = at
    # A stated packet length below the fixed one leaves the rest as padding as well.
    if length_kind and length > size:
        row["reason"] = 8
        return
    row["reason"] = 0
    stated = padding
    if length_kind and length > 0:
        padding += size - length
    if padding > size - at and length + stated == size and stated <= size - at:
        padding = stated
        row["reason"] = TWICE
    if padding > size - at:
        row["reason"] = 4
        return
    row["padding"] = padding
    row["payloads"] = 1
    if flags & 1:
        if at >= size:
            row["reason"] = 1
            return
        row["payloads"] = data[base + at] & 0x3F
        if row["payloads"] == 0:
            row["reason"] = 5
            return
    row["ok"] = 1


@njit(cache=True, nogil=True)
def _padding_twice(data, base, size, row):
    """Whether a packet whose payloads did not fit may have its padding counted twice; then it is so read."""
    flags = data[base + row["flags_at"]]
    padding = _field(data, base + row["padding_at"], (flags >> 3) & 3)
    length = _field(data, base + row["length_at"], (flags >> 5) & 3)
    if not flags & 1 or padding == 0 or length + padding != size or row["padding"] == padding:
        return False
    row["padding"], row["reason"], row["ok"] = padding, TWICE, 1
    return True


@njit(cache=True, nogil=True)
def _refuse(row, reason):
    row["ok"], row["reason"] = 0, reason
    return UNSOUND


@njit(cache=True, nogil=True)
def _split(data, base, at, length, first, delta, number_mask, out, n):
    """Turn the compressed payload ``out[n]`` into one row for each object in it [ASF 5.2.3.3]."""
    end = at + length
    number = np.int64(out[n]["object_number"])
    began = n
    k = np.int64(0)
    while at < end:
        size = np.int64(data[base + at])
        at += 1
        if at + size > end:
            return UNSOUND
        if size:
            if n >= len(out):
                return NO_ROOM
            row = out[n]
            if n > began:
                out[n] = out[began]
                row["time_at"] = 0
            row["at"], row["length"], row["object_size"] = at, size, size
            row["object_number"] = (number + k) & number_mask
            row["presentation_ms"] = (first + k * delta) & 0xFFFFFFFF
            n += 1
        at += size
        k += 1
    return n


@njit(cache=True, nogil=True)
def parse_payloads(data, base, size, index, row, out, n):
    """Read the payloads of a packet whose head is sound into ``out[n:]``.

    Returns the new count, `NO_ROOM` when `out` is full, or `UNSOUND` after it has said why in `row`.
    """
    flags = data[base + row["flags_at"]]
    kinds = data[base + row["flags_at"] + 1]
    replicated_kind = np.int64(kinds & 3)
    offset_kind = np.int64((kinds >> 2) & 3)
    number_kind = np.int64((kinds >> 4) & 3)
    number_mask = (np.int64(1) << (8 * _width(number_kind))) - 1
    fixed = 1 + _width(number_kind) + _width(offset_kind) + _width(replicated_kind)
    at = np.int64(row["body_at"])
    end = size - np.int64(row["padding"])
    count = np.int64(1)
    length_kind = np.int64(0)
    if flags & 1:
        count = np.int64(data[base + at] & 0x3F)
        length_kind = np.int64(data[base + at] >> 6)
        at += 1
    for _ in range(count):
        if at + fixed > end:
            return _refuse(row, 6)
        if n >= len(out):
            return NO_ROOM
        payload = out[n]
        payload["packet"] = index
        payload["stream"] = data[base + at] & 0x7F
        payload["key"] = data[base + at] >> 7
        at += 1
        payload["object_number"] = _field(data, base + at, number_kind)
        at += _width(number_kind)
        offset_at = at
        offset = _field(data, base + at, offset_kind)
        at += _width(offset_kind)
        replicated = _field(data, base + at, replicated_kind)
        at += _width(replicated_kind)
        payload["object_offset"] = offset
        payload["object_size"] = 0
        payload["presentation_ms"] = row["send_time_ms"]
        payload["time_at"] = 0
        payload["extension_at"] = payload["extension_length"] = 0
        payload["compressed"] = 0
        if at + replicated > end or 2 <= replicated < 8:
            return _refuse(row, 7)
        delta = np.int64(0)
        if replicated == 1:
            # The offset field holds a time, the replicated byte the time between objects.
            delta = np.int64(data[base + at])
            payload["compressed"] = 1
            payload["object_offset"] = 0
            if offset_kind == 3:
                payload["time_at"] = offset_at
        elif replicated >= 8:
            payload["object_size"] = _field(data, base + at, 3)
            payload["presentation_ms"] = _field(data, base + at + 4, 3)
            payload["time_at"] = at + 4
            if replicated > 8:
                payload["extension_at"], payload["extension_length"] = at + 8, replicated - 8
        at += replicated
        length = end - at
        if length_kind:
            if at + _width(length_kind) > end:
                return _refuse(row, 6)
            length = _field(data, base + at, length_kind)
            at += _width(length_kind)
        if at + length > end:
            return _refuse(row, 6)
        if replicated == 1:
            n = _split(data, base, at, length, offset, delta, number_mask, out, n)
            if n == UNSOUND:
                return _refuse(row, 6)
            if n == NO_ROOM:
                return n
        else:
            payload["at"] = at
            payload["length"] = length
            n += 1
        at += length
    return n


@njit(cache=True, nogil=True)
def _walk(data, size, heads, payloads, want_payloads):
    """Walk until the end or until `payloads` is full; returns how far it came, and the payloads."""
    n = 0
    for i in range(len(heads)):
        row = heads[i]
        parse_head(data, i * size, size, row)
        if row["ok"] and want_payloads:
            after = parse_payloads(data, i * size, size, i, row, payloads, n)
            if after == UNSOUND:
                padding, reason = row["padding"], row["reason"]
                if _padding_twice(data, i * size, size, row):
                    after = parse_payloads(data, i * size, size, i, row, payloads, n)
                    if after == UNSOUND:
                        row["padding"], row["reason"] = padding, reason
            if after == NO_ROOM:
                return i, n
            if after >= 0:
                n = after
    return len(heads), n


def walk_packets(data: NDArray[np.uint8], size: int) -> NDArray[np.void]:
    """Read the heads of data packets.

    Parameters
    ----------
    data : ndarray of uint8, shape (n * size,)
    size : int
        Bytes of a packet.

    Returns
    -------
    ndarray of ASF_PACKET, shape (n,)
        ``ok`` says that the head is sound; payloads are not looked at.
    """
    heads = _heads(data, size)
    _walk(data, size, heads, np.empty(0, dtype=PAYLOAD), False)
    return heads


def _heads(data: NDArray[np.uint8], size: int) -> NDArray[np.void]:
    return np.zeros(len(data) // size if size > 0 else 0, dtype=ASF_PACKET)


def walk_payloads(data: NDArray[np.uint8], size: int) -> tuple[NDArray[np.void], NDArray[np.void]]:
    """Read data packets and their payloads.

    Parameters
    ----------
    data : ndarray of uint8, shape (n * size,)
    size : int
        Bytes of a packet.

    Returns
    -------
    packets : ndarray of ASF_PACKET, shape (n,)
        ``ok`` says that all payloads of the packet are sound.
    payloads : ndarray of PAYLOAD
        In the order of the file; those of unsound packets are left out. There may be as many as bytes in a
        hostile packet, so give data in blocks.
    """
    heads = _heads(data, size)
    room = 64 + 4 * len(heads)
    while True:
        payloads = np.empty(room, dtype=PAYLOAD)
        done, n = _walk(data, size, heads, payloads, True)
        if done == len(heads):
            return heads, payloads[:n] if 2 * n > room else payloads[:n].copy()
        del payloads
        room *= 2
