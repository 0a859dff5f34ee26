"""Wireless frames on the slow road, and what capturing programs write before them [IEEE 802.11-2020 9.2]."""

from __future__ import annotations

from typing import Any, Final

from mmsforensics.packets.slow_cursor import Cursor
from mmsforensics.packets.slow_ethernet import llc
from mmsforensics.packets.table import Status

WLAN_HEADER: Final = 24
WLAN_MORE_FRAGMENTS: Final = 0x04
WLAN_PROTECTED: Final = 0x40
WLAN_ORDER: Final = 0x80
"""Of a data frame with three addresses; bits of the second byte of its frame control."""

FCS: Final = 4
AVS_MAGIC: Final = 0x80211000
PRISM_MAX: Final = 4096
"""A Prism header that would be longer stands in the other byte order."""


def wlan(cursor: Cursor, *, padded: bool = False) -> Any:  # noqa: ANN401
    """A data frame; what is encrypted, a fragment or without data is OTHER."""
    control, flags = cursor.number(0, 1), cursor.number(1, 1)
    if control & 0x0C != 0x08 or control & 0x40:  # management, control, or data without data
        return Status.OTHER
    if flags & (WLAN_PROTECTED | WLAN_MORE_FRAGMENTS) or cursor.number(22, 1) & 0x0F:
        return Status.OTHER
    size = WLAN_HEADER + (6 if flags & 0x03 == 0x03 else 0)
    aggregate = False
    if control & 0x80:  # QoS
        aggregate = bool(cursor.number(size, 1) & 0x80)
        size += 2 + (4 if flags & WLAN_ORDER else 0)
    cursor.skip((size + 3) // 4 * 4 if padded else size)
    return cursor.carry(Status.AGGREGATE) if aggregate else llc


def without_fcs(cursor: Cursor) -> None:
    """Leave out the frame check sequence at the end of the frame."""
    cursor.wire_end = max(cursor.wire_end - FCS, cursor.at)
    cursor.end = min(cursor.end, cursor.wire_end)


def radiotap(cursor: Cursor) -> Any:  # noqa: ANN401
    """A header of fields that are there by bits [radiotap.org]; the flags say what is at the frame's end."""
    size = cursor.number(2, 2, "little")
    present = cursor.number(4, 4, "little")
    at, word = 8, present
    while word & 1 << 31:
        word = cursor.number(at, 4, "little")
        at += 4
    if present & 1:  # TSFT, aligned to its size
        at = (at + 7) // 8 * 8 + 8
    flags = cursor.number(at, 1) if present & 2 and at < size else 0
    cursor.skip(size)
    if flags & 0x10:
        without_fcs(cursor)
    return wlan(cursor, padded=bool(flags & 0x20))


def prism(cursor: Cursor) -> Any:  # noqa: ANN401
    """A Prism header, or one of AVS in its place."""
    if cursor.number(0, 4) >> 4 == AVS_MAGIC >> 4:
        return avs
    size = cursor.number(4, 4, "little")
    cursor.skip(size if size <= PRISM_MAX else cursor.number(4, 4))
    return wlan(cursor)


def avs(cursor: Cursor) -> Any:  # noqa: ANN401
    """An AVS header; it says its length."""
    cursor.skip(cursor.number(4, 4))
    return wlan(cursor)
