"""A frame on the slow road, and where in it the next header begins.

Rules of this file:

* a cursor never passes the end of the bytes that it was given: who asks for more gets a `MalformedError`.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

from mmsforensics.packets.table import Status

FIELDS: Final = (
    "src_hi",
    "src_lo",
    "dst_hi",
    "dst_lo",
    "seq",
    "ack",
    "payload",
    "payload_len",
    "payload_wire",
    "src_port",
    "dst_port",
    "window",
    "network",
    "transport",
    "version",
    "proto",
    "flags",
)
"""What a step may set; the rest of a row comes from the record."""


class Cursor:
    """A frame, where the next header begins in it, and where what carries it ends."""

    __slots__ = ("at", "depth", "end", "fields", "frame", "network", "wire_end")

    def __init__(self, frame: bytes, wire: int) -> None:
        self.frame = frame
        self.at = 0
        self.end = len(frame)
        """Captured bytes end here."""
        self.wire_end = max(wire, len(frame))
        """The bytes on the wire ended here."""
        self.fields: dict[str, int] = {}
        self.depth = 0
        """Tunnels over UDP entered."""
        self.network: int | None = None
        """Where the innermost IP header begins."""

    def copy(self) -> Cursor:
        """A cursor at the same place, one tunnel further in."""
        other = Cursor(self.frame, self.wire_end)
        other.at, other.end, other.wire_end = self.at, self.end, self.wire_end
        other.fields, other.depth = dict(self.fields), self.depth + 1
        other.network = self.network
        return other

    def number(self, at: int, size: int, order: Literal["big", "little"] = "big") -> int:
        """An integer `at` bytes behind the cursor."""
        start = self.at + at
        if start + size > self.end:
            raise MalformedError
        return int.from_bytes(self.frame[start : start + size], order)

    def skip(self, count: int) -> None:
        """Go on behind bytes that must be there."""
        if self.at + count > self.end:
            raise MalformedError
        self.at += count

    @property
    def rest(self) -> bytes:
        """The captured bytes from the cursor on."""
        return self.frame[self.at : self.end]

    def cut(self, length: int) -> None:
        """End what is carried `length` bytes behind the cursor."""
        self.wire_end = self.at + length
        self.end = min(self.end, self.wire_end)

    def transport(self) -> None:
        """Note that the header at the cursor is that of TCP or UDP, unless it and IP's are in no frame."""
        if self.network is not None:
            self.fields |= {"network": self.network, "transport": self.at}

    def carry(self, status: Status) -> Status:
        """Make the bytes from the cursor on the payload."""
        self.fields["payload"] = self.at
        self.fields["payload_len"] = self.end - self.at
        self.fields["payload_wire"] = self.wire_end - self.at
        return status


Step: TypeAlias = Callable[[Cursor], Any]
"""Reads the header at the cursor; returns the next step, `Onward`, or the frame's status."""


class Onward(Enum):
    """A next step that is known further on only."""

    TRANSPORT = 1
    """That of what IP carries, by the field ``proto``."""


class MalformedError(Exception):
    """A header that contradicts itself where dpkt does not mind."""


def carried(cursor: Cursor) -> Status:
    """Take what the cursor stands at for the payload of a protocol that is not decoded."""
    return cursor.carry(Status.OTHER)


def other(cursor: Cursor) -> Status:
    """Take the frame for one without IP."""
    return Status.OTHER
